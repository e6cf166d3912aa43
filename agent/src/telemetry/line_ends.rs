//! The fields of an access line that name the two ends of a connection: the same for the line of a connection and of a request.
//!
//! | field | over HBONE | in plaintext |
//! |---|---|---|
//! | `dst.addr` | the HBONE listener: the endpoint's, or its waypoint's | the endpoint |
//! | `dst.hbone_addr` | the endpoint: the authority of the CONNECT request | absent |
//! | `dst.original_addr` | what the application dialled, where that is not the endpoint | the same |

use std::fmt::{self, Write};
use std::time::Duration;

use super::ends::{ConnectionEnds, Reporter};
use super::log::FieldWriter;
use crate::model::identity::Identity;

/// The field of the identity that the destination has proven.
pub(super) const DESTINATION_IDENTITY: &str = "dst.identity";

/// The identities that the two ends of a connection have proven, the source's first: without mTLS none, whatever is expected.
/// `of_peer` is that of the HBONE peer of an outbound connection; the pod of this side shows its own to that peer.
pub(super) fn proven_identities<'a>(
    ends: &'a ConnectionEnds,
    of_peer: Option<&'a Identity>,
) -> [Option<&'a Identity>; 2] {
    let of_destination = match ends.reporter {
        Reporter::Source => of_peer,
        Reporter::Destination => ends.destination_identity.as_ref(),
    };
    [ends.source_identity.as_ref(), of_destination].map(|identity| identity.filter(|_| ends.mutual_tls))
}

/// What the workload of this side sent, and what it received.
pub(super) fn sent_and_received(reporter: Reporter, to_destination: u64, to_source: u64) -> (u64, u64) {
    match reporter {
        Reporter::Source => (to_destination, to_source),
        Reporter::Destination => (to_source, to_destination),
    }
}

/// Appends the message of a line, and the fields in front of [`DESTINATION_IDENTITY`].
pub(super) fn before_identity<W: Write>(
    to: &mut FieldWriter<'_, W>,
    message: &str,
    ends: &ConnectionEnds,
) -> fmt::Result {
    to.message(message)?;
    to.shown("src.addr", ends.source_addr)?;
    if let Some(workload) = &ends.source {
        to.text("src.workload", &workload.name)?;
        to.text("src.namespace", &workload.namespace)?;
    }
    // Whatever the peer proves is of the other end.
    if let [Some(identity), _] = proven_identities(ends, None) {
        to.shown("src.identity", identity)?;
    }
    if let Some(workload) = &ends.source {
        to.text("src.cluster", &workload.cluster_id)?;
    }
    to.shown("dst.addr", ends.dialled_addr())?;
    if let Some(address) = ends.hbone_addr() {
        to.shown("dst.hbone_addr", address)?;
    }
    if let Some(address) = ends.rewritten_dst() {
        to.shown("dst.original_addr", address)?;
    }
    if let Some(service) = &ends.service {
        to.text("dst.service", &service.key.hostname)?;
    }
    if let Some(workload) = &ends.destination {
        to.text("dst.workload", &workload.name)?;
        to.text("dst.namespace", &workload.namespace)?;
    }
    Ok(())
}

/// Appends the fields behind [`DESTINATION_IDENTITY`].
pub(super) fn behind_identity<W: Write>(to: &mut FieldWriter<'_, W>, ends: &ConnectionEnds) -> fmt::Result {
    if let Some(workload) = &ends.destination {
        to.text("dst.cluster", &workload.cluster_id)?;
    }
    to.text("direction", ends.reporter.direction())
}

/// A duration as lines have it.
pub(super) fn whole_milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
