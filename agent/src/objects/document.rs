//! An object that is a tree of values already, read as if a file had said it.

use serde_json::Value as Json;

use super::loaded::Loaded;
use super::problem::Origin;
use super::read;
use super::yaml::{Node, Value};

/// Reads one object with the rules for files; `from` says where it came from in what is wrong with it. A policy that is
/// not valid becomes the refusal that stands for it.
#[must_use]
pub fn read_document(document: &Json, from: &str) -> Loaded {
    let mut loaded = Loaded::default();
    let origin = Origin { file: from.into(), document: 0, item: 0 };
    read::document(&mut loaded, &node(document), &origin, 0);
    loaded
}

fn node(json: &Json) -> Node {
    let value = match json {
        Json::Null => Value::Null,
        Json::Bool(flag) => Value::Flag(*flag),
        Json::Number(number) => match number.as_i128() {
            Some(number) => Value::Integer(number),
            None => Value::Float(number.as_f64().unwrap_or_default()),
        },
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(items) => Value::List(items.iter().map(node).collect()),
        Json::Object(entries) => Value::Map(entries.iter().map(|(key, value)| (key.clone(), node(value))).collect()),
    };
    // There are no lines.
    Node { line: 0, value }
}
