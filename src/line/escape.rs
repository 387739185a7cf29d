//! Backslashes of line protocol: which of them vanish, place by place.
//!
//! A backslash counts only right before a byte that the place escapes; every other one is data. A backslash before an
//! escaping backslash is data too: the pair is judged by its second byte alone.

/// Bytes a backslash escapes in a measurement or field name.
pub const NAME: &[u8] = b",\" =";
/// Bytes a backslash escapes in a string value.
pub const STRING: &[u8] = b"\"\\";

/// Whether [`unescape_name`] would change `text`.
pub fn is_escaped_name(text: &[u8]) -> bool {
    text.windows(2).any(|pair| pair[0] == b'\\' && NAME.contains(&pair[1]))
}

/// Appends a measurement or field name without its escapes.
pub fn unescape_name(text: &[u8], out: &mut Vec<u8>) {
    unescape(text, NAME, out);
}

/// Appends a string value without its escapes; `text` is what stands between the quotes.
pub fn unescape_string(text: &[u8], out: &mut Vec<u8>) {
    unescape(text, STRING, out);
}

/// Drops each backslash right before a byte of `special` and takes that byte as data.
fn unescape(text: &[u8], special: &[u8], out: &mut Vec<u8>) {
    let mut bytes = text.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match bytes.peek() {
            Some(next) if byte == b'\\' && special.contains(next) => {
                out.push(*next);
                bytes.next();
            }
            _ => out.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(special: &[u8], text: &str, expected: &str) {
        let mut out = Vec::new();
        unescape(text.as_bytes(), special, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn names_lose_backslashes_before_what_they_escape_only() {
        check(NAME, r#"a\ b\,c\=d\"e"#, r#"a b,c=d"e"#);
        check(NAME, r"e\x\\ y\", r"e\x\ y\");
        assert!(is_escaped_name(br"a\=") && !is_escaped_name(br"a\x="));
    }

    #[test]
    fn strings_unescape_quotes_and_backslashes() {
        check(STRING, r#"a\"b\\\"c\n\\"#, r#"a"b\"c\n\"#);
    }
}
