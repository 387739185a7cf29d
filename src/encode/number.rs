//! Numbers and times as Go prints them; part of the wire format.
//!
//! Floats: shortest digits that read back the same (zmij finds them), laid out by Go's rules: JSON switches to an
//! exponent below 1e-6 and from 1e21 on, CSV never does, neither prints `.0`.

use crate::model::Timestamp;

/// Appends a finite float as Go's `encoding/json` does.
pub fn json_float(value: f64, out: &mut Vec<u8>) {
    let magnitude = value.abs();
    let exponent = magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude);
    float(value, exponent, out);
}

/// Appends a float without exponent, as `strconv` does with format `f`; infinities as `+Inf`, `-Inf`.
pub fn plain_float(value: f64, out: &mut Vec<u8>) {
    if value.is_nan() {
        out.extend_from_slice(b"NaN");
    } else if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"-Inf" });
    } else {
        float(value, false, out);
    }
}

fn float(value: f64, exponent: bool, out: &mut Vec<u8>) {
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format_finite(value).as_bytes();
    if !exponent && memchr::memchr(b'e', text).is_none() {
        out.extend_from_slice(text.strip_suffix(b".0").unwrap_or(text));
        return;
    }
    let text = match text.strip_prefix(b"-") {
        Some(rest) => {
            out.push(b'-');
            rest
        }
        None => text,
    };
    let (digits, point) = decompose(text);
    if exponent { scientific(digits.as_ref(), point, out) } else { positional(digits.as_ref(), point, out) }
}

/// Significant digits without leading and trailing zeros.
struct Digits {
    bytes: [u8; 24],
    count: usize,
}

impl AsRef<[u8]> for Digits {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.count]
    }
}

/// Digits of a printed float and where its decimal point stands: the value is 0.DIGITS times ten to the `point`.
fn decompose(text: &[u8]) -> (Digits, i32) {
    let (mantissa, exponent) = match memchr::memchr(b'e', text) {
        Some(at) => (&text[..at], parse_exponent(&text[at + 1..])),
        None => (text, 0),
    };
    let mut digits = Digits { bytes: [0; 24], count: 0 };
    let mut point = exponent;
    let mut after_point = false;
    for &byte in mantissa {
        if byte == b'.' {
            after_point = true;
            continue;
        }
        if digits.count == 0 && byte == b'0' {
            point -= i32::from(after_point);
            continue;
        }
        if digits.count < digits.bytes.len() {
            digits.bytes[digits.count] = byte;
            digits.count += 1;
        }
        point += i32::from(!after_point);
    }
    while digits.count > 1 && digits.bytes[digits.count - 1] == b'0' {
        digits.count -= 1;
    }
    (digits, point)
}

fn parse_exponent(text: &[u8]) -> i32 {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let value = digits.iter().fold(0_i32, |sum, digit| sum * 10 + i32::from(digit - b'0'));
    if negative { -value } else { value }
}

fn positional(digits: &[u8], point: i32, out: &mut Vec<u8>) {
    if point <= 0 {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + point.unsigned_abs() as usize, b'0');
        out.extend_from_slice(digits);
        return;
    }
    let whole = point.unsigned_abs() as usize;
    if digits.len() <= whole {
        out.extend_from_slice(digits);
        out.resize(out.len() + whole - digits.len(), b'0');
    } else {
        out.extend_from_slice(&digits[..whole]);
        out.push(b'.');
        out.extend_from_slice(&digits[whole..]);
    }
}

fn scientific(digits: &[u8], point: i32, out: &mut Vec<u8>) {
    out.push(digits[0]);
    if digits.len() > 1 {
        out.push(b'.');
        out.extend_from_slice(&digits[1..]);
    }
    let exponent = point - 1;
    out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
    integer(i64::from(exponent.abs()), out);
}

/// Appends a signed integer.
pub fn integer(value: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends an unsigned integer.
pub fn unsigned(value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends a time as RFC 3339 with as many fraction digits as it needs, in the offset given (seconds east; 0: `Z`).
pub fn rfc3339(ns: Timestamp, utc_offset_s: i32, out: &mut Vec<u8>) {
    let seconds = ns.div_euclid(1_000_000_000) + i64::from(utc_offset_s);
    let fraction = ns.rem_euclid(1_000_000_000);
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    let second_of_day = seconds.rem_euclid(86_400);
    // An i64 of nanoseconds stays between the years 1677 and 2262: four digits always.
    two(year / 100, out);
    two(year % 100, out);
    for (separator, value) in [
        (b'-', month),
        (b'-', day),
        (b'T', second_of_day / 3600),
        (b':', second_of_day / 60 % 60),
        (b':', second_of_day % 60),
    ] {
        out.push(separator);
        two(value, out);
    }
    if fraction != 0 {
        push_fraction(fraction, out);
    }
    push_offset(utc_offset_s, out);
}

fn two(value: i64, out: &mut Vec<u8>) {
    out.push(b'0' + (value / 10) as u8);
    out.push(b'0' + (value % 10) as u8);
}

fn push_fraction(fraction: i64, out: &mut Vec<u8>) {
    let mut digits = [b'0'; 10];
    digits[0] = b'.';
    let mut rest = fraction;
    for digit in digits[1..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    let last = digits.iter().rposition(|digit| *digit != b'0').unwrap_or(0);
    out.extend_from_slice(&digits[..=last]);
}

fn push_offset(utc_offset_s: i32, out: &mut Vec<u8>) {
    if utc_offset_s == 0 {
        out.push(b'Z');
        return;
    }
    // Whole minutes, cut toward zero: local mean times before 1900 have seconds that RFC 3339 cannot say.
    let minutes = i64::from(utc_offset_s / 60);
    out.push(if minutes < 0 { b'-' } else { b'+' });
    two(minutes.abs() / 60, out);
    out.push(b':');
    two(minutes.abs() % 60, out);
}

/// Year, month and day of a day counted from 1970-01-01, in the proleptic Gregorian calendar: years are counted from
/// March, so that the leap day ends one, in cycles of 400 years.
fn civil(day: i64) -> (i64, i64, i64) {
    let shifted = day + 719_468;
    let cycle = shifted.div_euclid(146_097);
    let day_of_cycle = shifted.rem_euclid(146_097);
    let year_of_cycle = (day_of_cycle - day_of_cycle / 1_460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
    let day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_cycle + cycle * 400 + i64::from(month <= 2);
    (year, month, day_of_month)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json(value: f64) -> String {
        let mut out = Vec::new();
        json_float(value, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn plain(value: f64) -> String {
        let mut out = Vec::new();
        plain_float(value, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn time(ns: i64, offset: i32) -> String {
        let mut out = Vec::new();
        rfc3339(ns, offset, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn json_floats_look_like_gos() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-2.5, "-2.5"),
            (1e20, "100000000000000000000"),
            (123456789012345680000.0, "123456789012345680000"),
            (1e21, "1e+21"),
            (-1.5e300, "-1.5e+300"),
            (1e-6, "0.000001"),
            (1.5e-6, "0.0000015"),
            (1e-7, "1e-7"),
            (1.234e-7, "1.234e-7"),
            (5e-324, "5e-324"),
            (1.7976931348623157e308, "1.7976931348623157e+308"),
            (0.1, "0.1"),
            (1e16, "10000000000000000"),
            (1.2345678901234567e19, "12345678901234567000"),
            (100.0, "100"),
        ] {
            assert_eq!(json(value), text);
        }
    }

    #[test]
    fn plain_floats_have_no_exponent() {
        assert_eq!(plain(1e21), "1000000000000000000000");
        assert_eq!(plain(1.5e-10), "0.00000000015");
        assert_eq!(plain(-1e22), "-10000000000000000000000");
        assert_eq!(plain(f64::INFINITY), "+Inf");
        assert_eq!(plain(f64::NEG_INFINITY), "-Inf");
        assert!(plain(5e-324).ends_with("0005"));
    }

    #[test]
    fn times_have_the_fraction_digits_they_need() {
        assert_eq!(time(0, 0), "1970-01-01T00:00:00Z");
        assert_eq!(time(1_500_000_000_120_000_000, 0), "2017-07-14T02:40:00.12Z");
        assert_eq!(time(1_500_000_000_123_456_789, -14_400), "2017-07-13T22:40:00.123456789-04:00");
        assert_eq!(time(-1, 19_800), "1970-01-01T05:29:59.999999999+05:30");
        assert_eq!(time(i64::MIN, 0), "1677-09-21T00:12:43.145224192Z");
        assert_eq!(time(i64::MAX, 0), "2262-04-11T23:47:16.854775807Z");
        assert_eq!(time(951_782_400_000_000_000, 0), "2000-02-29T00:00:00Z");
        assert_eq!(time(0, -17_762), "1969-12-31T19:03:58-04:56");
    }

    proptest! {
        #[test]
        fn any_float_reads_back_the_same(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            prop_assert_eq!(json(value).parse::<f64>().unwrap().to_bits(), bits);
            prop_assert_eq!(plain(value).parse::<f64>().unwrap().to_bits(), bits);
            prop_assert!(!plain(value).contains('e'));
        }

        #[test]
        fn any_time_is_what_jiff_prints(ns in any::<i64>()) {
            let instant = jiff::Timestamp::from_nanosecond(i128::from(ns)).unwrap();
            prop_assert_eq!(time(ns, 0), instant.to_string());
        }
    }
}
