//! Columns as a query wants them: one type for each field, whatever the shard groups hold.

use crate::exec::view::Column;
use crate::exec::view::Values;
use crate::model::Bytes;
use crate::model::Cell;
use crate::model::FieldType;

/// The values of `column` as `wanted`; `None` when its kind cannot become that: numbers become each other, strings and
/// booleans only themselves.
pub fn convert(column: Column, wanted: FieldType) -> Option<Column> {
    let values = match (column.values, wanted) {
        (Values::Float(values), FieldType::Float) => Values::Float(values),
        (Values::Float(values), FieldType::Integer) => Values::Integer(map(values, float_to_integer)),
        (Values::Float(values), FieldType::Unsigned) => Values::Unsigned(map(values, float_to_unsigned)),
        (Values::Integer(values), FieldType::Float) => Values::Float(map(values, |value| value as f64)),
        (Values::Integer(values), FieldType::Integer) => Values::Integer(values),
        (Values::Integer(values), FieldType::Unsigned) => Values::Unsigned(map(values, |value| value as u64)),
        (Values::Unsigned(values), FieldType::Float) => Values::Float(map(values, |value| value as f64)),
        (Values::Unsigned(values), FieldType::Integer) => Values::Integer(map(values, |value| value as i64)),
        (Values::Unsigned(values), FieldType::Unsigned) => Values::Unsigned(values),
        (Values::String(values), FieldType::String) => Values::String(values),
        (Values::Boolean(values), FieldType::Boolean) => Values::Boolean(values),
        _ => return None,
    };
    Some(Column { values, valid: column.valid })
}

fn map<A, B>(values: Vec<A>, convert: impl Fn(A) -> B) -> Vec<B> {
    values.into_iter().map(convert).collect()
}

/// Go on amd64 gives the smallest integer for what does not fit; Rust would saturate.
pub fn float_to_integer(value: f64) -> i64 {
    let fits = (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&value);
    if fits { value as i64 } else { i64::MIN }
}

/// Negative numbers wrap, as Go on amd64 does.
pub fn float_to_unsigned(value: f64) -> u64 {
    if value < 9_223_372_036_854_775_808.0 {
        float_to_integer(value) as u64
    } else if value < 18_446_744_073_709_551_616.0 {
        value as u64
    } else {
        1 << 63
    }
}

/// One value as `wanted`; [`Cell::Null`] when its kind cannot become that.
pub fn convert_cell(cell: Cell, wanted: FieldType) -> Cell {
    match (cell, wanted) {
        (Cell::Float(value), FieldType::Float) => Cell::Float(value),
        (Cell::Float(value), FieldType::Integer) => Cell::Integer(float_to_integer(value)),
        (Cell::Float(value), FieldType::Unsigned) => Cell::Unsigned(float_to_unsigned(value)),
        (Cell::Integer(value), FieldType::Float) => Cell::Float(value as f64),
        (Cell::Integer(value), FieldType::Integer) => Cell::Integer(value),
        (Cell::Integer(value), FieldType::Unsigned) => Cell::Unsigned(value as u64),
        (Cell::Unsigned(value), FieldType::Float) => Cell::Float(value as f64),
        (Cell::Unsigned(value), FieldType::Integer) => Cell::Integer(value as i64),
        (Cell::Unsigned(value), FieldType::Unsigned) => Cell::Unsigned(value),
        (Cell::String(value), FieldType::String) => Cell::String(value),
        (Cell::Boolean(value), FieldType::Boolean) => Cell::Boolean(value),
        _ => Cell::Null,
    }
}

impl Column {
    /// Whether row `row` has a value.
    pub fn has(&self, row: usize) -> bool {
        self.valid.as_ref().is_none_or(|valid| valid[row])
    }

    /// The value of row `row`.
    pub fn cell(&self, row: usize) -> Cell {
        if !self.has(row) {
            return Cell::Null;
        }
        match &self.values {
            Values::Float(values) => Cell::Float(values[row]),
            Values::Integer(values) => Cell::Integer(values[row]),
            Values::Unsigned(values) => Cell::Unsigned(values[row]),
            Values::String(values) => Cell::String(values[row].clone()),
            Values::Boolean(values) => Cell::Boolean(values[row]),
        }
    }

    /// Rows it holds.
    pub fn row_count(&self) -> usize {
        match &self.values {
            Values::Float(values) => values.len(),
            Values::Integer(values) => values.len(),
            Values::Unsigned(values) => values.len(),
            Values::String(values) => values.len(),
            Values::Boolean(values) => values.len(),
        }
    }

    /// About how much memory it holds.
    pub fn byte_count(&self) -> usize {
        let values = match &self.values {
            Values::String(values) => values.iter().map(|value| value.len() + 24).sum(),
            Values::Boolean(values) => values.len(),
            _ => self.row_count() * 8,
        };
        values + self.valid.as_ref().map_or(0, Vec::len)
    }

    /// Only the rows whose flag in `keep` is set.
    pub fn filter(self, keep: &[bool]) -> Column {
        let values = match self.values {
            Values::Float(values) => Values::Float(kept(values, keep)),
            Values::Integer(values) => Values::Integer(kept(values, keep)),
            Values::Unsigned(values) => Values::Unsigned(kept(values, keep)),
            Values::String(values) => Values::String(kept(values, keep)),
            Values::Boolean(values) => Values::Boolean(kept(values, keep)),
        };
        Column { values, valid: self.valid.map(|valid| kept(valid, keep)) }
    }
}

/// The items whose flag in `keep` is set.
pub fn kept<T>(items: Vec<T>, keep: &[bool]) -> Vec<T> {
    items.into_iter().zip(keep).filter_map(|(item, keep)| keep.then_some(item)).collect()
}

/// A column under construction, row by row; it takes shape with its first value.
#[derive(Debug, Default)]
pub struct ColumnBuilder {
    values: Option<Values>,
    valid: Vec<bool>,
}

impl ColumnBuilder {
    /// Adds row `row` of `column`, or an absent value.
    pub fn push(&mut self, column: Option<&Column>, row: usize) {
        let column = column.filter(|column| column.has(row));
        let row_count = self.valid.len();
        self.valid.push(column.is_some());
        let Some(column) = column else {
            return self.push_zero();
        };
        let values = self.values.get_or_insert_with(|| zeros_like(&column.values, row_count));
        match (values, &column.values) {
            (Values::Float(to), Values::Float(from)) => to.push(from[row]),
            (Values::Integer(to), Values::Integer(from)) => to.push(from[row]),
            (Values::Unsigned(to), Values::Unsigned(from)) => to.push(from[row]),
            (Values::String(to), Values::String(from)) => to.push(from[row].clone()),
            (Values::Boolean(to), Values::Boolean(from)) => to.push(from[row]),
            _ => panic!("columns of one field were converted to one type"),
        }
    }

    /// Adds a cell of the column's type, or Null.
    pub fn push_cell(&mut self, cell: Cell) {
        let values = match cell {
            Cell::Float(value) => Values::Float(vec![value]),
            Cell::Integer(value) => Values::Integer(vec![value]),
            Cell::Unsigned(value) => Values::Unsigned(vec![value]),
            Cell::String(value) => Values::String(vec![value]),
            Cell::Boolean(value) => Values::Boolean(vec![value]),
            Cell::Null | Cell::Time { .. } | Cell::List(_) => return self.push(None, 0),
        };
        self.push(Some(&Column { values, valid: None }), 0);
    }

    fn push_zero(&mut self) {
        match &mut self.values {
            None => {}
            Some(Values::Float(values)) => values.push(0.0),
            Some(Values::Integer(values)) => values.push(0),
            Some(Values::Unsigned(values)) => values.push(0),
            Some(Values::String(values)) => values.push(Bytes::default()),
            Some(Values::Boolean(values)) => values.push(false),
        }
    }

    /// The column; `None` when no row had a value.
    pub fn finish(self) -> Option<Column> {
        let valid = if self.valid.iter().all(|valid| *valid) { None } else { Some(self.valid) };
        self.values.map(|values| Column { values, valid })
    }
}

fn zeros_like(values: &Values, count: usize) -> Values {
    match values {
        Values::Float(_) => Values::Float(vec![0.0; count]),
        Values::Integer(_) => Values::Integer(vec![0; count]),
        Values::Unsigned(_) => Values::Unsigned(vec![0; count]),
        Values::String(_) => Values::String(vec![Bytes::default(); count]),
        Values::Boolean(_) => Values::Boolean(vec![false; count]),
    }
}

/// About how much memory a cell holds beyond itself.
pub fn cell_bytes(cell: &Cell) -> usize {
    match cell {
        Cell::String(text) => text.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_each_other_and_nothing_else_does() {
        let column = Column { values: Values::Float(vec![1.5, -2.5]), valid: None };
        assert_eq!(convert(column.clone(), FieldType::Integer).unwrap().values, Values::Integer(vec![1, -2]));
        assert!(convert(column, FieldType::String).is_none());
        assert_eq!(convert_cell(Cell::Integer(-3), FieldType::Unsigned), Cell::Unsigned(18_446_744_073_709_551_613));
        assert_eq!(convert_cell(Cell::Boolean(true), FieldType::Float), Cell::Null);
    }

    #[test]
    fn a_builder_marks_rows_without_a_value() {
        let column = Column { values: Values::Integer(vec![7, 8]), valid: Some(vec![true, false]) };
        let mut builder = ColumnBuilder::default();
        builder.push(None, 0);
        builder.push(Some(&column), 0);
        builder.push(Some(&column), 1);
        let built = builder.finish().unwrap();
        assert_eq!(built.values, Values::Integer(vec![0, 7, 0]));
        assert_eq!(built.valid, Some(vec![false, true, false]));
    }
}
