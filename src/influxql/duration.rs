//! Durations as text: `1h30m` to nanoseconds and back.

use crate::influxql::ast::Duration;

/// Units with their letters, largest first.
const UNITS: [(&str, Duration); 9] = [
    ("w", 604_800_000_000_000),
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("u", 1_000),
    ("µ", 1_000),
    ("ns", 1),
];

const INVALID: &str = "invalid duration";

/// The nanoseconds of `text`: digits and units in turn, in any order. Sums wrap; only a negative end is an error.
pub fn parse(text: &str) -> Result<Duration, String> {
    let (negative, mut rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let mut sum: Duration = 0;
    let mut last = (0, "");
    while !rest.is_empty() || last.1.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or(INVALID)?;
        let count: i64 = rest[..digits].parse().map_err(|_| INVALID)?;
        let (unit, ns) = unit_at(&rest[digits..]).ok_or(INVALID)?;
        sum = sum.wrapping_add(count.wrapping_mul(ns));
        last = (count, unit);
        rest = &rest[digits + unit.len()..];
    }
    match (sum < 0, last) {
        (true, (count, unit)) if !negative => {
            Err(format!("overflowed duration {count}{unit}: choose a smaller duration or INF"))
        }
        _ => Ok(if negative { sum.wrapping_neg() } else { sum }),
    }
}

/// The unit `text` begins with; `ms` is no `m`.
fn unit_at(text: &str) -> Option<(&'static str, Duration)> {
    let fits = |unit: &&(&'static str, Duration)| text.starts_with(unit.0);
    UNITS.iter().filter(fits).max_by_key(|unit| unit.0.len()).copied()
}

/// As stock prints a duration: in the largest unit that divides it.
pub fn format(ns: Duration) -> String {
    if ns == 0 {
        return "0s".into();
    }
    let unit = UNITS.iter().find(|(_, size)| ns % size == 0).unwrap_or(&UNITS[8]);
    format!("{}{}", ns / unit.1, unit.0)
}

/// As Go prints a duration, which stock does here and there: `1h30m0s`, `1.5ms`.
pub fn format_go(ns: Duration) -> String {
    let (sign, size) = (if ns < 0 { "-" } else { "" }, ns.unsigned_abs());
    match size {
        0 => "0s".into(),
        1..1_000 => format!("{sign}{size}ns"),
        1_000..1_000_000 => format!("{sign}{}µs", decimal(size, 1_000)),
        1_000_000..1_000_000_000 => format!("{sign}{}ms", decimal(size, 1_000_000)),
        _ => {
            let minutes = size / 60_000_000_000;
            let seconds = decimal(size % 60_000_000_000, 1_000_000_000);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{sign}{seconds}s"),
                (0, minutes) => format!("{sign}{minutes}m{seconds}s"),
                (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

/// `size / unit`, where `unit` is a power of ten, with as many digits behind the point as it needs.
fn decimal(size: u64, unit: u64) -> String {
    let fraction = format!("{:0width$}", size % unit, width = unit.ilog10() as usize);
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{}{point}{fraction}", size / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_add_up_in_any_order() {
        for (text, expected) in [
            ("1h30m", Ok(5_400_000_000_000)),
            ("3s1000ms", Ok(4_000_000_000)),
            ("5µ", Ok(5_000)),
            ("1w1d", Ok(691_200_000_000_000)),
            ("7ns", Ok(7)),
            ("-5u", Ok(-5_000)),
            ("1x", Err("invalid duration".into())),
            ("1m5", Err("invalid duration".into())),
            ("1n", Err("invalid duration".into())),
            ("", Err("invalid duration".into())),
            ("4S", Err("invalid duration".into())),
            ("99999999999999999999s", Err("invalid duration".into())),
            (
                "9223372036854775807w",
                Err("overflowed duration 9223372036854775807w: choose a smaller duration or INF".into()),
            ),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    #[test]
    fn printed_in_the_largest_unit_that_divides() {
        for (ns, expected) in [
            (0, "0s"),
            (604_800_000_000_000, "1w"),
            (5_400_000_000_000, "90m"),
            (1_500, "1500ns"),
            (1_000_000, "1ms"),
            (-60_000_000_000, "-1m"),
        ] {
            assert_eq!(format(ns), expected);
        }
    }

    #[test]
    fn go_names_hours_minutes_and_seconds() {
        for (ns, expected) in [
            (0, "0s"),
            (7, "7ns"),
            (1_500, "1.5µs"),
            (2_000_010, "2.00001ms"),
            (90_000_000_000, "1m30s"),
            (604_800_000_000_000, "168h0m0s"),
            (3_600_500_000_000, "1h0m0.5s"),
            (-1_000_000_000, "-1s"),
        ] {
            assert_eq!(format_go(ns), expected);
        }
    }
}
