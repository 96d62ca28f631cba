//! What all filters share, in the manner of AIP-160: comparisons joined by AND.

use jiff::Timestamp;

use crate::store::Comparison;

/// The most comparisons of a filter. What a database takes is bounded too, and whoever asks for more must
/// not find out that it is.
const MAX_COMPARISONS: usize = 50;

/// Reads a filter, of which `comparison` reads one part; an error says what was expected, and where.
pub(super) fn conjunction<T>(
    text: &str,
    mut comparison: impl FnMut(&mut Words<'_>) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let mut words = Words::new(text);
    let mut conditions = Vec::new();
    if words.peek()?.is_none() {
        return Ok(conditions);
    }
    loop {
        if conditions.len() == MAX_COMPARISONS {
            return Err(format!("must have at most {MAX_COMPARISONS} comparisons"));
        }
        conditions.push(comparison(&mut words)?);
        match words.next()? {
            None => return Ok(conditions),
            Some(word) if word.text == "AND" => {}
            Some(word) => return Err(word.expected("AND")),
        }
    }
}

/// Reads a comparison with a moment, of which the field has been read.
pub(super) fn moment(
    operator: &Word<'_>,
    value: &Word<'_>,
) -> Result<(Comparison, Timestamp), String> {
    let comparison = match operator.text {
        "<" => Comparison::Before,
        "<=" => Comparison::AtOrBefore,
        ">" => Comparison::After,
        ">=" => Comparison::AtOrAfter,
        _ => return Err(operator.expected("<, <=, > or >=")),
    };
    let time = value.unquoted().and_then(|text| text.parse().ok());
    let time = time.ok_or_else(|| value.expected("an RFC 3339 time in quotes"))?;
    Ok((comparison, time))
}

/// A filter, word by word.
pub(super) struct Words<'a> {
    text: &'a str,
    position: usize,
}

#[derive(Clone, Copy)]
pub(super) struct Word<'a> {
    pub(super) text: &'a str,
    position: usize,
}

impl<'a> Word<'a> {
    /// What is between the quotes; `None` where there are none.
    pub(super) fn unquoted(&self) -> Option<&'a str> {
        self.text.strip_prefix('"')?.strip_suffix('"')
    }

    pub(super) fn expected(&self, what: &str) -> String {
        format!(
            "expected {what} at character {}, found {}",
            self.position + 1,
            self.text
        )
    }
}

impl<'a> Words<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, position: 0 }
    }

    pub(super) fn required(&mut self, what: &str) -> Result<Word<'a>, String> {
        self.next()?
            .ok_or_else(|| format!("expected {what} at the end"))
    }

    fn next(&mut self) -> Result<Option<Word<'a>>, String> {
        let word = self.peek()?;
        if let Some(word) = &word {
            self.position = word.position + word.text.len();
        }
        Ok(word)
    }

    fn peek(&self) -> Result<Option<Word<'a>>, String> {
        let rest = &self.text[self.position..];
        let position = self.text.len() - rest.trim_start().len();
        let rest = &self.text[position..];
        let Some(first) = rest.chars().next() else {
            return Ok(None);
        };
        let length = match first {
            '"' => match rest[1..].find('"') {
                Some(end) => end + 2,
                None => {
                    return Err(format!(
                        "the quote at character {} is not closed",
                        position + 1
                    ));
                }
            },
            '=' | '!' | '<' | '>' => rest
                .find(|c| !matches!(c, '=' | '!' | '<' | '>'))
                .unwrap_or(rest.len()),
            _ => rest
                .find(|c: char| c.is_whitespace() || matches!(c, '"' | '=' | '!' | '<' | '>'))
                .unwrap_or(rest.len()),
        };
        let text = &rest[..length];
        Ok(Some(Word { text, position }))
    }
}
