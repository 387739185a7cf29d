//! SELECT and the clauses other statements share with it.

use crate::influxql::ast::Expr;
use crate::influxql::ast::Field;
use crate::influxql::ast::Fill;
use crate::influxql::ast::Measurement;
use crate::influxql::ast::Operator;
use crate::influxql::ast::Select;
use crate::influxql::ast::SortField;
use crate::influxql::ast::Source;
use crate::influxql::display;
use crate::influxql::parser::ParseError;
use crate::influxql::parser::Parsed;
use crate::influxql::parser::Parser;
use crate::influxql::token::Token;
use crate::influxql::zone;

impl Parser<'_> {
    /// What follows SELECT; `into` says that INTO must be there.
    pub(super) fn select(&mut self, into: bool) -> Parsed<Select> {
        self.nested(|parser| {
            let fields = parser.tight_list(Parser::field)?;
            let target = parser.target(into)?;
            parser.require(Token::From)?;
            Ok(Select {
                fields,
                target,
                sources: parser.list(|parser| parser.source(true))?,
                condition: parser.condition()?,
                dimensions: parser.dimensions()?,
                fill: parser.fill()?,
                sort: parser.sort()?,
                limit: parser.optional_count(Token::Limit)?,
                offset: parser.optional_count(Token::Offset)?,
                slimit: parser.optional_count(Token::Slimit)?,
                soffset: parser.optional_count(Token::Soffset)?,
                zone: parser.zone()?,
            })
        })
    }

    fn field(&mut self) -> Parsed<Field> {
        let expr = match self.regex()? {
            Some(regex) => Expr::Regex(regex),
            None => {
                let start = self.scan_word();
                self.unscan();
                let expr = self.expr()?;
                if let Some(op) = condition_operator(&expr) {
                    let (line, char) = self.lexer.line_and_char(start.at);
                    return Err(ParseError(format!(
                        "invalid operator {} in SELECT clause at line {line}, char {char}; operator is intended for \
                         WHERE clause",
                        display::operator(op)
                    )));
                }
                expr
            }
        };
        let alias = if self.take(Token::As) { Some(self.ident()?).filter(|alias| !alias.is_empty()) } else { None };
        Ok(Field { expr, alias })
    }

    /// INTO.
    fn target(&mut self, required: bool) -> Parsed<Option<Measurement>> {
        if required {
            self.require(Token::Into)?;
        } else if !self.take(Token::Into) {
            return Ok(None);
        }
        let mut segments = self.segments()?;
        if segments.len() < 3 && self.lexer.peek() == Some(':') {
            self.require_all(&[Token::Colon, Token::Measurement])?;
            segments.push(String::new());
        }
        Ok(Some(Measurement { is_target: true, ..named(segments) }))
    }

    /// One FROM item.
    pub(super) fn source(&mut self, subqueries: bool) -> Parsed<Source> {
        if let Some(regex) = self.regex()? {
            return Ok(Source::Measurement(Measurement { regex: Some(regex), ..Measurement::default() }));
        }
        if subqueries && self.take(Token::LeftParen) {
            self.require(Token::Select)?;
            let select = self.select(false)?;
            self.require(Token::RightParen)?;
            return Ok(Source::Subquery(Box::new(select)));
        }
        let mut segments = self.segments()?;
        if segments.len() == 3 {
            return Ok(Source::Measurement(named(segments)));
        }
        let regex = self.regex()?;
        if regex.is_some() {
            segments.push(String::new());
        }
        Ok(Source::Measurement(Measurement { regex, ..named(segments) }))
    }

    /// FROM without subqueries, where it may be left out.
    pub(super) fn optional_sources(&mut self) -> Parsed<Vec<Source>> {
        if self.take(Token::From) { self.list(|parser| parser.source(false)) } else { Ok(Vec::new()) }
    }

    /// WHERE.
    pub(super) fn condition(&mut self) -> Parsed<Option<Expr>> {
        if self.take(Token::Where) { self.expr().map(Some) } else { Ok(None) }
    }

    /// GROUP BY.
    pub(super) fn dimensions(&mut self) -> Parsed<Vec<Expr>> {
        if !self.take(Token::Group) {
            return Ok(Vec::new());
        }
        self.require(Token::By)?;
        self.tight_list(|parser| match parser.regex()? {
            Some(regex) => Ok(Expr::Regex(regex)),
            None => parser.expr(),
        })
    }

    /// Whether the name `word`, in any case, comes next.
    fn name_is_next(&mut self, word: &str) -> bool {
        let found = self.scan_word();
        self.unscan();
        found.token == Token::Ident && found.text.eq_ignore_ascii_case(word)
    }

    fn fill(&mut self) -> Parsed<Fill> {
        if !self.name_is_next("fill") {
            return Ok(Fill::Null);
        }
        let error = |text: &str| Err(ParseError(text.into()));
        let Expr::Call { args, .. } = self.expr()? else {
            return error("fill must be a function call");
        };
        let [arg] = args.as_slice() else {
            return error("fill requires an argument, e.g.: 0, null, none, previous, linear");
        };
        match arg {
            Expr::Integer(value) => return Ok(Fill::Integer(*value)),
            Expr::Number(value) => return Ok(Fill::Number(*value)),
            _ => {}
        }
        match arg.to_string().as_str() {
            "null" => Ok(Fill::Null),
            "none" => Ok(Fill::None),
            "previous" => Ok(Fill::Previous),
            "linear" => Ok(Fill::Linear),
            _ => error("expected number argument in fill()"),
        }
    }

    /// ORDER BY.
    pub(super) fn sort(&mut self) -> Parsed<Vec<SortField>> {
        if !self.take(Token::Order) {
            return Ok(Vec::new());
        }
        self.require(Token::By)?;
        let only_time = || ParseError("only ORDER BY time supported at this time".into());
        let found = self.scan_word();
        let mut fields = vec![match found.token {
            Token::Asc | Token::Desc => SortField { name: String::new(), ascending: found.token == Token::Asc },
            Token::Ident => {
                self.unscan();
                let field = self.sort_field()?;
                if found.text != "time" {
                    return Err(only_time());
                }
                field
            }
            _ => return Err(self.expected(&found, &["identifier", "ASC", "DESC"])),
        }];
        while self.take(Token::Comma) {
            fields.push(self.sort_field()?);
        }
        if fields.len() > 1 { Err(only_time()) } else { Ok(fields) }
    }

    fn sort_field(&mut self) -> Parsed<SortField> {
        let name = self.ident()?;
        let ascending = self.take(Token::Asc) || !self.take(Token::Desc);
        Ok(SortField { name, ascending })
    }

    /// `tz('...')`.
    fn zone(&mut self) -> Parsed<Option<String>> {
        if !self.name_is_next("tz") {
            return Ok(None);
        }
        let error = |text: &str| Err(ParseError(text.into()));
        let Expr::Call { mut args, .. } = self.expr()? else {
            return error("tz must be a function call");
        };
        let (Some(arg), true) = (args.pop(), args.is_empty()) else {
            return error("tz requires exactly one argument");
        };
        match arg {
            Expr::String(name) if name.is_empty() => Ok(Some("UTC".into())),
            Expr::String(name) if zone::find(&name).is_some() => Ok(Some(name)),
            Expr::String(name) => error(&format!("unable to find time zone {name}")),
            _ => error("expected string argument in tz()"),
        }
    }
}

/// `name`, `policy.name`, `database.policy.name`.
fn named(mut segments: Vec<String>) -> Measurement {
    let name = segments.pop().unwrap_or_default();
    let policy = segments.pop().unwrap_or_default();
    let database = segments.pop().unwrap_or_default();
    Measurement { database, policy, name, ..Measurement::default() }
}

/// The first operator in `expr`, outermost first, that belongs into WHERE.
fn condition_operator(expr: &Expr) -> Option<Operator> {
    match expr {
        Expr::Binary { op, left, right } => match op {
            Operator::Add
            | Operator::Sub
            | Operator::Mul
            | Operator::Div
            | Operator::Mod
            | Operator::BitwiseAnd
            | Operator::BitwiseOr
            | Operator::BitwiseXor => condition_operator(left).or_else(|| condition_operator(right)),
            _ => Some(*op),
        },
        Expr::Paren(inner) => condition_operator(inner),
        Expr::Call { args, .. } => args.iter().find_map(condition_operator),
        _ => None,
    }
}
