//! YAML text to a tree of values with lines, one tree per document.
//!
//! Documents are separated here and parsed one by one, so that a mistake in one of them leaves the others readable.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// Nodes one document may have, aliases expanded.
const MAX_NODES: usize = 2_000_000;
/// Events that aliases of one document may add. Objects written by people repeat little.
const MAX_REPLAYED_EVENTS: usize = 100_000;

/// A value and the line (from 1, within its document) it stands on.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::objects) struct Node {
    pub(in crate::objects) line: usize,
    pub(in crate::objects) value: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub(in crate::objects) enum Value {
    Null,
    Flag(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

impl Node {
    /// The tree as JSON.
    pub(in crate::objects) fn json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Flag(flag) => (*flag).into(),
            Value::Integer(number) => i64::try_from(*number).map_or_else(|_| number.to_string().into(), Into::into),
            Value::Float(number) => (*number).into(),
            Value::Text(text) => text.as_str().into(),
            Value::List(items) => items.iter().map(Self::json).collect(),
            Value::Map(entries) => entries.iter().map(|(name, node)| (name.clone(), node.json())).collect(),
        }
    }
}

impl Value {
    /// What the value is, for error messages.
    pub(in crate::objects) fn sort(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Flag(_) => "a boolean",
            Self::Integer(_) => "a number",
            Self::Float(_) => "a number",
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

/// The text of one document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::objects) struct Document<'t> {
    /// From 1.
    pub(in crate::objects) number: usize,
    /// Line of the file its text begins on, from 1.
    pub(in crate::objects) first_line: usize,
    pub(in crate::objects) text: &'t str,
}

/// Splits a stream at its `---` and `...` lines. Those are markers wherever a line begins with them: YAML allows them
/// inside no scalar. Documents of comments only are numbered but not returned.
pub(in crate::objects) fn documents(text: &str) -> Vec<Document<'_>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut found = Vec::new();
    let (mut start, mut first_line, mut number) = (0, 1, 1);
    let mut offset = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let begins = is_marker(line, "---");
        if begins || is_marker(line, "...") {
            let before = &text[start..offset];
            if has_content(before) {
                found.push(Document { number, first_line, text: before });
            }
            // A stream may open with its first marker; that one ends no document.
            let opens = number == 1 && start == 0 && !has_content(before);
            if begins && !opens {
                number += 1;
            }
            // What follows `---` on its line belongs to the document: keep the marker so that columns stay right.
            start = if begins { offset } else { offset + line.len() };
            first_line = if begins { index + 1 } else { index + 2 };
        }
        offset += line.len();
    }
    let last = &text[start..];
    if has_content(last) {
        found.push(Document { number, first_line, text: last });
    }
    found
}

fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

fn has_content(text: &str) -> bool {
    text.lines()
        .map(|line| line.strip_prefix("---").unwrap_or(line).trim_start())
        .any(|line| !line.is_empty() && !line.starts_with('#') && !line.starts_with('%'))
}

/// Reads one document.
///
/// # Errors
/// The line within the document, where known, and what the parser says.
pub(in crate::objects) fn parse(text: &str) -> Result<Node, (usize, String)> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_nodes: MAX_NODES, max_events: 2 * MAX_NODES, max_depth: 64 },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_REPLAYED_EVENTS },
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
        emit_comments: false,
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options::<Node>(text, options).map_err(|error| {
        let (line, column) = error.location().map_or((1, 1), |location| (location.line(), location.column()));
        let text = error.without_snippet().to_string();
        // The caller adds the line within the file; the parser's own counts from the beginning of the document.
        let reason = match text.strip_suffix(&format!(" at line {line}, column {column}")) {
            Some(reason) => format!("{reason} (column {column})"),
            None => text,
        };
        (usize::try_from(line).unwrap_or(1).max(1), reason)
    })
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self { line: usize::try_from(spanned.referenced.line()).unwrap_or(0), value: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Flag(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Value::Map(map))
    }
}
