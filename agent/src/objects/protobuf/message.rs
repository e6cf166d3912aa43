//! Messages of objects to the tree that readers read, and back, by their descriptors: one reader serves both encodings.
//!
//! A tree has the names that YAML has (protobuf's JSON names), and what YAML would have for durations, wrapped values and
//! enums. What is not set is not there.

use std::sync::LazyLock;

use prost::Message as _;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage as _,
    Value as Wire,
};

use crate::objects::networking::values::parse_duration;
use crate::objects::reading::base64;
use crate::objects::reading::yaml::{Node, Value};

/// Maps and lists may lie this deep in each other.
const MAX_DEPTH: usize = 64;
const DURATION: &str = "google.protobuf.Duration";

/// Why the body of an envelope cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    #[error("not a protobuf message of its type ({0})")]
    NotProtobuf(String),
    #[error("type {found:?}, expected {expected:?}")]
    WrongType { found: String, expected: &'static str },
    #[error("maps and lists are nested too deeply")]
    TooDeep,
}

/// Read when the first object needs it: most agents never have one.
static DESCRIPTORS: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let bytes = include_bytes!(concat!(env!("OUT_DIR"), "/object_descriptors.bin"));
    DescriptorPool::decode(bytes.as_slice()).expect("the build wrote it")
});

fn descriptor(name: &str) -> MessageDescriptor {
    DESCRIPTORS.get_message_by_name(name).expect("every kind that is read has a message")
}

/// The tree of an encoded message called `name`; with the numbers of fields that are not known, by where they stand.
pub(in crate::objects) fn decode(name: &'static str, bytes: &[u8]) -> Result<(Node, Vec<String>), BodyError> {
    let message = DynamicMessage::decode(descriptor(name), bytes);
    let message = message.map_err(|error| BodyError::NotProtobuf(error.to_string()))?;
    let mut unknown = Vec::new();
    let node = of_message(&message, "spec", 0, &mut unknown)?;
    Ok((node, unknown))
}

fn node(value: Value) -> Node {
    Node { line: 0, value }
}

fn of_message(
    message: &DynamicMessage,
    path: &str,
    depth: usize,
    unknown: &mut Vec<String>,
) -> Result<Node, BodyError> {
    if depth > MAX_DEPTH {
        return Err(BodyError::TooDeep);
    }
    let descriptor = message.descriptor();
    if descriptor.full_name() == DURATION {
        let number = |field: u32| message.get_field_by_number(field);
        let (seconds, nanos) = (number(1).and_then(|value| value.as_i64()), number(2).and_then(|value| value.as_i32()));
        return Ok(node(Value::Text(duration_text(seconds.unwrap_or(0), nanos.unwrap_or(0)))));
    }
    if is_wrapper(&descriptor) {
        let field = descriptor.get_field(1).expect("a wrapper has a value");
        return of_value(&field, &message.get_field(&field), path, depth, unknown);
    }
    unknown.extend(message.unknown_fields().map(|field| format!("{path}: field {} of protobuf", field.number())));
    let mut entries = Vec::new();
    for (field, value) in message.fields() {
        let path = format!("{path}.{}", field.json_name());
        let value = match value {
            Wire::List(items) => {
                let items = items.iter().enumerate();
                let item = |(at, item)| of_value(&field, item, &format!("{path}[{at}]"), depth + 1, unknown);
                node(Value::List(items.map(item).collect::<Result<_, _>>()?))
            }
            Wire::Map(map) => {
                let Kind::Message(entry) = field.kind() else { continue };
                let of_entry = entry.map_entry_value_field();
                let mut entries = Vec::new();
                for (key, value) in map {
                    let key = key_text(key);
                    let value = of_value(&of_entry, value, &format!("{path}[{key}]"), depth + 1, unknown)?;
                    entries.push((key, value));
                }
                entries.sort_by(|(one, _), (other, _)| one.cmp(other));
                node(Value::Map(entries))
            }
            single => of_value(&field, single, &path, depth + 1, unknown)?,
        };
        entries.push((field.json_name().to_owned(), value));
    }
    Ok(node(Value::Map(entries)))
}

fn of_value(
    field: &FieldDescriptor,
    value: &Wire,
    path: &str,
    depth: usize,
    unknown: &mut Vec<String>,
) -> Result<Node, BodyError> {
    let value = match value {
        Wire::Bool(flag) => Value::Flag(*flag),
        Wire::I32(number) => Value::Integer((*number).into()),
        Wire::I64(number) => Value::Integer((*number).into()),
        Wire::U32(number) => Value::Integer((*number).into()),
        Wire::U64(number) => Value::Integer((*number).into()),
        Wire::F32(number) => Value::Float((*number).into()),
        Wire::F64(number) => Value::Float(*number),
        Wire::String(text) => Value::Text(text.clone()),
        Wire::Bytes(bytes) => Value::Text(base64::encode(bytes)),
        Wire::EnumNumber(number) => match field.kind() {
            // A number without a name is none of the words that the reader knows.
            Kind::Enum(descriptor) => descriptor
                .get_value(*number)
                .map_or(Value::Text(number.to_string()), |value| Value::Text(value.name().to_owned())),
            _ => Value::Null,
        },
        Wire::Message(message) => return of_message(message, path, depth, unknown),
        Wire::List(_) | Wire::Map(_) => Value::Null,
    };
    Ok(node(value))
}

fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}

fn duration_text(seconds: i64, nanos: i32) -> String {
    if nanos == 0 {
        return format!("{seconds}s");
    }
    let sign = if seconds < 0 || nanos < 0 { "-" } else { "" };
    format!("{sign}{}.{:09}s", seconds.unsigned_abs(), nanos.unsigned_abs())
}

/// True for `google.protobuf.BoolValue` and its like.
fn is_wrapper(descriptor: &MessageDescriptor) -> bool {
    descriptor.parent_file().name() == "google/protobuf/wrappers.proto"
}

/// The message called `name` that a tree is, encoded. The tree was read without an error: what it has is known.
pub(in crate::objects) fn encode(name: &str, tree: &Node) -> Vec<u8> {
    to_message(descriptor(name), tree).encode_to_vec()
}

fn to_message(descriptor: MessageDescriptor, tree: &Node) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    if descriptor.full_name() == DURATION {
        if let Value::Text(text) = &tree.value
            && let Some(duration) = parse_duration(text)
        {
            let seconds = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
            message.set_field_by_number(1, Wire::I64(seconds));
            message.set_field_by_number(2, Wire::I32(i32::try_from(duration.subsec_nanos()).unwrap_or(0)));
        }
        return message;
    }
    if is_wrapper(&descriptor) {
        let field = descriptor.get_field(1).expect("a wrapper has a value");
        if let Some(value) = to_value(&field.kind(), tree) {
            message.set_field(&field, value);
        }
        return message;
    }
    let Value::Map(entries) = &tree.value else { return message };
    for (name, tree) in entries {
        let Some(field) = descriptor.get_field_by_json_name(name) else { continue };
        let value = match &tree.value {
            Value::Null => None,
            Value::Map(entries) if field.is_map() => to_map(&field, entries),
            Value::List(items) if field.is_list() => {
                Some(Wire::List(items.iter().filter_map(|item| to_value(&field.kind(), item)).collect()))
            }
            _ => to_value(&field.kind(), tree),
        };
        if let Some(value) = value.filter(|value| value.is_valid_for_field(&field)) {
            message.set_field(&field, value);
        }
    }
    message
}

fn to_map(field: &FieldDescriptor, entries: &[(String, Node)]) -> Option<Wire> {
    let Kind::Message(entry) = field.kind() else { return None };
    let kind = entry.map_entry_value_field().kind();
    let one = |(key, tree): &(String, Node)| Some((MapKey::String(key.clone()), to_value(&kind, tree)?));
    Some(Wire::Map(entries.iter().filter_map(one).collect()))
}

#[expect(clippy::cast_precision_loss, reason = "whoever writes such a number does not mean its last digit")]
fn to_value(kind: &Kind, tree: &Node) -> Option<Wire> {
    Some(match (kind, &tree.value) {
        (Kind::Message(descriptor), _) => Wire::Message(to_message(descriptor.clone(), tree)),
        (Kind::Enum(descriptor), Value::Text(name)) => Wire::EnumNumber(descriptor.get_value_by_name(name)?.number()),
        (Kind::Bool, Value::Flag(flag)) => Wire::Bool(*flag),
        (Kind::String, Value::Text(text)) => Wire::String(text.clone()),
        (Kind::Bytes, Value::Text(text)) => Wire::Bytes(base64::decode(text)?.into()),
        (Kind::Double, Value::Float(number)) => Wire::F64(*number),
        (Kind::Double, Value::Integer(number)) => Wire::F64(*number as f64),
        (Kind::Int32, Value::Integer(number)) => Wire::I32(i32::try_from(*number).ok()?),
        (Kind::Uint32, Value::Integer(number)) => Wire::U32(u32::try_from(*number).ok()?),
        (Kind::Int64, Value::Integer(number)) => Wire::I64(i64::try_from(*number).ok()?),
        (Kind::Uint64, Value::Integer(number)) => Wire::U64(u64::try_from(*number).ok()?),
        _ => return None,
    })
}
