//! Names and types a SELECT sees: fields and tags of its sources, with one type for each field; expansion of `*` and
//! `/re/`.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::exec::schema::MeasurementSchema;
use crate::influxql::ast;
use crate::influxql::ast::DataType;
use crate::influxql::ast::Expr;
use crate::influxql::ast::WildcardKind;
use crate::model::Bytes;
use crate::model::FieldType;
use crate::query::compile::Compiled;
use crate::query::compile::Dimension;

/// What a name means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// A field, read as this type.
    Field(FieldType),
    /// A tag.
    Tag,
    /// Nothing there, or nothing that could be cast so.
    Nothing,
}

/// Fields and tags of all sources of one SELECT.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Fields with the type that wins over all sources and shard groups.
    pub fields: BTreeMap<Bytes, FieldType>,
    /// Keys of tags.
    pub tags: BTreeSet<Bytes>,
    /// Columns of subqueries that are tags: named they are tags, `*` has them among the fields, GROUP BY * not at all.
    pub tag_columns: BTreeSet<Bytes>,
    /// All tags that rows of subqueries have: calls read them like strings.
    pub row_tags: BTreeSet<Bytes>,
}

impl Names {
    /// Adds what a measurement has.
    pub fn add(&mut self, schema: &MeasurementSchema) {
        for (name, types) in &schema.fields {
            types.iter().for_each(|field_type| self.add_field(name.clone(), *field_type));
        }
        self.tags.extend(schema.tags.iter().cloned());
    }

    /// Adds a field; of several types the first in rank wins.
    pub fn add_field(&mut self, name: Bytes, field_type: FieldType) {
        let known = self.fields.entry(name).or_insert(field_type);
        *known = (*known).min(field_type);
    }

    /// What `name::data_type` means.
    pub fn meaning(&self, name: &str, data_type: Option<DataType>) -> Meaning {
        let field = self.fields.get(name.as_bytes());
        let is_tag = [&self.tags, &self.row_tags].iter().any(|tags| tags.contains(name.as_bytes()));
        match data_type {
            None if field.is_none() && is_tag => Meaning::Tag,
            None | Some(DataType::AnyField) => field.map_or(Meaning::Nothing, |field| Meaning::Field(*field)),
            Some(DataType::Tag) if is_tag => Meaning::Tag,
            Some(cast) => match field_type(cast) {
                Some(cast) if field.is_some() => Meaning::Field(cast),
                _ => Meaning::Nothing,
            },
        }
    }
}

/// The field type of a cast.
pub fn field_type(data_type: DataType) -> Option<FieldType> {
    Some(match data_type {
        DataType::Float => FieldType::Float,
        DataType::Integer => FieldType::Integer,
        DataType::Unsigned => FieldType::Unsigned,
        DataType::String => FieldType::String,
        DataType::Boolean => FieldType::Boolean,
        DataType::Time | DataType::Duration | DataType::Tag | DataType::AnyField => return None,
    })
}

/// The cast to a field type.
pub fn data_type(field_type: FieldType) -> DataType {
    match field_type {
        FieldType::Float => DataType::Float,
        FieldType::Integer => DataType::Integer,
        FieldType::Unsigned => DataType::Unsigned,
        FieldType::String => DataType::String,
        FieldType::Boolean => DataType::Boolean,
    }
}

/// GROUP BY tags, sorted, each once.
pub fn dimensions(items: &[Dimension], names: &Names) -> Vec<Bytes> {
    let mut keys = BTreeSet::new();
    for item in items {
        match item {
            Dimension::Tag(name) => drop(keys.insert(Bytes::from(name.as_bytes()))),
            Dimension::Wildcard => keys.extend(names.tags.iter().cloned()),
            Dimension::Regex(regex) => {
                keys.extend(names.tags.iter().filter(|tag| regex.compiled.is_match(tag)).cloned());
            }
        }
    }
    keys.into_iter().collect()
}

/// The select items with every `*` and `/re/` replaced by what it stands for.
pub fn expand(compiled: &Compiled, names: &Names) -> Result<Vec<ast::Field>, String> {
    let mut fields = Vec::new();
    let candidates = candidates(compiled, names);
    for field in &compiled.fields {
        let mut inner = &field.expr;
        while let Expr::Paren(expr) = inner {
            inner = expr;
        }
        match inner {
            Expr::Wildcard(kind) => {
                let wanted = |candidate: &&Candidate| match kind {
                    None => true,
                    Some(WildcardKind::Field) => candidate.1 != DataType::Tag,
                    Some(WildcardKind::Tag) => candidate.1 == DataType::Tag,
                };
                fields.extend(candidates.iter().filter(wanted).map(plain));
            }
            Expr::Regex(regex) => {
                let wanted = |candidate: &&Candidate| regex.compiled.is_match(candidate.0.as_bytes());
                fields.extend(candidates.iter().filter(wanted).map(plain));
            }
            Expr::Call { .. } => expand_call(field, inner, names, &mut fields)?,
            _ => fields.push(field.clone()),
        }
    }
    Ok(fields)
}

/// A name with the type that tells a field from a tag of the same name.
type Candidate = (String, DataType);

fn plain(candidate: &Candidate) -> ast::Field {
    ast::Field { expr: Expr::VarRef { name: candidate.0.clone(), data_type: Some(candidate.1) }, alias: None }
}

/// What `*` stands for, sorted by name, a field before the tag of its name.
fn candidates(compiled: &Compiled, names: &Names) -> Vec<Candidate> {
    let mut candidates: Vec<(Bytes, DataType)> =
        names.fields.iter().map(|(name, field)| (name.clone(), data_type(*field))).collect();
    candidates.extend(names.tag_columns.iter().map(|tag| (tag.clone(), DataType::Tag)));
    // Without a field no row exists, and with GROUP BY * or a regular expression tags are not columns.
    let wild = compiled.dimensions.iter().any(|item| !matches!(item, Dimension::Tag(_)));
    if !candidates.is_empty() && !wild {
        let grouped = dimensions(&compiled.dimensions, names);
        candidates
            .extend(names.tags.iter().filter(|tag| !grouped.contains(tag)).map(|tag| (tag.clone(), DataType::Tag)));
    }
    // A tag that is a column of a subquery and groups its rows as well is there twice.
    candidates.sort();
    candidates.into_iter().map(|(name, kind)| (String::from_utf8_lossy(&name).into_owned(), kind)).collect()
}

/// Whether `expr` is or holds a `*` or `/re/` as first argument, and of which function.
fn wild_call(expr: &Expr) -> Option<(&str, &Expr)> {
    let Expr::Call { name, args } = expr else { return None };
    match args.first()? {
        wild @ (Expr::Wildcard(_) | Expr::Regex(_)) => Some((name, wild)),
        inner => wild_call(inner),
    }
}

fn expand_call(field: &ast::Field, call: &Expr, names: &Names, out: &mut Vec<ast::Field>) -> Result<(), String> {
    let Some((function, wild)) = wild_call(call) else {
        out.push(field.clone());
        return Ok(());
    };
    if let Expr::Wildcard(Some(WildcardKind::Tag)) = wild {
        return Err(format!("unable to use tag wildcard in {function}()"));
    }
    let Expr::Call { name: outer, .. } = call else { return Ok(()) };
    for (name, field_type) in &names.fields {
        let matches = match wild {
            Expr::Regex(regex) => regex.compiled.is_match(name),
            _ => true,
        };
        if !matches || !takes(function, *field_type) {
            continue;
        }
        let name = String::from_utf8_lossy(name).into_owned();
        let prefix = field.alias.as_ref().unwrap_or(outer);
        let reference = Expr::VarRef { name: name.clone(), data_type: Some(data_type(*field_type)) };
        out.push(ast::Field { expr: replaced(call, &reference), alias: Some(format!("{prefix}_{name}")) });
    }
    Ok(())
}

/// `expr` with its wildcard argument replaced.
fn replaced(expr: &Expr, reference: &Expr) -> Expr {
    match expr {
        Expr::Wildcard(_) | Expr::Regex(_) => reference.clone(),
        Expr::Call { name, args } => {
            let mut args = args.clone();
            if let Some(first) = args.first_mut() {
                *first = replaced(first, reference);
            }
            Expr::Call { name: name.clone(), args }
        }
        other => other.clone(),
    }
}

/// Whether `function(*)` covers fields of this type.
fn takes(function: &str, field_type: FieldType) -> bool {
    match field_type {
        FieldType::Float | FieldType::Integer => true,
        FieldType::Unsigned => !matches!(function, "holt_winters" | "holt_winters_with_fit"),
        FieldType::String => {
            matches!(function, "count" | "first" | "last" | "distinct" | "elapsed" | "mode" | "sample")
        }
        FieldType::Boolean => takes(function, FieldType::String) || matches!(function, "min" | "max"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_beats_the_tag_of_its_name_unless_cast() {
        let mut names = Names::default();
        names.add_field(b"host".as_slice().into(), FieldType::String);
        names.tags.insert(b"host".as_slice().into());
        assert_eq!(names.meaning("host", None), Meaning::Field(FieldType::String));
        assert_eq!(names.meaning("host", Some(DataType::Tag)), Meaning::Tag);
        assert_eq!(names.meaning("x", None), Meaning::Nothing);
    }
}
