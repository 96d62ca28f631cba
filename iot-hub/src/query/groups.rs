//! Aggregates and GROUP BY.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::ast::{Aggregate, Column, ColumnValue, Path};

/// Rows gathered by the values of the grouped paths, in the order in which these were first seen.
pub(super) struct Groups<'a> {
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
    pub(super) fn new(columns: &'a [Column], group_by: &'a [Path]) -> Self {
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

    pub(super) fn add(&mut self, row: &Value) {
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
        // JSON has no line breaks outside of texts and escapes them inside, so the parts cannot run
        // together.
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

    pub(super) fn finish(self) -> impl Iterator<Item = Value> {
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
