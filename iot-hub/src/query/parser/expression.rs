//! Conditions: from OR, which binds least, down to values.

use serde_json::Value;

use super::{Parsed, Parser, at};
use crate::query::{
    ast::{Expression, Operator},
    lexer::{Keyword, Token},
};

impl Parser {
    pub(super) fn expression(&mut self) -> Parsed<Expression> {
        self.nested(|parser| parser.chain(Keyword::Or, Expression::Any, Self::conjunction))
    }

    fn conjunction(&mut self) -> Parsed<Expression> {
        self.chain(Keyword::And, Expression::All, Self::negation)
    }

    fn chain(
        &mut self,
        keyword: Keyword,
        join: fn(Vec<Expression>) -> Expression,
        part: fn(&mut Self) -> Parsed<Expression>,
    ) -> Parsed<Expression> {
        let first = part(self)?;
        if !self.take_keyword(keyword) {
            return Ok(first);
        }
        let mut parts = vec![first, part(self)?];
        while self.take_keyword(keyword) {
            parts.push(part(self)?);
        }
        Ok(join(parts))
    }

    fn negation(&mut self) -> Parsed<Expression> {
        if self.take_keyword(Keyword::Not) {
            let inner = self.nested(Self::negation)?;
            return Ok(Expression::Not(Box::new(inner)));
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Parsed<Expression> {
        let left = self.sum()?;
        if let Token::Compare(comparison) = *self.peek() {
            self.next += 1;
            let right = self.sum()?;
            return Ok(Expression::Compare(
                Box::new(left),
                comparison,
                Box::new(right),
            ));
        }
        let negated = self.take_keyword(Keyword::Nin);
        if !negated && !self.take_keyword(Keyword::In) {
            return Ok(left);
        }
        self.expect(&Token::OpenList, "`[`")?;
        let list = self.values()?;
        Ok(Expression::In {
            value: Box::new(left),
            list,
            negated,
        })
    }

    fn sum(&mut self) -> Parsed<Expression> {
        self.calculation(&[Operator::Add, Operator::Subtract], Self::product)
    }

    fn product(&mut self) -> Parsed<Expression> {
        let operators = &[Operator::Multiply, Operator::Divide, Operator::Remainder];
        self.calculation(operators, Self::signed)
    }

    fn calculation(
        &mut self,
        operators: &[Operator],
        part: fn(&mut Self) -> Parsed<Expression>,
    ) -> Parsed<Expression> {
        let first = part(self)?;
        let mut rest = Vec::new();
        while let Some(operator) = self.take_operator(operators) {
            rest.push((operator, part(self)?));
        }
        Ok(if rest.is_empty() {
            first
        } else {
            Expression::Calculate(Box::new(first), rest)
        })
    }

    fn take_operator(&mut self, wanted: &[Operator]) -> Option<Operator> {
        let is_next = |operator: &&Operator| match operator {
            Operator::Multiply => *self.peek() == Token::Star,
            Operator::Add | Operator::Subtract | Operator::Divide | Operator::Remainder => {
                *self.peek() == Token::Operator(**operator)
            }
        };
        let found = wanted.iter().find(is_next).copied()?;
        self.next += 1;
        Some(found)
    }

    fn signed(&mut self) -> Parsed<Expression> {
        if self.take_if(&Token::Operator(Operator::Subtract)) {
            let inner = self.nested(Self::signed)?;
            return Ok(Expression::Negative(Box::new(inner)));
        }
        self.primary()
    }

    fn primary(&mut self) -> Parsed<Expression> {
        let position = self.position();
        if let Some(name) = self.function() {
            return self.call(&name, position);
        }
        if let Token::Name(_) = self.peek() {
            return self.path().map(Expression::Path);
        }
        if self.take_if(&Token::Open) {
            let inner = self.expression()?;
            self.expect(&Token::Close, "`)`")?;
            return Ok(inner);
        }
        if self.take_keyword(Keyword::Undefined) {
            return Ok(Expression::Undefined);
        }
        self.value().map(Expression::Literal)
    }

    fn call(&mut self, name: &str, position: usize) -> Parsed<Expression> {
        let call = match name.to_ascii_uppercase().as_str() {
            "IS_DEFINED" => Expression::IsDefined(self.path()?),
            "ARRAY_CONTAINS" => self.pair(Expression::ArrayContains)?,
            "STARTSWITH" => self.pair(Expression::StartsWith)?,
            "ENDSWITH" => self.pair(Expression::EndsWith)?,
            _ => {
                return Err(at(
                    position,
                    format!("`{name}` is no function of twin queries"),
                ));
            }
        };
        self.expect(&Token::Close, "`)`")?;
        Ok(call)
    }

    fn pair(
        &mut self,
        make: fn(Box<Expression>, Box<Expression>) -> Expression,
    ) -> Parsed<Expression> {
        let first = self.expression()?;
        self.expect(&Token::Comma, "`,`")?;
        Ok(make(Box::new(first), Box::new(self.expression()?)))
    }

    /// A value that does not depend on a row.
    fn value(&mut self) -> Parsed<Value> {
        if self.take_if(&Token::OpenList) {
            return self.nested(Self::values).map(Value::Array);
        }
        let is_negative = self.take_if(&Token::Operator(Operator::Subtract));
        let token = self.take();
        if is_negative {
            let Token::Literal(Value::Number(number)) = token else {
                return Err(self.error_before("expected a number"));
            };
            return Ok(number
                .as_f64()
                .map_or(Value::Null, |number| (-number).into()));
        }
        let constant = |keyword, value| (Token::Keyword(keyword), value);
        let constants = [
            constant(Keyword::True, Value::Bool(true)),
            constant(Keyword::False, Value::Bool(false)),
            constant(Keyword::Null, Value::Null),
        ];
        if let Token::Literal(value) = token {
            return Ok(value);
        }
        match constants.into_iter().find(|(name, _)| *name == token) {
            Some((_, value)) => Ok(value),
            None => Err(self.error_before("expected a value")),
        }
    }

    /// The rest of a list whose bracket is open.
    fn values(&mut self) -> Parsed<Vec<Value>> {
        if self.take_if(&Token::CloseList) {
            return Ok(Vec::new());
        }
        let values = self.list(Self::value)?;
        self.expect(&Token::CloseList, "`]`")?;
        Ok(values)
    }
}
