//! Where a value stands in its object, so that one check can speak of it whether it came as YAML, which has lines, or as
//! protobuf, which has only the path of the field.

use super::problem::Report;
use super::yaml::{Node, Value};

/// A field or item, and the report for what is wrong with it.
#[derive(Debug, Clone)]
pub(in crate::objects) struct Place<'n> {
    /// Such as `spec.rules[0].from[0].source`.
    path: String,
    /// Of the field itself, or of the nearest thing around it that is there; 0 where there are no lines.
    line: usize,
    /// What stands here, where it is YAML.
    node: Option<&'n Node>,
    report: &'n Report,
}

/// A string as its author wrote it.
#[derive(Debug, Clone)]
pub(in crate::objects) struct Text<'n> {
    pub(in crate::objects) text: &'n str,
    pub(in crate::objects) place: Place<'n>,
}

impl<'n> Place<'n> {
    /// Of YAML.
    pub(in crate::objects) fn of(node: &'n Node, path: &str, report: &'n Report) -> Self {
        Self { path: path.to_owned(), line: node.line, node: Some(node), report }
    }

    /// Of a message that has no lines.
    pub(in crate::objects) fn without_lines(path: &str, report: &'n Report) -> Self {
        Self { path: path.to_owned(), line: 0, node: None, report }
    }

    /// The field of that name in the map that stands here, whether it is there or not.
    pub(in crate::objects) fn field(&self, name: &str) -> Self {
        self.inner(if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }, name)
    }

    /// The entry with that key, of the user's own choice, in the map that stands here.
    pub(in crate::objects) fn entry(&self, key: &str) -> Self {
        self.inner(format!("{}[{key}]", self.path), key)
    }

    fn inner(&self, path: String, key: &str) -> Self {
        let node = match self.node.map(|node| &node.value) {
            Some(Value::Map(entries)) => entries.iter().find(|(name, _)| name == key).map(|(_, node)| node),
            _ => None,
        };
        Self { path, line: node.map_or(self.line, |node| node.line), node, report: self.report }
    }

    /// The item at that position of the list that stands here.
    pub(in crate::objects) fn item(&self, at: usize) -> Self {
        let node = match self.node.map(|node| &node.value) {
            Some(Value::List(list)) => list.get(at),
            _ => None,
        };
        let line = node.map_or(self.line, |node| node.line);
        Self { path: format!("{}[{at}]", self.path), line, node, report: self.report }
    }

    /// The strings of a list in a message; its field is `name`.
    pub(in crate::objects) fn texts(&self, name: &str, texts: &'n [String]) -> Vec<Text<'n>> {
        let list = self.field(name);
        texts.iter().enumerate().map(|(at, text)| Text { text, place: list.item(at) }).collect()
    }

    pub(in crate::objects) fn report(&self) -> &'n Report {
        self.report
    }

    /// The object must not be used.
    pub(in crate::objects) fn error(&self, reason: impl Into<String>) {
        self.report.error(&self.path, self.line, reason);
    }

    /// The object is accepted, but a part of it has no effect.
    pub(in crate::objects) fn notice(&self, reason: impl Into<String>) {
        self.report.notice(&self.path, self.line, reason);
    }

    /// True if an error was found here or further in.
    pub(in crate::objects) fn has_errors(&self) -> bool {
        self.report.has_errors_within(&self.path)
    }
}
