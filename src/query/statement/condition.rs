//! WHERE of SHOW statements: from expressions to what the owners' indexes can decide.

use std::collections::BTreeSet;

use crate::exec::lookup::Comparison;
use crate::exec::lookup::Compiled;
use crate::exec::lookup::Condition;
use crate::exec::lookup::Test;
use crate::influxql::ast::DataType;
use crate::influxql::ast::Expr;
use crate::influxql::ast::Operator;
use crate::influxql::ast::Regex;
use crate::influxql::ast::TagKeyFilter;
use crate::influxql::display;
use crate::model::Bytes;

use super::bytes;

/// What a comparison means that is none of a tag with a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Stock asks its index: an order is refused, an equality with a number or a field filters nothing.
    Index,
    /// Stock refuses to delete a series that something decides which is no tag. `_tagKey` is a tag like any other.
    Delete {
        /// What such a comparison is.
        undecided: bool,
    },
    /// As [`Mode::Index`]; `::field` is a field wherever it stands.
    Tags,
    /// Stock runs a SELECT: it is false.
    Select,
}

/// The text of a regular expression as it was compiled.
pub(super) fn pattern(regex: &Regex) -> String {
    regex.compiled.as_str().to_owned()
}

/// The condition that `expr` (without time) is.
pub(super) fn translate(expr: &Expr, mode: Mode) -> Result<Condition, String> {
    let Expr::Binary { op, left, right } = expr else {
        return match expr {
            Expr::Paren(inner) => translate(inner, mode),
            Expr::Boolean(value) => Ok(Condition::Always(*value)),
            other => Err(format!("invalid condition expression: {other}")),
        };
    };
    let both = || Ok::<_, String>((Box::new(translate(left, mode)?), Box::new(translate(right, mode)?)));
    match op {
        Operator::And => both().map(|(left, right)| Condition::And(left, right)),
        Operator::Or => both().map(|(left, right)| Condition::Or(left, right)),
        _ if let Mode::Delete { undecided } = mode => {
            Ok(by_tags(*op, left, right, mode).unwrap_or(Condition::Always(undecided)))
        }
        _ if mode != Mode::Select && [left, right].iter().any(|side| is_typed_field(side, mode)) => {
            comparison(*op).map(|_| Condition::Always(true)).ok_or_else(|| "invalid tag comparison operator".to_owned())
        }
        _ => match (comparison(*op), &**left, &**right) {
            (Some(_), Expr::Binary { .. }, _) | (Some(_), _, Expr::Binary { .. }) if mode != Mode::Select => {
                Err("invalid tag comparison operator".to_owned())
            }
            (Some(comparison), Expr::VarRef { name: left, .. }, Expr::VarRef { name: right, .. }) => {
                Ok(Condition::Tags(bytes(left), comparison, bytes(right)))
            }
            (Some(comparison), Expr::VarRef { name, .. }, other)
            | (Some(comparison), other, Expr::VarRef { name, .. }) => Ok(leaf(name, comparison, other, mode)),
            (Some(_), ..) => Ok(Condition::Always(mode != Mode::Select)),
            (None, ..) if mode == Mode::Select => Ok(Condition::Always(false)),
            (None, ..) => Err("invalid tag comparison operator".to_owned()),
        },
    }
}

/// The comparison, if it is decided by tags or the measurement's name; no name fulfils an order.
fn by_tags(op: Operator, left: &Expr, right: &Expr, mode: Mode) -> Option<Condition> {
    match (comparison(op), left, right) {
        _ if is_typed_field(left, mode) || is_typed_field(right, mode) => None,
        (Some(comparison), Expr::VarRef { name: left, .. }, Expr::VarRef { name: right, .. }) => {
            Some(Condition::Tags(bytes(left), comparison, bytes(right)))
        }
        (found, Expr::VarRef { name, .. }, other) | (found, other, Expr::VarRef { name, .. }) => {
            let _ = test(other)?;
            match found {
                Some(comparison) => Some(leaf(name, comparison, other, mode)),
                None => (name == "_name").then_some(Condition::Always(false)),
            }
        }
        _ => None,
    }
}

fn leaf(name: &str, comparison: Comparison, other: &Expr, mode: Mode) -> Condition {
    match (test(other), name) {
        (_, "_tagKey") if !matches!(mode, Mode::Delete { .. }) => Condition::Always(true),
        (None, _) => Condition::Always(mode != Mode::Select),
        (Some(test), "_name") => Condition::Name(comparison, test),
        (Some(test), name) => Condition::Tag(bytes(name), comparison, test),
    }
}

/// Whether its type says that it is a field.
fn is_typed_field(expr: &Expr, mode: Mode) -> bool {
    match expr {
        Expr::VarRef { data_type: Some(DataType::AnyField), .. } => matches!(mode, Mode::Tags | Mode::Delete { .. }),
        Expr::VarRef { data_type, .. } => !matches!(data_type, None | Some(DataType::Tag)),
        _ => false,
    }
}

/// The same without comparisons that do not begin with a name or begin with one of the system's, which SHOW TAG KEYS
/// and SHOW TAG VALUES pass over.
pub(super) fn of_names(expr: &Expr) -> Option<Expr> {
    match expr {
        Expr::Paren(inner) => of_names(inner),
        Expr::Binary { op: op @ (Operator::And | Operator::Or), left, right } => {
            match (of_names(left), of_names(right)) {
                (Some(left), Some(right)) => {
                    Some(Expr::Binary { op: *op, left: Box::new(left), right: Box::new(right) })
                }
                (left, right) => left.or(right),
            }
        }
        Expr::Binary { op, left, .. } if comparison(*op).is_some() => match &**left {
            Expr::VarRef { name, .. } if !SYSTEM_NAMES.contains(&name.as_str()) => Some(expr.clone()),
            _ => None,
        },
        other => Some(other.clone()),
    }
}

const SYSTEM_NAMES: [&str; 7] = ["_fieldKeys", "_measurements", "_name", "_series", "_tagKey", "_tagKeys", "_tags"];

/// What `expr` says about the names of measurements.
pub(super) fn about_measurements(expr: &Expr) -> Option<Condition> {
    fn of_name(condition: Condition) -> Condition {
        match condition {
            Condition::Tag(_, comparison, test) => Condition::Name(comparison, test),
            Condition::And(left, right) => Condition::And(Box::new(of_name(*left)), Box::new(of_name(*right))),
            Condition::Or(left, right) => Condition::Or(Box::new(of_name(*left)), Box::new(of_name(*right))),
            other => other,
        }
    }
    about(expr, "_name").map(of_name)
}

/// The operator of the first comparison of a name that does not begin with one.
pub(super) fn nameless(expr: &Expr) -> Option<Operator> {
    match expr {
        Expr::Paren(inner) => nameless(inner),
        Expr::Binary { op: Operator::And | Operator::Or, left, right } => nameless(left).or_else(|| nameless(right)),
        Expr::Binary { op, left, right } if comparison(*op).is_some() && !matches!(**left, Expr::VarRef { .. }) => {
            let mut found = BTreeSet::new();
            names(left, &mut found);
            names(right, &mut found);
            (!found.is_empty()).then_some(*op)
        }
        _ => None,
    }
}

/// The names that `expr` mentions and that may be fields.
pub(super) fn names(expr: &Expr, found: &mut BTreeSet<Bytes>) {
    match expr {
        Expr::VarRef { name, data_type } if *data_type != Some(DataType::Tag) => drop(found.insert(bytes(name))),
        Expr::Paren(inner) => names(inner, found),
        Expr::Binary { left, right, .. } => {
            names(left, found);
            names(right, found);
        }
        _ => {}
    }
}

fn comparison(op: Operator) -> Option<Comparison> {
    match op {
        Operator::Equal | Operator::Match => Some(Comparison::Is),
        Operator::NotEqual | Operator::NotMatch => Some(Comparison::IsNot),
        _ => None,
    }
}

fn test(expr: &Expr) -> Option<Test> {
    match expr {
        Expr::String(text) => Some(Test::Equal(bytes(text))),
        Expr::Regex(regex) => Some(Test::Match(pattern(regex))),
        _ => None,
    }
}

/// The same condition, where a comparison with a tag is false for series that lack it, as all lack one called `_name`:
/// what SHOW TAG VALUES CARDINALITY counts by.
pub(super) fn of_present_tags(condition: Condition) -> Condition {
    let both = |left, right| Condition::And(Box::new(left), Box::new(right));
    let sides = |left: Box<Condition>, right: Box<Condition>| {
        (Box::new(of_present_tags(*left)), Box::new(of_present_tags(*right)))
    };
    match condition {
        Condition::And(left, right) => {
            let (left, right) = sides(left, right);
            Condition::And(left, right)
        }
        Condition::Or(left, right) => {
            let (left, right) = sides(left, right);
            Condition::Or(left, right)
        }
        Condition::Tag(key, comparison, test) => {
            let present = Condition::Tag(key.clone(), Comparison::IsNot, Test::Equal(Bytes::default()));
            both(present, Condition::Tag(key, comparison, test))
        }
        Condition::Name(..) => Condition::Always(false),
        other => other,
    }
}

/// The part of `expr` that is about `name`, as a condition on its text; the rest falls away.
pub(super) fn about(expr: &Expr, name: &str) -> Option<Condition> {
    match expr {
        Expr::Paren(inner) => about(inner, name),
        Expr::Binary { op: op @ (Operator::And | Operator::Or), left, right } => {
            match (about(left, name), about(right, name)) {
                (Some(left), Some(right)) if *op == Operator::And => {
                    Some(Condition::And(Box::new(left), Box::new(right)))
                }
                (Some(left), Some(right)) => Some(Condition::Or(Box::new(left), Box::new(right))),
                (left, right) => left.or(right),
            }
        }
        Expr::Binary { op, left, right } => match (comparison(*op), &**left, test(right)) {
            (Some(comparison), Expr::VarRef { name: found, .. }, Some(test)) if found == name => {
                Some(Condition::Tag(bytes(name), comparison, test))
            }
            _ => None,
        },
        _ => None,
    }
}

/// Whether every comparison in `expr` is one of a tag with a text, a regular expression or another tag.
pub(super) fn is_about_tags(expr: &Expr) -> bool {
    let is_tag = |side: &Expr| match side {
        Expr::VarRef { data_type, .. } => matches!(data_type, None | Some(DataType::Tag)),
        other => test(other).is_some(),
    };
    match expr {
        Expr::Paren(inner) => is_about_tags(inner),
        Expr::Binary { op: Operator::And | Operator::Or, left, right } => is_about_tags(left) && is_about_tags(right),
        Expr::Binary { left, right, .. } => {
            let names_tag = [left, right].iter().any(|side| matches!(***side, Expr::VarRef { .. }));
            names_tag && is_tag(left) && is_tag(right)
        }
        // What it is, is said elsewhere.
        _ => true,
    }
}

/// WITH KEY as a condition on the key's text.
pub(super) fn key_filter(filter: &TagKeyFilter) -> Condition {
    let key = |comparison, test| Condition::Tag(Bytes::default(), comparison, test);
    match filter {
        TagKeyFilter::Equal(name) => key(Comparison::Is, Test::Equal(bytes(name))),
        TagKeyFilter::NotEqual(name) => key(Comparison::IsNot, Test::Equal(bytes(name))),
        TagKeyFilter::Match(regex) => key(Comparison::Is, Test::Match(pattern(regex))),
        TagKeyFilter::NotMatch(regex) => key(Comparison::IsNot, Test::Match(pattern(regex))),
        TagKeyFilter::In(names) => {
            let names = names.iter().map(|name| key(Comparison::Is, Test::Equal(bytes(name))));
            let any = names.reduce(|left, right| Condition::Or(Box::new(left), Box::new(right)));
            any.unwrap_or(Condition::Always(false))
        }
    }
}

/// Whether a comparison in `expr` begins with time: stock does not see others where it refuses time.
pub(super) fn has_time(expr: &Expr) -> bool {
    match expr {
        Expr::Binary { op: Operator::And | Operator::Or, left, right } => has_time(left) || has_time(right),
        Expr::Binary { left, .. } => matches!(&**left, Expr::VarRef { name, .. } if name.eq_ignore_ascii_case("time")),
        Expr::Paren(inner) => has_time(inner),
        _ => false,
    }
}

/// WHERE of SHOW MEASUREMENTS: decided for each measurement, not for its series, from what every owner says about
/// [`MeasurementFilter::tests`].
#[derive(Debug)]
pub(super) struct MeasurementFilter {
    /// What the owners are asked.
    pub tests: Vec<(Bytes, Test)>,
    rule: Rule,
}

#[derive(Debug)]
enum Rule {
    /// No WHERE.
    Any,
    And(Box<Rule>, Box<Rule>),
    Or(Box<Rule>, Box<Rule>),
    /// The test of this position: the key is there, and some value passes (or none).
    Tag(usize, Comparison),
    Name(Compiled),
}

impl MeasurementFilter {
    /// The filter that `condition` is.
    pub fn new(condition: Option<&Expr>) -> Result<MeasurementFilter, String> {
        let mut filter = MeasurementFilter { tests: Vec::new(), rule: Rule::Any };
        if let Some(condition) = condition {
            filter.rule = filter.rule_of(condition)?;
        }
        Ok(filter)
    }

    /// Whether the measurement passes, given the owners' bits.
    pub fn passes(&self, name: &[u8], bits: u64) -> bool {
        passes(&self.rule, name, bits)
    }

    fn rule_of(&mut self, expr: &Expr) -> Result<Rule, String> {
        let Expr::Binary { op, left, right } = expr else {
            return match expr {
                Expr::Paren(inner) => self.rule_of(inner),
                other => Err(format!("invalid condition expression: {other}")),
            };
        };
        match op {
            Operator::And => Ok(Rule::And(Box::new(self.rule_of(left)?), Box::new(self.rule_of(right)?))),
            Operator::Or => Ok(Rule::Or(Box::new(self.rule_of(left)?), Box::new(self.rule_of(right)?))),
            _ => self.comparison_of(*op, left, right),
        }
    }

    fn comparison_of(&mut self, op: Operator, left: &Expr, right: &Expr) -> Result<Rule, String> {
        let Some(comparison) = comparison(op) else { return Err("invalid tag comparison operator".to_owned()) };
        let sign = display::operator(op);
        let Expr::VarRef { name, .. } = left else { return Err(format!("left side of '{sign}' must be a tag key")) };
        let is_regex = matches!(op, Operator::Match | Operator::NotMatch);
        let test = match (right, is_regex) {
            (Expr::String(text), false) => Test::Equal(bytes(text)),
            (Expr::Regex(regex), true) => Test::Match(pattern(regex)),
            (_, false) => return Err(format!("right side of '{sign}' must be a tag value string")),
            (_, true) => return Err(format!("right side of '{sign}' must be a regular expression")),
        };
        if name == "_name" {
            return Ok(Rule::Name(Condition::Name(comparison, test).compile()?));
        }
        self.tests.push((bytes(name), test));
        Ok(Rule::Tag(self.tests.len() - 1, comparison))
    }
}

fn passes(rule: &Rule, name: &[u8], bits: u64) -> bool {
    match rule {
        Rule::Any => true,
        Rule::And(left, right) => passes(left, name, bits) && passes(right, name, bits),
        Rule::Or(left, right) => passes(left, name, bits) || passes(right, name, bits),
        Rule::Tag(position, comparison) => {
            let wanted = if *comparison == Comparison::Is { 0b11 } else { 0b01 };
            bits >> (2 * position) & 0b11 == wanted
        }
        Rule::Name(test) => test.passes(name),
    }
}
