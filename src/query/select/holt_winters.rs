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
use crate::stdx::pace::Pace;

/// A forecast at work on one group.
#[derive(Debug)]
pub struct HoltWinters {
    interval: i64,
    forecast: usize,
    seasons: usize,
    with_fit: bool,
    points: Vec<(Timestamp, f64)>,
    rows: VecDeque<Row>,
}

/// Most buckets the fit runs over; it visits each some ten thousand times.
const BUCKETS_MAX: i64 = 1 << 20;

impl HoltWinters {
    /// A forecast of `forecast` windows of `interval` ns.
    pub fn new(interval: i64, forecast: usize, seasons: usize, with_fit: bool) -> HoltWinters {
        let seasons = if seasons < 2 { 0 } else { seasons };
        HoltWinters { interval, forecast, seasons, with_fit, points: Vec::new(), rows: VecDeque::new() }
    }

    /// Forgets everything: another group follows.
    pub fn reset(&mut self) {
        self.points.clear();
        self.rows.clear();
    }

    /// Bytes of remembered points.
    pub fn held_bytes(&self) -> usize {
        self.points.len() * 16 + self.rows.len() * (size_of::<Row>() + 48)
    }

    /// Takes one window.
    pub fn push(&mut self, row: Row) {
        if let Some(value) = row.cells.first().and_then(as_float) {
            self.points.push((row.time, value));
        }
    }

    /// Whether all windows are there, and the fit is not.
    pub fn is_due(&self) -> bool {
        !self.points.is_empty()
    }

    /// The end of the group: fit and forecast. A fit takes thousands of passes over up to a million windows.
    pub async fn compute(&mut self) {
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
        let mut pace = Pace::default();
        let mut parameters = fit(&known, self.seasons, &mut pace).await;
        // The results stand on the windows themselves, which an offset or a zone may have shifted.
        let (skip, start) = if self.with_fit { (0, points[0].0) } else { (known.len(), points[points.len() - 1].0) };
        let shift = usize::from(!self.with_fit);
        let count = known.len() + self.forecast.min(BUCKETS_MAX as usize);
        let mut walk = Walk::new(known[0], &mut parameters, self.seasons);
        for at in 0..count {
            let value = if at == 0 { known[0] } else { walk.next() };
            if at >= skip && !value.is_nan() {
                let time = start.saturating_add(self.interval.saturating_mul((at - skip + shift) as i64));
                self.rows.push_back(Row { time, cells: vec![Cell::Float(value)] });
            }
            pace.step(1).await;
        }
    }

    /// Gives out what was computed.
    pub fn finish(&mut self, out: &mut VecDeque<Row>) {
        out.append(&mut self.rows);
    }

    fn rounded(&self, time: Timestamp) -> Timestamp {
        let rest = time % self.interval;
        if rest > self.interval / 2 { time + self.interval - rest } else { time - rest }
    }
}

/// Position of the level in a parameter vector; before it the smoothing factors, behind it the trend and the seasons.
const LEVEL: usize = 4;

async fn fit(known: &[f64], seasons: usize, pace: &mut Pace) -> Vec<f64> {
    let start = guess(known, seasons);
    let mut best: Option<(f64, Vec<f64>)> = None;
    let steps = [0.3, 0.7];
    for alpha in steps {
        for beta in steps {
            for gamma in steps {
                for phi in steps {
                    let mut from = start.clone();
                    from[..LEVEL].copy_from_slice(&[alpha, beta, gamma, phi]);
                    let (error, found) = minimise(from, &Series { known, seasons }, pace).await;
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
    // Products with the inverse, not quotients: they differ in the last bit, and the fit with them in some more.
    let (share, step_share) = (1.0 / seasons as f64, 1.0 / (seasons * seasons) as f64);
    for (index, value) in known.iter().take(seasons).enumerate() {
        if !value.is_nan() {
            start[LEVEL] += share * value;
        }
        if let Some(later) = known.get(seasons + index).filter(|later| !later.is_nan() && !value.is_nan()) {
            start[LEVEL + 1] += step_share * (later - value);
        }
    }
    for (index, value) in known.iter().take(seasons).enumerate() {
        if !value.is_nan() {
            start[LEVEL + 2 + index] = value / start[LEVEL];
        }
    }
    start
}

/// What is fitted.
struct Series<'a> {
    known: &'a [f64],
    seasons: usize,
}

impl Series<'_> {
    /// How far a candidate is from the known values; changes it, see the module.
    async fn error_of(&self, candidate: &mut [f64], pace: &mut Pace) -> f64 {
        for factor in &mut candidate[..LEVEL] {
            *factor = factor.clamp(0.0, 1.0);
        }
        let mut walk = Walk::new(self.known[0], candidate, self.seasons);
        let mut error = 0.0;
        let mut is_undefined = false;
        // The first value is predicted as it is.
        for chunk in self.known[1..].chunks(CHUNK) {
            for value in chunk {
                let predicted = walk.next();
                if !value.is_nan() {
                    is_undefined |= predicted.is_nan();
                    error += (predicted - value) * (predicted - value);
                }
            }
            pace.step(chunk.len()).await;
        }
        if is_undefined { f64::INFINITY } else { error }
    }
}

/// Windows between two looks at the pace.
const CHUNK: usize = 4096;

/// The forecast, window by window from the second on; the seasonal part of the parameters is its ring.
struct Walk<'a> {
    factors: [f64; 4],
    level: f64,
    trend: f64,
    ring: &'a mut [f64],
    value: f64,
    damping: f64,
    offset: usize,
    t: usize,
}

impl Walk<'_> {
    fn new(first: f64, parameters: &mut [f64], seasons: usize) -> Walk<'_> {
        let [alpha, beta, gamma, phi, level, trend] = *parameters.first_chunk::<6>().expect("six come first");
        let ring = &mut parameters[LEVEL + 2..];
        let factors = [alpha, beta, gamma, phi];
        Walk { factors, level, trend, ring, value: first, damping: phi, offset: seasons.saturating_sub(1), t: 0 }
    }

    fn next(&mut self) -> f64 {
        let [alpha, beta, gamma, phi] = self.factors;
        let (level, trend, seasons, offset) = (self.level, self.trend, self.ring.len(), self.offset);
        self.t += 1;
        let t = self.t;
        let (now, next) = if seasons > 0 {
            let ahead = t % seasons;
            (self.ring[(t + offset - seasons) % seasons], self.ring[(t + ahead + offset - seasons) % seasons])
        } else {
            (1.0, 1.0)
        };
        self.level = alpha * (self.value / now) + (1.0 - alpha) * (level + phi * trend);
        self.trend = beta * (self.level - level) + (1.0 - beta) * phi * trend;
        let new_season = gamma * (self.value / (level + phi * trend)) + (1.0 - gamma) * now;
        self.value = (self.level + self.damping * self.trend) * next;
        self.damping += power(phi, t);
        if seasons > 0 {
            self.ring[(t + offset) % seasons] = new_season;
            self.offset += 1;
        }
        self.value
    }
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
async fn minimise(start: Vec<f64>, series: &Series<'_>, pace: &mut Pace) -> (f64, Vec<f64>) {
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
    let mut values = Vec::with_capacity(corners.len());
    for corner in &mut corners {
        values.push(series.error_of(corner, pace).await);
    }
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
        let reflected_value = series.error_of(&mut reflected, pace).await;
        if reflected_value < values[second] && reflected_value >= values[best] {
            corners[worst].clone_from(&reflected);
            values[worst] = reflected_value;
        }
        if reflected_value < values[best] {
            let mut expanded = toward(2.0, &reflected);
            let expanded_value = series.error_of(&mut expanded, pace).await;
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
            let contracted_value = series.error_of(&mut contracted, pace).await;
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
                values[worst] = series.error_of(&mut corners[worst], pace).await;
                values[second] = series.error_of(&mut corners[second], pace).await;
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
    let value = series.error_of(&mut corners[best].clone(), pace).await;
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
