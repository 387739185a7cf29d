//! Expressions.

use crate::influxql::ast::DataType;
use crate::influxql::ast::Expr;
use crate::influxql::ast::Operator;
use crate::influxql::ast::WildcardKind;
use crate::influxql::display::quote_idents;
use crate::influxql::duration;
use crate::influxql::parser::ParseError;
use crate::influxql::parser::Parsed;
use crate::influxql::parser::Parser;
use crate::influxql::token::Scanned;
use crate::influxql::token::Token;

/// Operators above one another in one expression. Everything that walks an expression may recurse on it.
const DEPTH_MAX: usize = 500;

const OPERAND: [&str; 4] = ["identifier", "string", "number", "bool"];

impl Parser<'_> {
    /// Operands with operators between them.
    pub(super) fn expr(&mut self) -> Parsed<Expr> {
        self.nested(|parser| {
            let mut operands = vec![parser.unary()?];
            let mut operators = Vec::new();
            while let Some(operator) = parser.operator() {
                operands.push(match operator {
                    Operator::Match | Operator::NotMatch => Expr::Regex(parser.required_regex()?),
                    _ => parser.unary()?,
                });
                operators.push(operator);
            }
            let joins = |operator: &Operator| matches!(operator, Operator::And | Operator::Or);
            let too_deep = ParseError(format!("expression is nested deeper than {DEPTH_MAX} levels"));
            // Before the tree is built: dropping a tree that is too deep recurses as well.
            if operators.split(joins).any(|run| run.len() > DEPTH_MAX) {
                return Err(too_deep);
            }
            let expr = tree(operands, &operators);
            if deeper_than(&expr, DEPTH_MAX) { Err(too_deep) } else { Ok(expr) }
        })
    }

    fn operator(&mut self) -> Option<Operator> {
        let operator = self.scan_word().token.operator();
        if operator.is_none() {
            self.unscan();
        }
        operator
    }

    fn unary(&mut self) -> Parsed<Expr> {
        let found = self.scan_word();
        match found.token {
            Token::LeftParen => {
                let inner = self.expr()?;
                self.require(Token::RightParen)?;
                Ok(Expr::Paren(Box::new(inner)))
            }
            Token::Add => self.signed(1),
            Token::Sub => self.signed(-1),
            Token::Ident => self.call_or_name(&found.text),
            Token::Distinct => self.distinct(),
            Token::Mul => self.wildcard(),
            _ => self.literal(found),
        }
    }

    fn literal(&mut self, found: Scanned) -> Parsed<Expr> {
        match found.token {
            Token::String => Ok(Expr::String(found.text)),
            Token::Number => {
                found.text.parse().map(Expr::Number).map_err(|_| self.error_at(&found, "unable to parse number"))
            }
            Token::Integer => match (found.text.parse(), found.text.parse()) {
                (Ok(signed), _) => Ok(Expr::Integer(signed)),
                (_, Ok(unsigned)) => Ok(Expr::Unsigned(unsigned)),
                _ => Err(self.error_at(&found, "unable to parse integer")),
            },
            Token::True => Ok(Expr::Boolean(true)),
            Token::False => Ok(Expr::Boolean(false)),
            Token::Duration => duration::parse(&found.text).map(Expr::Duration).map_err(ParseError),
            Token::Regex => self.compile(&found).map(Expr::Regex),
            Token::BoundParam => Err(ParseError(match found.text.strip_prefix('$').unwrap_or(&found.text) {
                "" => "empty bound parameter".into(),
                name => format!("missing parameter: {name}"),
            })),
            _ => Err(self.expected(&found, &OPERAND)),
        }
    }

    /// What follows a sign: a literal takes it, anything else is multiplied by it.
    fn signed(&mut self, sign: i64) -> Parsed<Expr> {
        let found = self.scan_word();
        if !matches!(found.token, Token::Number | Token::Integer | Token::Duration | Token::LeftParen | Token::Ident) {
            return Err(self.expected(&found, &["identifier", "number", "duration", "("]));
        }
        self.unscan();
        Ok(match self.unary()? {
            Expr::Number(value) => Expr::Number(value * sign as f64),
            Expr::Integer(value) => Expr::Integer(value.wrapping_mul(sign)),
            Expr::Unsigned(value) if sign > 0 => Expr::Unsigned(value),
            Expr::Unsigned(0x8000_0000_0000_0000) => Expr::Integer(i64::MIN),
            Expr::Unsigned(value) => return Err(ParseError(format!("constant -{value} underflows int64"))),
            Expr::Duration(value) => Expr::Duration(value.wrapping_mul(sign)),
            other => binary(Operator::Mul, Expr::Integer(sign), other),
        })
    }

    /// A name; a call if a parenthesis follows without space.
    fn call_or_name(&mut self, name: &str) -> Parsed<Expr> {
        if self.scan().token == Token::LeftParen {
            return self.call(name);
        }
        self.unscan();
        self.unscan();
        let name = self.segments()?.join(".");
        let data_type = self.cast()?;
        Ok(Expr::VarRef { name, data_type })
    }

    /// `::type`.
    fn cast(&mut self) -> Parsed<Option<DataType>> {
        if self.scan().token != Token::DoubleColon {
            self.unscan();
            return Ok(None);
        }
        let found = self.scan();
        Ok(Some(match (found.token, found.text.to_ascii_lowercase().as_str()) {
            (Token::Ident, "float") => DataType::Float,
            (Token::Ident, "integer") => DataType::Integer,
            (Token::Ident, "unsigned") => DataType::Unsigned,
            (Token::Ident, "string") => DataType::String,
            (Token::Ident, "boolean") => DataType::Boolean,
            (Token::Field, _) => DataType::AnyField,
            (Token::Tag, _) => DataType::Tag,
            (Token::Ident, _) => {
                let types = ["float", "integer", "unsigned", "string", "boolean", "field", "tag"];
                return Err(self.expected(&found, &types));
            }
            _ => return Err(self.expected(&found, &["float", "integer", "string", "boolean", "field", "tag"])),
        }))
    }

    /// The arguments behind `name(`.
    fn call(&mut self, name: &str) -> Parsed<Expr> {
        let name = name.to_lowercase();
        let mut args = Vec::new();
        if let Some(regex) = self.regex()? {
            args.push(Expr::Regex(regex));
        } else {
            if self.scan().token == Token::RightParen {
                return Ok(Expr::Call { name, args });
            }
            self.unscan();
            args.push(self.expr()?);
        }
        while self.take(Token::Comma) {
            args.push(match self.regex()? {
                Some(regex) => Expr::Regex(regex),
                None => self.expr()?,
            });
        }
        self.require(Token::RightParen)?;
        Ok(Expr::Call { name, args })
    }

    /// `DISTINCT v` or `DISTINCT(v)`.
    fn distinct(&mut self) -> Parsed<Expr> {
        let found = self.scan();
        match found.token {
            Token::LeftParen => self.call("distinct"),
            Token::Space => self.ident().map(Expr::Distinct),
            _ => Err(self.expected(&found, &["(", "identifier"])),
        }
    }

    /// `*`, `*::field`, `*::tag`.
    fn wildcard(&mut self) -> Parsed<Expr> {
        if self.scan().token != Token::DoubleColon {
            self.unscan();
            return Ok(Expr::Wildcard(None));
        }
        let found = self.scan();
        match found.token {
            Token::Field => Ok(Expr::Wildcard(Some(WildcardKind::Field))),
            Token::Tag => Ok(Expr::Wildcard(Some(WildcardKind::Tag))),
            _ => Err(self.expected(&found, &["field", "tag"])),
        }
    }

    /// `a`, `a.b`, `a..c`. Stops behind a dot that a regular expression or `:MEASUREMENT` follows.
    pub(super) fn segments(&mut self) -> Parsed<Vec<String>> {
        let mut segments = vec![self.ident()?];
        loop {
            if self.scan().token != Token::Dot {
                self.unscan();
                break;
            }
            match self.lexer.peek() {
                Some('/' | ':') => break,
                Some('.') => segments.push(String::new()),
                _ => segments.push(self.ident()?),
            }
        }
        if segments.len() > 3 {
            return Err(self.error_at_index(0, &format!("too many segments in {}", quote_idents(&segments))));
        }
        Ok(segments)
    }
}

/// How tightly an operator binds.
fn precedence(operator: Operator) -> u8 {
    match operator {
        Operator::Or => 1,
        Operator::And => 2,
        Operator::Equal
        | Operator::NotEqual
        | Operator::Match
        | Operator::NotMatch
        | Operator::Less
        | Operator::LessEqual
        | Operator::Greater
        | Operator::GreaterEqual => 3,
        Operator::Add | Operator::Sub | Operator::BitwiseOr | Operator::BitwiseXor => 4,
        Operator::Mul | Operator::Div | Operator::Mod | Operator::BitwiseAnd => 5,
    }
}

pub(super) fn binary(op: Operator, left: Expr, right: Expr) -> Expr {
    Expr::Binary { op, left: Box::new(left), right: Box::new(right) }
}

/// The tree of a flat run of operands. Long runs of AND or OR become balanced trees: clients send thousands of them,
/// both are associative and print alike, and a chain would overflow the stack of everyone who walks it.
fn tree(operands: Vec<Expr>, operators: &[Operator]) -> Expr {
    let mut operands = operands.into_iter();
    let first = operands.next().unwrap_or(Expr::Nil);
    level(first, &mut operands, operators, 1)
}

/// The run whose operators all bind at least as tightly as `binding`; takes one operand for each operator.
fn level(first: Expr, rest: &mut std::vec::IntoIter<Expr>, operators: &[Operator], binding: u8) -> Expr {
    if operators.is_empty() {
        return first;
    }
    let splits = operators.iter().enumerate().filter(|(_, operator)| precedence(**operator) == binding);
    let (mut start, mut first) = (0, Some(first));
    let mut parts = Vec::new();
    let mut joints = Vec::new();
    for (index, operator) in splits.chain([(operators.len(), &Operator::Or)]) {
        let Some(head) = first.take().or_else(|| rest.next()) else { break };
        parts.push(level(head, rest, &operators[start..index], binding + 1));
        joints.push(*operator);
        start = index + 1;
    }
    if binding <= 2 { balanced(&mut parts.into_iter(), joints.len(), joints[0]) } else { chained(parts, &joints) }
}

/// `count` parts joined by one associative operator.
fn balanced(parts: &mut std::vec::IntoIter<Expr>, count: usize, op: Operator) -> Expr {
    if count <= 1 {
        return parts.next().unwrap_or(Expr::Nil);
    }
    // Short runs keep the shape the text has: ((a OR b) OR c).
    let right = if count <= 8 { 1 } else { count / 2 };
    let left = balanced(parts, count - right, op);
    binary(op, left, balanced(parts, right, op))
}

fn chained(parts: Vec<Expr>, joints: &[Operator]) -> Expr {
    let mut parts = parts.into_iter();
    let first = parts.next().unwrap_or(Expr::Nil);
    parts.zip(joints).fold(first, |left, (right, op)| binary(*op, left, right))
}

/// Whether some path through `expr` has more than `limit` steps. Walks with its own stack: the answer may be yes.
fn deeper_than(expr: &Expr, limit: usize) -> bool {
    let mut open = vec![(expr, 0)];
    while let Some((expr, depth)) = open.pop() {
        if depth > limit {
            return true;
        }
        match expr {
            Expr::Binary { left, right, .. } => open.extend([(&**left, depth + 1), (&**right, depth + 1)]),
            Expr::Paren(inner) => open.push((inner, depth + 1)),
            Expr::Call { args, .. } => open.extend(args.iter().map(|arg| (arg, depth + 1))),
            _ => {}
        }
    }
    false
}
