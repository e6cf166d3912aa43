//! Changes of resources, encoded for the disk: type, name and, unless it was removed, version, flaw and body.

use std::sync::Arc;

use bytes::{Buf, Bytes};

use crate::resources::{ObjectKind, ResourceType};
use crate::xds::received::ReceivedResource;
use crate::xds::received::Version;

/// The types, by the number they are written as. The mesh configuration says what the root namespace is, which the
/// others may need.
pub(super) const ORDER: [ResourceType; ResourceType::COUNT] = {
    let mut order = [ResourceType::MeshConfig; ResourceType::COUNT];
    order[1] = ResourceType::Authorization;
    order[2] = ResourceType::Address;
    let mut at = 0;
    while at < ObjectKind::COUNT {
        order[3 + at] = ResourceType::Object(ObjectKind::ALL[at]);
        at += 1;
    }
    order
};
/// Added to the type's number where a resource was removed.
const REMOVED: u8 = 0x80;

/// Changes in the order in which they were made.
#[derive(Debug, Default)]
pub(in crate::xds) struct Records(Vec<u8>);

/// One change.
#[derive(Debug)]
pub(in crate::xds) enum Record {
    /// A resource that is in force. A policy with a flaw denies.
    Stored(ResourceType, ReceivedResource),
    Removed(ResourceType, Arc<str>),
}

impl Records {
    pub(in crate::xds) fn push(&mut self, record: &Record) {
        match record {
            Record::Stored(kind, resource) => {
                self.0.push(number_of(*kind));
                self.field(resource.name.as_bytes());
                self.field(resource.version.to_string().as_bytes());
                self.field(resource.flaw.as_deref().unwrap_or_default().as_bytes());
                self.field(&resource.body);
            }
            Record::Removed(kind, name) => {
                self.0.push(number_of(*kind) | REMOVED);
                self.field(name.as_bytes());
            }
        }
    }

    pub(in crate::xds) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn append(&mut self, later: Self) {
        if self.0.is_empty() {
            *self = later;
        } else {
            self.0.extend_from_slice(&later.0);
        }
    }

    fn field(&mut self, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).expect("a response with 4 GiB is refused long before");
        self.0.extend_from_slice(&length.to_le_bytes());
        self.0.extend_from_slice(bytes);
    }
}

/// Reads changes back, one by one; `None` where the bytes are not what was written.
pub(super) fn read(mut rest: &[u8], mut each: impl FnMut(Record)) -> Option<()> {
    while !rest.is_empty() {
        let number = rest.get_u8();
        let kind = *ORDER.get(usize::from(number & !REMOVED))?;
        let name = text(&mut rest)?;
        if number & REMOVED != 0 {
            each(Record::Removed(kind, name.into()));
            continue;
        }
        let version = Version::from(text(&mut rest)?);
        let flaw = Some(text(&mut rest)?).filter(|reason| !reason.is_empty()).map(Into::into);
        // A copy, so that a resource that is replaced later does not keep the whole file in memory.
        let body = Bytes::copy_from_slice(field(&mut rest)?);
        each(Record::Stored(kind, ReceivedResource { name: name.into(), version, body, flaw }));
    }
    Some(())
}

fn number_of(kind: ResourceType) -> u8 {
    let place = ORDER.iter().position(|of_order| *of_order == kind).expect("every type is in the order");
    u8::try_from(place).expect("there are few types")
}

fn field<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let (field, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *rest = after;
    Some(field)
}

fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(field(rest)?).ok()
}
