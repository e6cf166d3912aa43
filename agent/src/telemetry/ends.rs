//! The two ends of a connection, as its access line and its metrics name them: who they are, and at which addresses.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::model::address::OriginalDst;
use crate::model::identity::Identity;
use crate::model::resolve::{Transport, Upstream};
use crate::model::service::Service;
use crate::model::workload::Workload;

/// Whose view of the connection this is: a connection between two enrolled pods is reported by either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reporter {
    Source,
    Destination,
}

impl Reporter {
    /// The value of the metrics' `reporter` label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Destination => "destination",
        }
    }

    /// The access log's word: the direction as the enrolled pod sees it.
    #[must_use]
    pub fn direction(self) -> &'static str {
        match self {
            Self::Source => "outbound",
            Self::Destination => "inbound",
        }
    }
}

/// Both ends of a connection, as far as they are known.
#[derive(Debug, Clone)]
pub struct ConnectionEnds {
    pub reporter: Reporter,
    pub source_addr: SocketAddr,
    pub source: Option<Arc<Workload>>,
    /// The identity that the source's traffic carries; on the destination's side only what the peer has proven.
    pub source_identity: Option<Identity>,
    /// The destination that the application dialled, such as the virtual address of a service. Only the source's agent
    /// knows it.
    pub original_dst: Option<OriginalDst>,
    /// The address that serves the connection. Over HBONE it is the authority of the CONNECT request, otherwise the
    /// address that is dialled. As long as no endpoint is known it is the original destination.
    pub endpoint: SocketAddr,
    /// The HBONE listener: the one dialled on the source's side, the one that accepted on the destination's. `None`
    /// where the connection is plaintext.
    pub hbone_listener: Option<SocketAddr>,
    pub destination: Option<Arc<Workload>>,
    /// The identity that the destination's certificate must show.
    pub destination_identity: Option<Identity>,
    pub service: Option<Arc<Service>>,
    /// The bytes between the two nodes are mTLS.
    pub mutual_tls: bool,
}

/// The pod that opens an outbound connection.
#[derive(Debug, Clone)]
pub struct OutboundSource {
    pub addr: SocketAddr,
    pub workload: Arc<Workload>,
    /// The identity that the pod's traffic carries.
    pub identity: Identity,
}

/// The client of an inbound connection.
#[derive(Debug, Clone)]
pub struct InboundSource {
    /// The client's own address, as the application is shown it.
    pub addr: SocketAddr,
    /// `None` where the connection is plaintext.
    pub peer: Option<RecordedPeer>,
}

/// The authenticated peer of an accepted HBONE connection, as the connection record has it.
#[derive(Debug, Clone)]
pub struct RecordedPeer {
    pub identity: Identity,
    /// The workload of the peer's address, where it carries this identity.
    pub workload: Option<Arc<Workload>>,
    /// The pod's address and port that the peer dialled.
    pub listener: SocketAddr,
}

/// The pod that an inbound connection is for.
#[derive(Debug, Clone)]
pub struct InboundDestination {
    /// The pod's own address and the port of its application.
    pub endpoint: SocketAddr,
    pub workload: Arc<Workload>,
    /// The identity that the pod's certificate shows.
    pub identity: Identity,
    pub service: Option<Arc<Service>>,
}

impl ConnectionEnds {
    /// The ends of an outbound connection; without an `upstream` where its destination could not be resolved.
    #[must_use]
    pub fn outbound(source: OutboundSource, original_dst: OriginalDst, upstream: Option<&Upstream>) -> Self {
        let (endpoint, hbone_listener) = match upstream.map(|upstream| upstream.transport.carrier()) {
            // The authority of a gateway in another network would be a hostname: that endpoint's address is not known.
            Some(Transport::Hbone { peer, authority, .. }) => (authority.parse().ok(), Some(*peer)),
            Some(Transport::Passthrough(endpoint)) => (Some(*endpoint), None),
            Some(Transport::ResolveHostname { .. } | Transport::Tls { .. }) | None => (None, None),
        };
        let destination = upstream.and_then(|upstream| upstream.workload.clone());
        Self {
            reporter: Reporter::Source,
            source_addr: source.addr,
            source: Some(source.workload),
            source_identity: Some(source.identity),
            original_dst: Some(original_dst),
            endpoint: endpoint.unwrap_or(original_dst.0),
            hbone_listener,
            destination_identity: destination.as_ref().filter(|_| hbone_listener.is_some()).map(|w| w.identity()),
            destination,
            service: upstream.and_then(|upstream| upstream.service.clone()),
            mutual_tls: hbone_listener.is_some(),
        }
    }

    /// The ends of an inbound connection.
    #[must_use]
    pub fn inbound(source: InboundSource, destination: InboundDestination) -> Self {
        let InboundDestination { endpoint, workload, identity, service } = destination;
        let mutual_tls = source.peer.is_some();
        let (source_identity, source_workload, hbone_listener) = match source.peer {
            Some(peer) => (Some(peer.identity), peer.workload, Some(peer.listener)),
            None => (None, None, None),
        };
        Self {
            reporter: Reporter::Destination,
            source_addr: source.addr,
            source: source_workload,
            source_identity,
            original_dst: None,
            endpoint,
            hbone_listener,
            destination: Some(workload),
            destination_identity: mutual_tls.then_some(identity),
            service,
            mutual_tls,
        }
    }

    /// The workload of the end that this agent serves.
    #[must_use]
    pub fn own_workload(&self) -> Option<&Arc<Workload>> {
        match self.reporter {
            Reporter::Source => self.source.as_ref(),
            Reporter::Destination => self.destination.as_ref(),
        }
    }

    /// The port of the service that the destination serves at the endpoint; the first, where these are several.
    #[must_use]
    pub fn served_port(&self) -> Option<u16> {
        let ports = self.destination.as_ref()?.services.get(&self.service.as_ref()?.key)?;
        ports.iter().find(|mapping| mapping.target_port == self.endpoint.port()).map(|mapping| mapping.service_port)
    }

    /// The address at the other end of the connection that the agent opened or accepted: the HBONE listener, or the
    /// endpoint itself (ztunnel's `dst.addr`).
    #[must_use]
    pub fn dialled_addr(&self) -> SocketAddr {
        self.hbone_listener.unwrap_or(self.endpoint)
    }

    /// The endpoint where it is reached inside HBONE (ztunnel's `dst.hbone_addr`).
    #[must_use]
    pub fn hbone_addr(&self) -> Option<SocketAddr> {
        self.hbone_listener.map(|_| self.endpoint)
    }

    /// The original destination where it is another address than the endpoint's.
    #[must_use]
    pub fn rewritten_dst(&self) -> Option<SocketAddr> {
        self.original_dst.map(|original| original.0).filter(|original| *original != self.endpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::fixture::{mesh, outbound_source};

    /// `original -> dialled (endpoint) as destination`.
    fn addresses(original: &str) -> String {
        let (mesh, original_dst) = (mesh(), OriginalDst(original.parse().expect("an address")));
        let source = outbound_source();
        let upstream = mesh.resolve(&source.workload, original_dst, || 0).ok();
        let ends = ConnectionEnds::outbound(source, original_dst, upstream.as_ref());
        let shown = |address: Option<SocketAddr>| address.map_or("-".to_owned(), |address| address.to_string());
        let (hbone, rewritten) = (shown(ends.hbone_addr()), shown(ends.rewritten_dst()));
        let workload = ends.destination.as_ref().map_or("-", |workload| &workload.workload_name);
        format!("{} {hbone} {rewritten} {workload}", ends.dialled_addr())
    }

    #[test]
    fn an_outbound_connection_names_the_endpoint_and_the_original_destination() {
        for (original, expected) in [
            // A service whose endpoint speaks HBONE, that endpoint itself, and one in plaintext.
            ("10.96.0.7:80", "10.0.0.2:15008 10.0.0.2:9080 10.96.0.7:80 reviews-v1"),
            ("10.0.0.2:9080", "10.0.0.2:15008 10.0.0.2:9080 - reviews-v1"),
            ("10.96.0.8:80", "10.0.0.3:9080 - 10.96.0.8:80 legacy-v1"),
            ("10.0.0.3:9080", "10.0.0.3:9080 - - legacy-v1"),
            // Nothing that the mesh knows, and a port that the service does not have.
            ("192.0.2.1:443", "192.0.2.1:443 - - -"),
            ("10.96.0.7:81", "10.96.0.7:81 - - -"),
        ] {
            assert_eq!(addresses(original), expected, "{original}");
        }
    }
}
