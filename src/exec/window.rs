//! How GROUP BY time() cuts time, in every zone.

use jiff::tz::TimeZone;

use crate::limits::TIME_MAX;
use crate::limits::TIME_MIN;
use crate::model::TimeRange;
use crate::model::Timestamp;

/// GROUP BY time(interval, offset) of a query over `range`; without an interval the whole range is one window.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// Length, ns; 0: none.
    pub interval: i64,
    /// Where windows start, ns, less than the interval in size.
    pub offset: i64,
    /// Whose local time windows follow; `None` is UTC.
    pub zone: Option<TimeZone>,
    /// The query's range.
    pub range: TimeRange,
}

impl Window {
    /// One window over all of `range`.
    pub fn whole(range: TimeRange) -> Window {
        Window { interval: 0, offset: 0, zone: None, range }
    }

    /// First instant of the window of `time`, and the first instant behind it.
    pub fn of(&self, time: Timestamp) -> (Timestamp, Timestamp) {
        if self.interval <= 0 {
            return (self.range.min, self.range.max.saturating_add(1));
        }
        let base = time.saturating_sub(self.offset);
        let zone = self.zone_offset(base);
        let into = base.wrapping_add(zone).rem_euclid(self.interval);
        let start = self.start_of(base, into, zone);
        let end = self.end_of(base, into, zone);
        (start, end)
    }

    /// As [`Window::of`], quicker when `time` is in a window beside the one that starts at `start`.
    pub fn of_near(&self, time: Timestamp, start: Timestamp) -> (Timestamp, Timestamp) {
        // The outermost windows are cut, those of a zone are not all of one length.
        let far = self.interval.saturating_mul(4);
        let is_plain = self.interval > 0 && self.zone.is_none();
        if is_plain && start > TIME_MIN.saturating_add(far) && start < TIME_MAX.saturating_sub(far) {
            for beside in [start + self.interval, start - self.interval] {
                if beside <= time && time < beside + self.interval {
                    return (beside, beside + self.interval);
                }
            }
        }
        self.of(time)
    }

    fn start_of(&self, base: Timestamp, into: i64, zone: i64) -> Timestamp {
        let start = if TIME_MIN + into >= base { TIME_MIN } else { base - into };
        let start = start.saturating_add(self.offset);
        // The clock may have changed between the window's start and the instant asked for.
        let moved = zone - self.zone_offset(start);
        if moved != 0 && moved.abs() < self.interval { start + moved } else { start }
    }

    fn end_of(&self, base: Timestamp, into: i64, zone: i64) -> Timestamp {
        let rest = self.interval - into;
        let end = if TIME_MAX - rest <= base { TIME_MAX } else { base + rest };
        // The clock is looked at before the offset is added, unlike at the start: so does stock, and its windows of an
        // offset near a change of the clock may lack instants, even the one asked for.
        let end_zone = self.zone_offset(end);
        let moved = zone - end_zone;
        let is_small = moved != 0 && moved.abs() < self.interval;
        // A clock set forward ends the window early, but only if that end lies behind the change.
        let is_moved = is_small && (moved > 0 || self.zone_offset(end + moved) == end_zone);
        (if is_moved { end + moved } else { end }).saturating_add(self.offset)
    }

    /// First instant of the window that results stamped `start` fall into when stock merges them: near a change of the
    /// clock it can be another one.
    pub fn merged_start(&self, start: Timestamp) -> Timestamp {
        match self.zone {
            Some(_) if self.interval > 0 => self.of(self.of(start).0).0,
            _ => start,
        }
    }

    /// Whether the window of `time` lacks `time`: stock's storage then gives no more rows of that series in that shard.
    pub fn is_lost(&self, time: Timestamp) -> bool {
        let holds = |(start, end)| start <= time && time < end;
        self.zone.is_some() && !holds(self.of(time))
    }

    /// Offset from UTC at `time`, ns.
    pub fn zone_offset(&self, time: Timestamp) -> i64 {
        self.zone.as_ref().map_or(0, |zone| i64::from(offset_seconds(zone, time)) * 1_000_000_000)
    }
}

/// Seconds `zone` is east of UTC at `time`.
pub fn offset_seconds(zone: &TimeZone, time: Timestamp) -> i32 {
    jiff::Timestamp::from_nanosecond(i128::from(time)).map_or(0, |instant| zone.to_offset(instant).seconds())
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;
    const HOUR: i64 = 3600 * S;

    fn window(interval: i64, offset: i64, zone: Option<&str>) -> Window {
        let zone = zone.map(|name| TimeZone::get(name).expect("a zone of the bundled database"));
        Window { interval, offset, zone, range: TimeRange { min: TIME_MIN, max: TIME_MAX } }
    }

    #[test]
    fn windows_are_aligned_to_the_epoch_and_moved_by_the_offset() {
        assert_eq!(window(3 * S, 0, None).of(4 * S), (3 * S, 6 * S));
        assert_eq!(window(3 * S, 0, None).of(-S), (-3 * S, 0));
        assert_eq!(window(3 * S, S, None).of(3 * S), (S, 4 * S));
        assert_eq!(window(3 * S, -S, None).of(S), (-S, 2 * S));
    }

    #[test]
    fn the_outermost_windows_do_not_wrap() {
        assert_eq!(window(7 * S, 0, None).of(TIME_MIN + 1).0, TIME_MIN);
        assert_eq!(window(7 * S, 0, None).of(TIME_MAX - 1).1, TIME_MAX);
    }

    #[test]
    fn a_window_is_the_same_found_from_one_beside_it() {
        for (interval, offset) in [(3 * S, 0), (7, 3), (HOUR, -S), (TIME_MAX / 3, 5)] {
            let windows = window(interval, offset, None);
            for time in [TIME_MIN, TIME_MIN + 8 * interval.min(S), -S, -1, 0, 1, S, 9 * S + 1, TIME_MAX - 1] {
                for step in [-2, -1, 0, 1, 2] {
                    let (start, _) = windows.of(time.saturating_add(interval.saturating_mul(step)).max(TIME_MIN));
                    assert_eq!(windows.of_near(time, start), windows.of(time), "{interval} {time} {step}");
                }
            }
        }
    }

    #[test]
    fn days_follow_the_local_clock_over_a_change() {
        let days = window(24 * HOUR, 0, Some("America/New_York"));
        // 2019-03-10 has 23 hours there: from 05:00Z to 04:00Z.
        let midnight = 1_552_194_000 * S;
        assert_eq!(days.of(midnight + 5 * HOUR), (midnight, midnight + 23 * HOUR));
        assert_eq!(days.of(midnight), (midnight, midnight + 23 * HOUR));
        assert_eq!(days.of(midnight - 1).0, midnight - 24 * HOUR);
    }
}
