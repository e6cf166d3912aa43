//! The version of a resource, as istiod computes it.

use std::ops::Range;

use prost::Message;
use prost::encoding::{WireType, decode_key, decode_varint};
use xxhash_rust::xxh64::xxh64;

use crate::proto::istio::workload::Address;

/// Where an `Address` has a `GatewayAddress`: waypoint and network gateway of a workload, waypoint and weighted waypoints
/// of a service.
const GATEWAYS: [&[u32]; 4] = [&[1, 8], &[1, 19], &[2, 7], &[2, 13, 1]];

/// Hash of the serialized address in hexadecimal, without leading zeros. The same address has the same version whether
/// istiod or Weir serves it, so a client that reconnects is only sent what differs.
#[must_use]
pub fn version(address: &Address) -> String {
    let mut bytes = address.encode_to_vec();
    for path in GATEWAYS {
        choices_last(&mut bytes, path);
    }
    format!("{:x}", xxh64(&bytes, 0))
}

/// Go writes a message's `oneof` after its other fields, prost at its number. `GatewayAddress` is the only message here
/// that has both; the destination of each one at `path` is moved behind its port, which changes no length.
fn choices_last(message: &mut [u8], path: &[u32]) {
    let mut at = 0;
    while let Some(field) = field_at(message, at) {
        match path.split_first() {
            Some((number, rest)) if *number == field.number => choices_last(&mut message[field.content.clone()], rest),
            // The first field of a gateway is its destination.
            None if at == 0 => return message.rotate_left(field.content.end),
            _ => {}
        }
        at = field.content.end;
    }
}

struct Field {
    number: u32,
    content: Range<usize>,
}

/// The field that begins at `at`; `None` at the end.
fn field_at(message: &[u8], at: usize) -> Option<Field> {
    let mut rest = message.get(at..).filter(|rest| !rest.is_empty())?;
    let (number, wire_type) = decode_key(&mut rest).ok()?;
    let length = match wire_type {
        WireType::Varint => {
            decode_varint(&mut rest).ok()?;
            0
        }
        WireType::LengthDelimited => usize::try_from(decode_varint(&mut rest).ok()?).ok()?,
        WireType::ThirtyTwoBit => 4,
        WireType::SixtyFourBit => 8,
        WireType::StartGroup | WireType::EndGroup => return None,
    };
    let start = message.len() - rest.len();
    let end = start.checked_add(length).filter(|end| *end <= message.len())?;
    Some(Field { number, content: start..end })
}
