//! holt_winters(): a damped multiplicative forecast, fitted to the windows of one series.
//!
//! The fit is a Nelder-Mead search from sixteen starts. Its result depends on every step, so the steps are stock's,
//! and so is its habit to change a candidate while it is judged: smoothing factors are clamped into 0..1 and the
//! seasonal part is used as the ring of the forecast, both in the candidate itself.

use std::collections::VecDeque;

use crate::exec::expr::as_float;
use crate::model::Cell;
use crate::model::Timestamp;
use crate::query::select::stream::Row;

/// A forecast at work on one group.
#[derive(Debug)]
pub struct HoltWinters {
    interval: i64,
    forecast: usize,
    seasons: usize,
    with_fit: bool,
    points: Vec<(Timestamp, f64)>,
}

/// Most buckets the fit runs over; it visits each some ten thousand times.
const BUCKETS_MAX: i64 = 1 << 20;

impl HoltWinters {
    /// A forecast of `forecast` windows of `interval` ns.
    pub fn new(interval: i64, forecast: usize, seasons: usize, with_fit: bool) -> HoltWinters {
        let seasons = if seasons < 2 { 0 } else { seasons };
        HoltWinters { interval, forecast, seasons, with_fit, points: Vec::new() }
    }

    /// Forgets everything: another group follows.
    pub fn reset(&mut self) {
        self.points.clear();
    }

    /// Bytes of remembered points.
    pub fn held_bytes(&self) -> usize {
        self.points.len() * 16
    }

    /// Takes one window.
    pub fn push(&mut self, row: Row) {
        if let Some(value) = row.cells.first().and_then(as_float) {
            self.points.push((row.time, value));
        }
    }

    /// The end of the group: fit and forecast.
    pub fn finish(&mut self, out: &mut VecDeque<Row>) {
        let points = std::mem::take(&mut self.points);
        if points.len() < 2 || points.len() < self.seasons {
            return;
        }
        let first = self.rounded(points[0].0);
        let last = self.rounded(points[points.len() - 1].0);
        let span = last.saturating_sub(first) / self.interval;
        if span <= 0 || span > BUCKETS_MAX {
            return;
        }
        let mut known = vec![points[0].1];
        for (time, value) in &points[1..] {
            let bucket = (self.rounded(*time) - first) / self.interval;
            if bucket < known.len() as i64 || bucket > span {
                continue;
            }
            known.resize(bucket as usize, f64::NAN);
            known.push(*value);
        }
        let forecast = self.forecast.min(BUCKETS_MAX as usize);
        let fitted = fit(&known, self.seasons);
        let values = run(&known, &mut fitted.clone(), self.seasons, forecast);
        // The results stand on the windows themselves, which an offset or a zone may have shifted.
        let (skip, start) = if self.with_fit { (0, points[0].0) } else { (known.len(), points[points.len() - 1].0) };
        let shift = usize::from(!self.with_fit);
        for (index, value) in values.into_iter().skip(skip).enumerate() {
            if !value.is_nan() {
                let time = start.saturating_add(self.interval.saturating_mul((index + shift) as i64));
                out.push_back(Row { time, cells: vec![Cell::Float(value)] });
            }
        }
    }

    fn rounded(&self, time: Timestamp) -> Timestamp {
        let rest = time % self.interval;
        if rest > self.interval / 2 { time + self.interval - rest } else { time - rest }
    }
}

/// Position of the level in a parameter vector; before it the smoothing factors, behind it the trend and the seasons.
const LEVEL: usize = 4;

fn fit(known: &[f64], seasons: usize) -> Vec<f64> {
    let start = guess(known, seasons);
    let mut best: Option<(f64, Vec<f64>)> = None;
    let steps = [0.3, 0.7];
    for alpha in steps {
        for beta in steps {
            for gamma in steps {
                for phi in steps {
                    let mut from = start.clone();
                    from[..LEVEL].copy_from_slice(&[alpha, beta, gamma, phi]);
                    let (error, found) = minimise(from, |candidate| error_of(known, candidate, seasons));
                    if best.as_ref().is_none_or(|(least, _)| error < *least) {
                        best = Some((error, found));
                    }
                }
            }
        }
    }
    best.map_or(start, |(_, found)| found)
}

/// Level, trend and seasons to start with.
fn guess(known: &[f64], seasons: usize) -> Vec<f64> {
    let mut start = vec![0.0; LEVEL + 2 + seasons];
    if seasons == 0 {
        start[LEVEL] = 0.5 * known[0];
        if let Some(second) = known.get(1).filter(|second| !second.is_nan()) {
            start[LEVEL + 1] = 0.5 * (second - known[0]);
        }
        return start;
    }
    let count = seasons as f64;
    for (index, value) in known.iter().take(seasons).enumerate() {
        if !value.is_nan() {
            start[LEVEL] += value / count;
        }
        if let Some(later) = known.get(seasons + index).filter(|later| !later.is_nan() && !value.is_nan()) {
            start[LEVEL + 1] += (later - value) / (count * count);
        }
    }
    for (index, value) in known.iter().take(seasons).enumerate() {
        if !value.is_nan() {
            start[LEVEL + 2 + index] = value / start[LEVEL];
        }
    }
    start
}

fn error_of(known: &[f64], candidate: &mut [f64], seasons: usize) -> f64 {
    for factor in &mut candidate[..LEVEL] {
        *factor = factor.clamp(0.0, 1.0);
    }
    let predicted = run(known, candidate, seasons, 0);
    let mut error = 0.0;
    for (value, predicted) in known.iter().zip(predicted) {
        if value.is_nan() {
            continue;
        }
        if predicted.is_nan() {
            return f64::INFINITY;
        }
        error += (predicted - value) * (predicted - value);
    }
    error
}

/// The forecast over the known range and `more` points; the seasonal part of `parameters` is its ring.
fn run(known: &[f64], parameters: &mut [f64], seasons: usize, more: usize) -> Vec<f64> {
    let [alpha, beta, gamma, phi, mut level, mut trend] = *parameters.first_chunk::<6>().expect("six come first");
    let ring = &mut parameters[LEVEL + 2..];
    let mut predicted = Vec::with_capacity(known.len() + more);
    let mut value = known[0];
    predicted.push(value);
    let mut damping = phi;
    let mut offset = seasons.saturating_sub(1);
    for t in 1..known.len() + more {
        let (now, next) = if seasons > 0 {
            let ahead = t % seasons;
            (ring[(t + offset - seasons) % seasons], ring[(t + ahead + offset - seasons) % seasons])
        } else {
            (1.0, 1.0)
        };
        let new_level = alpha * (value / now) + (1.0 - alpha) * (level + phi * trend);
        let new_trend = beta * (new_level - level) + (1.0 - beta) * phi * trend;
        let new_season = gamma * (value / (level + phi * trend)) + (1.0 - gamma) * now;
        value = (new_level + damping * new_trend) * next;
        damping += power(phi, t);
        if seasons > 0 {
            ring[(t + offset) % seasons] = new_season;
            offset += 1;
        }
        level = new_level;
        trend = new_trend;
        predicted.push(value);
    }
    predicted
}

/// `x` to the power `n` for `x` in 0..=1 by squaring the mantissa: the fit follows the last bit, and libraries differ
/// there.
fn power(x: f64, n: usize) -> f64 {
    if x == 0.0 || x == 1.0 || n == 1 {
        return x;
    }
    let (mut square, mut square_exponent) = mantissa(x);
    let (mut result, mut exponent) = (1.0, 0_i64);
    let mut rest = n;
    while rest > 0 {
        if square_exponent < -(1 << 12) {
            // Far below the smallest number.
            return 0.0;
        }
        if rest % 2 == 1 {
            result *= square;
            exponent += square_exponent;
        }
        square *= square;
        square_exponent *= 2;
        if square < 0.5 {
            square += square;
            square_exponent -= 1;
        }
        rest /= 2;
    }
    // In two steps, so that a result among the smallest numbers is rounded once.
    let half = exponent / 2;
    result * 2.0_f64.powi(half as i32) * 2.0_f64.powi((exponent - half) as i32)
}

/// `x` as a number in 0.5..1 and a power of two.
fn mantissa(x: f64) -> (f64, i64) {
    let (mut x, mut exponent) = (x, 0);
    while x < 0.5 {
        x *= 2.0;
        exponent -= 1;
    }
    while x >= 1.0 {
        x /= 2.0;
        exponent += 1;
    }
    (x, exponent)
}

/// Nelder-Mead with stock's constants.
fn minimise(start: Vec<f64>, mut objective: impl FnMut(&mut [f64]) -> f64) -> (f64, Vec<f64>) {
    const STEPS_MAX: usize = 1000;
    const TOLERANCE: f64 = 1e-4;
    let n = start.len();
    let root = (n as f64 + 1.0).sqrt();
    let p = (root - 1.0 + n as f64) / (n as f64 * std::f64::consts::SQRT_2);
    let q = (root - 1.0) / (n as f64 * std::f64::consts::SQRT_2);
    let mut corners = vec![start.clone()];
    for index in 0..n {
        let moved = |(at, value): (usize, &f64)| value + if at == index { p } else { q };
        corners.push(start.iter().enumerate().map(moved).collect());
    }
    let mut values: Vec<f64> = corners.iter_mut().map(|corner| objective(corner)).collect();
    for _ in 0..STEPS_MAX {
        let (best, second, worst) = ranks(&values);
        let mut centre = vec![0.0; n];
        for (index, corner) in corners.iter().enumerate().filter(|(index, _)| *index != worst) {
            debug_assert_ne!(index, worst);
            centre.iter_mut().zip(corner).for_each(|(sum, value)| *sum += value);
        }
        centre.iter_mut().for_each(|sum| *sum /= n as f64);
        let toward = |factor: f64, target: &[f64]| -> Vec<f64> {
            centre.iter().zip(target).map(|(centre, target)| centre + factor * (target - centre)).collect()
        };
        let mut reflected: Vec<f64> =
            centre.iter().zip(&corners[worst]).map(|(centre, worst)| centre + (centre - worst)).collect();
        let reflected_value = objective(&mut reflected);
        if reflected_value < values[second] && reflected_value >= values[best] {
            corners[worst].clone_from(&reflected);
            values[worst] = reflected_value;
        }
        if reflected_value < values[best] {
            let mut expanded = toward(2.0, &reflected);
            let expanded_value = objective(&mut expanded);
            let take_expanded = expanded_value < reflected_value;
            corners[worst] = if take_expanded { expanded } else { reflected.clone() };
            values[worst] = if take_expanded { expanded_value } else { reflected_value };
        }
        if reflected_value >= values[second] {
            let outside = reflected_value < values[worst] && reflected_value >= values[second];
            let mut contracted = if outside {
                toward(0.5, &reflected)
            } else {
                centre.iter().zip(&corners[worst]).map(|(centre, worst)| centre - 0.5 * (centre - worst)).collect()
            };
            let contracted_value = objective(&mut contracted);
            if contracted_value < values[worst] {
                corners[worst] = contracted;
                values[worst] = contracted_value;
            } else {
                let centre = corners[best].clone();
                for (_, corner) in corners.iter_mut().enumerate().filter(|(index, _)| *index != best) {
                    for (value, best) in corner.iter_mut().zip(&centre) {
                        *value = best + (*value - best) / 2.0;
                    }
                }
                values[worst] = objective(&mut corners[worst]);
                values[second] = objective(&mut corners[second]);
            }
        }
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let spread = values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / n as f64;
        if spread.sqrt() < TOLERANCE {
            break;
        }
    }
    let (best, _, _) = ranks(&values);
    // The judgement of the result does not change it.
    let value = objective(&mut corners[best].clone());
    (value, corners.swap_remove(best))
}

/// Best, second worst and worst corner; the first of equals.
fn ranks(values: &[f64]) -> (usize, usize, usize) {
    let (mut best, mut worst) = (0, 0);
    for (index, value) in values.iter().enumerate() {
        if *value < values[best] {
            best = index;
        }
        if *value > values[worst] {
            worst = index;
        }
    }
    let mut second = best;
    for (index, value) in values.iter().enumerate() {
        if *value > values[second] && *value < values[worst] {
            second = index;
        }
    }
    (best, second, worst)
}
