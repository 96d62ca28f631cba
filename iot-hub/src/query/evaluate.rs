//! A query over rows.

use std::{borrow::Cow, cmp::Ordering};

use serde_json::Value;

use super::{
    Query,
    ast::{ColumnValue, Comparison, Expression, Operator, Path, Selection},
    groups::Groups,
};

/// A value, or none where a row lacks it or an operation has no result.
type Maybe<'a> = Option<Cow<'a, Value>>;

pub(super) fn evaluate(query: &Query, rows: &mut dyn Iterator<Item = Value>) -> Vec<Value> {
    let limit = query.top.unwrap_or(usize::MAX);
    let selected = rows.filter(|row| match &query.condition {
        Some(condition) => truth(condition.evaluate(row)) == Some(true),
        None => true,
    });
    let columns = match &query.selection {
        Selection::All => return selected.take(limit).collect(),
        Selection::Columns(columns) => columns,
    };
    let aggregates = columns
        .iter()
        .any(|column| matches!(column.value, ColumnValue::Aggregate(..)));
    if aggregates || !query.group_by.is_empty() {
        let mut groups = Groups::new(columns, &query.group_by);
        selected.for_each(|row| groups.add(&row));
        return groups.finish().take(limit).collect();
    }
    let project = |row: Value| {
        let fields = columns.iter().filter_map(|column| match &column.value {
            ColumnValue::Path(path) => Some((column.name.clone(), path.find(&row)?.clone())),
            ColumnValue::Aggregate(..) => None,
        });
        Value::Object(fields.collect())
    };
    selected.take(limit).map(project).collect()
}

impl Path {
    pub(super) fn find<'a>(&self, row: &'a Value) -> Option<&'a Value> {
        self.0
            .iter()
            .try_fold(row, |value, name| value.as_object()?.get(name))
    }
}

impl Expression {
    fn evaluate<'a>(&'a self, row: &'a Value) -> Maybe<'a> {
        match self {
            Self::Literal(value) => Some(Cow::Borrowed(value)),
            Self::Undefined => None,
            Self::Path(path) => path.find(row).map(Cow::Borrowed),
            Self::Not(inner) => boolean(!truth(inner.evaluate(row))?),
            Self::Negative(inner) => number(-inner.evaluate(row)?.as_f64()?),
            Self::All(parts) => decide(parts, row, false),
            Self::Any(parts) => decide(parts, row, true),
            Self::Compare(left, comparison, right) => {
                let (left, right) = (left.evaluate(row)?, right.evaluate(row)?);
                compare(&left, *comparison, &right).and_then(boolean)
            }
            Self::Calculate(first, rest) => {
                let first = first.evaluate(row)?.as_f64()?;
                let result = rest.iter().try_fold(first, |left, (operator, right)| {
                    Some(operator.apply(left, right.evaluate(row)?.as_f64()?))
                });
                number(result?)
            }
            Self::In {
                value,
                list,
                negated,
            } => {
                let value = value.evaluate(row)?;
                if value.is_array() || value.is_object() {
                    return None;
                }
                boolean(list.iter().any(|item| equal(&value, item) == Some(true)) != *negated)
            }
            Self::IsDefined(path) => boolean(path.find(row).is_some()),
            Self::ArrayContains(list, value) => {
                let (list, value) = (list.evaluate(row)?, value.evaluate(row)?);
                boolean(
                    list.as_array()?
                        .iter()
                        .any(|item| equal(item, &value) == Some(true)),
                )
            }
            Self::StartsWith(text, start) => {
                let (text, start) = (text.evaluate(row)?, start.evaluate(row)?);
                boolean(text.as_str()?.starts_with(start.as_str()?))
            }
            Self::EndsWith(text, end) => {
                let (text, end) = (text.evaluate(row)?, end.evaluate(row)?);
                boolean(text.as_str()?.ends_with(end.as_str()?))
            }
        }
    }
}

/// Whether any part is true (`decisive`), or all are: one decisive part settles it, and otherwise
/// one without a truth value leaves it open.
fn decide<'a>(parts: &'a [Expression], row: &'a Value, decisive: bool) -> Maybe<'a> {
    let mut open = false;
    for part in parts {
        match truth(part.evaluate(row)) {
            Some(truth) if truth == decisive => return boolean(decisive),
            Some(_) => {}
            None => open = true,
        }
    }
    if open { None } else { boolean(!decisive) }
}

fn truth(value: Maybe<'_>) -> Option<bool> {
    value?.as_bool()
}

fn boolean<'a>(value: bool) -> Maybe<'a> {
    Some(Cow::Owned(Value::Bool(value)))
}

/// A number that JSON cannot carry is no result.
fn number<'a>(value: f64) -> Maybe<'a> {
    serde_json::Number::from_f64(value).map(|number| Cow::Owned(Value::Number(number)))
}

/// Values compare when both are primitives of the same type, and have an order when they are
/// numbers or texts.
fn compare(left: &Value, comparison: Comparison, right: &Value) -> Option<bool> {
    match comparison {
        Comparison::Equal => equal(left, right),
        Comparison::NotEqual => equal(left, right).map(|equal| !equal),
        Comparison::Less => order(left, right).map(Ordering::is_lt),
        Comparison::LessOrEqual => order(left, right).map(Ordering::is_le),
        Comparison::Greater => order(left, right).map(Ordering::is_gt),
        Comparison::GreaterOrEqual => order(left, right).map(Ordering::is_ge),
    }
}

fn equal(left: &Value, right: &Value) -> Option<bool> {
    match (left, right) {
        (Value::Null, Value::Null) => Some(true),
        (Value::Bool(left), Value::Bool(right)) => Some(left == right),
        _ => order(left, right).map(Ordering::is_eq),
    }
}

fn order(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.as_f64()?.partial_cmp(&right.as_f64()?),
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        _ => None,
    }
}

impl Operator {
    fn apply(self, left: f64, right: f64) -> f64 {
        match self {
            Self::Add => left + right,
            Self::Subtract => left - right,
            Self::Multiply => left * right,
            Self::Divide => left / right,
            Self::Remainder => left % right,
        }
    }
}
