//! What a query means, as a tree. Its depth is bounded by the parser: chains of operators are
//! lists, not trees.

use serde_json::Value;

/// The way to a value in a row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Path(pub(super) Vec<String>);

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Selection {
    All,
    Columns(Vec<Column>),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) value: ColumnValue,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum ColumnValue {
    Path(Path),
    /// Without a path it counts rows.
    Aggregate(Aggregate, Option<Path>),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Aggregate {
    Count,
    Sum,
    Avg,
    Min,
    Max,
}

/// An expression; what it stands for may be missing, in a row that lacks a path.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expression {
    Literal(Value),
    Undefined,
    Path(Path),
    Not(Box<Self>),
    Negative(Box<Self>),
    All(Vec<Self>),
    Any(Vec<Self>),
    Compare(Box<Self>, Comparison, Box<Self>),
    /// From left to right.
    Calculate(Box<Self>, Vec<(Operator, Self)>),
    In {
        value: Box<Self>,
        list: Vec<Value>,
        negated: bool,
    },
    IsDefined(Path),
    ArrayContains(Box<Self>, Box<Self>),
    StartsWith(Box<Self>, Box<Self>),
    EndsWith(Box<Self>, Box<Self>),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}
