//! The decoders of segment columns against bytes that no encoder wrote: changed columns, cut ones, mixed ones.
//!
//! Holds: a decoder never panics, answers as many values as it was asked for or an error, and takes memory in
//! proportion to the count it was asked for and the bytes it was given, whatever the bytes say.
//!
//! `cargo test` runs some fresh seeds and prints the first; `MILLRACE_SEED=n` replays one. For hours on end:
//!
//! ```text
//! MILLRACE_SEEDS=100000000 cargo test --release --test fuzz -- --nocapture
//! ```

use std::alloc::GlobalAlloc;
use std::alloc::Layout;
use std::alloc::System;
use std::cell::Cell;
use std::panic::AssertUnwindSafe;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use millrace::disk::sim::prng::Prng;
use millrace::model::FieldType;
use millrace::model::TimeRange;
use millrace::model::Values;
use millrace::segment::codec;
use millrace::segment::codec::Effort;
use millrace::segment::codec::Hints;

/// Seeds of a plain `cargo test`.
const SEEDS: u64 = 3_000;
/// Changes of one column.
const CHANGES: usize = 20;
/// Most values asked for.
const COUNT_MAX: u64 = 700;
/// What a decoder may take for each value, with all its intermediate steps.
const BYTES_PER_VALUE: usize = 200;
/// And for each byte it reads: LZ4 makes 255 of one, and the strings are then copied out.
const BYTES_PER_BYTE: usize = 600;
/// Strings of a dictionary are as many as asked for and as long as an entry is; the decoder stops at this.
const TEXT_BYTES_MAX: usize = 256 << 20;

thread_local! {
    static TAKEN: Cell<usize> = const { Cell::new(0) };
}

/// Counts what this thread takes.
struct Counting;

// SAFETY: everything is handed to the system's allocator as it came; the count is a plain thread-local number.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = TAKEN.try_with(|taken| taken.set(taken.get() + layout.size()));
        // SAFETY: the caller keeps the promises of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the promises of `dealloc`, and all memory is the system's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn given(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn decoders_of_changed_columns_neither_panic_nor_take_too_much() {
    if let Some(seed) = given("MILLRACE_SEED") {
        return attack(seed);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64;
    println!("first seed: MILLRACE_SEED={now}");
    for seed in now..now + given("MILLRACE_SEEDS").unwrap_or(SEEDS) {
        let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| attack(seed)));
        assert!(outcome.is_ok(), "replay with MILLRACE_SEED={seed}");
    }
}

/// Changes one column again and again; changes add up, so that later ones get past the first checks.
fn attack(seed: u64) {
    let mut prng = Prng::from_seed(seed);
    let values = column(&mut prng);
    let bytes = &mut coded(&mut prng, &values);
    let other = column(&mut prng);
    let donor = &coded(&mut prng, &other);
    for _ in 0..CHANGES {
        change(&mut prng, bytes, donor);
        let count = if prng.below(4) == 0 { prng.below(COUNT_MAX) as usize } else { values.len() };
        decode(values.field_type(), bytes, count);
        codec::name(values.field_type(), bytes);
        if let Ok(times) = codec::decode_times(bytes, TimeRange::ALWAYS, count) {
            assert_eq!(times.len(), count, "as many times as asked for");
        }
    }
}

/// By an encoder that tries hard, or not.
fn coded(prng: &mut Prng, values: &Values) -> Vec<u8> {
    let effort = if prng.below(2) == 0 { Effort::Hot } else { Effort::Cold };
    let mut bytes = Vec::new();
    codec::encode_with(&mut Hints::new(effort), values, &mut bytes);
    bytes
}

fn decode(field_type: FieldType, bytes: &[u8], count: usize) {
    let before = TAKEN.get();
    let decoded = codec::decode(field_type, bytes, count);
    let taken = TAKEN.get() - before;
    if let Ok(values) = decoded {
        assert_eq!(values.len(), count, "as many values as asked for");
    }
    let text = if field_type == FieldType::String { 2 * TEXT_BYTES_MAX } else { 0 };
    let allowed = count * BYTES_PER_VALUE + bytes.len() * BYTES_PER_BYTE + text + 4096;
    assert!(taken <= allowed, "{taken} bytes taken for {count} values of {} bytes", bytes.len());
}

/// A column of some shape that each form has a chance to win.
fn column(prng: &mut Prng) -> Values {
    let count = prng.below(COUNT_MAX);
    let (shift, step, rare) = (prng.below(64), prng.below(2) * prng.below(1 << 20), 1 + prng.below(60));
    let mut level = prng.draw() as i64;
    let mut integer = |prng: &mut Prng| {
        let change = (prng.draw() as i64) >> shift;
        if step == 0 && prng.below(rare) > 0 {
            return level;
        }
        level = level.wrapping_add(change).wrapping_add(step as i64);
        if prng.below(rare) == 0 { change } else { level }
    };
    match prng.below(5) {
        0 => Values::Float((0..count).map(|_| ((integer(prng) >> 20) as f64) / 100.0).collect()),
        1 => Values::Integer((0..count).map(|_| integer(prng)).collect()),
        2 => Values::Float((0..count).map(|_| f64::from_bits(integer(prng) as u64)).collect()),
        3 => Values::Boolean((0..count).map(|_| integer(prng) & 1 == 0).collect()),
        _ => {
            let kinds = 1 + prng.below(200);
            Values::String((0..count).map(|_| format!("text {}", prng.below(kinds)).into_bytes().into()).collect())
        }
    }
}

fn change(prng: &mut Prng, bytes: &mut Vec<u8>, donor: &[u8]) {
    let length = bytes.len() as u64;
    if length == 0 {
        return bytes.push(prng.draw() as u8);
    }
    // Heads are short, and most of what can go wrong is there.
    let at = (if prng.below(2) == 0 { prng.below(length.min(24)) } else { prng.below(length) }) as usize;
    match prng.below(7) {
        0 => bytes[at] ^= 1 << prng.below(8),
        1 => bytes[at] = prng.draw() as u8,
        2 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][prng.below(5) as usize],
        3 => bytes.truncate(at),
        4 => bytes.insert(at, prng.draw() as u8),
        5 => {
            bytes.remove(at);
        }
        _ => {
            let from = prng.below(donor.len() as u64 + 1) as usize;
            bytes.truncate(at);
            bytes.extend_from_slice(&donor[from..]);
        }
    }
}
