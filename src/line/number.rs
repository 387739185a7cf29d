//! Numbers of line protocol, exactly as Go's `strconv` reads them.

use crate::line::Field;
use crate::model::FieldValue;

/// Powers of ten that a float holds exactly.
const EXACT_POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

/// Largest integer up to which every integer is a float.
const EXACT_INTEGER_MAX: u64 = 1 << 53;

/// Why text is no 64-bit integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntegerError {
    /// Not a sign and digits.
    Syntax,
    /// Beyond 64 bits.
    Range,
}

/// Reads an optional `-` and digits.
pub fn integer(text: &[u8]) -> Result<i64, IntegerError> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(IntegerError::Syntax);
    }
    // Counted downwards, because the smallest integer has no positive twin.
    let mut value = 0_i64;
    for digit in digits {
        let below = value.checked_mul(10).and_then(|ten| ten.checked_sub(i64::from(digit - b'0')));
        value = below.ok_or(IntegerError::Range)?;
    }
    if negative { Ok(value) } else { value.checked_neg().ok_or(IntegerError::Range) }
}

/// The common integer: at most 19 digits; `None` for every other text.
#[inline]
pub fn plain_integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || digits.len() > 19 {
        return None;
    }
    let mut value = 0_u64;
    let mut odd = false;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        odd |= digit > 9;
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
    }
    // Nineteen digits fit 64 bits but not always 63.
    let value = i64::try_from(value).ok().filter(|_| !odd)?;
    Some(if negative { -value } else { value })
}

/// Digits that some text starts with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digits {
    /// Their value.
    pub value: u64,
    /// How many they are.
    pub count: usize,
}

impl Digits {
    /// These digits with a sign, if there are any and they fit.
    #[inline(always)]
    pub fn signed(self, negative: bool) -> Option<i64> {
        if self.count == 0 {
            return None;
        }
        let value = i64::try_from(self.value).ok()?;
        Some(if negative { -value } else { value })
    }

    /// These digits and then `more`, if there are any and at most 19.
    #[inline(always)]
    pub fn followed_by(self, more: Digits) -> Option<Digits> {
        let count = self.count + more.count;
        if count == 0 || count > DIGITS_MAX {
            return None;
        }
        Some(Digits { value: self.value * POWERS_OF_TEN[more.count] + more.value, count })
    }
}

/// Digits that always fit 64 bits.
const DIGITS_MAX: usize = 19;

const POWERS_OF_TEN: [u64; DIGITS_MAX + 1] = {
    let mut powers = [1; DIGITS_MAX + 1];
    let mut at = 1;
    while at < powers.len() {
        powers[at] = powers[at - 1] * 10;
        at += 1;
    }
    powers
};

/// The digits `text` starts with, eight at a time; `None` if they are more than 19 or too close to the end of `text` to
/// be loaded.
#[inline(always)]
pub fn leading_digits(text: &[u8]) -> Option<Digits> {
    let (first, rest) = text.split_first_chunk::<8>()?;
    let first = leading_digits_of(*first);
    if first.count < 8 {
        return Some(first);
    }
    let (second, rest) = rest.split_first_chunk::<8>()?;
    let digits = first.followed_by(leading_digits_of(*second))?;
    if digits.count < 16 {
        return Some(digits);
    }
    let (third, _) = rest.split_first_chunk::<8>()?;
    digits.followed_by(leading_digits_of(*third))
}

/// A number in the bits of its type. Not a [`FieldValue`], because an enum with a payload that is handed through
/// several returns is copied in pieces that do not match how it was written, and each copy waits some 12 cycles for
/// that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    bits: u64,
    is_integer: bool,
    /// Length of its text.
    pub bytes: usize,
}

impl Number {
    #[inline(always)]
    fn integer(value: i64, bytes: usize) -> Number {
        Number { bits: value as u64, is_integer: true, bytes }
    }

    #[inline(always)]
    fn float(value: f64, bytes: usize) -> Number {
        Number { bits: value.to_bits(), is_integer: false, bytes }
    }

    /// Adds it to `fields`.
    #[inline(always)]
    pub fn push<'a>(self, name: &'a [u8], fields: &mut Vec<Field<'a>>) {
        if self.is_integer {
            fields.push(Field { name, value: FieldValue::Integer(self.bits as i64) });
        } else {
            fields.push(Field { name, value: FieldValue::Float(f64::from_bits(self.bits)) });
        }
    }
}

/// The plain number that `text` starts with. What follows it is for the caller to check.
#[inline(always)]
pub fn leading_number(text: &[u8]) -> Option<Number> {
    let (negative, whole) = leading_integer(text)?;
    let whole_end = usize::from(negative) + whole.count;
    match text.get(whole_end)? {
        b'i' => Some(Number::integer(whole.signed(negative)?, whole_end + 1)),
        b'.' => {
            let fraction = leading_digits(text.get(whole_end + 1..)?)?;
            let digits = whole.followed_by(fraction)?;
            let value = exact_quotient(negative, digits.value, fraction.count)?;
            Some(Number::float(value, whole_end + 1 + fraction.count))
        }
        _ if whole.count > 0 => Some(Number::float(exact_quotient(negative, whole.value, 0)?, whole_end)),
        _ => None,
    }
}

/// Whether `text` starts with a minus, and the digits behind it; perhaps none.
#[inline(always)]
pub fn leading_integer(text: &[u8]) -> Option<(bool, Digits)> {
    let negative = *text.first()? == b'-';
    Some((negative, leading_digits(&text[usize::from(negative)..])?))
}

/// The digits that eight bytes start with, all at once.
#[inline(always)]
fn leading_digits_of(bytes: [u8; 8]) -> Digits {
    // Digits become 0 to 9; adding 0x76 carries every other byte into its top bit, and only into later bytes.
    let values = u64::from_le_bytes(bytes) ^ 0x3030_3030_3030_3030;
    let others = (values.wrapping_add(0x7676_7676_7676_7676) | values) & 0x8080_8080_8080_8080;
    let count = others.trailing_zeros() as usize / 8;
    if count == 0 {
        return Digits::default();
    }
    // Zeros move in front, so that there are always eight: then add neighbours, pairs and fours.
    let eight = values << (64 - 8 * count);
    let pairs = eight.wrapping_mul(10).wrapping_add(eight >> 8);
    let low = (pairs & 0x0000_00FF_0000_00FF).wrapping_mul(100 + (1_000_000 << 32));
    let high = (pairs >> 16 & 0x0000_00FF_0000_00FF).wrapping_mul(1 + (10_000 << 32));
    Digits { value: low.wrapping_add(high) >> 32, count }
}

/// Reads a float of digits, at most one point, an exponent; `None` when it is none or rounds to infinity.
pub fn float(text: &[u8]) -> Option<f64> {
    plain_float(text).or_else(|| {
        // Only the spellings that line protocol knows: no `inf`, no `nan`, no plus in front.
        let spelled = text.first().is_some_and(|first| first.is_ascii_digit() || matches!(first, b'-' | b'.'));
        let known = text.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+' | b'e' | b'E'));
        if !spelled || !known {
            return None;
        }
        fast_float2::parse::<f64, _>(text).ok().filter(|value| value.is_finite())
    })
}

/// The common float: at most 19 digits, no exponent. Where mantissa and power of ten are both exact floats, one
/// division rounds once and so rightly (Clinger 1990); every other text is left to the caller.
pub fn plain_float(text: &[u8]) -> Option<f64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.len() > 20 {
        return None;
    }
    let mut mantissa = 0_u64;
    let mut fraction_digits = None;
    let mut digit_count = 0;
    for byte in digits {
        match byte {
            b'0'..=b'9' => {
                mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'));
                digit_count += 1;
                fraction_digits = fraction_digits.map(|count| count + 1);
            }
            b'.' if fraction_digits.is_none() => fraction_digits = Some(0),
            _ => return None,
        }
    }
    if digit_count == 0 || digit_count > 19 {
        return None;
    }
    exact_quotient(negative, mantissa, fraction_digits.unwrap_or(0))
}

/// `mantissa / 10^fraction_digits` when both are exact.
#[inline]
pub fn exact_quotient(negative: bool, mantissa: u64, fraction_digits: usize) -> Option<f64> {
    if mantissa > EXACT_INTEGER_MAX {
        return None;
    }
    let value = mantissa as f64 / EXACT_POWERS.get(fraction_digits)?;
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_reach_both_ends_of_their_range() {
        assert_eq!(integer(b"9223372036854775807"), Ok(i64::MAX));
        assert_eq!(integer(b"-9223372036854775808"), Ok(i64::MIN));
        assert_eq!(integer(b"9223372036854775808"), Err(IntegerError::Range));
        assert_eq!(integer(b"-000000000000000000000012"), Ok(-12));
        for text in ["", "-", "+1", "1.0", "1i"] {
            assert_eq!(integer(text.as_bytes()), Err(IntegerError::Syntax), "{text}");
        }
    }

    #[test]
    fn floats_are_read_as_go_reads_them() {
        for (text, expected) in [
            ("5.", Some(5.0)),
            (".5", Some(0.5)),
            ("-.5", Some(-0.5)),
            ("1.e5", Some(1e5)),
            (".5E-3", Some(0.0005)),
            ("1e+5", Some(1e5)),
            ("0.1e-400", Some(0.0)),
            ("0e99999999999999999999", Some(0.0)),
            ("1e-99999999999999999999", Some(0.0)),
            ("123456789012345678901234567890", Some(123456789012345678901234567890.0)),
            ("9007199254740993", Some(9007199254740992.0)),
            ("1e309", None),
            ("1e99999999999999999999", None),
            ("1e", None),
            ("1e5e5", None),
            ("1e+-5", None),
            ("-.e5", None),
            (".", None),
            ("-", None),
            ("", None),
            ("+5", None),
            ("inf", None),
            ("nan", None),
            ("1.1.1", None),
        ] {
            assert_eq!(float(text.as_bytes()), expected, "{text}");
        }
        assert!(float(b"-0").unwrap().is_sign_negative());
    }

    #[test]
    fn leading_digits_are_counted_and_read() {
        let digits = "12345678901234567890";
        for count in 0..=19 {
            for after in [",", "i", ".", "\0", "/", ":", "\u{ff}"] {
                let text = format!("{}{after}        ", &digits[..count]);
                let expected = Digits { value: digits[..count].parse().unwrap_or(0), count };
                assert_eq!(leading_digits(text.as_bytes()), Some(expected), "{text}");
            }
        }
        assert_eq!(leading_digits(format!("{digits}        ").as_bytes()), None);
        assert_eq!(leading_digits(b"1234567"), None);
        assert_eq!(leading_digits(b"0009999999999999999,    ").unwrap().value, 9_999_999_999_999_999);
    }

    #[test]
    fn plain_floats_equal_the_library() {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        for _ in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let digits = (state >> 11).to_string();
            let cut = (state % (digits.len() as u64 + 1)) as usize;
            let text = format!("{}.{}", &digits[..cut], &digits[cut..]);
            if let Some(value) = plain_float(text.as_bytes()) {
                assert_eq!(value.to_bits(), fast_float2::parse::<f64, _>(&text).unwrap().to_bits(), "{text}");
            }
        }
    }
}
