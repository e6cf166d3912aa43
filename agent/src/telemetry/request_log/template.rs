//! A text with `%OPERATORS%` in it, as Envoy's access log formats have it.

use std::borrow::Cow;

use super::operator::{Operator, WantedFields};

/// What an operator stands for in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Text(Cow<'a, str>),
    Number(u64),
}

impl Value<'_> {
    /// A text of at most so many characters; numbers stay whole.
    fn shortened(self, limit: Option<usize>) -> Self {
        match (self, limit) {
            (Self::Text(text), Some(limit)) if text.chars().nth(limit).is_some() => {
                Self::Text(text.chars().take(limit).collect::<String>().into())
            }
            (value, _) => value,
        }
    }
}

/// Says what an operator stands for; `None` where there is no such thing.
pub(super) trait Values {
    fn value(&self, operator: &Operator) -> Option<Value<'_>>;
}

/// A text whose operators are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::telemetry) struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    /// And how many characters of it are shown, at most.
    Operator(Operator, Option<usize>),
}

impl Template {
    /// Reads a format. Operators that are not known are added to `unknown`, and stand for nothing.
    pub(super) fn parse(format: &str, wanted: &mut WantedFields, unknown: &mut Vec<String>) -> Self {
        let (mut parts, mut rest) = (Vec::new(), format);
        while let Some(start) = rest.find('%') {
            let (before, after) = (&rest[..start], &rest[start + 1..]);
            push_text(&mut parts, before);
            let Some(written) = Written::read(after) else {
                // Two of them stand for one, and one that begins nothing stands for itself.
                push_text(&mut parts, "%");
                rest = after.strip_prefix('%').unwrap_or(after);
                continue;
            };
            let operator = Operator::parse(written.name, written.argument, wanted).unwrap_or_else(|| {
                unknown.push(format!("%{}%", &after[..written.length - 1]));
                Operator::Absent
            });
            parts.push(Part::Operator(operator, written.limit));
            rest = &after[written.length..];
        }
        push_text(&mut parts, rest);
        Self(parts)
    }

    /// The text of one line, with `-` for what is not there.
    pub(super) fn text(&self, values: &impl Values) -> String {
        let mut line = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => line.push_str(text),
                Part::Operator(operator, limit) => match values.value(operator).map(|value| value.shortened(*limit)) {
                    Some(Value::Text(text)) => line.push_str(&text),
                    Some(Value::Number(number)) => line.push_str(&number.to_string()),
                    None => line.push('-'),
                },
            }
        }
        line
    }

    /// The value of a format that is one operator and nothing else, which keeps its type; otherwise its text.
    pub(super) fn value<'a>(&self, values: &'a impl Values) -> Option<Value<'a>> {
        match self.0.as_slice() {
            [Part::Operator(operator, limit)] => values.value(operator).map(|value| value.shortened(*limit)),
            _ => Some(Value::Text(self.text(values).into())),
        }
    }
}

fn push_text(parts: &mut Vec<Part>, text: &str) {
    match parts.last_mut() {
        _ if text.is_empty() => {}
        Some(Part::Text(before)) => *before = format!("{before}{text}").into(),
        _ => parts.push(Part::Text(text.into())),
    }
}

/// An operator as it is written: `NAME%`, `NAME(argument)%`, `NAME(argument):limit%`.
struct Written<'a> {
    name: &'a str,
    argument: Option<&'a str>,
    limit: Option<usize>,
    /// Bytes of all of it.
    length: usize,
}

impl<'a> Written<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let end = text.find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'))?;
        let (name, mut rest) = text.split_at(end);
        if name.is_empty() {
            return None;
        }
        let mut argument = None;
        if let Some(inside) = rest.strip_prefix('(') {
            let (inside, after) = inside.split_once(')')?;
            (argument, rest) = (Some(inside), after);
        }
        let mut limit = None;
        if let Some(after) = rest.strip_prefix(':') {
            let digits = after.find(|c: char| !c.is_ascii_digit())?;
            limit = Some(after[..digits].parse().ok()?);
            rest = &after[digits..];
        }
        let rest = rest.strip_prefix('%')?;
        Some(Self { name, argument, limit, length: text.len() - rest.len() })
    }
}
