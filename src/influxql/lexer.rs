//! Characters to tokens, one at a time, because only the parser knows where a `/` opens a regular expression.
//!
//! Owns:  the text as characters and the place of the next one.
//! In:    calls of the parser; it may look at the next character past the tokens it has taken.
//! Out:   [`Scanned`] tokens with the position stock reports for them.
//!
//! Positions are part of the wire contract and have three oddities, all kept here: strings and regular expressions
//! are reported at the character before their opening delimiter, a bad escape at the character behind the backslash,
//! and the end of the text lies one further for each time it has been read before (at most one).

use crate::influxql::token::Scanned;
use crate::influxql::token::Token;

/// The scanner of one query text.
pub(super) struct Lexer {
    chars: Vec<char>,
    /// Index of the next character; up to two past the end.
    next: usize,
}

/// Why a quoted text has no end.
enum Unquoted {
    Whole(String),
    Unterminated(String),
    /// The two characters of the escape.
    BadEscape(String),
}

impl Lexer {
    /// A scanner at the start of `text`. Line ends become `\n`; a NUL ends the text.
    pub(super) fn new(text: &str) -> Lexer {
        let mut chars = Vec::with_capacity(text.len());
        let mut rest = text.chars().take_while(|c| *c != '\0').peekable();
        while let Some(c) = rest.next() {
            if c == '\r' {
                rest.next_if_eq(&'\n');
            }
            chars.push(if c == '\r' { '\n' } else { c });
        }
        Lexer { chars, next: 0 }
    }

    /// Line and character, both from 1, of a token's position.
    pub(super) fn line_and_char(&self, at: usize) -> (usize, usize) {
        let before = &self.chars[..at.min(self.chars.len())];
        let line_start = before.iter().rposition(|c| *c == '\n').map_or(0, |newline| newline + 1);
        (1 + before.iter().filter(|c| **c == '\n').count(), 1 + at - line_start)
    }

    /// Looks at the next character. Looking at the end counts as reading it.
    pub(super) fn peek(&mut self) -> Option<char> {
        let c = self.read();
        if c.is_some() {
            self.unread();
        }
        c
    }

    /// Takes the next token.
    pub(super) fn scan(&mut self) -> Scanned {
        let Some(c) = self.read() else { return self.sign(Token::Eof) };
        match c {
            ' ' | '\t' | '\n' => self.scan_space(),
            'a'..='z' | 'A'..='Z' | '_' | '"' => self.unread_then(|lexer| lexer.scan_ident(true)),
            '0'..='9' => self.unread_then(Lexer::scan_number),
            '.' if self.peek_digit() => self.unread_then(Lexer::scan_number),
            '\'' => self.unread_then(Lexer::scan_string),
            '$' => self.scan_bound_param(),
            _ => self.scan_sign(c),
        }
    }

    /// Takes a regular expression; the next character should be its opening slash.
    pub(super) fn scan_regex(&mut self) -> Scanned {
        let at = self.last();
        match self.read_regex() {
            Some(text) => Scanned { token: Token::Regex, at, text },
            None => Scanned { token: Token::BadRegex, at, text: String::new() },
        }
    }

    fn read(&mut self) -> Option<char> {
        let c = self.chars.get(self.next).copied();
        self.next = (self.next + 1).min(self.chars.len() + 2);
        c
    }

    fn unread(&mut self) {
        self.next -= 1;
    }

    fn unread_then(&mut self, scan: impl FnOnce(&mut Lexer) -> Scanned) -> Scanned {
        self.unread();
        scan(self)
    }

    /// Index of the character read last.
    fn last(&self) -> usize {
        self.next.saturating_sub(1).min(self.chars.len() + 1)
    }

    /// A token without text whose one or last character has just been read.
    fn sign(&self, token: Token) -> Scanned {
        Scanned { token, at: self.last(), text: String::new() }
    }

    fn peek_digit(&self) -> bool {
        self.chars.get(self.next).is_some_and(char::is_ascii_digit)
    }

    /// Reads the next character if it is `wanted`.
    fn take(&mut self, wanted: char) -> bool {
        let found = self.chars.get(self.next) == Some(&wanted);
        self.next += usize::from(found);
        found
    }

    /// Reads while `belongs`, and the end of the text with it.
    fn read_while(&mut self, belongs: impl Fn(char) -> bool, text: &mut String) {
        while let Some(c) = self.read() {
            if !belongs(c) {
                return self.unread();
            }
            text.push(c);
        }
    }

    /// The run of whitespace whose first character has just been read.
    fn scan_space(&mut self) -> Scanned {
        self.unread();
        let (at, mut text) = (self.next, String::new());
        self.read_while(|c| matches!(c, ' ' | '\t' | '\n'), &mut text);
        Scanned { token: Token::Space, at, text }
    }

    /// A bare or quoted name, or a keyword. A quoted name right behind a bare one replaces it, as in stock.
    fn scan_ident(&mut self, keywords: bool) -> Scanned {
        let at = self.next.min(self.chars.len() + 1);
        let mut text = String::new();
        while let Some(c) = self.read() {
            self.unread();
            if c == '"' {
                let mut name = self.scan_string();
                if name.token == Token::String {
                    (name.token, name.at) = (Token::Ident, at);
                }
                return name;
            }
            if !is_ident_char(c) {
                break;
            }
            self.read_while(is_ident_char, &mut text);
        }
        match Token::keyword(&text) {
            Some(token) if keywords => Scanned { token, at, text: String::new() },
            _ => Scanned { token: Token::Ident, at, text },
        }
    }

    /// A text in the quotes that come next, single or double.
    fn scan_string(&mut self) -> Scanned {
        let at = self.last();
        match self.read_quoted() {
            Unquoted::Whole(text) => Scanned { token: Token::String, at, text },
            Unquoted::Unterminated(text) => Scanned { token: Token::BadString, at, text },
            Unquoted::BadEscape(text) => Scanned { token: Token::BadEscape, at: self.last(), text },
        }
    }

    fn read_quoted(&mut self) -> Unquoted {
        let quote = self.read();
        let mut text = String::new();
        loop {
            match self.read() {
                None | Some('\n') => return Unquoted::Unterminated(text),
                end if end == quote => return Unquoted::Whole(text),
                Some('\\') => match self.read() {
                    Some('n') => text.push('\n'),
                    Some(c @ ('\\' | '"' | '\'')) => text.push(c),
                    other => return Unquoted::BadEscape(['\\', other.unwrap_or('\0')].iter().collect()),
                },
                Some(c) => text.push(c),
            }
        }
    }

    /// Between slashes. Only `\/` is an escape; every other backslash is the expression's own.
    fn read_regex(&mut self) -> Option<String> {
        if self.read() != Some('/') {
            return None;
        }
        let mut text = String::new();
        loop {
            match self.read()? {
                '/' => return Some(text),
                '\n' => return None,
                '\\' => match self.read()? {
                    '/' => text.push('/'),
                    _ => {
                        self.unread();
                        text.push('\\');
                    }
                },
                c => text.push(c),
            }
        }
    }

    /// Digits, with a point a number, with letters a duration. A point without digits behind it is swallowed.
    fn scan_number(&mut self) -> Scanned {
        let at = self.next;
        let mut text = String::new();
        self.read_digits(&mut text);
        if self.take('.') {
            if self.peek_digit() {
                text.push('.');
                self.read_digits(&mut text);
            }
            return Scanned { token: Token::Number, at, text };
        }
        let digits = text.len();
        while let Some(c) = self.chars.get(self.next).copied().filter(|c| c.is_ascii_alphanumeric() || *c == 'µ') {
            text.push(c);
            self.next += 1;
        }
        let token = if text.len() > digits { Token::Duration } else { Token::Integer };
        Scanned { token, at, text }
    }

    fn read_digits(&mut self, text: &mut String) {
        while self.peek_digit() {
            text.extend(self.read());
        }
    }

    /// `$name` or `$"name"`; the dollar has been read.
    fn scan_bound_param(&mut self) -> Scanned {
        let at = self.last();
        let mut name = self.scan_ident(false);
        name.text.insert(0, '$');
        if name.token == Token::Ident {
            name.token = Token::BoundParam;
        }
        Scanned { at, ..name }
    }

    /// A sign that begins with `c`, which has been read.
    fn scan_sign(&mut self, c: char) -> Scanned {
        let at = self.last();
        let token = match c {
            '+' => Token::Add,
            '-' if self.take('-') => self.skip_line(),
            '-' => Token::Sub,
            '*' => Token::Mul,
            '/' if self.take('*') => self.skip_block(),
            '/' => Token::Div,
            '%' => Token::Mod,
            '&' => Token::BitwiseAnd,
            '|' => Token::BitwiseOr,
            '^' => Token::BitwiseXor,
            '=' if self.take('~') => Token::Match,
            '=' => Token::Equal,
            '!' if self.take('=') => Token::NotEqual,
            '!' if self.take('~') => Token::NotMatch,
            '<' if self.take('=') => Token::LessEqual,
            '<' if self.take('>') => Token::NotEqual,
            '<' => Token::Less,
            '>' if self.take('=') => Token::GreaterEqual,
            '>' => Token::Greater,
            '(' => Token::LeftParen,
            ')' => Token::RightParen,
            ',' => Token::Comma,
            ';' => Token::Semicolon,
            ':' if self.take(':') => Token::DoubleColon,
            ':' => Token::Colon,
            '.' => Token::Dot,
            _ => return Scanned { token: Token::Illegal, at, text: c.to_string() },
        };
        Scanned { token, at, text: String::new() }
    }

    fn skip_line(&mut self) -> Token {
        while !matches!(self.read(), None | Some('\n')) {}
        Token::Comment
    }

    fn skip_block(&mut self) -> Token {
        while let Some(c) = self.read() {
            if c == '*' && self.take('/') {
                return Token::Comment;
            }
        }
        Token::Illegal
    }
}

fn is_ident_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}
