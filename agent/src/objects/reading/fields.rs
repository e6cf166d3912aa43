//! Reading a YAML map field by field: every finding carries the field's path and line, and whatever was not asked for is
//! an error.

use std::collections::BTreeMap;

use super::place::{Place, Text};
use super::problem::Report;
use super::yaml::{Node, Value};

/// The fields of one map.
#[derive(Debug)]
pub(in crate::objects) struct Fields<'n> {
    path: String,
    node: &'n Node,
    entries: &'n [(String, Node)],
    asked: Vec<&'static str>,
    report: &'n Report,
}

/// A node, and the path that leads to it.
#[derive(Debug, Clone)]
pub(in crate::objects) struct Item<'n> {
    pub(in crate::objects) path: String,
    pub(in crate::objects) node: &'n Node,
}

impl<'n> Fields<'n> {
    /// The fields of `node`, which stands at `path`. A node that is no map is an error.
    pub(in crate::objects) fn of(node: &'n Node, path: &str, report: &'n Report) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            report.error(path, node.line, format!("must be a map of fields, but is {}", node.value.sort()));
            return None;
        };
        Some(Self { path: path.to_owned(), node, entries, asked: Vec::new(), report })
    }

    pub(in crate::objects) fn report(&self) -> &'n Report {
        self.report
    }

    /// Where this map stands.
    pub(in crate::objects) fn place(&self) -> Place<'n> {
        Place::of(self.node, &self.path, self.report)
    }

    pub(in crate::objects) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// The field's node, an explicit null included.
    pub(in crate::objects) fn any(&mut self, name: &'static str) -> Option<Item<'n>> {
        self.asked.push(name);
        let (_, node) = self.entries.iter().find(|(key, _)| key == name)?;
        Some(Item { path: self.path_of(name), node })
    }

    /// The field's node; null counts as absent, as it does in Kubernetes.
    pub(in crate::objects) fn get(&mut self, name: &'static str) -> Option<Item<'n>> {
        self.any(name).filter(|item| item.node.value != Value::Null)
    }

    /// Marks a field as known whose content does not matter.
    pub(in crate::objects) fn skip(&mut self, name: &'static str) {
        self.asked.push(name);
    }

    /// Marks a field as known; where it is set, a notice says that it has no effect.
    pub(in crate::objects) fn without_effect(&mut self, name: &'static str, why: &str) {
        if self.get(name).is_some() {
            self.notice(name, why);
        }
    }

    /// An error about one field of this map.
    pub(in crate::objects) fn error(&self, name: &str, reason: impl Into<String>) {
        self.report.error(self.path_of(name), self.line_of(name), reason);
    }

    /// A notice about one field of this map.
    pub(in crate::objects) fn notice(&self, name: &str, reason: impl Into<String>) {
        self.report.notice(self.path_of(name), self.line_of(name), reason);
    }

    fn line_of(&self, name: &str) -> usize {
        let key = name.split(['[', '.']).next().unwrap_or(name);
        self.entries.iter().find(|(entry, _)| entry == key).map_or(self.node.line, |(_, node)| node.line)
    }

    pub(in crate::objects) fn text(&mut self, name: &'static str) -> Option<String> {
        let item = self.get(name)?;
        item.text(self.report).map(str::to_owned)
    }

    pub(in crate::objects) fn flag(&mut self, name: &'static str) -> Option<bool> {
        let item = self.get(name)?;
        if let Value::Flag(flag) = item.node.value {
            return Some(flag);
        }
        self.error(name, format!("must be true or false, but is {}", item.node.value.sort()));
        None
    }

    pub(in crate::objects) fn fields(&mut self, name: &'static str) -> Option<Fields<'n>> {
        let item = self.get(name)?;
        Fields::of(item.node, &item.path, self.report)
    }

    /// The items of a list; none if the field is absent.
    pub(in crate::objects) fn items(&mut self, name: &'static str) -> Vec<Item<'n>> {
        let Some(item) = self.get(name) else { return Vec::new() };
        let Value::List(list) = &item.node.value else {
            self.error(name, format!("must be a list, but is {}", item.node.value.sort()));
            return Vec::new();
        };
        let path = &item.path;
        list.iter().enumerate().map(|(at, node)| Item { path: format!("{path}[{at}]"), node }).collect()
    }

    pub(in crate::objects) fn texts(&mut self, name: &'static str) -> Vec<String> {
        let report = self.report;
        self.items(name).iter().filter_map(|item| item.text(report).map(str::to_owned)).collect()
    }

    /// The strings of a list, each with its place; what is no string is reported and left out.
    pub(in crate::objects) fn placed_texts(&mut self, name: &'static str) -> Vec<Text<'n>> {
        let report = self.report;
        let text = |item: Item<'n>| Some(Text { text: item.text(report)?, place: item.place(report) });
        self.items(name).into_iter().filter_map(text).collect()
    }

    /// A map whose keys are the user's own, in order of keys.
    pub(in crate::objects) fn entries(&mut self, name: &'static str) -> Option<Vec<(&'n str, Item<'n>)>> {
        let item = self.get(name)?;
        let Value::Map(entries) = &item.node.value else {
            self.error(name, format!("must be a map, but is {}", item.node.value.sort()));
            return None;
        };
        let at = |key: &str| format!("{}[{key}]", item.path);
        Some(entries.iter().map(|(key, node)| (key.as_str(), Item { path: at(key), node })).collect())
    }

    pub(in crate::objects) fn text_map(&mut self, name: &'static str) -> BTreeMap<String, String> {
        let report = self.report;
        let entries = self.entries(name).unwrap_or_default();
        entries.into_iter().filter_map(|(key, item)| Some((key.to_owned(), item.text(report)?.to_owned()))).collect()
    }

    /// One of a closed set of words.
    pub(in crate::objects) fn word<T: Copy>(&mut self, name: &'static str, words: &[(&str, T)]) -> Option<T> {
        self.get(name)?.word(words, self.report)
    }

    /// A whole number within `range`, whose ends `T` must be able to hold.
    pub(in crate::objects) fn number<T: TryFrom<i128>>(
        &mut self,
        name: &'static str,
        range: std::ops::RangeInclusive<i128>,
    ) -> Option<T> {
        self.get(name)?.number(range, self.report).and_then(|number| T::try_from(number).ok())
    }

    /// A number, whole or not.
    pub(in crate::objects) fn decimal(&mut self, name: &'static str) -> Option<f64> {
        let item = self.get(name)?;
        match item.node.value {
            Value::Float(number) if number.is_finite() => return Some(number),
            #[expect(clippy::cast_precision_loss, reason = "whoever writes such a number does not mean its last digit")]
            Value::Integer(number) => return Some(number as f64),
            _ => {}
        }
        self.error(name, format!("must be a number without quotes, but is {}", item.node.value.sort()));
        None
    }

    /// Reports every field that nobody asked for. An ignored field may have been meant to restrict something.
    pub(in crate::objects) fn finish(self) {
        for (key, node) in self.entries {
            if self.asked.contains(&key.as_str()) {
                continue;
            }
            let reason = match self.asked.iter().find(|name| folded(name) == folded(key)) {
                Some(name) => format!("unknown field: did you mean {name}?"),
                None => format!("unknown field: remove it, or use one of {}", self.asked.join(", ")),
            };
            self.report.error(self.path_of(key), node.line, reason);
        }
    }
}

impl<'n> Item<'n> {
    pub(in crate::objects) fn text(&self, report: &Report) -> Option<&'n str> {
        if let Value::Text(text) = &self.node.value {
            return Some(text);
        }
        let sort = self.node.value.sort();
        report.error(&self.path, self.node.line, format!("must be a string, but is {sort}: put it in quotes"));
        None
    }

    /// One of a closed set of words.
    pub(in crate::objects) fn word<T: Copy>(&self, words: &[(&str, T)], report: &Report) -> Option<T> {
        let text = self.text(report)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        self.error(report, format!("unknown value {text:?}: use one of {}", known.join(", ")));
        None
    }

    /// A whole number within `range`.
    pub(in crate::objects) fn number(&self, range: std::ops::RangeInclusive<i128>, report: &Report) -> Option<i128> {
        match &self.node.value {
            Value::Integer(number) if range.contains(number) => Some(*number),
            Value::Integer(number) => {
                self.error(report, format!("{number} is out of range {}..{}", range.start(), range.end()));
                None
            }
            other => {
                self.error(report, format!("must be a whole number without quotes, but is {}", other.sort()));
                None
            }
        }
    }

    pub(in crate::objects) fn error(&self, report: &Report, reason: impl Into<String>) {
        report.error(&self.path, self.node.line, reason);
    }

    pub(in crate::objects) fn place(&self, report: &'n Report) -> Place<'n> {
        Place::of(self.node, &self.path, report)
    }

    pub(in crate::objects) fn fields(&self, report: &'n Report) -> Option<Fields<'n>> {
        Fields::of(self.node, &self.path, report)
    }
}

fn folded(name: &str) -> String {
    name.chars().filter(|c| *c != '_' && *c != '-').flat_map(char::to_lowercase).collect()
}
