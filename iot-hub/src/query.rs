//! The twin query language: parse and evaluate.
//!
//! ```text
//! SELECT [TOP n] * | column {, column}
//! FROM devices | devices.modules | devices.jobs
//! [WHERE condition]
//! [GROUP BY path {, path}]
//!
//! column     path [AS name] | COUNT() | COUNT(*) | COUNT|SUM|AVG|MIN|MAX(path) [AS name]
//! condition  AND OR NOT ( )  = != <> < > <= >=  + - * / %  IN [..]  NIN [..]
//!            IS_DEFINED(path)  ARRAY_CONTAINS(list, value)  STARTSWITH(text, start)  ENDSWITH(text, end)
//! path       name {. name}, a name in [[ ]] when it is a reserved word or has unusual characters
//! ```
//!
//! Keywords, functions and the names of a twin's own attributes are read without regard to case;
//! names of tags and properties are not. A comparison of values of different types, or with one
//! that is missing, is neither true nor false, and a row is selected when its condition is true.

mod ast;
mod evaluate;
mod groups;
mod lexer;
mod parser;

use serde_json::Value;

use self::ast::{Expression, Path, Selection};

/// The most characters that a query may have.
pub const MAX_CHARS: usize = 8192;

/// A query, ready to be evaluated.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    top: Option<usize>,
    selection: Selection,
    source: Source,
    condition: Option<Expression>,
    group_by: Vec<Path>,
}

impl Query {
    /// Reads a query.
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        parser::parse(text)
    }

    /// What the rows to evaluate it over are.
    pub fn source(&self) -> Source {
        self.source
    }

    /// What the results are.
    pub fn item_type(&self) -> ItemType {
        match (&self.selection, self.source) {
            (Selection::All, Source::Devices | Source::Modules) => ItemType::Twin,
            (Selection::All, Source::Jobs) => ItemType::DeviceJob,
            (Selection::Columns(_), _) => ItemType::Raw,
        }
    }

    /// Selects from rows that are documents as the REST API shows them.
    pub fn evaluate(&self, rows: &mut dyn Iterator<Item = Value>) -> Vec<Value> {
        evaluate::evaluate(self, rows)
    }
}

/// What a query selects from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// The twins of devices.
    Devices,
    /// The twins of modules.
    Modules,
    /// The results of jobs, one for each device.
    Jobs,
}

/// What the results of a query are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ItemType {
    /// Whole twins.
    Twin,
    /// Whole results of jobs.
    DeviceJob,
    /// Objects of the selected columns.
    Raw,
}

impl ItemType {
    /// The value of the header `x-ms-item-type`, whose case matters to clients.
    pub fn name(self) -> &'static str {
        match self {
            Self::Twin => "Twin",
            Self::DeviceJob => "DeviceJob",
            Self::Raw => "Raw",
        }
    }
}

/// Why a text is no query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} at character {position}")]
pub struct QueryError {
    /// Where, in characters from 1.
    pub position: usize,
    /// What is wrong there.
    pub message: String,
}

#[cfg(test)]
mod tests;
