//! From tokens to a query, by recursive descent.

mod expression;

use super::{
    Query, QueryError, Source,
    ast::{Aggregate, Column, ColumnValue, Path, Selection},
    lexer::{Keyword, Token, tokens},
};

/// How deeply parentheses, lists, NOT and signs may be nested; it bounds the stack that a query
/// takes.
const MAX_NESTING: usize = 32;

/// The attributes of twins and job results, whose names are read without regard to case.
const ATTRIBUTES: &[&str] = &[
    "authenticationType",
    "capabilities",
    "configurations",
    "connectionState",
    "createdDateTimeUtc",
    "deviceId",
    "deviceScope",
    "endTimeUtc",
    "error",
    "etag",
    "jobId",
    "jobType",
    "lastActivityTime",
    "lastUpdatedDateTimeUtc",
    "modelId",
    "moduleId",
    "outcome",
    "parentScopes",
    "properties",
    "startTimeUtc",
    "status",
    "statusUpdateTime",
    "tags",
    "version",
];

pub(super) fn parse(text: &str) -> Result<Query, QueryError> {
    let mut parser = Parser {
        tokens: tokens(text)?,
        next: 0,
        nesting: 0,
        source: Source::Devices,
    };
    parser.query()
}

struct Parser {
    /// The last one is [`Token::End`].
    tokens: Vec<(usize, Token)>,
    next: usize,
    nesting: usize,
    source: Source,
}

type Parsed<T> = Result<T, QueryError>;

impl Parser {
    fn query(&mut self) -> Parsed<Query> {
        self.expect_keyword(Keyword::Select, "SELECT")?;
        let top = self.top()?;
        let selection_at = self.position();
        let selection = self.selection()?;
        self.expect_keyword(Keyword::From, "FROM")?;
        self.source = self.source()?;
        let condition = if self.take_keyword(Keyword::Where) {
            Some(self.expression()?)
        } else {
            None
        };
        let group_at = self.position();
        let mut group_by = Vec::new();
        if self.take_keyword(Keyword::Group) {
            self.expect_keyword(Keyword::By, "BY")?;
            group_by = self.list(Self::path)?;
        }
        if *self.peek() != Token::End {
            return Err(self.error("expected the end of the query"));
        }
        if self.source == Source::Jobs && (selection != Selection::All || !group_by.is_empty()) {
            let message =
                "`devices.jobs` can be selected from with `SELECT *` and without GROUP BY only";
            return Err(at(selection_at, message));
        }
        check_grouping(&selection, &group_by).map_err(|message| {
            at(
                if group_by.is_empty() {
                    selection_at
                } else {
                    group_at
                },
                message,
            )
        })?;
        Ok(Query {
            top,
            selection,
            source: self.source,
            condition,
            group_by,
        })
    }

    /// `TOP` is a word only in front of a number.
    fn top(&mut self) -> Parsed<Option<usize>> {
        let is_top = matches!(self.peek(), Token::Name(name) if name.eq_ignore_ascii_case("TOP"));
        let Some((_, Token::Literal(number))) = self.tokens.get(self.next + 1).filter(|_| is_top)
        else {
            return Ok(None);
        };
        let limit = number
            .as_u64()
            .and_then(|limit| usize::try_from(limit).ok());
        self.next += 1;
        let limit = limit.ok_or_else(|| self.error("TOP needs a whole number"))?;
        self.next += 1;
        Ok(Some(limit))
    }

    fn selection(&mut self) -> Parsed<Selection> {
        if self.take_if(&Token::Star) {
            if *self.peek() == Token::Comma {
                return Err(self.error("`*` cannot be selected with other columns"));
            }
            return Ok(Selection::All);
        }
        let mut columns: Vec<Column> = Vec::new();
        let mut unnamed = 0;
        loop {
            let position = self.position();
            let column = self.column(&mut unnamed)?;
            if columns.iter().any(|known| known.name == column.name) {
                return Err(at(
                    position,
                    format!(
                        "two columns are named `{}`: give one another name with AS",
                        column.name
                    ),
                ));
            }
            columns.push(column);
            if !self.take_if(&Token::Comma) {
                return Ok(Selection::Columns(columns));
            }
        }
    }

    /// A path is named by its last part, an aggregate by its number.
    fn column(&mut self, unnamed: &mut usize) -> Parsed<Column> {
        let (value, mut name) = match self.aggregate()? {
            Some((aggregate, path)) => (ColumnValue::Aggregate(aggregate, path), None),
            None => {
                let (path, last) = self.named_path()?;
                (ColumnValue::Path(path), Some(last))
            }
        };
        if self.take_keyword(Keyword::As) {
            name = Some(self.alias()?);
        }
        let name = name.unwrap_or_else(|| {
            *unnamed += 1;
            format!("${unnamed}")
        });
        Ok(Column { name, value })
    }

    fn alias(&mut self) -> Parsed<String> {
        let Token::Name(name) = self.take() else {
            return Err(self.error_before("expected a name after AS"));
        };
        Ok(name)
    }

    /// A function's name is one only in front of a parenthesis.
    fn function(&mut self) -> Option<String> {
        match (self.peek().clone(), self.tokens.get(self.next + 1)) {
            (Token::Name(name), Some((_, Token::Open))) => {
                self.next += 2;
                Some(name)
            }
            _ => None,
        }
    }

    fn aggregate(&mut self) -> Parsed<Option<(Aggregate, Option<Path>)>> {
        let position = self.position();
        let Some(name) = self.function() else {
            return Ok(None);
        };
        let aggregate = match name.to_ascii_uppercase().as_str() {
            "COUNT" => Aggregate::Count,
            "SUM" => Aggregate::Sum,
            "AVG" => Aggregate::Avg,
            "MIN" => Aggregate::Min,
            "MAX" => Aggregate::Max,
            _ => {
                return Err(at(
                    position,
                    format!("`{name}` is none of COUNT, SUM, AVG, MIN and MAX"),
                ));
            }
        };
        let counts_rows = aggregate == Aggregate::Count
            && (self.take_if(&Token::Star) || *self.peek() == Token::Close);
        let path = if counts_rows {
            None
        } else {
            Some(self.path()?)
        };
        self.expect(&Token::Close, "`)`")?;
        Ok(Some((aggregate, path)))
    }

    fn source(&mut self) -> Parsed<Source> {
        let position = self.position();
        let (_, path) = self.raw_path()?;
        let words: Vec<_> = path.iter().map(|word| word.to_ascii_lowercase()).collect();
        match words
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .as_slice()
        {
            ["devices"] => Ok(Source::Devices),
            ["devices", "modules"] => Ok(Source::Modules),
            ["devices", "jobs"] => Ok(Source::Jobs),
            _ => Err(at(
                position,
                "expected `devices`, `devices.modules` or `devices.jobs`",
            )),
        }
    }

    fn list<T>(&mut self, item: fn(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        let mut items = vec![item(self)?];
        while self.take_if(&Token::Comma) {
            items.push(item(self)?);
        }
        Ok(items)
    }

    fn path(&mut self) -> Parsed<Path> {
        self.named_path().map(|(path, _)| path)
    }

    /// A path, and its last part as it is written.
    fn named_path(&mut self) -> Parsed<(Path, String)> {
        let (last, mut names) = self.raw_path()?;
        if self.source == Source::Jobs
            && let [devices, jobs, _, ..] = names.as_slice()
            && devices.eq_ignore_ascii_case("devices")
            && jobs.eq_ignore_ascii_case("jobs")
        {
            names.drain(..2);
        }
        if let Some(root) = names.first_mut() {
            if root.eq_ignore_ascii_case("id") {
                *root = "deviceId".to_owned();
            } else if let Some(attribute) = ATTRIBUTES
                .iter()
                .find(|known| known.eq_ignore_ascii_case(root))
            {
                *root = (*attribute).to_owned();
            }
        }
        Ok((Path(names), last))
    }

    fn raw_path(&mut self) -> Parsed<(String, Vec<String>)> {
        let Token::Name(first) = self.take() else {
            return Err(self.error_before("expected a name"));
        };
        let mut last = first.clone();
        let mut names = vec![first];
        while self.take_if(&Token::Point) {
            if matches!(self.peek(), Token::Keyword(_)) {
                return Err(self.error("reserved word in a path: write it as `[[word]]`"));
            }
            let (Token::Name(name) | Token::Escaped(name)) = self.take() else {
                return Err(self.error_before("expected a name after the point"));
            };
            last = name;
            names.push(last.clone());
        }
        Ok((last, names))
    }

    /// Goes one level down, if that is not too deep.
    fn nested<T>(&mut self, inner: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.nesting == MAX_NESTING {
            return Err(self.error("query is nested too deeply"));
        }
        self.nesting += 1;
        let result = inner(self);
        self.nesting -= 1;
        result
    }

    fn peek(&self) -> &Token {
        self.tokens
            .get(self.next)
            .map_or(&Token::End, |(_, token)| token)
    }

    fn take(&mut self) -> Token {
        let token = self.peek().clone();
        self.next += 1;
        token
    }

    fn take_if(&mut self, wanted: &Token) -> bool {
        let found = self.peek() == wanted;
        self.next += usize::from(found);
        found
    }

    fn take_keyword(&mut self, wanted: Keyword) -> bool {
        self.take_if(&Token::Keyword(wanted))
    }

    fn expect(&mut self, wanted: &Token, name: &str) -> Parsed<()> {
        if self.take_if(wanted) {
            Ok(())
        } else {
            Err(self.error(format!("expected {name}")))
        }
    }

    fn expect_keyword(&mut self, wanted: Keyword, name: &str) -> Parsed<()> {
        self.expect(&Token::Keyword(wanted), name)
    }

    /// The next token's position.
    fn position(&self) -> usize {
        let last = self.tokens.last();
        self.tokens
            .get(self.next)
            .or(last)
            .map_or(1, |(position, _)| *position)
    }

    fn error(&self, message: impl Into<String>) -> QueryError {
        at(self.position(), message)
    }

    /// An error about the token that was just taken.
    fn error_before(&mut self, message: &str) -> QueryError {
        self.next = self.next.saturating_sub(1);
        self.error(message)
    }
}

fn at(position: usize, message: impl Into<String>) -> QueryError {
    QueryError {
        position,
        message: message.into(),
    }
}

/// With aggregates or GROUP BY, a column is an aggregate or one of the grouped paths.
fn check_grouping(selection: &Selection, group_by: &[Path]) -> Result<(), String> {
    let Selection::Columns(columns) = selection else {
        return if group_by.is_empty() {
            Ok(())
        } else {
            Err("`*` cannot be grouped".to_owned())
        };
    };
    let is_aggregate = |column: &Column| matches!(column.value, ColumnValue::Aggregate(..));
    if group_by.is_empty() && !columns.iter().any(is_aggregate) {
        return Ok(());
    }
    let lost = columns.iter().find(|column| match &column.value {
        ColumnValue::Aggregate(..) => false,
        ColumnValue::Path(path) => !group_by.contains(path),
    });
    match lost {
        None => Ok(()),
        Some(column) => Err(format!(
            "column `{}` is neither an aggregate nor grouped by",
            column.name
        )),
    }
}
