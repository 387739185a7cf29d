//! One setting: its kind, how it is read from text (environment) and from TOML, how it is printed.
//!
//! In: text or a TOML value. Out: a [`Value`] of the key's kind, or what is wrong with it.

use super::duration;
use std::path::PathBuf;

/// What a key holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// true or false.
    Bool,
    /// A whole number that is not negative.
    Count,
    /// Bytes: a number, or text with k, m or g (powers of 1024).
    Size,
    /// A Go duration.
    Duration,
    /// A duration that official builds of stock hold as a number of nanoseconds; both forms are read.
    Nanoseconds,
    /// Text.
    Text,
    /// A list of texts.
    Texts,
    /// Octal permissions of a file.
    Mode,
    /// A group of the system, by name or number; kept as text.
    Group,
    /// A table of texts (`[http.headers]`).
    Pairs,
}

/// What a key has been set to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Of [`Kind::Bool`].
    Bool(bool),
    /// Of [`Kind::Count`] and [`Kind::Size`].
    Count(u64),
    /// Of [`Kind::Duration`] and [`Kind::Nanoseconds`].
    Duration(i64),
    /// Of [`Kind::Text`] and [`Kind::Group`].
    Text(String),
    /// Of [`Kind::Texts`].
    Texts(Vec<String>),
    /// Of [`Kind::Mode`].
    Mode(u32),
    /// Of [`Kind::Pairs`].
    Pairs(Vec<(String, String)>),
}

impl Value {
    /// Reads what an environment variable or a built-in default says.
    pub fn from_text(kind: Kind, text: &str) -> Result<Value, String> {
        match kind {
            Kind::Bool => match text {
                "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(Value::Bool(true)),
                "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(Value::Bool(false)),
                _ => Err(format!("strconv.ParseBool: parsing {text:?}: invalid syntax")),
            },
            Kind::Count => parse_count(text).map(Value::Count),
            Kind::Size => parse_size(text).map(Value::Count),
            Kind::Duration => duration::parse(text).map(Value::Duration),
            Kind::Nanoseconds => match parse_integer(text) {
                Ok(nanoseconds) => Ok(Value::Duration(nanoseconds)),
                // The complaint about the number is stock's; the other form is a courtesy.
                Err(complaint) => duration::parse(text).map(Value::Duration).map_err(|_| complaint),
            },
            Kind::Text | Kind::Group => Ok(Value::Text(text.to_owned())),
            Kind::Texts if text.is_empty() => Ok(Value::Texts(Vec::new())),
            Kind::Texts => Ok(Value::Texts(text.split(',').map(str::to_owned).collect())),
            Kind::Mode => parse_mode(text).map(Value::Mode),
            Kind::Pairs => Ok(Value::Pairs(Vec::new())),
        }
    }

    /// Reads what the file says. `None` where the text is empty and stock then keeps the default.
    pub fn from_toml(kind: Kind, value: &toml::Value) -> Result<Option<Value>, String> {
        use toml::Value as Toml;
        let empty = matches!(value, Toml::String(text) if text.is_empty());
        let read = match (kind, value) {
            (Kind::Duration | Kind::Nanoseconds | Kind::Mode, _) if empty => return Ok(None),
            (Kind::Bool, Toml::Boolean(value)) => Ok(Value::Bool(*value)),
            (Kind::Count | Kind::Size, Toml::Integer(value)) => {
                let value = u64::try_from(*value).map_err(|_| format!("must not be negative, got {value}"))?;
                Ok(Value::Count(value))
            }
            (Kind::Nanoseconds, Toml::Integer(value)) => Ok(Value::Duration(*value)),
            (Kind::Duration, Toml::Integer(value)) => duration::parse(&value.to_string()).map(Value::Duration),
            (Kind::Group, Toml::Integer(value)) => Ok(Value::Text(value.to_string())),
            (Kind::Mode, Toml::Integer(value)) => parse_mode(&value.to_string()).map(Value::Mode),
            (Kind::Size | Kind::Duration | Kind::Nanoseconds | Kind::Text | Kind::Mode | Kind::Group, value) => {
                let text = value.as_str().ok_or_else(|| expected(kind, value))?;
                Value::from_text(kind, text)
            }
            (Kind::Texts, Toml::Array(items)) => {
                let text = |item: &Toml| item.as_str().map(str::to_owned).ok_or_else(|| expected(Kind::Text, item));
                Ok(Value::Texts(items.iter().map(text).collect::<Result<_, _>>()?))
            }
            (Kind::Pairs, Toml::Table(table)) => {
                let pair = |(key, item): (&String, &Toml)| {
                    item.as_str().map(|text| (key.clone(), text.to_owned())).ok_or_else(|| expected(Kind::Text, item))
                };
                Ok(Value::Pairs(table.iter().map(pair).collect::<Result<_, _>>()?))
            }
            _ => Err(expected(kind, value)),
        };
        read.map(Some)
    }

    /// As it stands in a configuration file.
    pub fn to_toml(&self, kind: Kind) -> toml::Value {
        use toml::Value as Toml;
        match self {
            Value::Bool(value) => Toml::Boolean(*value),
            Value::Count(value) => Toml::Integer(i64::try_from(*value).unwrap_or(i64::MAX)),
            Value::Duration(value) if kind == Kind::Nanoseconds => Toml::Integer(*value),
            Value::Duration(value) => Toml::String(duration::format(*value)),
            Value::Text(value) => Toml::String(value.clone()),
            Value::Texts(items) => Toml::Array(items.iter().cloned().map(Toml::String).collect()),
            Value::Mode(value) => Toml::String(format!("{value:04o}")),
            Value::Pairs(pairs) => {
                Toml::Table(pairs.iter().map(|(key, text)| (key.clone(), Toml::String(text.clone()))).collect())
            }
        }
    }

    // The accessors below serve `config` alone, which asks by the names of its own schema; a wrong kind is a slip in
    // this module, and the tests build a whole configuration.

    pub(super) fn bool(&self) -> bool {
        matches!(self, Value::Bool(true))
    }

    pub(super) fn count(&self) -> u64 {
        if let Value::Count(value) = self { *value } else { 0 }
    }

    pub(super) fn nanoseconds(&self) -> i64 {
        if let Value::Duration(value) = self { *value } else { 0 }
    }

    pub(super) fn text(&self) -> &str {
        if let Value::Text(value) = self { value } else { "" }
    }

    pub(super) fn path(&self) -> Option<PathBuf> {
        (!self.text().is_empty()).then(|| PathBuf::from(self.text()))
    }
}

fn expected(kind: Kind, value: &toml::Value) -> String {
    let wanted = match kind {
        Kind::Bool => "true or false",
        Kind::Count => "a number",
        Kind::Size => "a number or a size such as \"25m\"",
        Kind::Duration | Kind::Nanoseconds => "a duration such as \"10s\"",
        Kind::Text => "text in quotes",
        Kind::Texts => "a list of texts",
        Kind::Mode => "octal permissions such as \"0777\"",
        Kind::Group => "the name or number of a group",
        Kind::Pairs => "a table of texts",
    };
    format!("expected {wanted}, got {} {value}", value.type_str())
}

/// A Go integer literal: decimal, 0x, 0o, 0b or octal by a leading zero.
fn parse_integer(text: &str) -> Result<i64, String> {
    let complaint = |what: &str| format!("strconv.ParseInt: parsing {text:?}: {what}");
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, &lower[..]),
    };
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return Err(complaint("invalid syntax"));
    }
    let value = i128::from_str_radix(digits, radix).map_err(|_| complaint("value out of range"))?;
    i64::try_from(if negative { -value } else { value }).map_err(|_| complaint("value out of range"))
}

fn parse_count(text: &str) -> Result<u64, String> {
    let value = parse_integer(text)?;
    u64::try_from(value).map_err(|_| format!("must not be negative, got {value}"))
}

fn parse_size(text: &str) -> Result<u64, String> {
    let last = text.chars().next_back().ok_or_else(|| "size was empty".to_owned())?;
    let (digits, shift) = match last {
        '0'..='9' => (text, 0),
        'k' | 'K' => (&text[..text.len() - 1], 10),
        'm' | 'M' => (&text[..text.len() - 1], 20),
        'g' | 'G' => (&text[..text.len() - 1], 30),
        _ => return Err(format!("unknown size suffix: {last} (expected k, m, or g)")),
    };
    if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(format!("invalid size: {text}"));
    }
    let value: u64 = digits.parse().map_err(|_| format!("invalid size: {text}"))?;
    value
        .checked_mul(1 << shift)
        .ok_or_else(|| format!("size would overflow the max size ({}) of a uint: {text}", u64::MAX))
}

fn parse_mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(0) => Err("file mode cannot be zero".to_owned()),
        Ok(mode) => Ok(mode),
        Err(_) => Err(format!("strconv.ParseUint: parsing {text:?}: invalid syntax")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: Kind, text: &str, expected: Result<Value, &str>) {
        assert_eq!(Value::from_text(kind, text), expected.map_err(str::to_owned), "{text}");
    }

    #[test]
    fn sizes_take_k_m_and_g() {
        check(Kind::Size, "10", Ok(Value::Count(10)));
        check(Kind::Size, "2k", Ok(Value::Count(2048)));
        check(Kind::Size, "25M", Ok(Value::Count(25 << 20)));
        check(Kind::Size, "1g", Ok(Value::Count(1 << 30)));
        check(Kind::Size, "", Err("size was empty"));
        check(Kind::Size, "1t", Err("unknown size suffix: t (expected k, m, or g)"));
        check(Kind::Size, "x1k", Err("invalid size: x1k"));
        check(
            Kind::Size,
            "18446744073709551615k",
            Err("size would overflow the max size (18446744073709551615) of a uint: 18446744073709551615k"),
        );
    }

    #[test]
    fn numbers_read_as_go_reads_them() {
        check(Kind::Count, "0x10", Ok(Value::Count(16)));
        check(Kind::Count, "010", Ok(Value::Count(8)));
        check(Kind::Count, "ten", Err("strconv.ParseInt: parsing \"ten\": invalid syntax"));
        check(
            Kind::Count,
            "9223372036854775808",
            Err("strconv.ParseInt: parsing \"9223372036854775808\": value out of range"),
        );
        check(Kind::Count, "-1", Err("must not be negative, got -1"));
        check(Kind::Nanoseconds, "30000000000", Ok(Value::Duration(30_000_000_000)));
        check(Kind::Nanoseconds, "30s", Ok(Value::Duration(30_000_000_000)));
        check(Kind::Bool, "yes", Err("strconv.ParseBool: parsing \"yes\": invalid syntax"));
        check(Kind::Mode, "0770", Ok(Value::Mode(0o770)));
        check(Kind::Mode, "0", Err("file mode cannot be zero"));
    }
}
