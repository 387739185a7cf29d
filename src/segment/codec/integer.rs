//! Integers and timestamps, coded by what makes them smallest:
//!
//! ```text
//! raw     8 bytes each
//! step    first signed, step signed: each value is the one before plus the step (a regular series; one value)
//! offset  the values as a frame
//! delta   first signed | differences as a frame
//! twice   first signed, difference signed | differences of the differences as a frame
//! slope   step signed | what is left of each value without index * step, as a frame (a regular series that jitters)
//! runs    count varint | the value of each run: integers, not runs | length of each: frame
//! ```
//!
//! All arithmetic wraps, so every sequence of 64-bit values has each form. Which of the frames it is, a sample of the
//! values decides; [`frame`] has the packing, the scale and the exceptions.

use crate::segment::codec::CodecError;
use crate::segment::codec::DENSE_SAVES;
use crate::segment::codec::Effort;
use crate::segment::codec::Room;
use crate::segment::codec::SAMPLE_COUNT;
use crate::segment::codec::check_count;
use crate::segment::codec::frame;
use crate::segment::codec::frame::Cut;
use crate::segment::codec::frame::Frame;
use crate::segment::codec::frame::SHARE_PARTS;
use crate::segment::codec::frame::SHARE_SLACK;
use crate::segment::codec::frame::bit_length;
use crate::segment::codec::name_in;
use crate::segment::codec::sample;
use crate::stdx::varint;
use crate::stdx::varint::Reader;
use crate::stdx::wide::wide;

const RAW: u8 = 0;
const STEP: u8 = 1;
const OFFSET: u8 = 2;
const DELTA: u8 = 3;
const TWICE: u8 = 4;
const SLOPE: u8 = 5;
const RUNS: u8 = 6;
/// By form.
const NAMES: [&str; 7] = ["raw", "step", "offset", "delta", "twice", "slope", "runs"];
/// By form, of dense frames.
const DENSE_NAMES: [&str; 7] = ["", "", "offset-dense", "delta-dense", "twice-dense", "slope-dense", ""];

/// Runs shorter than this on average are left to the frames.
const RUN_LENGTH_MIN: usize = 4;
/// A sample tells two forms apart that differ by more than this, a third of a bit a value.
const CLOSE_BITS: u32 = SAMPLE_COUNT as u32 / 3;
/// Steps keep four digits.
const SLOPE_DIGITS_END: u64 = 10_000;
/// What stands before the codes of a frame, at most about.
const HEAD_BYTES: usize = 16;

/// What a block leaves to the next block of its column, which mostly is much alike.
#[derive(Clone, Copy, Debug)]
pub struct Habit {
    form: u8,
    cut: Cut,
    /// Share of the values that are not as the one before.
    changes: usize,
    /// Blocks that may still follow it: a better form shall not be missed for long.
    blocks_left: u8,
}

/// Blocks coded by one look.
const HABIT_BLOCKS: u8 = 31;
/// Shorter blocks are no ground for one.
const HABIT_COUNT_MIN: usize = 64;

pub fn encode(effort: Effort, values: &[i64], out: &mut Vec<u8>) {
    encode_form(effort, values, true, &mut None, &mut Room::default(), out);
}

/// As [`encode`], with what the column's hot block before left, and leaves it to the next.
pub fn encode_next(effort: Effort, habit: &mut Option<Habit>, room: &mut Room, values: &[i64], out: &mut Vec<u8>) {
    encode_form(effort, values, true, habit, room, out);
}

fn encode_form(
    effort: Effort,
    values: &[i64],
    runs_allowed: bool,
    habit: &mut Option<Habit>,
    room: &mut Room,
    out: &mut Vec<u8>,
) {
    let Some(&first) = values.first() else {
        return out.push(RAW);
    };
    if effort == Effort::Hot && encode_by_habit(habit, room, values, out) {
        return;
    }
    let deltas = differences(values);
    let step = deltas.first().copied().unwrap_or(0);
    if deltas.iter().all(|&delta| delta == step) {
        out.push(STEP);
        varint::put_signed(out, first);
        return varint::put_signed(out, step);
    }
    let start = out.len();
    let run_count = 1 + deltas.iter().filter(|&&delta| delta != 0).count();
    let has_runs = runs_allowed && run_count * RUN_LENGTH_MIN <= values.len();
    if has_runs {
        encode_runs(effort, values, run_count, out);
    }
    let slope = slope(values);
    let (form, frame) = choose(values, &deltas, slope);
    let mut dense = Vec::new();
    let has_dense = effort == Effort::Cold && {
        put_head(form, first, step, slope, &mut dense);
        frame.write_dense(DENSE_SAVES.into(), &mut dense)
    };
    if !has_runs || out.len() - start > frame.bytes() {
        out.truncate(start);
        if frame.bytes() + HEAD_BYTES >= values.len() * 8 {
            out.push(RAW);
            out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        } else {
            // A sample may be wrong once, but not for all blocks that follow.
            let is_sure = || form == DELTA || form != SLOPE && frame.bytes() * 8 <= frame::plain_bits(&deltas);
            let is_habit = effort == Effort::Hot && !has_runs && values.len() >= HABIT_COUNT_MIN && is_sure();
            put_head(form, first, step, slope, out);
            let cut = frame.write(out);
            if is_habit {
                let changes = share_of_changes(run_count - 1, values.len());
                *habit = cut.map(|cut| Habit { form, cut, changes, blocks_left: HABIT_BLOCKS });
            }
        }
    }
    if has_dense && dense.len() * 100 <= (out.len() - start) * (100 - usize::from(DENSE_SAVES)) {
        out.truncate(start);
        out.extend_from_slice(&dense);
    }
}

/// Appends the values in the form of the block before, if they are alike; else the habit is given up.
fn encode_by_habit(habit: &mut Option<Habit>, room: &mut Room, values: &[i64], out: &mut Vec<u8>) -> bool {
    let Some(mut known) = habit.take() else { return false };
    if known.blocks_left == 0 || values.len() < HABIT_COUNT_MIN || !known.suits(values) {
        return false;
    }
    let start = out.len();
    let (count, step) = (values.len(), values[1].wrapping_sub(values[0]));
    let deltas = values.iter().zip(&values[1..]).map(|(earlier, later)| later.wrapping_sub(*earlier));
    put_head(known.form, values[0], step, 0, out);
    let is_written = match known.form {
        OFFSET => known.cut.write(room, count, values.iter().copied(), out),
        DELTA => known.cut.write(room, count - 1, deltas, out),
        _ => {
            let twice = deltas.clone().zip(deltas.skip(1)).map(|(earlier, later)| later.wrapping_sub(earlier));
            known.cut.write(room, count - 2, twice, out)
        }
    };
    if is_written {
        known.blocks_left -= 1;
        *habit = Some(known);
    } else {
        out.truncate(start);
    }
    is_written
}

impl Habit {
    /// Whether as many values change as those that it comes from, so that they are no runs and no even steps.
    fn suits(&self, values: &[i64]) -> bool {
        let neighbours = values.iter().zip(&values[1..]);
        let changes = wide(|| neighbours.map(|(earlier, later)| u64::from(earlier != later)).sum::<u64>());
        let share = share_of_changes(changes as usize, values.len());
        let step = values[1].wrapping_sub(values[0]);
        share.abs_diff(self.changes) <= SHARE_SLACK
            && (changes as usize + 1) * RUN_LENGTH_MIN > values.len()
            && values.windows(2).any(|pair| pair[1].wrapping_sub(pair[0]) != step)
    }
}

fn put_head(form: u8, first: i64, step: i64, slope: i64, out: &mut Vec<u8>) {
    out.push(form);
    match form {
        OFFSET => {}
        DELTA => varint::put_signed(out, first),
        SLOPE => varint::put_signed(out, slope),
        _ => {
            varint::put_signed(out, first);
            varint::put_signed(out, step);
        }
    }
}

fn share_of_changes(changes: usize, count: usize) -> usize {
    (changes + 1) * SHARE_PARTS / count
}

fn differences(values: &[i64]) -> Vec<i64> {
    values.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect()
}

fn encode_runs(effort: Effort, values: &[i64], run_count: usize, out: &mut Vec<u8>) {
    out.push(RUNS);
    varint::put(out, run_count as u64);
    let runs = || values.chunk_by(|left, right| left == right);
    let heads: Vec<i64> = runs().map(|run| run[0]).collect();
    let lengths: Vec<i64> = runs().map(|run| run.len() as i64).collect();
    encode_form(effort, &heads, false, &mut None, &mut Room::default(), out);
    Frame::of(&lengths).write(out);
}

/// Average step, rounded to a few digits: where values only jitter round a step, people have chosen a round one, and
/// what is left then keeps its common divisor.
fn slope(values: &[i64]) -> i64 {
    let (first, last) = (values[0], values[values.len() - 1]);
    let average = last.wrapping_sub(first) / (values.len() as i64 - 1).max(1);
    let mut unit = 1;
    while average.unsigned_abs() / unit >= SLOPE_DIGITS_END {
        unit *= 10;
    }
    let rounded = (average.unsigned_abs() + unit / 2) / unit * unit;
    (rounded as i64).wrapping_mul(average.signum())
}

/// The form with the shortest numbers in a sample; where two are close, the shorter of the two as they will be written.
fn choose(values: &[i64], deltas: &[i64], slope: i64) -> (u8, Frame) {
    if values.len() < frame::MEASURED_COUNT_MIN {
        return choose_of_few(values, deltas, slope);
    }
    let level = |index: usize| level(values, slope, index);
    let twice = |index: usize| deltas[index + 1].wrapping_sub(deltas[index]);
    let mut forms = [
        (spread(values.len(), |index| values[index]), OFFSET),
        (spread(deltas.len(), |index| deltas[index]), DELTA),
        (spread(deltas.len() - 1, twice), TWICE),
        // Without a slope it is the offset form.
        (if slope == 0 { u32::MAX } else { spread(values.len(), level) }, SLOPE),
    ];
    forms.sort_unstable();
    let frame = |form: u8| match form {
        OFFSET => Frame::of(values),
        DELTA => Frame::of(deltas),
        SLOPE => Frame::of(&(0..values.len()).map(level).collect::<Vec<_>>()),
        _ => Frame::of(&differences(deltas)),
    };
    let [(best, first), (next, second), ..] = forms;
    let chosen = frame(first);
    if next <= best.saturating_add(CLOSE_BITS) {
        let other = frame(second);
        if other.bytes() < chosen.bytes() {
            return (second, other);
        }
    }
    (first, chosen)
}

/// As [`choose`], by how far all are apart.
fn choose_of_few(values: &[i64], deltas: &[i64], slope: i64) -> (u8, Frame) {
    let (mut twice, mut levels) = ([0; frame::MEASURED_COUNT_MIN], [0; frame::MEASURED_COUNT_MIN]);
    let twice = &mut twice[..deltas.len() - 1];
    let neighbours = deltas.iter().zip(&deltas[1..]);
    twice.iter_mut().zip(neighbours).for_each(|(twice, (earlier, later))| *twice = later.wrapping_sub(*earlier));
    // Without a slope it is the offset form.
    let levels = &mut levels[..if slope == 0 { 0 } else { values.len() }];
    levels.iter_mut().enumerate().for_each(|(index, value)| *value = level(values, slope, index));
    let form_count = if slope == 0 { 3 } else { 4 };
    let forms = [(OFFSET, values, 0), (DELTA, deltas, 1), (TWICE, twice, 2), (SLOPE, levels, 1)];
    let bits = |(_, values, head): &(u8, &[i64], usize)| frame::plain_bits(values) + head * 8;
    let (form, values, _) = forms.into_iter().take(form_count).min_by_key(bits).expect("there are forms");
    (form, Frame::of(values))
}

fn level(values: &[i64], slope: i64, index: usize) -> i64 {
    values[index].wrapping_sub(slope.wrapping_mul(index as i64))
}

/// Bits that sampled values are apart, far ones in the block; without a middle to compare with, since finding one costs
/// more.
fn spread(count: usize, value: impl Fn(usize) -> i64) -> u32 {
    let mut sampled = [0; SAMPLE_COUNT];
    let mut taken = 0;
    for index in sample(count) {
        sampled[taken] = value(index);
        taken += 1;
    }
    let sampled = &sampled[..taken];
    let others = sampled.iter().skip(taken / 3).chain(sampled);
    sampled.iter().zip(others).map(|(value, other)| bit_length(varint::zigzag(value.wrapping_sub(*other)))).sum()
}

/// What coded integers are called.
pub fn name(coded: &[u8]) -> &'static str {
    let mut reader = Reader::new(coded);
    let form = reader.u8().unwrap_or(u8::MAX);
    let signed_count = match form {
        OFFSET => 0,
        DELTA | SLOPE => 1,
        TWICE => 2,
        _ => return name_in(&NAMES, coded),
    };
    for _ in 0..signed_count {
        reader.signed();
    }
    let names = if reader.u8().is_some_and(frame::is_dense) { &DENSE_NAMES } else { &NAMES };
    name_in(names, coded)
}

pub fn decode(bytes: &[u8], count: usize) -> Result<Vec<i64>, CodecError> {
    check_count(count)?;
    let mut reader = Reader::new(bytes);
    read(&mut reader, count, true).filter(|_| reader.is_empty()).ok_or(CodecError("bad integers"))
}

fn read(reader: &mut Reader<'_>, count: usize, runs_allowed: bool) -> Option<Vec<i64>> {
    match reader.u8()? {
        RAW => raw(reader, count),
        STEP => {
            let (first, step) = (reader.signed()?, reader.signed()?);
            Some((0..count as i64).map(|index| first.wrapping_add(step.wrapping_mul(index))).collect())
        }
        OFFSET => frame::read(reader, count),
        DELTA => {
            let first = reader.signed()?;
            Some(sums(first, frame::read(reader, count.checked_sub(1)?)?))
        }
        TWICE => {
            let (first, step) = (reader.signed()?, reader.signed()?);
            let deltas = sums(step, frame::read(reader, count.checked_sub(2)?)?);
            Some(sums(first, deltas))
        }
        SLOPE => {
            let slope = reader.signed()?;
            let mut values = frame::read(reader, count)?;
            for (index, value) in (0..).zip(&mut values) {
                *value = value.wrapping_add(slope.wrapping_mul(index));
            }
            Some(values)
        }
        RUNS if runs_allowed => runs(reader, count),
        _ => None,
    }
}

fn sums(first: i64, deltas: Vec<i64>) -> Vec<i64> {
    let mut values = Vec::with_capacity(deltas.len() + 1);
    values.push(first);
    let mut value = first;
    values.extend(deltas.into_iter().map(|delta| {
        value = value.wrapping_add(delta);
        value
    }));
    values
}

fn raw(reader: &mut Reader<'_>, count: usize) -> Option<Vec<i64>> {
    let bytes = reader.take(count.checked_mul(8)?)?;
    Some(bytes.as_chunks::<8>().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect())
}

fn runs(reader: &mut Reader<'_>, count: usize) -> Option<Vec<i64>> {
    let run_count = usize::try_from(reader.varint()?).ok().filter(|&runs| runs <= count)?;
    let heads = read(reader, run_count, false)?;
    let lengths = frame::read(reader, run_count)?;
    let mut values = Vec::with_capacity(count);
    for (&head, &length) in heads.iter().zip(&lengths) {
        let length = usize::try_from(length).ok().filter(|&length| length <= count - values.len())?;
        values.resize(values.len() + length, head);
    }
    (values.len() == count).then_some(values)
}
