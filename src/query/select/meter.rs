//! What one SELECT has read, against `max-select-point`.
//!
//! Stock looks once a second, so that a SELECT of less than a second may read as much as it likes; so does this.

use std::cell::Cell;
use std::time::Duration;
use std::time::Instant;

/// How often stock looks.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub struct Meter {
    points_max: u64,
    points: Cell<u64>,
    since: Cell<Instant>,
}

impl Meter {
    /// A meter with a bound; 0: none.
    pub fn new(points_max: u64) -> Meter {
        Meter { points_max, points: Cell::new(0), since: Cell::new(Instant::now()) }
    }

    /// Another SELECT begins.
    pub fn restart(&self) {
        self.points.set(0);
        self.since.set(Instant::now());
    }

    /// A core has read `points` more.
    pub fn count(&self, points: u64) -> Result<(), String> {
        self.count_after(points, self.since.get().elapsed())
    }

    fn count_after(&self, points: u64, elapsed: Duration) -> Result<(), String> {
        let (count, max) = (self.points.get() + points, self.points_max);
        self.points.set(count);
        if max == 0 || count < max || elapsed < LOOK_INTERVAL {
            return Ok(());
        }
        // Spelt as in stock.
        Err(format!("max-select-point limit exceeed: ({count}/{max})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_select_of_more_than_a_second_is_refused() {
        let meter = Meter::new(10);
        assert_eq!(meter.count_after(20, Duration::from_millis(999)), Ok(()));
        let refused = Err("max-select-point limit exceeed: (21/10)".to_owned());
        assert_eq!(meter.count_after(1, Duration::from_secs(1)), refused);
        meter.restart();
        assert_eq!(meter.count_after(9, Duration::from_secs(2)), Ok(()));
        assert!(meter.count_after(1, Duration::from_secs(2)).is_err());
        assert_eq!(Meter::new(0).count_after(1 << 40, Duration::from_secs(9)), Ok(()));
    }
}
