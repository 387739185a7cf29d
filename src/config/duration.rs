//! Durations as Go writes them: `1h30m`, `250ms`, `-1.5s`. No days, no weeks.
//!
//! In: text. Out: nanoseconds, or the complaint Go would have; and back again in the form Go prints.

/// Units, largest first, as printing needs them.
const UNITS: [(&str, i64); 8] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("µs", 1_000), // U+00B5, micro sign
    ("μs", 1_000), // U+03BC, Greek mu
    ("ns", 1),
];

/// Reads a duration into nanoseconds.
pub fn parse(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0_i128;
    while !rest.is_empty() {
        let whole_end = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
        let (whole, after) = rest.split_at(whole_end);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => after.split_at(after.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(after.len())),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let unit_end = after.find(|letter: char| letter == '.' || letter.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {text:?}"));
        }
        let Some(&(_, factor)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(format!("time: unknown unit {unit:?} in duration {text:?}"));
        };
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
        let part = whole.checked_mul(i128::from(factor)).ok_or_else(invalid)? + fraction_ns(fraction, factor);
        total += part;
        if total > i128::from(i64::MAX) {
            return Err(invalid());
        }
        rest = after;
    }
    let total = i64::try_from(total).map_err(|_| invalid())?;
    Ok(if negative { -total } else { total })
}

/// The digits after the point, in ns. An hour has 13 digits of ns, so more than 18 digits say nothing.
fn fraction_ns(digits: &str, factor: i64) -> i128 {
    let digits = &digits[..digits.len().min(18)];
    let value: i128 = digits.parse().unwrap_or(0);
    value * i128::from(factor) / 10_i128.pow(digits.len() as u32)
}

/// Writes nanoseconds as Go does: `1h0m0s`, `1.5s`, `20ms`, `0s`.
pub fn format(nanoseconds: i64) -> String {
    let magnitude = nanoseconds.unsigned_abs();
    let sign = if nanoseconds < 0 { "-" } else { "" };
    if magnitude == 0 {
        return "0s".to_owned();
    }
    for (unit, factor) in [("ns", 1), ("µs", 1_000), ("ms", 1_000_000)] {
        if magnitude < factor * 1_000 {
            return format!("{sign}{}{unit}", decimal(magnitude, factor));
        }
    }
    let (hours, rest) = (magnitude / 3_600_000_000_000, magnitude % 3_600_000_000_000);
    let (minutes, rest) = (rest / 60_000_000_000, rest % 60_000_000_000);
    let seconds = decimal(rest, 1_000_000_000);
    match (hours, minutes) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, _) => format!("{sign}{minutes}m{seconds}s"),
        _ => format!("{sign}{hours}h{minutes}m{seconds}s"),
    }
}

/// `value / factor` with as many decimals as it has; `factor` is a power of ten.
fn decimal(value: u64, factor: u64) -> String {
    let (whole, rest) = (value / factor, value % factor);
    if rest == 0 {
        return whole.to_string();
    }
    let width = factor.ilog10() as usize;
    let digits = format!("{rest:0width$}");
    format!("{whole}.{}", digits.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<i64, &str>) {
        assert_eq!(parse(text), expected.map_err(str::to_owned), "{text}");
    }

    #[test]
    fn durations_read_as_go_reads_them() {
        check("10s", Ok(10_000_000_000));
        check("1h30m", Ok(5_400_000_000_000));
        check("1.5s", Ok(1_500_000_000));
        check(".5ms", Ok(500_000));
        check("0", Ok(0));
        check("-0", Ok(0));
        check("-2us", Ok(-2_000));
        check("+3µs", Ok(3_000));
        check("3μs", Ok(3_000));
        check("2562047h47m16.854775807s", Ok(i64::MAX));
    }

    #[test]
    fn bad_durations_get_gos_complaints() {
        check("", Err("time: invalid duration \"\""));
        check("abc", Err("time: invalid duration \"abc\""));
        check("10", Err("time: missing unit in duration \"10\""));
        check("7d", Err("time: unknown unit \"d\" in duration \"7d\""));
        check("9999999999h", Err("time: invalid duration \"9999999999h\""));
        check(".s", Err("time: invalid duration \".s\""));
    }

    #[test]
    fn durations_print_as_go_prints_them() {
        for text in ["0s", "1ns", "1.5µs", "20ms", "1.5s", "10m0s", "1h30m0s", "168h0m0s", "-1m0.25s"] {
            let value = parse(text).unwrap();
            assert_eq!(format(value), text);
        }
    }
}
