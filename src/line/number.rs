//! Numbers of line protocol, exactly as Go's `strconv` reads them.

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
