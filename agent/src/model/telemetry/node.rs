//! A compiled expression as a tree, and what it comes to.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::attribute::{Attribute, Facts, TextAttribute};
use crate::model::http::pattern::Pattern;

/// A compiled expression, or a part of one. Types fit: the parser makes no others.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Text(Box<str>),
    Number(i64),
    Flag(bool),
    Attribute(Attribute),
    /// Whether an attribute exists.
    Has(Attribute),
    Not(Box<Self>),
    All(Vec<Self>),
    Any(Vec<Self>),
    Compare(Comparison, Box<[Self; 2]>),
    OneOf(Box<Self>, Vec<Self>),
    Sum(Vec<Self>),
    /// Condition, and the two values.
    Choice(Box<[Self; 3]>),
    Search(Search, Box<[Self; 2]>),
    Matches(Box<Self>, Box<Pattern>),
    ToText(Box<Self>),
    ToNumber(Box<Self>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Search {
    StartsWith,
    EndsWith,
    Contains,
}

/// What a part of an expression comes to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd)]
pub(super) enum Value<'a> {
    Text(Cow<'a, str>),
    Number(i64),
    Flag(bool),
}

pub(super) fn text_of(value: Value<'_>) -> Cow<'_, str> {
    match value {
        Value::Text(text) => text,
        Value::Number(number) => number.to_string().into(),
        Value::Flag(flag) => if flag { "true" } else { "false" }.into(),
    }
}

impl Node {
    pub(super) fn value<'a>(&'a self, facts: &'a impl Facts) -> Option<Value<'a>> {
        Some(match self {
            Self::Text(text) => Value::Text(Cow::Borrowed(text)),
            Self::Number(number) => Value::Number(*number),
            Self::Flag(flag) => Value::Flag(*flag),
            Self::Attribute(Attribute::Text(attribute)) => Value::Text(facts.text(attribute)?),
            Self::Attribute(Attribute::Number(attribute)) => Value::Number(facts.number(*attribute)?),
            Self::Attribute(Attribute::MutualTls) => Value::Flag(facts.is_mutual_tls()),
            Self::Has(Attribute::Text(attribute)) => Value::Flag(facts.text(attribute).is_some()),
            Self::Has(Attribute::Number(attribute)) => Value::Flag(facts.number(*attribute).is_some()),
            Self::Has(Attribute::MutualTls) => Value::Flag(true),
            Self::Not(inner) => Value::Flag(!inner.flag(facts)?),
            Self::All(parts) => Value::Flag(!decided(parts, false, facts)?),
            Self::Any(parts) => Value::Flag(decided(parts, true, facts)?),
            Self::Compare(comparison, sides) => {
                let (one, other) = (sides[0].value(facts)?, sides[1].value(facts)?);
                Value::Flag(comparison.holds(one.partial_cmp(&other)?))
            }
            Self::OneOf(inner, list) => {
                let value = inner.value(facts)?;
                Value::Flag(list.iter().any(|item| item.value(facts).as_ref() == Some(&value)))
            }
            Self::Sum(parts) => return sum(parts, facts),
            Self::Choice(parts) => {
                let [condition, one, other] = &**parts;
                return if condition.flag(facts)? { one.value(facts) } else { other.value(facts) };
            }
            Self::Search(search, sides) => {
                let (text, wanted) = (sides[0].text(facts)?, sides[1].text(facts)?);
                Value::Flag(match search {
                    Search::StartsWith => text.starts_with(&*wanted),
                    Search::EndsWith => text.ends_with(&*wanted),
                    Search::Contains => text.contains(&*wanted),
                })
            }
            Self::Matches(inner, pattern) => Value::Flag(pattern.is_match(inner.text(facts)?.as_bytes())),
            Self::ToText(inner) => Value::Text(inner.text(facts)?),
            Self::ToNumber(inner) => Value::Number(inner.text(facts)?.parse().ok()?),
        })
    }

    fn flag(&self, facts: &impl Facts) -> Option<bool> {
        self.value(facts).map(|value| value == Value::Flag(true))
    }

    fn text<'a>(&'a self, facts: &'a impl Facts) -> Option<Cow<'a, str>> {
        self.value(facts).map(text_of)
    }

    pub(super) fn each_text_attribute(&self, found: &mut impl FnMut(&TextAttribute)) {
        match self {
            Self::Attribute(Attribute::Text(attribute)) | Self::Has(Attribute::Text(attribute)) => found(attribute),
            Self::Text(_) | Self::Number(_) | Self::Flag(_) | Self::Attribute(_) | Self::Has(_) => {}
            Self::Not(inner)
            | Self::OneOf(inner, _)
            | Self::Matches(inner, _)
            | Self::ToText(inner)
            | Self::ToNumber(inner) => inner.each_text_attribute(found),
            Self::All(parts) | Self::Any(parts) | Self::Sum(parts) => {
                parts.iter().for_each(|part| part.each_text_attribute(found));
            }
            Self::Compare(_, parts) | Self::Search(_, parts) => {
                parts.iter().for_each(|part| part.each_text_attribute(found));
            }
            Self::Choice(parts) => parts.iter().for_each(|part| part.each_text_attribute(found)),
        }
    }
}

/// Whether one of these parts is `wanted`, which decides whatever the others are. `None` where that depends on one that is an error.
fn decided(parts: &[Node], wanted: bool, facts: &impl Facts) -> Option<bool> {
    let mut is_known = true;
    for part in parts {
        match part.flag(facts) {
            Some(flag) if flag == wanted => return Some(true),
            Some(_) => {}
            None => is_known = false,
        }
    }
    is_known.then_some(false)
}

fn sum<'a>(parts: &'a [Node], facts: &'a impl Facts) -> Option<Value<'a>> {
    let mut parts = parts.iter().map(|part| part.value(facts));
    let mut sum = parts.next()??;
    for part in parts {
        sum = match (sum, part?) {
            (Value::Number(one), Value::Number(other)) => Value::Number(one.checked_add(other)?),
            (one, other) => Value::Text((text_of(one).into_owned() + &text_of(other)).into()),
        };
    }
    Some(sum)
}

impl Comparison {
    fn holds(self, found: Ordering) -> bool {
        match self {
            Self::Equal => found == Ordering::Equal,
            Self::NotEqual => found != Ordering::Equal,
            Self::Less => found == Ordering::Less,
            Self::LessOrEqual => found != Ordering::Greater,
            Self::Greater => found == Ordering::Greater,
            Self::GreaterOrEqual => found != Ordering::Less,
        }
    }
}
