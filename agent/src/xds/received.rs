//! The resources of a delta response, out of their envelopes and one per name, with their versions.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;

use super::decode::{Flaw, Malformed};
use crate::proto::envoy::service::discovery::v3 as discovery;
use crate::proto::istio::mcp::v1alpha1 as mcp;
use crate::resources::{ObjectBody, ResourceType};

/// The version of a resource, as the control plane names it: an opaque text. istiod's are hashes in hexadecimal, which take no allocation here: an agent holds one per resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Version {
    /// A text that is exactly this number in lower-case hexadecimal.
    Hash(u64),
    Text(Arc<str>),
}

impl From<&str> for Version {
    fn from(text: &str) -> Self {
        let hash = u64::from_str_radix(text, 16).ok().filter(|hash| format!("{hash:x}") == text);
        hash.map_or_else(|| Self::Text(text.into()), Self::Hash)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hash(hash) => write!(f, "{hash:x}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// A resource as it was received: its body is not decoded yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReceivedResource {
    pub name: Arc<str>,
    pub version: Version,
    pub body: Bytes,
    /// What is wrong outside of the body, such as a wrong type.
    pub flaw: Option<Arc<str>>,
}

impl From<ObjectBody> for ReceivedResource {
    fn from(object: ObjectBody) -> Self {
        let version = Version::from(&*object.version);
        let (body, flaw) = object.body.map_or_else(|flaw| (Bytes::new(), Some(flaw)), |body| (body, None));
        Self { name: object.name, version, body, flaw }
    }
}

/// The resources of a response, one per name, and the names that came twice with one content. Such a resource is used, but
/// is an error of the control plane nevertheless; where one name comes with two contents, nobody can tell which was meant,
/// and the resource has a flaw.
pub(super) fn unpack(
    kind: ResourceType,
    resources: Vec<discovery::Resource>,
) -> (Vec<ReceivedResource>, Vec<Arc<str>>) {
    let mut places: HashMap<Arc<str>, usize> = HashMap::with_capacity(resources.len());
    let mut merged: Vec<ReceivedResource> = Vec::with_capacity(resources.len());
    let mut twice: BTreeMap<Arc<str>, usize> = BTreeMap::new();
    for resource in resources {
        // A heartbeat of a resource with a TTL: it stays as it is.
        if resource.resource.is_none() && resource.ttl.is_some() {
            continue;
        }
        let received = unpack_one(kind, resource);
        match places.get(&received.name) {
            None => {
                places.insert(received.name.clone(), merged.len());
                merged.push(received);
            }
            Some(&place) => {
                twice.insert(received.name.clone(), place);
                if merged[place].body != received.body || received.flaw.is_some() {
                    merged[place].flaw = Some(Malformed::new("resource", Flaw::Ambiguous).to_string().into());
                }
            }
        }
    }
    let repeated = twice.into_iter().filter(|(_, place)| merged[*place].flaw.is_none()).map(|(name, _)| name).collect();
    (merged, repeated)
}

/// A resource out of its envelopes.
fn unpack_one(kind: ResourceType, resource: discovery::Resource) -> ReceivedResource {
    let version = Version::from(resource.version.as_str());
    // There is one mesh configuration, whatever a control plane calls it.
    let name: Arc<str> = if kind == ResourceType::MeshConfig { "".into() } else { resource.name.into() };
    let mut flaw = None;
    let mut any = resource.resource.unwrap_or_else(|| {
        flaw = Some(Flaw::Missing);
        prost_types::Any::default()
    });
    if kind.may_be_enveloped(&any.type_url) {
        match mcp::Resource::decode(any.value.as_slice()) {
            Ok(envelope) => any = envelope.body.unwrap_or_default(),
            Err(error) => flaw = Some(Flaw::NotProtobuf(error.to_string())),
        }
    }
    if flaw.is_none() && any.type_url != kind.body_type_url() {
        // The bytes mean something else: nothing may be read from them.
        any.value.clear();
        flaw = Some(Flaw::WrongType { found: any.type_url, expected: kind.body_type_url() });
    } else if flaw.is_none() && name.is_empty() && kind != ResourceType::MeshConfig {
        flaw = Some(Flaw::Empty);
    }
    let flaw = flaw.map(|flaw| Malformed::new("resource", flaw).to_string().into());
    ReceivedResource { name, version, body: Bytes::from(any.value), flaw }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_reads_back_as_it_came() {
        for text in
            ["", "0", "ef46db3751d8e999", "00ff", "EF", "+1f", "v1", "2026-11-21T10:00:00Z/7", "10000000000000000"]
        {
            assert_eq!(Version::from(text).to_string(), text);
        }
        assert_eq!(Version::from("ef46db3751d8e999"), Version::Hash(0xef46_db37_51d8_e999));
        assert_eq!(size_of::<Version>(), 16);
    }
}
