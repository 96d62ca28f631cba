//! A query put together from the conditions that somebody asked for.

use jiff::Timestamp;
use rusqlite::{Connection, Row, ToSql, params_from_iter};

use crate::store::Comparison;

/// What is selected so far.
pub(super) struct Select {
    sql: String,
    values: Vec<Box<dyn ToSql>>,
}

impl Select {
    /// Selects every row; `columns_and_table` is what stands between `SELECT` and `WHERE`.
    pub(super) fn new(columns_and_table: &str) -> Self {
        Self {
            sql: format!("SELECT {columns_and_table} WHERE 1"),
            values: Vec::new(),
        }
    }

    /// Only rows that fulfil `condition` too, in which each `?` stands for one of `values`.
    pub(super) fn and<const N: usize>(&mut self, condition: &str, values: [Box<dyn ToSql>; N]) {
        self.sql += " AND ";
        self.sql += condition;
        self.values.extend(values);
    }

    /// Only rows whose `column` compares so to `time`.
    pub(super) fn and_time(&mut self, column: &str, comparison: Comparison, time: Timestamp) {
        let operator = match comparison {
            Comparison::Before => "<",
            Comparison::AtOrBefore => "<=",
            Comparison::After => ">",
            Comparison::AtOrAfter => ">=",
        };
        let condition = format!("{column} {operator} ?");
        self.and(&condition, [Box::new(time.as_microsecond())]);
    }

    /// Reads the first `limit` rows in this order.
    pub(super) fn read<T>(
        mut self,
        connection: &Connection,
        order: &str,
        limit: usize,
        row: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Vec<T>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.values.push(Box::new(limit));
        let sql = format!("{} ORDER BY {order} LIMIT ?", self.sql);
        let values = self.values.iter().map(AsRef::as_ref);
        connection
            .prepare_cached(&sql)?
            .query_map(params_from_iter(values), row)?
            .collect()
    }
}
