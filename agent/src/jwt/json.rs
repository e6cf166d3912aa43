//! JSON as headers and payloads of tokens have it: no object names a member twice, which parsers read differently, and nothing
//! lies deeper than [`DEPTH_MAX`].

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::model::authorization::ClaimValue;

/// Objects and lists lie at most this deep in each other.
const DEPTH_MAX: usize = 32;

/// Members of one object, or items of one list, at most.
const ITEMS_MAX: usize = 4096;

/// The members of the object that a text is; `None` for everything else.
pub(super) fn object(text: &[u8]) -> Option<BTreeMap<Arc<str>, ClaimValue>> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = Inner { depth: 0 }.deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    match value {
        ClaimValue::Map(members) => Some(members),
        _ => None,
    }
}

/// A value that lies so deep.
#[derive(Debug, Clone, Copy)]
struct Inner {
    depth: usize,
}

impl Inner {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        if self.depth == DEPTH_MAX {
            return Err(E::custom("nested too deeply"));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Inner {
    type Value = ClaimValue;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<ClaimValue, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Inner {
    type Value = ClaimValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of JSON")
    }

    fn visit_unit<E>(self) -> Result<ClaimValue, E> {
        Ok(ClaimValue::Other)
    }

    fn visit_bool<E>(self, value: bool) -> Result<ClaimValue, E> {
        Ok(ClaimValue::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<ClaimValue, E> {
        Ok(ClaimValue::Integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<ClaimValue, E> {
        Ok(i64::try_from(value).map_or(ClaimValue::Other, ClaimValue::Integer))
    }

    /// A number of seconds may have a fraction (RFC 7519 §2); whatever it is a number of, its whole part is kept if it is exact.
    #[expect(clippy::cast_possible_truncation, reason = "it was bounded just before")]
    fn visit_f64<E>(self, value: f64) -> Result<ClaimValue, E> {
        /// Up to here every whole number has a double of its own.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        let whole = value.trunc();
        Ok(if whole.abs() < EXACT { ClaimValue::Integer(whole as i64) } else { ClaimValue::Other })
    }

    fn visit_str<E>(self, value: &str) -> Result<ClaimValue, E> {
        Ok(ClaimValue::Text(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<ClaimValue, A::Error> {
        let inner = self.deeper()?;
        let mut items = Vec::new();
        while let Some(item) = list.next_element_seed(inner)? {
            if items.len() == ITEMS_MAX {
                return Err(A::Error::custom("too many items"));
            }
            items.push(item);
        }
        Ok(ClaimValue::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ClaimValue, A::Error> {
        let inner = self.deeper()?;
        let mut members = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            if members.len() == ITEMS_MAX {
                return Err(A::Error::custom("too many members"));
            }
            let value = map.next_value_seed(inner)?;
            if members.insert(Arc::from(name), value).is_some() {
                return Err(A::Error::custom("a member is there twice"));
            }
        }
        Ok(ClaimValue::Map(members))
    }
}
