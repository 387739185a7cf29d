//! Moving indicators: exponential averages and what is made of them. One value in, at most one out.

use std::collections::VecDeque;

/// How an average starts before it has seen its period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Warmup {
    /// A growing exponential weight.
    Exponential,
    /// The plain mean.
    Simple,
    /// No smoothing at all (chande_momentum_oscillator).
    None,
}

/// The functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the functions' own names")]
pub enum Kind {
    ExponentialMovingAverage,
    DoubleExponentialMovingAverage,
    TripleExponentialMovingAverage,
    RelativeStrengthIndex,
    TripleExponentialDerivative,
    KaufmansEfficiencyRatio,
    KaufmansAdaptiveMovingAverage,
    ChandeMomentumOscillator,
}

/// An exponential average.
#[derive(Clone, Debug, PartialEq)]
struct Average {
    period: usize,
    alpha: f64,
    simple: bool,
    count: usize,
    value: f64,
}

impl Average {
    fn new(period: usize, warmup: Warmup) -> Average {
        let alpha = 2.0 / (period as f64 + 1.0);
        Average { period, alpha, simple: warmup == Warmup::Simple, count: 0, value: 0.0 }
    }

    fn with_alpha(self, alpha: f64) -> Average {
        Average { alpha, ..self }
    }

    fn is_warm(&self) -> bool {
        self.count >= self.period
    }

    fn push(&mut self, value: f64) -> f64 {
        if self.count == 0 {
            self.value = value;
            self.count = 1;
            return value;
        }
        if self.is_warm() {
            self.value += (value - self.value) * self.alpha;
            return self.value;
        }
        let seen = self.count as f64;
        if self.simple {
            self.value = (self.value * seen + value) / (seen + 1.0);
        } else {
            self.value += (value - self.value) * (2.0 / (seen + 2.0));
        }
        self.count += 1;
        self.value
    }
}

/// One indicator over one series.
#[derive(Clone, Debug, PartialEq)]
pub struct Indicator {
    kind: Kind,
    period: usize,
    warmup: Warmup,
    /// Results still held back.
    hold: usize,
    averages: [Average; 3],
    previous: f64,
    result: f64,
    seen: usize,
    /// Last points: value and change.
    ring: VecDeque<(f64, f64)>,
    noise: f64,
}

impl Indicator {
    /// An indicator over `period` points that swallows its first `hold` results (`None`: until it is warm).
    pub fn new(kind: Kind, period: usize, hold: Option<usize>, warmup: Warmup) -> Indicator {
        let simple = warmup == Warmup::Simple;
        let until_warm = match kind {
            Kind::ExponentialMovingAverage => period - 1,
            Kind::DoubleExponentialMovingAverage => (period - 1) * if simple { 2 } else { 1 },
            Kind::TripleExponentialMovingAverage => (period - 1) * if simple { 3 } else { 1 },
            Kind::TripleExponentialDerivative if simple => (period - 1) * 3 + 1,
            Kind::ChandeMomentumOscillator if warmup == Warmup::None => period.saturating_sub(1),
            _ => period,
        };
        let averages = match kind {
            Kind::RelativeStrengthIndex | Kind::ChandeMomentumOscillator => {
                let average = Average::new(period + 1, warmup).with_alpha(1.0 / period as f64);
                [average.clone(), average.clone(), average]
            }
            _ => {
                let average = Average::new(period, warmup);
                [average.clone(), average.clone(), average]
            }
        };
        let ring_count = match kind {
            Kind::KaufmansEfficiencyRatio | Kind::KaufmansAdaptiveMovingAverage => period,
            Kind::ChandeMomentumOscillator if warmup == Warmup::None => period - 1,
            _ => 0,
        };
        Indicator {
            kind,
            period,
            warmup,
            hold: hold.unwrap_or(until_warm),
            averages,
            previous: 0.0,
            result: 0.0,
            seen: 0,
            ring: std::iter::repeat_n((0.0, 0.0), ring_count).collect(),
            noise: 0.0,
        }
    }

    /// Takes one value; the result, unless it is held back.
    pub fn push(&mut self, value: f64) -> Option<f64> {
        let result = match self.kind {
            Kind::ExponentialMovingAverage => Some(self.averages[0].push(value)),
            Kind::DoubleExponentialMovingAverage => {
                let [first, second, _] = self.stages(value);
                Some(2.0 * first - second)
            }
            Kind::TripleExponentialMovingAverage => {
                let [first, second, third] = self.stages(value);
                Some(3.0 * first - 3.0 * second + third)
            }
            Kind::TripleExponentialDerivative => {
                let [_, _, third] = self.stages(value);
                let change = (third / self.previous - 1.0) * 100.0;
                self.previous = third;
                // Of nothing and nothing it is no number, which prints as null but is a row.
                Some(change).filter(|change| !change.is_infinite())
            }
            Kind::RelativeStrengthIndex => {
                let (up, down) = self.smoothed_moves(value);
                Some(100.0 - 100.0 / (1.0 + up / down))
            }
            Kind::KaufmansEfficiencyRatio => Some(self.efficiency(value)),
            Kind::KaufmansAdaptiveMovingAverage => self.adaptive(value),
            Kind::ChandeMomentumOscillator => Some(self.momentum(value)),
        };
        if self.hold > 0 {
            self.hold -= 1;
            return None;
        }
        result
    }

    /// Averages of averages. With a simple start each stage waits until the one before is warm.
    fn stages(&mut self, value: f64) -> [f64; 3] {
        let simple = self.warmup == Warmup::Simple;
        let [first, second, third] = &mut self.averages;
        let one = first.push(value);
        let two = if simple && !first.is_warm() { one } else { second.push(one) };
        let three = if simple && !second.is_warm() { two } else { third.push(two) };
        [one, two, three]
    }

    fn smoothed_moves(&mut self, value: f64) -> (f64, f64) {
        let change = value - self.previous;
        self.previous = value;
        let [up, down, _] = &mut self.averages;
        (up.push(change.max(0.0)), down.push((-change).max(0.0)))
    }

    fn efficiency(&mut self, value: f64) -> f64 {
        let change = (value - self.ring.back().map_or(0.0, |last| last.0)).abs();
        let (oldest, oldest_change) = self.ring.pop_front().unwrap_or_default();
        self.ring.push_back((value, change));
        self.noise += change - oldest_change;
        self.seen += 1;
        let signal = (value - oldest).abs();
        if signal == 0.0 || self.noise == 0.0 { 0.0 } else { signal / self.noise }
    }

    fn adaptive(&mut self, value: f64) -> Option<f64> {
        let before = self.ring.back().map_or(0.0, |last| last.0);
        let ratio = self.efficiency(value);
        let fast = 2.0 / 3.0;
        let slow = 2.0 / 31.0;
        let smooth = (ratio * (fast - slow) + slow).powi(2);
        let base = if self.seen <= self.period + 1 { before } else { self.result };
        self.result = base + smooth * (value - base);
        Some(self.result).filter(|result| !result.is_infinite())
    }

    fn momentum(&mut self, value: f64) -> f64 {
        let (up, down) = if self.warmup == Warmup::None {
            let change = if self.seen > 0 { value - self.previous } else { 0.0 };
            self.previous = value;
            self.seen = 1;
            let [up, down, _] = &mut self.averages;
            up.value += change.max(0.0);
            down.value += (-change).max(0.0);
            let sums = (up.value, down.value);
            // Stock takes back what it added, with what rounding leaves.
            self.ring.push_back((value, change));
            let (_, oldest) = self.ring.pop_front().unwrap_or_default();
            up.value -= oldest.max(0.0);
            down.value -= (-oldest).max(0.0);
            sums
        } else {
            self.smoothed_moves(value)
        };
        if up == 0.0 && down == 0.0 { 0.0 } else { 100.0 * ((up - down) / (up + down)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 7.0, 5.0, 6.0, 9.0];

    fn check(kind: Kind, period: usize, hold: Option<usize>, warmup: Warmup, expected: &[f64]) {
        let mut indicator = Indicator::new(kind, period, hold, warmup);
        let found: Vec<f64> = VALUES.iter().filter_map(|value| indicator.push(*value)).collect();
        assert_eq!(found.len(), expected.len(), "{kind:?}: {found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-9, "{kind:?}: {found} is not {expected}");
        }
    }

    #[test]
    fn averages_are_as_recorded() {
        let plain = [
            2.833333333333333,
            5.416666666666666,
            6.208333333333333,
            5.604166666666666,
            5.802083333333333,
            7.401041666666666,
        ];
        check(Kind::ExponentialMovingAverage, 3, None, Warmup::Exponential, &plain);
        let simple = [
            1.0,
            1.5,
            2.3333333333333335,
            5.166666666666666,
            6.083333333333333,
            5.541666666666666,
            5.770833333333333,
            7.385416666666666,
        ];
        check(Kind::ExponentialMovingAverage, 3, Some(0), Warmup::Simple, &simple);
        let double = [
            3.5277777777777777,
            7.055555555555555,
            7.423611111111111,
            5.909722222222221,
            6.053819444444445,
            8.32638888888889,
        ];
        check(Kind::DoubleExponentialMovingAverage, 3, None, Warmup::Exponential, &double);
        let triple = [
            1.962962962962964,
            3.9629629629629637,
            7.938271604938272,
            7.208504801097395,
            5.079561042524006,
            5.859625057155921,
            8.877864146725605,
        ];
        check(Kind::TripleExponentialMovingAverage, 2, None, Warmup::Exponential, &triple);
    }

    #[test]
    fn oscillators_are_as_recorded() {
        let change = [
            68.5714285714286,
            90.39548022598869,
            33.49818661391362,
            3.161274388737967,
            1.4045167983401052,
            16.5647980553151,
        ];
        check(Kind::TripleExponentialDerivative, 2, None, Warmup::Exponential, &change);
        let strength = [100.0, 83.33333333333334, 55.55555555555556, 64.44444444444444, 81.28654970760235];
        check(Kind::RelativeStrengthIndex, 3, None, Warmup::Exponential, &strength);
        let ratio = [1.0, 0.7142857142857143, 0.14285714285714285, 0.5, 0.3333333333333333];
        check(Kind::KaufmansEfficiencyRatio, 3, None, Warmup::Exponential, &ratio);
        let adaptive = [5.777777777777779, 6.076797574542979, 6.052395640838456, 6.0453925929937045, 6.253244883698686];
        check(Kind::KaufmansAdaptiveMovingAverage, 3, None, Warmup::Exponential, &adaptive);
        let momentum = [100.0, 100.0, 71.42857142857143, 14.285714285714285, -50.0, 33.33333333333333];
        check(Kind::ChandeMomentumOscillator, 3, None, Warmup::None, &momentum);
        let smooth = [100.0, 60.00000000000001, 1.2490009027033011e-14, 21.95121951219513, 60.73619631901841];
        check(Kind::ChandeMomentumOscillator, 3, None, Warmup::Simple, &smooth);
    }
}
