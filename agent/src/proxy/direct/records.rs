//! The records of direct connections: two each, as the agents of both ends would have them.

use std::collections::HashMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use weir_common::HBONE_PORT;

use crate::capture::noted::{End, EndState, Noted};
use crate::model::address::OriginalDst;
use crate::model::resolve::{Transport, Upstream};
use crate::proxy::inbound;
use crate::proxy::pod::PodProxy;
use crate::telemetry::connection::ResponseFlag;
use crate::telemetry::ends::{ConnectionEnds, OutboundSource, RecordedPeer};
use crate::telemetry::record::ConnectionRecord;

/// Those of connections that are open, by the connections' keys.
#[derive(Debug, Default)]
pub(super) struct Records(HashMap<u64, Both>);

#[derive(Debug)]
struct Both {
    source: ConnectionRecord,
    /// `None` where the server's end was never connected.
    destination: Option<ConnectionRecord>,
    why: Option<Why>,
}

/// Why the agent has ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// Policy does not allow it any more.
    Denied,
    /// The certificate of an end does not count any more.
    Distrusted,
    /// The kernel programs have cut it off before it carried anything.
    CutOff,
    /// A pod of it has died.
    PodGone,
    /// A setting says that no connection is to be direct.
    SwitchedOff,
    /// It began under another version of the kernel programs, and nobody would learn of its end.
    Unwatched,
}

impl Why {
    fn of_source(self) -> (ResponseFlag, &'static str) {
        match self {
            Self::Denied => (ResponseFlag::None, "the destination's policy no longer allows it"),
            Self::Distrusted => (ResponseFlag::IdentityError, "the certificate of an end no longer counts"),
            Self::CutOff => CUT_OFF,
            Self::PodGone => (ResponseFlag::None, "a pod of the connection is gone"),
            Self::SwitchedOff => (ResponseFlag::None, "connections are not direct any more"),
            Self::Unwatched => (ResponseFlag::None, "the agent was replaced by one that cannot follow it"),
        }
    }

    fn of_destination(self) -> (ResponseFlag, &'static str) {
        match self {
            Self::Denied => (ResponseFlag::Denied, "policy no longer allows it"),
            other => other.of_source(),
        }
    }
}

impl Records {
    /// Whether there are any of a connection.
    pub(super) fn has(&self, noted: &Noted) -> bool {
        self.0.contains_key(&noted.key)
    }

    /// Opens those of a connection.
    pub(super) fn open(&mut self, noted: &Noted, source: &PodProxy, server: &PodProxy) {
        if let Some(client) = noted.client.filter(|_| !self.has(noted)) {
            self.0.insert(noted.key, Both::open(noted, client, source, server));
        }
    }

    /// Notes what the two ends of an open connection have received so far.
    pub(super) fn received(&self, noted: &Noted, (to_server, to_client): (u64, u64)) {
        let Some(Both { source, destination, .. }) = self.0.get(&noted.key) else { return };
        for record in std::iter::once(source).chain(destination) {
            let bytes = record.bytes();
            bytes.to_destination.fetch_max(to_server, Ordering::Relaxed);
            bytes.to_source.fetch_max(to_client, Ordering::Relaxed);
        }
    }

    /// Notes why a connection was ended.
    pub(super) fn ended_by_agent(&mut self, noted: &Noted, why: Why) {
        if let Some(both) = self.0.get_mut(&noted.key) {
            both.why.get_or_insert(why);
        }
    }

    /// Completes those of a connection that is over, which [`Self::open`] has opened.
    pub(super) fn complete(&mut self, noted: &Noted) {
        let Some(Both { mut source, destination, why }) = self.0.remove(&noted.key) else { return };
        let mut destination = destination.filter(|_| noted.server_end.state != EndState::None);
        for record in std::iter::once(&source).chain(&destination) {
            let bytes = record.bytes();
            bytes.to_destination.fetch_max(noted.server_end.received, Ordering::Relaxed);
            bytes.to_source.fetch_max(noted.client_end.received, Ordering::Relaxed);
            record.lasted(noted.lasted);
        }
        let (of_source, of_destination) = outcomes(noted, why);
        let fail = |record: &mut ConnectionRecord, outcome: Option<(ResponseFlag, &str)>| {
            if let Some((flag, error)) = outcome {
                record.fail(flag, &error as &dyn Display);
            }
        };
        fail(&mut source, of_source);
        if let Some(destination) = &mut destination {
            fail(destination, of_destination);
        }
    }

    /// Leaves all to another agent.
    pub(super) fn hand_over(&mut self) {
        for (_, both) in self.0.drain() {
            both.source.hand_over();
            if let Some(destination) = both.destination {
                destination.hand_over();
            }
        }
    }
}

/// It did not lead to whom it was permitted to, or it was no longer permitted when it was accepted.
const CUT_OFF: (ResponseFlag, &str) = (ResponseFlag::Denied, "it does not lead to whom it may, or may no longer");

type Outcome = Option<(ResponseFlag, &'static str)>;

/// How a connection has failed for either end, if it has.
fn outcomes(noted: &Noted, why: Option<Why>) -> (Outcome, Outcome) {
    let Noted { client_end, server_end, .. } = noted;
    if let Some(why) = why {
        return (Some(why.of_source()), Some(why.of_destination()));
    }
    let same = |outcome| (Some(outcome), Some(outcome));
    match (client_end, server_end) {
        (End { is_cut: true, .. }, _) | (_, End { is_cut: true, .. }) => same(CUT_OFF),
        (End { state: EndState::Failed, .. }, _) => {
            same((ResponseFlag::ConnectFailure, "the endpoint did not accept it"))
        }
        (End { got_all: true, .. }, End { got_all: true, .. }) => (None, None),
        _ => same((ResponseFlag::None, "the connection was reset")),
    }
}

impl Both {
    fn open(noted: &Noted, client: SocketAddr, source: &PodProxy, server: &PodProxy) -> Self {
        let (endpoint, dialled) = (noted.pair.endpoint, OriginalDst(noted.dialled));
        let (of_source, of_destination, identity) = {
            let mesh = source.proxy.mesh.read();
            let domain = &mesh.settings().trust_domain;
            let workload = source.source_workload(&mesh);
            let service = mesh.service_at(&workload, dialled).cloned();
            let asked_for = service.as_ref().map(|service| service.key.hostname.clone());
            let upstream = Upstream {
                transport: Transport::Hbone {
                    peer: SocketAddr::new(endpoint.ip(), HBONE_PORT),
                    authority: endpoint.to_string(),
                    identities: Vec::new(),
                },
                workload: Some(server.source_workload(&mesh)),
                service,
            };
            let identity = source.pod.identity(domain);
            let peer =
                RecordedPeer { identity: identity.clone(), workload: Some(workload.clone()), listener: endpoint };
            let outbound = OutboundSource { addr: client, workload, identity };
            let of_source = ConnectionEnds {
                // No HBONE, though both ends are known as well as if there were.
                hbone_listener: None,
                ..ConnectionEnds::outbound(outbound, dialled, Some(&upstream))
            };
            let of_destination = inbound::direct_ends(&mesh, server, (peer, client), endpoint, asked_for.as_deref());
            (of_source, of_destination, server.pod.identity(domain))
        };
        let record = |pod: &PodProxy, ends| ConnectionRecord::open_late(pod.connection_reporting(), ends, noted.age);
        let of_source = record(source, of_source);
        of_source.peer_proved(identity);
        let is_accepted = noted.server_end.state != EndState::None;
        let destination = is_accepted.then(|| record(server, of_destination));
        Self { source: of_source, destination, why: None }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::capture::NetnsCookie;
    use crate::capture::noted::Pair;

    #[test]
    fn each_end_tells_how_a_connection_failed_for_it() {
        let end = |state, got_all| End { state, got_all, is_cut: false, received: 0 };
        let (ended, reset) = (end(EndState::Closed, true), end(EndState::Closed, false));
        let (failed, none) = (end(EndState::Failed, false), end(EndState::None, false));
        let cut = End { is_cut: true, ..reset };
        let denied = Some(Why::Denied);
        let told =
            |outcome: Outcome| outcome.map_or("-".to_owned(), |(flag, error)| format!("{} {error}", flag.label()));
        for (client, server, why, of_source, of_destination) in [
            (ended, ended, None, "-", "-"),
            (reset, ended, None, "- the connection was reset", "- the connection was reset"),
            (reset, reset, None, "- the connection was reset", "- the connection was reset"),
            (failed, none, None, "CONNECT the endpoint did not accept it", "CONNECT the endpoint did not accept it"),
            (
                cut,
                none,
                None,
                "DENY it does not lead to whom it may, or may no longer",
                "DENY it does not lead to whom it may, or may no longer",
            ),
            (reset, reset, denied, "- the destination's policy no longer allows it", "DENY policy no longer allows it"),
        ] {
            let address = ([10, 0, 0, 1], 80).into();
            let pair = Pair { source: NetnsCookie(1), server: NetnsCookie(2), endpoint: address };
            let noted = Noted {
                key: 1,
                pair,
                client: Some(address),
                dialled: address,
                age: Duration::ZERO,
                lasted: Duration::ZERO,
                has_arrived: true,
                is_told: false,
                client_end: client,
                server_end: server,
            };
            let (source, destination) = outcomes(&noted, why);
            assert_eq!((&*told(source), &*told(destination)), (of_source, of_destination));
        }
    }
}
