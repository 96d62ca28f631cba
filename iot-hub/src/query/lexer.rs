//! A query's text as tokens.

use std::{iter::Peekable, str::CharIndices};

use serde_json::{Number, Value};

use super::{
    MAX_CHARS, QueryError,
    ast::{Comparison, Operator},
};

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Keyword(Keyword),
    /// A name that is no keyword.
    Name(String),
    /// A name in `[[ ]]`, which can stand after a point only.
    Escaped(String),
    /// A number or text.
    Literal(Value),
    Compare(Comparison),
    /// All operators but the star, which also means "everything".
    Operator(Operator),
    Star,
    Point,
    Comma,
    Open,
    Close,
    OpenList,
    CloseList,
    End,
}

macro_rules! keywords {
    ($($name:ident)*) => {
        /// The reserved words.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Keyword {
            $($name,)*
        }

        impl Keyword {
            fn find(text: &str) -> Option<Self> {
                [$((stringify!($name), Self::$name),)*]
                    .into_iter()
                    .find_map(|(name, keyword)| name.eq_ignore_ascii_case(text).then_some(keyword))
            }
        }
    };
}

keywords! { Select From Where Group By As And Or Not In Nin True False Null Undefined }

/// Cuts the text into tokens, each with its position in characters from 1.
pub(super) fn tokens(text: &str) -> Result<Vec<(usize, Token)>, QueryError> {
    let chars = text.chars().count();
    if chars > MAX_CHARS {
        let message = format!("query has {chars} characters, more than {MAX_CHARS}");
        return Err(QueryError {
            position: MAX_CHARS + 1,
            message,
        });
    }
    let mut lexer = Lexer {
        text,
        chars: text.char_indices().peekable(),
        position: 1,
    };
    let mut tokens = Vec::new();
    loop {
        lexer.take_while(char::is_whitespace);
        let position = lexer.position;
        let after_point = matches!(tokens.last(), Some((_, Token::Point)));
        let token = lexer
            .next(after_point)
            .map_err(|message| QueryError { position, message })?;
        let is_end = token == Token::End;
        tokens.push((position, token));
        if is_end {
            return Ok(tokens);
        }
    }
}

struct Lexer<'a> {
    text: &'a str,
    chars: Peekable<CharIndices<'a>>,
    /// Of the next character, from 1.
    position: usize,
}

impl<'a> Lexer<'a> {
    fn next(&mut self, after_point: bool) -> Result<Token, String> {
        let Some(first) = self.peek() else {
            return Ok(Token::End);
        };
        if first.is_ascii_digit() {
            return self.number();
        }
        if is_name_start(first) {
            let name = self.take_while(is_name);
            return Ok(
                Keyword::find(name).map_or_else(|| Token::Name(name.to_owned()), Token::Keyword)
            );
        }
        self.take();
        Ok(match first {
            '\'' | '"' => return self.text(first),
            '[' if after_point && self.take_if('[') => return self.escaped(),
            '[' => Token::OpenList,
            ']' => Token::CloseList,
            '(' => Token::Open,
            ')' => Token::Close,
            ',' => Token::Comma,
            '.' => Token::Point,
            '*' => Token::Star,
            '+' => Token::Operator(Operator::Add),
            '-' => Token::Operator(Operator::Subtract),
            '/' => Token::Operator(Operator::Divide),
            '%' => Token::Operator(Operator::Remainder),
            '=' => Token::Compare(Comparison::Equal),
            '!' if self.take_if('=') => Token::Compare(Comparison::NotEqual),
            '<' if self.take_if('=') => Token::Compare(Comparison::LessOrEqual),
            '<' if self.take_if('>') => Token::Compare(Comparison::NotEqual),
            '<' => Token::Compare(Comparison::Less),
            '>' if self.take_if('=') => Token::Compare(Comparison::GreaterOrEqual),
            '>' => Token::Compare(Comparison::Greater),
            other => return Err(format!("unexpected character {other:?}")),
        })
    }

    /// Reads `12`, `1.5`, `1e3` or `0xff`.
    fn number(&mut self) -> Result<Token, String> {
        let mut digits = self.take_while(|c| c.is_ascii_alphanumeric() || c == '.');
        // A sign belongs to a number after the exponent's letter only.
        if digits.ends_with(['e', 'E'])
            && !is_hexadecimal(digits)
            && matches!(self.peek(), Some('+' | '-'))
        {
            let start = self.offset() - digits.len();
            self.take();
            self.take_while(|c| c.is_ascii_digit());
            digits = &self.text[start..self.offset()];
        }
        let number = if is_hexadecimal(digits) {
            u64::from_str_radix(&digits[2..], 16).ok().map(Number::from)
        } else if digits.bytes().all(|byte| byte.is_ascii_digit()) {
            digits.parse::<u64>().ok().map(Number::from)
        } else {
            digits.parse::<f64>().ok().and_then(Number::from_f64)
        };
        number
            .map(|number| Token::Literal(Value::Number(number)))
            .ok_or_else(|| format!("{digits} is not a number"))
    }

    fn text(&mut self, quote: char) -> Result<Token, String> {
        let mut text = String::new();
        loop {
            match self.take() {
                None => return Err("text has no closing quotation mark".to_owned()),
                Some(end) if end == quote => return Ok(Token::Literal(Value::String(text))),
                Some('\\') => text.push(self.escape()?),
                Some(other) => text.push(other),
            }
        }
    }

    /// Reads what follows a backslash.
    fn escape(&mut self) -> Result<char, String> {
        match self.take() {
            Some(literal @ ('\'' | '"' | '\\' | '/')) => Ok(literal),
            Some('n') => Ok('\n'),
            Some('r') => Ok('\r'),
            Some('t') => Ok('\t'),
            Some('u') => {
                let high = self.code_unit()?;
                let mut units = vec![high];
                if matches!(high, 0xd800..=0xdbff) && self.take_if('\\') && self.take_if('u') {
                    units.push(self.code_unit()?);
                }
                match char::decode_utf16(units)
                    .collect::<Result<Vec<_>, _>>()
                    .as_deref()
                {
                    Ok([one]) => Ok(*one),
                    _ => Err("text has half a surrogate pair".to_owned()),
                }
            }
            _ => Err("text has an unknown escape sequence".to_owned()),
        }
    }

    fn code_unit(&mut self) -> Result<u16, String> {
        let digits: String = (0..4).filter_map(|_| self.take()).collect();
        let is_hex = digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let unit = if is_hex {
            u16::from_str_radix(&digits, 16).ok()
        } else {
            None
        };
        unit.ok_or_else(|| "`\\u` is not followed by four hexadecimal digits".to_owned())
    }

    /// Reads a name up to `]]`.
    fn escaped(&mut self) -> Result<Token, String> {
        let name = self.take_while(|c| c != ']');
        if name.is_empty() {
            return Err("name between `[[` and `]]` is empty".to_owned());
        }
        if self.take_if(']') && self.take_if(']') {
            return Ok(Token::Escaped(name.to_owned()));
        }
        Err("`[[` has no closing `]]`".to_owned())
    }

    fn peek(&mut self) -> Option<char> {
        self.chars.peek().map(|(_, c)| *c)
    }

    fn take(&mut self) -> Option<char> {
        let (_, c) = self.chars.next()?;
        self.position += 1;
        Some(c)
    }

    fn take_if(&mut self, wanted: char) -> bool {
        self.peek() == Some(wanted) && self.take().is_some()
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let start = self.offset();
        while self.peek().is_some_and(&wanted) {
            self.take();
        }
        &self.text[start..self.offset()]
    }

    /// The next character's offset in bytes.
    fn offset(&mut self) -> usize {
        self.chars
            .peek()
            .map_or(self.text.len(), |(offset, _)| *offset)
    }
}

fn is_hexadecimal(digits: &str) -> bool {
    digits.starts_with("0x") || digits.starts_with("0X")
}

fn is_name_start(c: char) -> bool {
    c.is_alphabetic() || matches!(c, '_' | '$')
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '$')
}
