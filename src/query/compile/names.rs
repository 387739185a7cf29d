//! Column names of the select items.

use std::collections::HashMap;
use std::collections::HashSet;

use crate::influxql::ast::Expr;
use crate::influxql::ast::Field;

/// The name of an item before duplicates are told apart: its alias, its function or field, or the names in it joined
/// by `_`; empty when there are none.
pub fn field_name(field: &Field) -> String {
    if let Some(alias) = &field.alias {
        return alias.clone();
    }
    match &field.expr {
        Expr::Call { name, .. } | Expr::VarRef { name, .. } => name.clone(),
        Expr::Distinct(_) => "distinct".into(),
        expr => {
            let mut names = Vec::new();
            collect(expr, &mut names);
            names.join("_")
        }
    }
}

/// Names of fields and outermost calls, from left to right.
fn collect<'a>(expr: &'a Expr, names: &mut Vec<&'a str>) {
    match expr {
        Expr::VarRef { name, .. } | Expr::Call { name, .. } => names.push(name),
        Expr::Distinct(_) => names.push("distinct"),
        Expr::Binary { left, right, .. } => {
            collect(left, names);
            collect(right, names);
        }
        Expr::Paren(inner) => collect(inner, names),
        _ => {}
    }
}

/// The columns of a result without the time column. Aliases stay as they are; of the others each that is taken already
/// gets the next free number behind its name.
pub fn column_names(fields: &[Field]) -> Vec<String> {
    let mut taken: HashSet<String> = fields.iter().filter_map(|field| field.alias.clone()).collect();
    let mut counters: HashMap<String, u32> = HashMap::new();
    let mut names = Vec::with_capacity(fields.len());
    for field in fields {
        let base = field_name(field);
        if field.alias.is_some() {
            names.push(base);
            continue;
        }
        let mut name = base.clone();
        let counter = counters.entry(base.clone()).or_default();
        while !taken.insert(name.clone()) {
            *counter += 1;
            name = format!("{base}_{counter}");
        }
        names.push(name);
    }
    names
}
