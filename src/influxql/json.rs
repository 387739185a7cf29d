//! Why a JSON text cannot be read, in the words clients of stock know. Reads no values: serde_json does that.

/// The complaint about `text`, which is not JSON up to the end of its first value.
pub(super) fn complaint(text: &str) -> String {
    let mut reader = Reader { bytes: text.as_bytes(), next: 0 };
    reader.space();
    if reader.next == text.len() {
        return "EOF".into();
    }
    match reader.value(0) {
        Err(Fault::Ended) => "unexpected EOF".into(),
        Err(Fault::Found(byte, place)) => format!("invalid character {} {place}", quoted(byte)),
        // Our own reader takes what the other refused: only deep nesting is left.
        Ok(()) | Err(Fault::Deep) => "exceeded max depth".into(),
    }
}

/// Deepest nesting the complaint is looked for in.
const DEPTH_MAX: usize = 200;

enum Fault {
    Ended,
    Deep,
    Found(u8, &'static str),
}

struct Reader<'a> {
    bytes: &'a [u8],
    next: usize,
}

const VALUE: &str = "looking for beginning of value";
const KEY: &str = "looking for beginning of object key string";

impl Reader<'_> {
    fn peek(&self) -> Result<u8, Fault> {
        self.bytes.get(self.next).copied().ok_or(Fault::Ended)
    }

    fn space(&mut self) {
        while let Ok(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.next += 1;
        }
    }

    /// Skips space and looks at what comes then.
    fn peek_word(&mut self) -> Result<u8, Fault> {
        self.space();
        self.peek()
    }

    /// Takes the next byte if `fits`, else complains that it is not right at `place`.
    fn take(&mut self, fits: impl Fn(u8) -> bool, place: &'static str) -> Result<u8, Fault> {
        let byte = self.peek()?;
        if !fits(byte) {
            return Err(Fault::Found(byte, place));
        }
        self.next += 1;
        Ok(byte)
    }

    fn value(&mut self, depth: usize) -> Result<(), Fault> {
        if depth > DEPTH_MAX {
            return Err(Fault::Deep);
        }
        match self.peek_word()? {
            b'{' => self.members(depth),
            b'[' => self.elements(depth),
            b'"' => self.string(),
            b'-' | b'0'..=b'9' => self.number(),
            b't' => self.word(&TRUE),
            b'f' => self.word(&FALSE),
            b'n' => self.word(&NULL),
            byte => Err(Fault::Found(byte, VALUE)),
        }
    }

    fn members(&mut self, depth: usize) -> Result<(), Fault> {
        self.next += 1;
        if self.peek_word()? == b'}' {
            self.next += 1;
            return Ok(());
        }
        loop {
            if self.peek_word()? != b'"' {
                return Err(Fault::Found(self.peek()?, KEY));
            }
            self.string()?;
            self.space();
            self.take(|b| b == b':', "after object key")?;
            self.value(depth + 1)?;
            self.space();
            if self.take(|b| b == b',' || b == b'}', "after object key:value pair")? == b'}' {
                return Ok(());
            }
        }
    }

    fn elements(&mut self, depth: usize) -> Result<(), Fault> {
        self.next += 1;
        if self.peek_word()? == b']' {
            self.next += 1;
            return Ok(());
        }
        loop {
            self.value(depth + 1)?;
            self.space();
            if self.take(|b| b == b',' || b == b']', "after array element")? == b']' {
                return Ok(());
            }
        }
    }

    fn string(&mut self) -> Result<(), Fault> {
        self.next += 1;
        loop {
            match self.take(|b| b >= b' ', "in string literal")? {
                b'"' => return Ok(()),
                b'\\' => self.escape()?,
                _ => {}
            }
        }
    }

    fn escape(&mut self) -> Result<(), Fault> {
        if self.take(|b| b"\"\\/bfnrtu".contains(&b), "in string escape code")? == b'u' {
            for _ in 0..4 {
                self.take(|b| b.is_ascii_hexdigit(), "in \\u hexadecimal character escape")?;
            }
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), Fault> {
        if self.peek()? == b'-' {
            self.next += 1;
        }
        if self.take(|b| b.is_ascii_digit(), "in numeric literal")? != b'0' {
            self.digits();
        }
        if self.peek().is_ok_and(|b| b == b'.') {
            self.next += 1;
            self.take(|b| b.is_ascii_digit(), "after decimal point in numeric literal")?;
            self.digits();
        }
        if self.peek().is_ok_and(|b| b == b'e' || b == b'E') {
            self.next += 1;
            if self.peek().is_ok_and(|b| b == b'+' || b == b'-') {
                self.next += 1;
            }
            self.take(|b| b.is_ascii_digit(), "in exponent of numeric literal")?;
            self.digits();
        }
        Ok(())
    }

    fn digits(&mut self) {
        while self.peek().is_ok_and(|b| b.is_ascii_digit()) {
            self.next += 1;
        }
    }

    fn word(&mut self, letters: &[(u8, &'static str)]) -> Result<(), Fault> {
        self.next += 1;
        letters.iter().try_for_each(|(letter, place)| self.take(|b| b == *letter, place).map(drop))
    }
}

const TRUE: [(u8, &str); 3] = [
    (b'r', "in literal true (expecting 'r')"),
    (b'u', "in literal true (expecting 'u')"),
    (b'e', "in literal true (expecting 'e')"),
];
const FALSE: [(u8, &str); 4] = [
    (b'a', "in literal false (expecting 'a')"),
    (b'l', "in literal false (expecting 'l')"),
    (b's', "in literal false (expecting 's')"),
    (b'e', "in literal false (expecting 'e')"),
];
const NULL: [(u8, &str); 3] = [
    (b'u', "in literal null (expecting 'u')"),
    (b'l', "in literal null (expecting 'l')"),
    (b'l', "in literal null (expecting 'l')"),
];

/// The byte as Go quotes a character.
fn quoted(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".into(),
        b'"' => "'\"'".into(),
        _ => format!("'{}'", char::from(byte).escape_debug()),
    }
}

#[cfg(test)]
mod tests {
    use super::complaint;

    #[test]
    fn complaints_are_those_of_stock() {
        for (text, expected) in [
            (" ", "EOF"),
            ("{\"h\":", "unexpected EOF"),
            ("x", "invalid character 'x' looking for beginning of value"),
            ("{a:1}", "invalid character 'a' looking for beginning of object key string"),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            ("{\"a\":1 2}", "invalid character '2' after object key:value pair"),
            ("{\"a\":01}", "invalid character '1' after object key:value pair"),
            ("{\"a\":1,}", "invalid character '}' looking for beginning of object key string"),
            ("{\"a\":[1,]}", "invalid character ']' looking for beginning of value"),
            ("{\"a\":[1 2]}", "invalid character '2' after array element"),
            ("{\"a\":tru}", "invalid character '}' in literal true (expecting 'e')"),
            ("{\"a\":-}", "invalid character '}' in numeric literal"),
            ("{\"a\":1.}", "invalid character '}' after decimal point in numeric literal"),
            ("{\"a\":5e}", "invalid character '}' in exponent of numeric literal"),
            ("{\"a\":\"\\q\"}", "invalid character 'q' in string escape code"),
            ("{\"a\":\"x\ny\"}", "invalid character '\\n' in string literal"),
            ("{\"a\":\"\\u12G\"}", "invalid character 'G' in \\u hexadecimal character escape"),
        ] {
            assert_eq!(complaint(text), expected, "{text}");
        }
    }

    #[test]
    fn deep_nesting_ends_without_recursion_to_the_bottom() {
        assert_eq!(complaint(&"[".repeat(100_000)), "exceeded max depth");
    }
}
