//! Lengths of shard groups, and where on the time line they begin.

use crate::limits::TIME_MAX;
use crate::model::Timestamp;

/// One hour, ns: the shortest retention and the shortest shard group.
pub const HOUR: i64 = 3_600_000_000_000;
/// One day, ns.
pub const DAY: i64 = 24 * HOUR;

/// From 0001-01-01T00:00:00Z to 1970, ns: groups are counted from the year 1, so that a week begins on a Monday.
const YEAR_ONE_TO_1970: i128 = 62_135_596_800 * 1_000_000_000;

/// Length of a shard group when none is asked for.
pub fn shard_duration_for(retention: i64) -> i64 {
    if retention == 0 || retention >= 180 * DAY {
        7 * DAY
    } else if retention >= 2 * DAY {
        DAY
    } else {
        HOUR
    }
}

/// The length that `asked` comes to: 0 is the default for `retention`, less than an hour is an hour.
pub fn normalised_shard_duration(asked: i64, retention: i64) -> i64 {
    if asked == 0 { shard_duration_for(retention) } else { asked.max(HOUR) }
}

/// Start (inside) and end (outside) of the window of length `duration` around `time`, within what can be stored.
pub fn window(time: Timestamp, duration: i64) -> (Timestamp, Timestamp) {
    let offset = (i128::from(time) + YEAR_ONE_TO_1970).rem_euclid(i128::from(duration.max(1)));
    let start = i128::from(time) - offset;
    let end = (start + i128::from(duration.max(1))).min(i128::from(TIME_MAX) + 1);
    (start.max(i128::from(i64::MIN)) as i64, end as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_length_follows_the_retention() {
        let cases = [(0, 168), (1, 1), (47, 1), (48, 24), (4319, 24), (4320, 168), (8736, 168)];
        for (retention, expected) in cases {
            assert_eq!(shard_duration_for(retention * HOUR), expected * HOUR, "{retention}h");
        }
        assert_eq!(normalised_shard_duration(HOUR / 2, 0), HOUR);
        assert_eq!(normalised_shard_duration(3 * HOUR, 0), 3 * HOUR);
    }

    #[test]
    fn weeks_begin_on_monday_and_the_last_one_is_cut() {
        let second = 1_000_000_000;
        // 1969-12-29 to 1970-01-05, 2026-11-16 to 2026-11-23.
        assert_eq!(window(0, 7 * DAY), (-3 * DAY, 4 * DAY));
        assert_eq!(window(1_795_000_000 * second, 7 * DAY), (1_794_787_200 * second, 1_795_392_000 * second));
        assert_eq!(window(TIME_MAX, 7 * DAY).1, i64::MAX);
        assert_eq!(window(i64::MIN + 2, 7 * DAY).0, i64::MIN);
        assert_eq!(window(HOUR + 1, HOUR), (HOUR, 2 * HOUR));
        assert_eq!(window(-1, DAY), (-DAY, 0));
    }
}
