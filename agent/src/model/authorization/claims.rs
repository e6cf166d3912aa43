//! The claims of a token that was verified, as far as policies and fields of the request may ask for them.

use std::collections::BTreeMap;
use std::sync::Arc;

/// The payload of a verified token (RFC 7519 §4), by name of the claim.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Claims(pub BTreeMap<Arc<str>, ClaimValue>);

/// A value of JSON, as far as anything asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimValue {
    Text(Arc<str>),
    Integer(i64),
    Bool(bool),
    List(Vec<ClaimValue>),
    Map(BTreeMap<Arc<str>, ClaimValue>),
    /// Null, or a number that is no integer of 64 bits.
    Other,
}

/// Claims whose texts are lists of words, as Istio has Envoy read them (RFC 8693 §4.2 for `scope`).
const SPACE_DELIMITED: [&str; 2] = ["scope", "permission"];

impl Claims {
    /// A claim by its name, or by the names that lead to it through the claims around it.
    #[must_use]
    pub fn at<'p>(&self, path: impl IntoIterator<Item = &'p str>) -> Option<&ClaimValue> {
        let mut path = path.into_iter();
        let mut value = self.0.get(path.next()?)?;
        for name in path {
            let ClaimValue::Map(map) = value else { return None };
            value = map.get(name)?;
        }
        Some(value)
    }

    /// A claim that is a text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.0.get(name)? {
            ClaimValue::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether a claim is a text, or a list with a text, that `is` holds for. Numbers and booleans are none.
    pub(super) fn any_text(&self, path: &[Arc<str>], is: impl Fn(&str) -> bool) -> bool {
        let Some(value) = self.at(path.iter().map(|name| &**name)) else { return false };
        let is_words = matches!(path, [name] if SPACE_DELIMITED.contains(&&**name));
        match value {
            ClaimValue::Text(text) if is_words => text.split(' ').filter(|word| !word.is_empty()).any(is),
            ClaimValue::Text(text) => is(text),
            ClaimValue::List(list) => list.iter().any(|value| matches!(value, ClaimValue::Text(text) if is(text))),
            _ => false,
        }
    }
}
