//! What coding a column costs, as a ratio to copying its values, and what a value takes.
//!
//! Each shape of data in blocks of 250, 500 and 2048 values, as a flush and as a cold compaction codes them, each block
//! read back and compared. Cold lines that took no other codec than the hot one are left out. Speeds are the fastest
//! of some rounds over the same blocks, and the copy is measured in the same run. `cargo test` runs it small and only
//! checks that all reads back.
//!
//! ```text
//! cargo bench --bench codec
//! ```

mod rounds;

use std::hint::black_box;
use std::time::Duration;

use millrace::disk::sim::prng::Prng;
use millrace::model::Bytes;
use millrace::model::FieldType;
use millrace::model::Values;
use millrace::segment::codec;
use millrace::segment::codec::Effort;
use millrace::segment::codec::Hints;

/// The server's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const START_NS: i64 = 1_451_606_400_000_000_000;
const STEP_NS: i64 = 10_000_000_000;

fn main() {
    // `cargo bench` passes `--bench`; `cargo test` does not.
    let measured = std::env::args().any(|argument| argument == "--bench");
    let (value_count, rounds) = if measured { (1 << 20, 7) } else { (1 << 13, 1) };
    for rows in [250, 500, 2048] {
        println!("blocks of {rows} values                     bytes/value    encode ns  x copy    decode ns  x copy");
        for (name, shape) in SHAPES {
            let mut random = Prng::from_seed(7);
            let blocks: Vec<Values> = (0..value_count / rows).map(|_| shape(&mut random, rows)).collect();
            for effort in [Effort::Hot, Effort::Cold] {
                Bench { name, blocks: &blocks, rounds, effort }.run();
            }
        }
    }
}

type Shape = fn(&mut Prng, usize) -> Values;

const SHAPES: [(&str, Shape); 15] = [
    ("times, regular", |_, rows| Values::Integer((0..rows as i64).map(|index| START_NS + index * STEP_NS).collect())),
    ("times, jitter of 5 ms", |random, rows| {
        let jitter = |random: &mut Prng| (random.below(11) as i64 - 5) * 1_000_000;
        Values::Integer((0..rows as i64).map(|index| START_NS + index * STEP_NS + jitter(random)).collect())
    }),
    ("times, 1 in 50 missing", |random, rows| {
        let mut time = START_NS;
        let mut next = || {
            time += STEP_NS * if random.below(50) == 0 { 2 } else { 1 };
            time
        };
        Values::Integer((0..rows).map(|_| next()).collect())
    }),
    ("integers, walk in 0 to 100", |random, rows| {
        Values::Integer(walk(random, rows, 1.0).map(|level| level as i64).collect())
    }),
    ("integers, counter", |random, rows| {
        let mut counter = random.below(1 << 40) as i64;
        let mut next = || {
            counter += 1000 + random.below(200) as i64;
            counter
        };
        Values::Integer((0..rows).map(|_| next()).collect())
    }),
    ("integers, 1 in 100 is huge", |random, rows| {
        let value = |random: &mut Prng| {
            if random.below(100) == 0 { random.draw() as i64 } else { random.below(50) as i64 }
        };
        Values::Integer((0..rows).map(|_| value(random)).collect())
    }),
    ("integers, random", |random, rows| Values::Integer((0..rows).map(|_| random.draw() as i64).collect())),
    ("unsigned, seldom changing", |random, rows| {
        let mut value = 0;
        let mut next = || {
            value = if random.below(40) == 0 { random.below(1000) } else { value };
            value
        };
        Values::Unsigned((0..rows).map(|_| next()).collect())
    }),
    ("floats, walk in hundredths", |random, rows| {
        Values::Float(walk(random, rows, 1.0).map(|level| (level * 100.0).floor() / 100.0).collect())
    }),
    ("floats, slow walk in hundredths", |random, rows| {
        Values::Float(walk(random, rows, 0.01).map(|level| (level * 100.0).floor() / 100.0).collect())
    }),
    ("floats, steps of 2 hundredths", |random, rows| {
        let mut level = 1000 + random.below(8000) as i64;
        let mut next = || {
            level += random.below(5) as i64 - 2;
            level as f64 / 100.0
        };
        Values::Float((0..rows).map(|_| next()).collect())
    }),
    ("floats, 32 bits", |random, rows| {
        Values::Float(walk(random, rows, 0.1).map(|level| f64::from(level as f32)).collect())
    }),
    ("floats, random", |random, rows| Values::Float((0..rows).map(|_| unit(random)).collect())),
    ("strings, 8 kinds", |random, rows| {
        let text = |random: &mut Prng| -> Bytes { format!("state number {}", random.below(8)).into_bytes().into() };
        Values::String((0..rows).map(|_| text(random)).collect())
    }),
    ("booleans, random", |random, rows| Values::Boolean((0..rows).map(|_| random.below(2) == 0).collect())),
];

struct Bench<'a> {
    name: &'a str,
    blocks: &'a [Values],
    rounds: u32,
    effort: Effort,
}

impl Bench<'_> {
    fn run(&self) {
        let coded: Vec<Vec<u8>> = self.encode(self.effort);
        if self.effort == Effort::Cold && coded == self.encode(Effort::Hot) {
            return;
        }
        for (values, bytes) in self.blocks.iter().zip(&coded) {
            let decoded = codec::decode(values.field_type(), bytes, values.len()).expect("what was just written");
            assert!(same(values, &decoded), "{}: reads back as other values", self.name);
        }
        let mut copy = vec![0_u64; self.blocks[0].len()];
        let source = copy.clone();
        let copied = rounds::fastest(self.rounds, || {
            for _ in self.blocks {
                black_box(&mut copy).copy_from_slice(black_box(&source));
            }
        });
        let encoded = rounds::fastest(self.rounds, || {
            let (mut hints, mut out) = (Hints::new(self.effort), Vec::new());
            for values in self.blocks {
                out.clear();
                codec::encode_with(&mut hints, values, &mut out);
                black_box(&out);
            }
        });
        let decoded = rounds::fastest(self.rounds, || {
            for (values, bytes) in self.blocks.iter().zip(&coded) {
                let decoded = codec::decode(values.field_type(), bytes, values.len());
                assert!(black_box(decoded).is_ok());
            }
        });
        let count: usize = self.blocks.iter().map(Values::len).sum();
        let bytes: usize = coded.iter().map(Vec::len).sum();
        let nanoseconds = |spent: Duration| spent.as_nanos() as f64 / count as f64;
        let ratio = |spent: Duration| spent.as_nanos() as f64 / copied.as_nanos().max(1) as f64;
        let effort = if self.effort == Effort::Hot { "" } else { ", cold" };
        println!(
            "  {:38} {:10.3} {:12.2} {:7.1} {:12.2} {:7.1}",
            format!("{}{effort}", self.name),
            bytes as f64 / count as f64,
            nanoseconds(encoded),
            ratio(encoded),
            nanoseconds(decoded),
            ratio(decoded)
        );
    }

    fn encode(&self, effort: Effort) -> Vec<Vec<u8>> {
        let mut hints = Hints::new(effort);
        let encode = |values: &Values| {
            let mut out = Vec::new();
            codec::encode_with(&mut hints, values, &mut out);
            out
        };
        self.blocks.iter().map(encode).collect()
    }
}

/// Bit for bit.
fn same(left: &Values, right: &Values) -> bool {
    match (left, right) {
        (Values::Float(left), Values::Float(right)) => {
            left.iter().map(|value| value.to_bits()).eq(right.iter().map(|value| value.to_bits()))
        }
        _ => left == right && left.field_type() != FieldType::Float,
    }
}

/// A number from 0 up to 1.
fn unit(random: &mut Prng) -> f64 {
    (random.draw() >> 11) as f64 / (1_u64 << 53) as f64
}

/// Roughly normal steps of deviation `deviation`, kept between 0 and 100 as the load harness does.
fn walk(random: &mut Prng, rows: usize, deviation: f64) -> impl Iterator<Item = f64> {
    let mut level = unit(random) * 100.0;
    (0..rows).map(move |_| {
        let bell = (unit(random) + unit(random) + unit(random) - 1.5) * 2.0;
        level = (level + bell * deviation).clamp(0.0, 100.0);
        level
    })
}
