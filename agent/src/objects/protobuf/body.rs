//! The `spec` of an object between the tree that readers read and the message in which it travels: a message of its kind, or
//! `google.protobuf.Struct`, in which istiod sends objects of the Gateway API.

use prost::Message as _;
use prost_types::value::Kind as StructValue;
use prost_types::{Any, ListValue, Struct};

use super::message::{self, BodyError};
use crate::objects::kind::Kind;
use crate::objects::reading::yaml::{Node, Value};

const TYPE_URL_PREFIX: &str = "type.googleapis.com/";
const STRUCT: &str = "google.protobuf.Struct";
/// Maps and lists may lie this deep in each other.
const MAX_DEPTH: usize = 64;

/// The message of a kind; `None` for kinds that travel as a `Struct`.
fn message_name(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::VirtualService => Some("istio.networking.v1alpha3.VirtualService"),
        Kind::DestinationRule => Some("istio.networking.v1alpha3.DestinationRule"),
        Kind::Sidecar => Some("istio.networking.v1alpha3.Sidecar"),
        Kind::Telemetry => Some("istio.telemetry.v1alpha1.Telemetry"),
        Kind::RequestAuthentication => Some("istio.security.v1beta1.RequestAuthentication"),
        Kind::AuthorizationPolicy => Some("istio.security.v1beta1.AuthorizationPolicy"),
        _ => None,
    }
}

/// The tree of the body of an object; with what of it is not known here.
pub(super) fn node_of(kind: Kind, body: &Any) -> Result<(Node, Vec<String>), BodyError> {
    let found = body.type_url.strip_prefix(TYPE_URL_PREFIX).unwrap_or(&body.type_url);
    let expected = message_name(kind).unwrap_or(STRUCT);
    if found != expected {
        return Err(BodyError::WrongType { found: found.to_owned(), expected });
    }
    if let Some(name) = message_name(kind) {
        return message::decode(name, &body.value);
    }
    let fields = Struct::decode(body.value.as_slice()).map_err(|error| BodyError::NotProtobuf(error.to_string()))?;
    Ok((node_of_struct(fields, 0)?, Vec::new()))
}

/// The body of an object with this tree, which was read without an error.
pub(super) fn body_of(kind: Kind, spec: &Node) -> Any {
    if let Some(name) = message_name(kind) {
        return Any { type_url: format!("{TYPE_URL_PREFIX}{name}"), value: message::encode(name, spec) };
    }
    let fields = match struct_value(spec) {
        StructValue::StructValue(fields) => fields,
        _ => Struct::default(),
    };
    Any { type_url: format!("{TYPE_URL_PREFIX}{STRUCT}"), value: fields.encode_to_vec() }
}

fn node_of_struct(fields: Struct, depth: usize) -> Result<Node, BodyError> {
    let entry = |(name, value): (String, prost_types::Value)| Ok((name, node_of_value(value, depth + 1)?));
    let entries = fields.fields.into_iter().map(entry).collect::<Result<_, BodyError>>()?;
    Ok(Node { line: 0, value: Value::Map(entries) })
}

fn node_of_value(value: prost_types::Value, depth: usize) -> Result<Node, BodyError> {
    if depth > MAX_DEPTH {
        return Err(BodyError::TooDeep);
    }
    let value = match value.kind {
        None | Some(StructValue::NullValue(_)) => Value::Null,
        Some(StructValue::BoolValue(flag)) => Value::Flag(flag),
        Some(StructValue::StringValue(text)) => Value::Text(text),
        Some(StructValue::NumberValue(number)) => number_value(number),
        Some(StructValue::StructValue(fields)) => return node_of_struct(fields, depth),
        Some(StructValue::ListValue(list)) => {
            let items = list.values.into_iter().map(|value| node_of_value(value, depth + 1));
            Value::List(items.collect::<Result<_, BodyError>>()?)
        }
    };
    Ok(Node { line: 0, value })
}

/// Numbers of JSON are one kind: one without a fraction is read as a whole number.
#[expect(clippy::cast_possible_truncation, reason = "it was bounded just before")]
fn number_value(number: f64) -> Value {
    /// Up to here every whole number has a double of its own.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() <= EXACT { Value::Integer(number as i128) } else { Value::Float(number) }
}

#[expect(clippy::cast_precision_loss, reason = "numbers of JSON are doubles")]
fn struct_value(node: &Node) -> StructValue {
    let value = |node: &Node| prost_types::Value { kind: Some(struct_value(node)) };
    match &node.value {
        Value::Null => StructValue::NullValue(0),
        Value::Flag(flag) => StructValue::BoolValue(*flag),
        Value::Integer(number) => StructValue::NumberValue(*number as f64),
        Value::Float(number) => StructValue::NumberValue(*number),
        Value::Text(text) => StructValue::StringValue(text.clone()),
        Value::List(items) => StructValue::ListValue(ListValue { values: items.iter().map(value).collect() }),
        Value::Map(entries) => StructValue::StructValue(Struct {
            fields: entries.iter().map(|(name, node)| (name.clone(), value(node))).collect(),
        }),
    }
}

/// The tree of what an API server tells.
///
/// # Errors
/// When it is nested too deeply.
pub(super) fn node_of_json(json: &serde_json::Value) -> Result<Node, BodyError> {
    node_at_depth(json, 0)
}

fn node_at_depth(json: &serde_json::Value, depth: usize) -> Result<Node, BodyError> {
    if depth > MAX_DEPTH {
        return Err(BodyError::TooDeep);
    }
    let value = match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(flag) => Value::Flag(*flag),
        serde_json::Value::String(text) => Value::Text(text.clone()),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(whole) => Value::Integer(whole.into()),
            None => number_value(number.as_f64().unwrap_or(f64::NAN)),
        },
        serde_json::Value::Array(items) => {
            let items = items.iter().map(|item| node_at_depth(item, depth + 1));
            Value::List(items.collect::<Result<_, BodyError>>()?)
        }
        serde_json::Value::Object(fields) => {
            let entry = |(name, value): (&String, _)| Ok((name.clone(), node_at_depth(value, depth + 1)?));
            Value::Map(fields.iter().map(entry).collect::<Result<_, BodyError>>()?)
        }
    };
    Ok(Node { line: 0, value })
}
