//! Regular expressions as clients of stock write them (RE2 syntax), run by the `regex` crate on bytes.
//!
//! In:    the text between the slashes.
//! Out:   a compiled [`Regex`], or the complaint in stock's words.
//!
//! The two dialects differ, so the text is read here and written anew: `\d \w \s \b` are ASCII, `\Q..\E` and octal
//! escapes are spelled out, a lone `{` or a `[` inside a class is an ordinary character, and what the crate takes
//! beyond RE2 (class arithmetic, flags `x`, `u`, `R`, stacked repetitions) is refused.

use std::rc::Rc;

use crate::influxql::ast::Regex;

/// Compiles `text`; the error is the whole complaint, `error parsing regexp: ...`.
pub fn compile(text: &str) -> Result<Regex, String> {
    let mut translation = Translation { text, rest: text, out: String::with_capacity(text.len()), depth: 0 };
    translation.run().map_err(|fault| format!("error parsing regexp: {}: `{}`", fault.0, fault.1))?;
    match regex::bytes::RegexBuilder::new(&translation.out).size_limit(COMPILED_BYTES_MAX).build() {
        Ok(compiled) => Ok(Regex { text: text.to_owned(), compiled: Rc::new(compiled) }),
        Err(regex::Error::CompiledTooBig(_)) => Err(format!("error parsing regexp: expression too large: `{text}`")),
        // What the translation lets through and the crate does not know: names of Unicode classes.
        Err(_) => Err(format!("error parsing regexp: invalid character class range: `{text}`")),
    }
}

/// Memory of one compiled expression; the crate's own default.
const COMPILED_BYTES_MAX: usize = 10 << 20;
/// Open groups; the crate's own default is a little more.
const DEPTH_MAX: usize = 200;
/// Largest count of a repetition in RE2.
const REPEAT_MAX: u32 = 1000;

/// Code and the piece of the expression it is about.
struct Fault(&'static str, String);

type Checked<T> = Result<T, Fault>;

struct Translation<'a> {
    text: &'a str,
    rest: &'a str,
    out: String,
    depth: usize,
}

impl<'a> Translation<'a> {
    fn run(&mut self) -> Checked<()> {
        // Whether a repetition has something to repeat, and where the repetition just before began.
        let (mut operand, mut last_repeat) = (false, None);
        while let Some(c) = self.rest.chars().next() {
            let before = self.rest;
            let mut repeat = None;
            match c {
                '(' => {
                    self.open_group()?;
                    // Behind a bare `(?i)` RE2 would repeat what stands before it; the crate cannot, so neither do we.
                    operand = false;
                }
                ')' => {
                    self.depth = self.depth.checked_sub(1).ok_or_else(|| self.fault("unexpected )", self.text))?;
                    self.copy(1);
                    operand = true;
                }
                '|' => {
                    self.copy(1);
                    operand = false;
                }
                '*' | '+' | '?' => {
                    self.copy(1);
                    self.end_repeat(before, operand, last_repeat)?;
                    repeat = Some(before);
                }
                '{' => match repeat_bounds(before) {
                    None => {
                        self.literal('{');
                        self.skip(1);
                        operand = true;
                    }
                    Some((min, max, length)) => {
                        if min > REPEAT_MAX || max.is_some_and(|max| max > REPEAT_MAX || max < min) {
                            return Err(self.fault("invalid repeat count", &before[..length]));
                        }
                        self.copy(length);
                        self.end_repeat(before, operand, last_repeat)?;
                        repeat = Some(before);
                    }
                },
                '[' => {
                    self.class()?;
                    operand = true;
                }
                '\\' => {
                    self.escape()?;
                    operand = true;
                }
                '^' | '$' | '.' => {
                    self.copy(1);
                    operand = true;
                }
                c => {
                    self.literal(c);
                    self.skip(c.len_utf8());
                    operand = true;
                }
            }
            last_repeat = repeat;
        }
        if self.depth > 0 { Err(self.fault("missing closing )", self.text)) } else { Ok(()) }
    }

    fn fault(&self, code: &'static str, piece: &str) -> Fault {
        Fault(code, piece.to_owned())
    }

    /// The part of `from` that has been taken since.
    fn taken(&self, from: &'a str) -> &'a str {
        &from[..from.len() - self.rest.len()]
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = &self.rest[bytes..];
    }

    fn copy(&mut self, bytes: usize) {
        self.out.push_str(&self.rest[..bytes]);
        self.skip(bytes);
    }

    fn literal(&mut self, c: char) {
        if c.is_ascii_alphanumeric() || !c.is_ascii() {
            self.out.push(c);
        } else {
            self.out.push_str(&format!("\\x{{{:x}}}", u32::from(c)));
        }
    }

    /// Behind `*`, `+`, `?`, `{n}`: takes the lazy mark and checks that there is something to repeat.
    fn end_repeat(&mut self, before: &'a str, operand: bool, last_repeat: Option<&'a str>) -> Checked<()> {
        if self.rest.starts_with('?') {
            self.copy(1);
        }
        if let Some(first) = last_repeat {
            return Err(self.fault("invalid nested repetition operator", self.taken(first)));
        }
        if !operand {
            return Err(self.fault("missing argument to repetition operator", self.taken(before)));
        }
        Ok(())
    }

    /// `(`, `(?:`, `(?P<name>`, `(?flags)`, `(?flags:`.
    fn open_group(&mut self) -> Checked<()> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.fault("expression nests too deeply", self.text));
        }
        if !self.rest.starts_with("(?") {
            self.copy(1);
            return Ok(());
        }
        for open in ["(?P<", "(?<"] {
            if let Some(tail) = self.rest.strip_prefix(open) {
                return self.open_named(open.len(), tail);
            }
        }
        self.open_flags()
    }

    fn open_named(&mut self, open: usize, tail: &'a str) -> Checked<()> {
        let Some(end) = tail.find('>') else {
            return Err(self.fault("invalid named capture", self.rest));
        };
        let name = &tail[..end];
        if name.is_empty() || !name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric()) {
            return Err(self.fault("invalid named capture", &self.rest[..open + end + 1]));
        }
        // Nothing asks for captures, and the other dialect is stricter about names.
        self.out.push('(');
        self.skip(open + end + 1);
        Ok(())
    }

    fn open_flags(&mut self) -> Checked<()> {
        let before = self.rest;
        self.skip(2);
        let (mut negated, mut saw_flag) = (false, false);
        while let Some(c) = self.rest.chars().next() {
            self.skip(c.len_utf8());
            match c {
                'i' | 'm' | 's' | 'U' => saw_flag = true,
                '-' if !negated => (negated, saw_flag) = (true, false),
                ':' | ')' if saw_flag || !negated => {
                    self.depth -= usize::from(c == ')');
                    // `(?)` is a group without flags: it does nothing.
                    let flags = self.taken(before);
                    self.out.push_str(if flags == "(?)" { "" } else { flags });
                    return Ok(());
                }
                _ => return Err(self.fault("invalid or unsupported Perl syntax", self.taken(before))),
            }
        }
        Err(self.fault("invalid or unsupported Perl syntax", before))
    }

    /// A backslash outside a class.
    fn escape(&mut self) -> Checked<()> {
        let kind = self.rest[1..].chars().next();
        let spelled = match kind {
            Some('A') => "\\A",
            Some('z') => "\\z",
            Some('b') => "(?-u:\\b)",
            // ASCII like the other: between the bytes of a letter beyond ASCII it may hold, which no answer shows.
            Some('B') => "(?-u:\\B)",
            Some('Q') => return self.quoted(),
            Some('p' | 'P') => return self.unicode_class(),
            Some('d' | 'D' | 's' | 'S' | 'w' | 'W') => {
                self.perl_class();
                return Ok(());
            }
            Some('C') => return Err(self.fault("invalid escape sequence", "\\C")),
            _ => {
                let c = self.escaped_char()?;
                self.literal(c);
                return Ok(());
            }
        };
        self.out.push_str(spelled);
        self.skip(2);
        Ok(())
    }

    /// `\Q...\E`.
    fn quoted(&mut self) -> Checked<()> {
        self.skip(2);
        let end = self.rest.find("\\E").unwrap_or(self.rest.len());
        let plain = &self.rest[..end];
        plain.chars().for_each(|c| self.literal(c));
        self.skip((end + 2).min(self.rest.len()));
        Ok(())
    }

    /// `\d` and the like, inside or outside a class.
    fn perl_class(&mut self) {
        self.out.push_str(match self.rest.as_bytes()[1] {
            b'd' => "[0-9]",
            b'D' => "[^0-9]",
            b's' => "[\\t\\n\\x0c\\r\\x20]",
            b'S' => "[^\\t\\n\\x0c\\r\\x20]",
            b'w' => "[0-9A-Za-z_]",
            _ => "[^0-9A-Za-z_]",
        });
        self.skip(2);
    }

    /// `\pL`, `\p{Greek}`, `\p{^Greek}`, `\P...`.
    fn unicode_class(&mut self) -> Checked<()> {
        let before = self.rest;
        let mut negated = before.starts_with("\\P");
        self.skip(2);
        let name = match self.rest.chars().next() {
            None => return Err(self.fault("invalid character class range", before)),
            Some('{') => {
                let Some(end) = self.rest.find('}') else {
                    return Err(self.fault("invalid character class range", before));
                };
                let name = &self.rest[1..end];
                self.skip(end + 1);
                name
            }
            Some(letter) => {
                let name = &self.rest[..letter.len_utf8()];
                self.skip(letter.len_utf8());
                name
            }
        };
        let plain = name.strip_prefix('^').unwrap_or(name);
        negated ^= plain.len() < name.len();
        let known = !plain.is_empty() && plain.chars().all(|c| c == '_' || c.is_ascii_alphanumeric());
        let piece = format!("\\{}{{{plain}}}", if negated { 'P' } else { 'p' });
        if !known || regex::bytes::Regex::new(&piece).is_err() {
            return Err(self.fault("invalid character class range", self.taken(before)));
        }
        self.out.push_str(&piece);
        Ok(())
    }

    /// The character an escape stands for; the backslash is next.
    fn escaped_char(&mut self) -> Checked<char> {
        let before = self.rest;
        self.skip(1);
        let Some(c) = self.rest.chars().next() else {
            return Err(self.fault("trailing backslash at end of expression", ""));
        };
        self.skip(c.len_utf8());
        let code = match c {
            '0'..='7' => self.octal(c),
            'x' => self.hex(),
            'a' => Some(7),
            'f' => Some(12),
            'n' => Some(10),
            'r' => Some(13),
            't' => Some(9),
            'v' => Some(11),
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => Some(u32::from(c)),
            _ => None,
        };
        code.and_then(char::from_u32).ok_or_else(|| self.fault("invalid escape sequence", self.taken(before)))
    }

    /// Up to three octal digits; one alone, other than 0, would be a back reference, which RE2 has not.
    fn octal(&mut self, first: char) -> Option<u32> {
        let digits = self.rest.bytes().take(2).take_while(|b| (b'0'..=b'7').contains(b)).count();
        if first != '0' && digits == 0 {
            return None;
        }
        let code = self.rest.bytes().take(digits).fold(u32::from(first) - 48, |code, b| code * 8 + u32::from(b - b'0'));
        self.skip(digits);
        Some(code)
    }

    /// `\x7F` or `\x{10FFFF}`; the `x` is taken.
    fn hex(&mut self) -> Option<u32> {
        let first = self.rest.chars().next()?;
        self.skip(first.len_utf8());
        if first != '{' {
            let second = self.rest.chars().next()?;
            self.skip(second.len_utf8());
            return Some(first.to_digit(16)? * 16 + second.to_digit(16)?);
        }
        let mut code = 0;
        loop {
            let c = self.rest.chars().next()?;
            self.skip(c.len_utf8());
            if c == '}' {
                return Some(code);
            }
            code = code * 16 + c.to_digit(16)?;
            if code > u32::from(char::MAX) {
                return None;
            }
        }
    }

    /// `[...]`.
    fn class(&mut self) -> Checked<()> {
        let whole = self.rest;
        self.copy(1);
        if self.rest.starts_with('^') {
            self.copy(1);
        }
        let mut first = true;
        while first || !self.rest.starts_with(']') {
            first = false;
            let rest = self.rest;
            if rest.starts_with("[:") && rest.contains(":]") {
                self.posix_class()?;
            } else if rest.starts_with("\\p") || rest.starts_with("\\P") {
                self.unicode_class()?;
            } else if rest.strip_prefix('\\').is_some_and(|rest| rest.starts_with(['d', 'D', 's', 'S', 'w', 'W'])) {
                self.perl_class();
            } else {
                self.class_range(whole)?;
            }
        }
        self.copy(1);
        Ok(())
    }

    fn posix_class(&mut self) -> Checked<()> {
        const NAMES: [&str; 14] = [
            "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper",
            "word", "xdigit",
        ];
        let end = self.rest.find(":]").map_or(self.rest.len(), |end| end + 2);
        let name = self.rest[..end].trim_start_matches("[:").trim_end_matches(":]");
        if !NAMES.contains(&name.strip_prefix('^').unwrap_or(name)) {
            return Err(self.fault("invalid character class range", &self.rest[..end]));
        }
        self.copy(end);
        Ok(())
    }

    fn class_range(&mut self, whole: &'a str) -> Checked<()> {
        let before = self.rest;
        let low = self.class_char(whole)?;
        self.literal(low);
        if self.rest.starts_with('-') && self.rest.len() > 1 && !self.rest.starts_with("-]") {
            self.skip(1);
            let high = self.class_char(whole)?;
            if high < low {
                return Err(self.fault("invalid character class range", self.taken(before)));
            }
            self.out.push('-');
            self.literal(high);
        }
        Ok(())
    }

    fn class_char(&mut self, whole: &'a str) -> Checked<char> {
        match self.rest.chars().next() {
            None => Err(self.fault("missing closing ]", whole)),
            Some('\\') => self.escaped_char(),
            Some(c) => {
                self.skip(c.len_utf8());
                Ok(c)
            }
        }
    }
}

/// Bounds and length of a `{n}`, `{n,}` or `{n,m}` that `text` begins with.
fn repeat_bounds(text: &str) -> Option<(u32, Option<u32>, usize)> {
    let length = text.find('}')? + 1;
    let inner = &text[1..length - 1];
    let number = |digits: &str| {
        let plain = digits.bytes().all(|b| b.is_ascii_digit()) && !(digits.len() > 1 && digits.starts_with('0'));
        // More digits than any count that could be right: too large, which is what the caller then says.
        plain.then(|| if digits.len() > 8 { u32::MAX } else { digits.parse().unwrap_or(u32::MAX) })
    };
    match inner.split_once(',') {
        _ if inner.is_empty() || inner.starts_with(',') => None,
        None => number(inner).map(|count| (count, Some(count), length)),
        Some((min, "")) => number(min).map(|min| (min, None, length)),
        Some((min, max)) => Some((number(min)?, Some(number(max)?), length)),
    }
}

#[cfg(test)]
mod tests {
    use super::compile;

    fn complaint(text: &str) -> String {
        compile(text).map_or_else(|error| error, |_| "fine".into())
    }

    #[test]
    fn complaints_are_those_of_stock() {
        for (text, expected) in [
            ("[a", "missing closing ]: `[a`"),
            ("a(", "missing closing ): `a(`"),
            ("a)b", "unexpected ): `a)b`"),
            ("* c *", "missing argument to repetition operator: `*`"),
            ("a|+?", "missing argument to repetition operator: `+?`"),
            ("a**", "invalid nested repetition operator: `**`"),
            ("a{1001}", "invalid repeat count: `{1001}`"),
            ("a\\", "trailing backslash at end of expression: ``"),
            ("\\8", "invalid escape sequence: `\\8`"),
            ("\\1", "invalid escape sequence: `\\1`"),
            ("[z-a]", "invalid character class range: `z-a`"),
            ("[[:foo:]]", "invalid character class range: `[:foo:]`"),
            ("\\p{Foo}", "invalid character class range: `\\p{Foo}`"),
            ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
            ("(?x)a", "invalid or unsupported Perl syntax: `(?x`"),
            ("(?P<n", "invalid named capture: `(?P<n`"),
        ] {
            assert_eq!(complaint(text), format!("error parsing regexp: {expected}"), "{text}");
        }
    }

    #[test]
    fn dialect_is_the_one_of_stock() {
        for (text, subject, expected) in [
            (r"^\d+$", "٣", false),
            (r"^\w$", "é", false),
            (r"^\W$", "é", true),
            (r"a{,2}", "a{,2}", true),
            (r"^[a[b]+$", "[ab", true),
            (r"^[a&&b]$", "&", true),
            (r"\Qa.b\E$", "axb", false),
            (r"\Qa.b", "a.b", true),
            (r"^\101\x42\x{43}$", "ABC", true),
            (r"(?i)É", "é", true),
            (r"(?P<a>x)(?<b>y)", "xy", true),
            (r"^[]a]+$", "]a", true),
            (r"^[^\d\s]$", "7", false),
            (r"a$", "a\n", false),
            (r"x|", "", true),
            (r"\bfoo\b", "a foo b", true),
        ] {
            let regex = compile(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(regex.compiled.is_match(subject.as_bytes()), expected, "{text} on {subject}");
        }
    }

    #[test]
    fn deep_or_large_expressions_are_refused_without_harm() {
        assert!(complaint(&"(".repeat(100_000)).contains("nests too deeply"));
        assert!(complaint("((((a{1000}){1000}){1000}){1000})").contains("too large"));
    }
}
