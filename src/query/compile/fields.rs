//! The select items, one by one.

use crate::influxql::ast::Expr;
use crate::influxql::ast::Field;
use crate::influxql::reduce::Known;
use crate::influxql::reduce::fold;
use crate::influxql::reduce::is_literal;
use crate::influxql::reduce::math_argument_count;
use crate::query::compile::Clauses;
use crate::query::compile::calls;
use crate::query::compile::rules::argument_count;

/// What the items turned out to be.
pub(super) struct Found {
    /// See [`crate::query::compile::Compiled::fields`].
    pub(super) fields: Vec<Field>,
    /// Alias of a `time` item.
    pub(super) time_column: Option<String>,
    /// Calls met, nested ones too, math functions not.
    pub(super) call_count: usize,
    pub(super) only_selectors: bool,
    pub(super) has_plain_fields: bool,
    pub(super) is_bare_distinct: bool,
    /// `distinct` stands on its own, not inside another call.
    pub(super) has_distinct: bool,
    pub(super) top_bottom: Option<String>,
}

/// Checks the items from left to right and collects them.
pub(super) fn check(items: &[Field], clauses: &Clauses) -> Result<Found, String> {
    let mut found = Found {
        fields: Vec::with_capacity(items.len()),
        time_column: None,
        call_count: 0,
        only_selectors: true,
        has_plain_fields: false,
        is_bare_distinct: false,
        has_distinct: false,
        top_bottom: None,
    };
    for item in items {
        match &item.expr {
            Expr::VarRef { name, .. } if name == "time" => {
                found.time_column = item.alias.clone().or(found.time_column);
            }
            expr => {
                let expr = fold(expr, &Known::math());
                let mut checker = Checker { clauses, found: &mut found, wildcard_allowed: true, extra: Vec::new() };
                checker.expr(&expr)?;
                let extra = checker.extra;
                found.is_bare_distinct |= is_distinct(&expr);
                found.fields.push(Field { expr: spelled_out(&expr), alias: item.alias.clone() });
                found.fields.extend(extra);
            }
        }
    }
    Ok(found)
}

/// The field of `DISTINCT v`.
fn spelled_argument(expr: &Expr) -> Expr {
    match expr {
        Expr::Distinct(name) => Expr::VarRef { name: name.clone(), data_type: None },
        other => other.clone(),
    }
}

/// `DISTINCT v` as the call it means. As an operand it stays what it is: there stock gives it no values.
fn spelled_out(expr: &Expr) -> Expr {
    let boxed = |expr: &Expr| Box::new(if is_distinct(expr) { expr.clone() } else { spelled_out(expr) });
    match expr {
        Expr::Distinct(_) => Expr::Call { name: "distinct".into(), args: vec![spelled_argument(expr)] },
        Expr::Call { name, args } => Expr::Call { name: name.clone(), args: args.iter().map(spelled_out).collect() },
        Expr::Binary { op, left, right } => Expr::Binary { op: *op, left: boxed(left), right: boxed(right) },
        Expr::Paren(inner) => Expr::Paren(Box::new(spelled_out(inner))),
        other => other.clone(),
    }
}

/// Whether it is `DISTINCT v`, also in parentheses.
pub fn is_distinct(expr: &Expr) -> bool {
    match expr {
        Expr::Paren(inner) => is_distinct(inner),
        other => matches!(other, Expr::Distinct(_)),
    }
}

/// Walks one item.
pub(super) struct Checker<'a> {
    pub(super) clauses: &'a Clauses,
    pub(super) found: &'a mut Found,
    /// No operator has been met on the way here.
    wildcard_allowed: bool,
    /// Items that come behind this one: the tag arguments of top and bottom.
    pub(super) extra: Vec<Field>,
}

impl Checker<'_> {
    pub(super) fn expr(&mut self, expr: &Expr) -> Result<(), String> {
        match expr {
            Expr::VarRef { .. } => {
                self.found.has_plain_fields = true;
                Ok(())
            }
            Expr::Wildcard(_) => self.wildcard("unable to use wildcard in a binary expression"),
            Expr::Regex(_) => self.wildcard("unable to use regex in a binary expression"),
            Expr::Call { name, args } => match math_argument_count(name) {
                Some(expected) if expected != args.len() => Err(argument_count(name, expected, args.len())),
                Some(_) => args.iter().filter(|arg| !is_literal(arg)).try_for_each(|arg| self.expr(arg)),
                None => {
                    self.found.call_count += 1;
                    calls::check(self, name, args)
                }
            },
            Expr::Distinct(_) => {
                self.found.call_count += 1;
                calls::check_distinct(self, std::slice::from_ref(&spelled_argument(expr)), false)
            }
            Expr::Binary { left, right, .. } => {
                self.wildcard_allowed = false;
                match (is_literal(left), is_literal(right)) {
                    (true, true) => Err("cannot perform a binary expression on two literals".into()),
                    (true, false) => self.expr(right),
                    (false, true) => self.expr(left),
                    (false, false) => {
                        self.expr(left)?;
                        self.expr(right)
                    }
                }
            }
            Expr::Paren(inner) => self.expr(inner),
            _ => Err("field must contain at least one variable".into()),
        }
    }

    fn wildcard(&mut self, refusal: &str) -> Result<(), String> {
        self.found.has_plain_fields = true;
        if self.wildcard_allowed { Ok(()) } else { Err(refusal.into()) }
    }

    /// The argument of a call that must be a field, a wildcard or a regular expression.
    pub(super) fn symbol(&mut self, name: &str, arg: &Expr) -> Result<(), String> {
        let what = match arg {
            Expr::VarRef { .. } => return Ok(()),
            Expr::Wildcard(_) => "wildcard",
            Expr::Regex(_) => "regex field",
            _ => return Err(format!("expected field argument in {name}()")),
        };
        if !self.wildcard_allowed {
            return Err(format!("unsupported expression with {what}: {name}()"));
        }
        // One call for each field it stands for: no longer one selector.
        self.found.only_selectors = false;
        Ok(())
    }

    /// The call inside another call.
    pub(super) fn nested(&mut self, expr: &Expr) -> Result<(), String> {
        match expr {
            Expr::Call { name, args } if name == "distinct" => calls::check_distinct(self, args, true),
            other => self.expr(other),
        }
    }
}
