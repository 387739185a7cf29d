//! `multipart/form-data` bodies, as a whole: the `influx` tools send query files this way.

/// One part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// `name` of its Content-Disposition.
    pub name: Vec<u8>,
    /// It has a `filename`.
    pub is_file: bool,
    /// Its bytes.
    pub data: Vec<u8>,
}

/// The boundary that a Content-Type names, if it is multipart/form-data.
pub fn boundary(content_type: &str) -> Option<String> {
    let (media_type, parameters) = content_type.split_once(';')?;
    if !media_type.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    parameter(parameters, "boundary").filter(|boundary| !boundary.is_empty())
}

/// The value of one `name=value` or `name="value"` among parameters separated by semicolons.
fn parameter(text: &str, name: &str) -> Option<String> {
    let mut rest = text;
    while !rest.is_empty() {
        let (key, behind) = rest.split_once('=')?;
        let (value, next) = value(behind.trim_start());
        if key.trim_matches(|c: char| c == ';' || c.is_ascii_whitespace()).eq_ignore_ascii_case(name) {
            return Some(value);
        }
        rest = next;
    }
    None
}

/// A token or quoted string, and what follows it.
fn value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(';').unwrap_or(text.len());
        return (text[..end].trim_end().to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            _ => value.push(character),
        }
    }
    (value, "")
}

/// The parts of `body`; `None` when it does not have the shape.
pub fn parse(body: &[u8], boundary: &str) -> Option<Vec<Part>> {
    let delimiter = format!("--{boundary}");
    let mut rest = match body.strip_prefix(delimiter.as_bytes()) {
        Some(rest) => rest,
        None => {
            let at = memchr::memmem::find(body, format!("\r\n{delimiter}").as_bytes())?;
            &body[at + 2 + delimiter.len()..]
        }
    };
    let separator = format!("\r\n{delimiter}");
    let mut parts = Vec::new();
    loop {
        if rest.starts_with(b"--") {
            return Some(parts);
        }
        let behind = skip_blanks(rest).strip_prefix(b"\r\n")?;
        let end = memchr::memmem::find(behind, separator.as_bytes())?;
        parts.push(part(&behind[..end])?);
        rest = &behind[end + separator.len()..];
    }
}

/// Leaves out blanks that a sender may pad a delimiter line with.
fn skip_blanks(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    &text[blanks..]
}

fn part(text: &[u8]) -> Option<Part> {
    let (head, data) = match text.strip_prefix(b"\r\n") {
        Some(data) => (&[][..], data),
        None => {
            let at = memchr::memmem::find(text, b"\r\n\r\n")?;
            (&text[..at], &text[at + 4..])
        }
    };
    let mut part = Part { data: data.to_vec(), ..Part::default() };
    for line in String::from_utf8_lossy(head).split("\r\n") {
        let Some((name, value)) = line.split_once(':') else { continue };
        let Some((kind, parameters)) = value.split_once(';') else { continue };
        if name.eq_ignore_ascii_case("content-disposition") && kind.trim().eq_ignore_ascii_case("form-data") {
            part.name = parameter(parameters, "name").unwrap_or_default().into_bytes();
            part.is_file = parameter(parameters, "filename").is_some_and(|name| !name.is_empty());
        }
    }
    Some(part)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_and_files_are_told_apart() {
        let body = concat!(
            "--B\r\nContent-Disposition: form-data; name=\"db\"\r\n\r\nd\r\n",
            "--B\r\nContent-Disposition: form-data; filename=\"q; name=x\"; name=q\r\nContent-Type: text/plain\r\n\r\n",
            "SELECT 1\r\n--\r\n--B--\r\n"
        );
        let parts = parse(body.as_bytes(), "B").unwrap();
        assert_eq!(parts[0], Part { name: b"db".to_vec(), is_file: false, data: b"d".to_vec() });
        assert_eq!(parts[1], Part { name: b"q".to_vec(), is_file: true, data: b"SELECT 1\r\n--".to_vec() });
        assert_eq!(parts.len(), 2);
    }

    #[test]
    fn what_has_not_the_shape_is_refused() {
        assert_eq!(parse(b"--XX\r\nnot multipart", "ZZ"), None);
        assert_eq!(parse(b"--ZZ\r\nContent-Disposition: form-data; name=q\r\n\r\nx", "ZZ"), None);
        assert_eq!(parse(b"--ZZ--", "ZZ"), Some(vec![]));
    }

    #[test]
    fn boundaries_are_found_quoted_or_not() {
        assert_eq!(boundary("multipart/form-data; boundary=XB").as_deref(), Some("XB"));
        assert_eq!(boundary("Multipart/Form-Data; charset=x; boundary=\"a b\"").as_deref(), Some("a b"));
        assert_eq!(boundary("multipart/form-data"), None);
        assert_eq!(boundary("multipart/mixed; boundary=x"), None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(body in "(--B|\r\n|;|name=|\"|[a-z:]|Content-Disposition: form-data){0,30}") {
            parse(body.as_bytes(), "B");
            boundary(&body);
            parameter(&body, "name");
        }
    }
}
