//! Tokens to statements, by recursive descent.
//!
//! Owns:  the lexer and the last few tokens, which may be handed back.
//! In:    query text, parameters.
//! Out:   all statements of the text, or the one complaint that refuses it.
//!
//! What is complained about, and where, is part of the wire contract: a client shows it. So each production takes and
//! hands back tokens in stock's order, and looks for regular expressions past handed-back tokens exactly where stock
//! does; a block comment in such a place is an error for that reason.

mod create;
mod expr;
mod select;
mod show;
mod statement;
#[cfg(test)]
mod tests;

use crate::influxql::ast::Duration;
use crate::influxql::ast::Regex;
use crate::influxql::ast::Statement;
use crate::influxql::duration;
use crate::influxql::lexer::Lexer;
use crate::influxql::params::Params;
use crate::influxql::regex;
use crate::influxql::token::Scanned;
use crate::influxql::token::Token;

/// Why a text is no query: what follows `error parsing query: `.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseError(String);

type Parsed<T> = Result<T, ParseError>;

/// All statements of `text`. An empty text has none.
pub fn parse(text: &str, params: &Params) -> Result<Vec<Statement>, ParseError> {
    let mut parser = Parser::new(text, params);
    let mut statements = Vec::new();
    let mut separated = true;
    loop {
        let found = parser.scan_word();
        match found.token {
            Token::Eof => return Ok(statements),
            Token::Semicolon => separated = true,
            _ if !separated => return Err(parser.expected(&found, &[";"])),
            _ => {
                parser.unscan();
                statements.push(parser.statement()?);
                separated = false;
            }
        }
    }
}

/// Tokens that may be handed back.
const HISTORY: usize = 3;

/// Groups, arguments and subqueries inside one another. Deeper text is refused, so that no stack overflows.
const NESTING_MAX: usize = 100;

struct Parser<'a> {
    lexer: Lexer,
    params: &'a Params,
    /// The last tokens, a ring; `newest` is the last one taken from the lexer.
    history: [Scanned; HISTORY],
    newest: usize,
    /// How many of them are handed back.
    pending: usize,
    nesting: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &str, params: &'a Params) -> Parser<'a> {
        let history = std::array::from_fn(|_| Scanned { token: Token::Eof, at: 0, text: String::new() });
        Parser { lexer: Lexer::new(text), params, history, newest: 0, pending: 0, nesting: 0 }
    }

    /// The next token, with parameters replaced by what they stand for.
    fn scan(&mut self) -> Scanned {
        self.scan_by(Lexer::scan)
    }

    fn scan_by(&mut self, scan: impl FnOnce(&mut Lexer) -> Scanned) -> Scanned {
        if self.pending > 0 {
            self.pending -= 1;
        } else {
            self.newest = (self.newest + 1) % HISTORY;
            self.history[self.newest] = scan(&mut self.lexer);
        }
        let mut scanned = self.history[(self.newest + HISTORY - self.pending) % HISTORY].clone();
        if scanned.token == Token::BoundParam {
            let name = scanned.text.strip_prefix('$').unwrap_or_default();
            if let Some(bound) = self.params.get(name).filter(|_| !name.is_empty()) {
                (scanned.token, scanned.text) = (bound.token, bound.text.clone());
            }
        }
        scanned
    }

    /// The next token that is neither space nor comment.
    fn scan_word(&mut self) -> Scanned {
        loop {
            let scanned = self.scan();
            if !matches!(scanned.token, Token::Space | Token::Comment) {
                return scanned;
            }
        }
    }

    /// Hands the last token back.
    fn unscan(&mut self) {
        self.pending += 1;
        debug_assert!(self.pending <= HISTORY, "a handed-back token has been overwritten");
    }

    fn skip_space(&mut self) {
        if self.scan().token != Token::Space {
            self.unscan();
        }
    }

    /// Takes `token` if it comes next.
    fn take(&mut self, token: Token) -> bool {
        let found = self.scan_word().token == token;
        if !found {
            self.unscan();
        }
        found
    }

    /// Takes `token` or complains.
    fn require(&mut self, token: Token) -> Parsed<Scanned> {
        self.require_as(token, token.name())
    }

    fn require_as(&mut self, token: Token, expected: &str) -> Parsed<Scanned> {
        let found = self.scan_word();
        if found.token == token { Ok(found) } else { Err(self.expected(&found, &[expected])) }
    }

    fn require_all(&mut self, tokens: &[Token]) -> Parsed<()> {
        tokens.iter().try_for_each(|token| self.require(*token).map(drop))
    }

    /// `found <token>, expected <list>`.
    fn expected(&self, found: &Scanned, expected: &[&str]) -> ParseError {
        self.error_at(found, &format!("found {}, expected {}", found.shown(), expected.join(", ")))
    }

    fn error_at(&self, found: &Scanned, message: &str) -> ParseError {
        self.error_at_index(found.at, message)
    }

    fn error_at_index(&self, at: usize, message: &str) -> ParseError {
        let (line, char) = self.lexer.line_and_char(at);
        ParseError(format!("{message} at line {line}, char {char}"))
    }

    /// Runs `parse` one level deeper.
    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.nesting == NESTING_MAX {
            return Err(ParseError(format!("query is nested deeper than {NESTING_MAX} levels")));
        }
        self.nesting += 1;
        let parsed = parse(self);
        self.nesting -= 1;
        parsed
    }

    fn ident(&mut self) -> Parsed<String> {
        Ok(self.require_as(Token::Ident, "identifier")?.text)
    }

    fn idents(&mut self) -> Parsed<Vec<String>> {
        self.list(Parser::ident)
    }

    fn string(&mut self) -> Parsed<String> {
        Ok(self.require_as(Token::String, "string")?.text)
    }

    /// One or more of what `parse` reads, with commas between.
    fn list<T>(&mut self, mut parse: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        let mut items = vec![parse(self)?];
        while self.take(Token::Comma) {
            items.push(parse(self)?);
        }
        Ok(items)
    }

    /// Like [`Parser::list`], but only space may stand before a comma: behind an alias or a regular expression stock
    /// takes a comment for the end of the list.
    fn tight_list<T>(&mut self, mut parse: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        let mut items = Vec::new();
        loop {
            items.push(parse(self)?);
            self.skip_space();
            if self.scan().token != Token::Comma {
                self.unscan();
                return Ok(items);
            }
        }
    }

    /// `ON name` where it may be left out.
    fn optional_on(&mut self) -> Parsed<Option<String>> {
        if self.take(Token::On) { self.ident().map(Some) } else { Ok(None) }
    }

    /// `ON name` where it may not.
    fn on(&mut self) -> Parsed<String> {
        self.require(Token::On)?;
        self.ident()
    }

    /// A replication factor.
    fn replication(&mut self) -> Parsed<u32> {
        let found = self.require_as(Token::Integer, "integer")?;
        let count: i64 = found.text.parse().map_err(|_| self.out_of_range(&found, "Atoi"))?;
        u32::try_from(count)
            .ok()
            .filter(|count| (1..=i32::MAX as u32).contains(count))
            .ok_or_else(|| self.error_at(&found, &format!("invalid value {count}: must be 1 <= n <= {}", i32::MAX)))
    }

    /// The number of a shard or a query.
    fn id(&mut self) -> Parsed<u64> {
        let found = self.require_as(Token::Integer, "integer")?;
        found.text.parse().map_err(|_| self.out_of_range(&found, "ParseUint"))
    }

    fn out_of_range(&self, found: &Scanned, function: &str) -> ParseError {
        let why = if found.text.starts_with('-') { "invalid syntax" } else { "value out of range" };
        self.error_at(found, &format!("strconv.{function}: parsing {:?}: {why}", found.text))
    }

    /// `LIMIT 5` and its like; 0 when it is left out. Too large a number is cut.
    fn optional_count(&mut self, word: Token) -> Parsed<u64> {
        if !self.take(word) {
            return Ok(0);
        }
        let found = self.require_as(Token::Integer, "integer")?;
        if found.text.starts_with('-') {
            return Err(self.error_at(&found, &format!("{} must be >= 0", word.name())));
        }
        Ok(found.text.parse::<u64>().unwrap_or(u64::MAX).min(i64::MAX as u64))
    }

    /// A duration that complains with its position.
    fn duration(&mut self) -> Parsed<Duration> {
        let found = self.require_as(Token::Duration, "duration")?;
        duration::parse(&found.text).map_err(|text| self.error_at(&found, &text))
    }

    /// A duration or INF, which is 0.
    fn retention(&mut self) -> Parsed<Duration> {
        if self.take(Token::Inf) {
            return Ok(0);
        }
        self.duration()
    }

    /// A regular expression if one comes next. Looks past tokens that were handed back, as stock does.
    fn regex(&mut self) -> Parsed<Option<Regex>> {
        if matches!(self.lexer.peek(), Some(' ' | '\t' | '\n')) {
            self.skip_space();
        }
        match self.lexer.peek() {
            Some('/') => {}
            Some('$') => {
                let is_regex = self.scan().token == Token::Regex;
                self.unscan();
                if !is_regex {
                    return Ok(None);
                }
            }
            _ => return Ok(None),
        }
        let found = self.scan_by(Lexer::scan_regex);
        match found.token {
            Token::Regex => self.compile(&found).map(Some),
            Token::BadRegex => Err(self.error_at(&found, &format!("bad regex: {}", found.text))),
            _ => Err(self.expected(&found, &["regex"])),
        }
    }

    /// A regular expression that must come next.
    fn required_regex(&mut self) -> Parsed<Regex> {
        match self.regex()? {
            Some(regex) => Ok(regex),
            None => {
                let found = self.scan_word();
                Err(self.expected(&found, &["regex"]))
            }
        }
    }

    fn compile(&self, found: &Scanned) -> Parsed<Regex> {
        regex::compile(&found.text).map_err(|text| self.error_at(found, &text))
    }
}
