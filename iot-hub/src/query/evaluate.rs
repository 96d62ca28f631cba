//! A query over rows.

use std::{borrow::Cow, cmp::Ordering, collections::HashMap};

use serde_json::{Map, Value};

use super::{
    Query,
    ast::{Aggregate, Column, ColumnValue, Comparison, Expression, Operator, Path, Selection},
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
    fn find<'a>(&self, row: &'a Value) -> Option<&'a Value> {
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

/// Whether any part is true (`decisive`), or all are: one decisive part settles it, and otherwise one without a truth
/// value leaves it open.
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

/// Values compare when both are primitives of the same type, and have an order when they are numbers or texts.
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

/// Rows gathered by the values of the grouped paths, in the order in which these were first seen.
struct Groups<'a> {
    columns: &'a [Column],
    group_by: &'a [Path],
    by_key: HashMap<String, usize>,
    groups: Vec<Group>,
}

#[derive(Default)]
struct Group {
    /// The grouped paths' values, as a row for the columns that are paths.
    keys: Vec<Option<Value>>,
    tallies: Vec<Tally>,
}

/// What every aggregate needs to know of one column.
#[derive(Default, Clone)]
struct Tally {
    count: u64,
    numbers: u64,
    sum: f64,
    min: Option<f64>,
    max: Option<f64>,
}

impl<'a> Groups<'a> {
    fn new(columns: &'a [Column], group_by: &'a [Path]) -> Self {
        let mut groups = Self {
            columns,
            group_by,
            by_key: HashMap::new(),
            groups: Vec::new(),
        };
        if group_by.is_empty() {
            // Without GROUP BY there is one result, even of no rows.
            groups.group(Vec::new());
        }
        groups
    }

    fn add(&mut self, row: &Value) {
        let keys = self
            .group_by
            .iter()
            .map(|path| path.find(row).cloned())
            .collect();
        let columns = self.columns;
        let group = self.group(keys);
        for (column, tally) in columns.iter().zip(&mut group.tallies) {
            match &column.value {
                ColumnValue::Aggregate(_, None) => tally.count += 1,
                ColumnValue::Aggregate(_, Some(path)) => {
                    if let Some(value) = path.find(row) {
                        tally.add(value);
                    }
                }
                ColumnValue::Path(_) => {}
            }
        }
    }

    fn group(&mut self, keys: Vec<Option<Value>>) -> &mut Group {
        // JSON has no line breaks outside of texts and escapes them inside, so the parts cannot run together.
        let texts: Vec<_> = keys
            .iter()
            .map(|key| key.as_ref().map_or_else(String::new, Value::to_string))
            .collect();
        let tallies = vec![Tally::default(); self.columns.len()];
        let index = *self.by_key.entry(texts.join("\n")).or_insert_with(|| {
            self.groups.push(Group { keys, tallies });
            self.groups.len() - 1
        });
        &mut self.groups[index]
    }

    fn finish(self) -> impl Iterator<Item = Value> {
        let Self {
            columns,
            group_by,
            groups,
            ..
        } = self;
        groups.into_iter().map(move |group| {
            let mut fields = Map::new();
            for (column, tally) in columns.iter().zip(&group.tallies) {
                let value = match &column.value {
                    ColumnValue::Aggregate(aggregate, _) => tally.finish(*aggregate),
                    ColumnValue::Path(path) => {
                        let mut keys = group_by.iter().zip(&group.keys);
                        keys.find_map(|(known, key)| if known == path { key.clone() } else { None })
                    }
                };
                fields.extend(value.map(|value| (column.name.clone(), value)));
            }
            Value::Object(fields)
        })
    }
}

impl Tally {
    fn add(&mut self, value: &Value) {
        self.count += 1;
        if let Some(number) = value.as_f64() {
            self.numbers += 1;
            self.sum += number;
            self.min = Some(self.min.map_or(number, |min| min.min(number)));
            self.max = Some(self.max.map_or(number, |max| max.max(number)));
        }
    }

    fn finish(&self, aggregate: Aggregate) -> Option<Value> {
        match aggregate {
            Aggregate::Count => Some(self.count.into()),
            Aggregate::Sum => shortest(self.sum),
            Aggregate::Avg if self.numbers == 0 => None,
            Aggregate::Avg => shortest(self.sum / self.numbers as f64),
            Aggregate::Min => shortest(self.min?),
            Aggregate::Max => shortest(self.max?),
        }
    }
}

/// Writes a whole number without a decimal point, as it most likely stood in the rows.
fn shortest(number: f64) -> Option<Value> {
    if number.fract() == 0.0 && number.abs() < 9e15 {
        return Some((number as i64).into());
    }
    serde_json::Number::from_f64(number).map(Value::Number)
}
