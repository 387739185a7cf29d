//! Bound parameters: the `params` object of a request, as the tokens that stand in for `$name`.
//!
//! In:    the JSON text of the HTTP parameter.
//! Out:   for each name a token, usable wherever that token may stand.
//!
//! A plain value is a literal. An object with one key says its kind: `{"identifier":"v"}`, `{"duration":"1m"}`.
//! A value that fits no kind is no error until the text uses it; then its complaint takes the place of the name.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Map;
use serde_json::Number;
use serde_json::Value;

use crate::influxql::duration;
use crate::influxql::json;
use crate::influxql::token::Token;

/// Values for the `$name`s of a query text.
#[derive(Clone, Debug, Default)]
pub struct Params {
    values: HashMap<String, Bound>,
}

/// What stands in for one `$name`.
#[derive(Clone, Debug)]
pub(super) struct Bound {
    pub(super) token: Token,
    pub(super) text: String,
}

/// The `params` of a request are not what they should be; the whole text of the answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParamsError {
    /// Not a JSON object.
    #[error("error parsing query parameters: {0}")]
    Json(String),
    /// A number that is neither a 64-bit integer nor, with a point, a float.
    #[error("error parsing json value: {0}")]
    Number(String),
}

impl Params {
    /// Reads the `params` of a request; empty text and `null` hold no parameters, text behind the object is ignored.
    pub fn from_json(text: &str) -> Result<Params, ParamsError> {
        if text.is_empty() {
            return Ok(Params::default());
        }
        let mut source = serde_json::Deserializer::from_str(text);
        let wrong =
            |kind| ParamsError::Json(format!("json: cannot unmarshal {kind} into Go value of type {OBJECT_TYPE}"));
        match Value::deserialize(&mut source) {
            Err(_) => Err(ParamsError::Json(json::complaint(text))),
            Ok(Value::Null) => Ok(Params::default()),
            Ok(Value::Object(members)) => Params::from_members(members),
            Ok(Value::String(_)) => Err(wrong("string")),
            Ok(Value::Number(_)) => Err(wrong("number")),
            Ok(Value::Bool(_)) => Err(wrong("bool")),
            Ok(Value::Array(_)) => Err(wrong("array")),
        }
    }

    fn from_members(members: Map<String, Value>) -> Result<Params, ParamsError> {
        let mut params = Params::default();
        for (name, value) in members {
            let bound = match value {
                Value::Number(number) => number_token(&number).map_err(ParamsError::Number)?,
                other => plain(other).unwrap_or_else(|text| Bound { token: Token::BoundParam, text }),
            };
            params.values.insert(name, bound);
        }
        Ok(params)
    }

    /// What stands in for `$name`.
    pub(super) fn get(&self, name: &str) -> Option<&Bound> {
        self.values.get(name)
    }
}

const OBJECT_TYPE: &str = "map[string]interface {}";

fn bound(token: Token, text: impl Into<String>) -> Result<Bound, String> {
    Ok(Bound { token, text: text.into() })
}

/// A value other than a number, which has its own error.
fn plain(value: Value) -> Result<Bound, String> {
    match value {
        Value::Null => Err("unable to bind parameter with type <nil>".into()),
        Value::Array(_) => Err("unable to bind parameter with type []interface {}".into()),
        Value::Bool(flag) => bound(if flag { Token::True } else { Token::False }, ""),
        Value::String(text) => bound(Token::String, text),
        Value::Number(number) => number_token(&number),
        Value::Object(members) => typed(members),
    }
}

/// `{"kind": value}`.
fn typed(members: Map<String, Value>) -> Result<Bound, String> {
    let mut members = members.into_iter();
    let (Some((kind, value)), None) = (members.next(), members.next()) else {
        return Err("bound object parameter value must have exactly one entry".into());
    };
    let is_float = |number: &Number| number.as_str().contains('.');
    match (kind.as_str(), value) {
        ("ident" | "identifier", Value::String(text)) => bound(Token::Ident, text),
        ("ident" | "identifier", _) => Err("identifier must be a string value".into()),
        ("regex", Value::String(text)) => bound(Token::Regex, text),
        ("regex", _) => Err("regex literal must be a string value".into()),
        ("string", Value::String(text)) => bound(Token::String, text),
        ("string", _) => Err("string literal must be a string value".into()),
        ("float" | "number", Value::Number(number)) => {
            number_token(&number).map(|value| Bound { token: Token::Number, ..value })
        }
        ("float" | "number", _) => Err("number literal must be a float value".into()),
        ("int" | "integer", Value::Number(number)) if !is_float(&number) => number_token(&number),
        ("int" | "integer", _) => Err("integer literal must be an integer value".into()),
        ("duration", Value::String(text)) => bound(Token::Duration, text),
        ("duration", Value::Number(number)) if !is_float(&number) => {
            let ns = parse_int(number.as_str())?;
            bound(Token::Duration, duration::format(ns))
        }
        ("duration", _) => Err("duration literal must be a string or integer value".into()),
        (kind, _) => Err(format!("unknown bind object type: {kind}")),
    }
}

/// With a point a float, else a signed integer.
fn number_token(number: &Number) -> Result<Bound, String> {
    let text = number.as_str();
    if !text.contains('.') {
        return bound(Token::Integer, parse_int(text)?.to_string());
    }
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => bound(Token::Number, value.to_string()),
        _ => Err(format!("strconv.ParseFloat: parsing {:?}: value out of range", text.replace("e+", "e"))),
    }
}

fn parse_int(text: &str) -> Result<i64, String> {
    // The JSON reader writes exponents its own way: back to the usual one.
    let text = &text.replace("e+", "e");
    text.parse().map_err(|_| {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let why = if digits.bytes().all(|b| b.is_ascii_digit()) { "value out of range" } else { "invalid syntax" };
        format!("strconv.ParseInt: parsing {text:?}: {why}")
    })
}

#[cfg(test)]
mod tests {
    use super::Params;

    /// What the text refuses with, or what it binds `p` to.
    fn check(json: &str, expected: &str) {
        let found = match Params::from_json(json) {
            Err(error) => error.to_string(),
            Ok(params) => params.get("p").map_or("-".into(), |p| format!("{:?} {}", p.token, p.text)),
        };
        assert_eq!(found, expected, "{json}");
    }

    #[test]
    fn plain_values_are_literals() {
        check("", "-");
        check("null", "-");
        check("{}", "-");
        check(r#"{"p":-5}"#, "Integer -5");
        check(r#"{"p":2.50} ignored"#, "Number 2.5");
        check(r#"{"p":1.0e40}"#, "Number 10000000000000000000000000000000000000000");
        check(r#"{"p":"it's"}"#, "String it's");
        check(r#"{"p":true}"#, "True ");
        check(r#"{"p":null}"#, "BoundParam unable to bind parameter with type <nil>");
        check(r#"{"p":[1]}"#, "BoundParam unable to bind parameter with type []interface {}");
    }

    #[test]
    fn objects_name_their_kind() {
        check(r#"{"p":{"identifier":"a b"}}"#, "Ident a b");
        check(r#"{"p":{"ident":3}}"#, "BoundParam identifier must be a string value");
        check(r#"{"p":{"regex":"a/b"}}"#, "Regex a/b");
        check(r#"{"p":{"float":3}}"#, "Number 3");
        check(r#"{"p":{"float":1e9}}"#, r#"BoundParam strconv.ParseInt: parsing "1e9": invalid syntax"#);
        check(r#"{"p":{"integer":3.0}}"#, "BoundParam integer literal must be an integer value");
        check(r#"{"p":{"duration":"90m"}}"#, "Duration 90m");
        check(r#"{"p":{"duration":1500}}"#, "Duration 1500ns");
        check(r#"{"p":{"duration":-5000}}"#, "Duration -5u");
        check(r#"{"p":{"duration":1.5}}"#, "BoundParam duration literal must be a string or integer value");
        check(r#"{"p":{"foo":1}}"#, "BoundParam unknown bind object type: foo");
        check(r#"{"p":{}}"#, "BoundParam bound object parameter value must have exactly one entry");
        check(r#"{"p":{"int":1,"string":"a"}}"#, "BoundParam bound object parameter value must have exactly one entry");
    }

    #[test]
    fn numbers_out_of_range_refuse_the_request() {
        let text = r#"error parsing json value: strconv.ParseInt: parsing "9223372036854775808": value out of range"#;
        check(r#"{"p":9223372036854775808}"#, text);
        check(r#"{"p":3e0}"#, r#"error parsing json value: strconv.ParseInt: parsing "3e0": invalid syntax"#);
        let text = r#"error parsing json value: strconv.ParseFloat: parsing "1.0e400": value out of range"#;
        check(r#"{"p":1.0e400}"#, text);
    }

    #[test]
    fn what_is_no_object_is_named() {
        let wrong = |kind: &str| {
            format!(
                "error parsing query parameters: json: cannot unmarshal {kind} into Go value of type \
                 map[string]interface {{}}"
            )
        };
        check("[1]", &wrong("array"));
        check("\"x\"", &wrong("string"));
        check("5", &wrong("number"));
        check("true", &wrong("bool"));
    }
}
