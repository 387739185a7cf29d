//! `a=b&c=d` with percent escapes, by Go's rules: a pair that cannot be decoded, or that holds a semicolon, is left
//! out and the others count. A bad escape in one parameter must not lose a client the rest.

/// Parameters in the order they were sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters(Vec<(Vec<u8>, Vec<u8>)>);

impl Parameters {
    /// Parses the query of an address or a form body.
    pub fn parse(text: &[u8]) -> Parameters {
        let mut all = Parameters::default();
        for pair in text.split(|byte| *byte == b'&') {
            if pair.is_empty() || memchr::memchr(b';', pair).is_some() {
                continue;
            }
            let (key, value) = match memchr::memchr(b'=', pair) {
                Some(at) => (&pair[..at], &pair[at + 1..]),
                None => (pair, &[][..]),
            };
            let mut decoded = (Vec::with_capacity(key.len()), Vec::with_capacity(value.len()));
            if percent_decode(key, true, &mut decoded.0) && percent_decode(value, true, &mut decoded.1) {
                all.0.push(decoded);
            }
        }
        all
    }

    /// Adds a parameter behind the others.
    pub fn push(&mut self, key: &[u8], value: &[u8]) {
        self.0.push((key.to_vec(), value.to_vec()));
    }

    /// Adds the parameters of `later` behind these: the first of a name counts.
    pub fn append(&mut self, later: Parameters) {
        self.0.extend(later.0);
    }

    /// The first value of `name`, `None` when it is not there.
    pub fn find(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|(key, _)| key == name.as_bytes()).map(|(_, value)| &value[..])
    }

    /// The first value of `name` as text, empty when it is not there; bytes that are no UTF-8 become U+FFFD.
    pub fn text(&self, name: &str) -> String {
        String::from_utf8_lossy(self.find(name).unwrap_or_default()).into_owned()
    }

    /// Whether `name` is literally `true`.
    pub fn is_true(&self, name: &str) -> bool {
        self.find(name) == Some(b"true")
    }
}

/// Appends `text` decoded; false when an escape is malformed. `plus` is a space in queries, itself in paths.
pub fn percent_decode(text: &[u8], plus: bool, out: &mut Vec<u8>) -> bool {
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'%' => {
                let (Some(high), Some(low)) = (hex(text.get(at + 1)), hex(text.get(at + 2))) else { return false };
                out.push(high << 4 | low);
                at += 3;
            }
            b'+' if plus => {
                out.push(b' ');
                at += 1;
            }
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
    true
}

fn hex(digit: Option<&u8>) -> Option<u8> {
    match *digit? {
        digit @ b'0'..=b'9' => Some(digit - b'0'),
        digit @ b'a'..=b'f' => Some(digit - b'a' + 10),
        digit @ b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_of_a_repeated_parameter_counts() {
        let parameters = Parameters::parse(b"a=1&b&a=2&&c=%2B+x=y");
        assert_eq!(parameters.find("a"), Some(&b"1"[..]));
        assert_eq!(parameters.find("b"), Some(&b""[..]));
        assert_eq!(parameters.find("d"), None);
        assert_eq!(parameters.text("c"), "+ x=y");
    }

    #[test]
    fn a_malformed_pair_is_left_out_alone() {
        let parameters = Parameters::parse(b"a=%zz&b=1;2&c=%4&d=%E2%82%AC");
        assert_eq!((parameters.find("a"), parameters.find("b"), parameters.find("c")), (None, None, None));
        assert_eq!(parameters.text("d"), "\u{20ac}");
    }

    proptest! {
        #[test]
        fn well_formed_text_reads_as_form_urlencoded_reads_it(text in "[a-zA-Z0-9=&+]{0,40}") {
            let expected: Vec<(String, String)> = form_urlencoded::parse(text.as_bytes()).into_owned().collect();
            let read: Vec<(String, String)> = Parameters::parse(text.as_bytes()).0.into_iter()
                .map(|(key, value)| (String::from_utf8(key).unwrap(), String::from_utf8(value).unwrap())).collect();
            prop_assert_eq!(read, expected);
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(text in proptest::collection::vec(any::<u8>(), 0..100)) {
            Parameters::parse(&text);
        }
    }
}
