//! Opening the upstream of an outbound connection.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use http::HeaderMap;
use http::header::FORWARDED;
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::candidate::Candidate;
use super::error::OutboundError;
use super::happy_eyeballs::connect_first;
use super::http::UpstreamIo;
use super::names::{LookupError, Names};
use super::own_tls::OwnTls;
use crate::hbone::{HboneStream, OpenedStream, OptimisticData, Target, forwarded};
use crate::model::address::OriginalDst;
use crate::model::identity::Identity;
use crate::model::resolve::{Transport, Upstream};
use crate::net::ConnectError;
use crate::proxy::pod::PodProxy;
use crate::proxy::same_node::OpenedBeside;
use crate::proxy::{connector, origin};
use crate::telemetry::ends::{ConnectionEnds, OutboundSource};
use crate::telemetry::record::ConnectionRecord;

/// Endpoints of a service that one connection is offered to, at most.
const MAX_ENDPOINTS_TRIED: usize = 4;
/// Room for what a server says first.
const FIRST_READ_BYTES: usize = 4096;

/// The upstream's side of a connection, open.
pub(super) enum UpstreamStream {
    Hbone(HboneStream),
    Tcp(TcpStream),
    /// TLS of the destination's own.
    Tls(Box<UpstreamIo>),
}

impl UpstreamStream {
    /// Where bytes go that were read of the downstream before the upstream was open.
    pub(super) fn writer(&mut self) -> &mut (dyn AsyncWrite + Send + Unpin) {
        match self {
            Self::Hbone(stream) => stream,
            Self::Tcp(tcp) => tcp,
            Self::Tls(io) => &mut **io,
        }
    }

    /// Reads the first bytes that the server sends; none at its end.
    pub(super) async fn read_first(&mut self, bytes: &mut BytesMut) -> io::Result<usize> {
        bytes.reserve(FIRST_READ_BYTES);
        match self {
            Self::Hbone(stream) => stream.read_buf(bytes).await,
            Self::Tcp(tcp) => tcp.read_buf(bytes).await,
            Self::Tls(io) => io.read_buf(bytes).await,
        }
    }

    /// Ends a connection on which nothing was said, in order.
    pub(super) async fn end_unused(self) {
        let mut io = match self {
            Self::Hbone(stream) => UpstreamIo::hbone(stream, None, None),
            Self::Tcp(tcp) => UpstreamIo::tcp(tcp, None),
            Self::Tls(io) => *io,
        };
        // Should it fail, it has ended already.
        let _ = io.shutdown().await;
    }
}

/// A connection to an endpoint, open.
pub(super) struct OpenedEndpoint {
    pub(super) stream: UpstreamStream,
    /// How many bytes of the application were sent on it already.
    pub(super) data_sent: usize,
    /// What an HBONE peer has proven.
    pub(super) identity: Option<Identity>,
    /// The address of an endpoint that only has a name.
    pub(super) address: Option<SocketAddr>,
}

/// An outbound connection whose upstream is to be opened.
pub(super) struct Outbound<'a> {
    pub(super) pod_proxy: &'a Arc<PodProxy>,
    pub(super) source: OutboundSource,
    /// The address that the application dialled.
    pub(super) original_dst: OriginalDst,
}

/// An upstream that was opened for a connection.
pub(super) struct OpenedUpstream {
    pub(super) stream: UpstreamStream,
    /// How many bytes of the application were sent on it already.
    pub(super) data_sent: usize,
}

impl Outbound<'_> {
    /// The ends of the connection; without an upstream where its destination could not be resolved.
    pub(super) fn ends(&self, upstream: Option<&Upstream>) -> ConnectionEnds {
        ConnectionEnds::outbound(self.source.clone(), self.original_dst, upstream)
    }

    // What most connections do not do is in a box: each caller copies the future that it awaits, twice, with room for all of it.

    /// Opens the upstream: over HBONE to a `candidate` that is found to speak it; else, and should that fail, as the mesh
    /// says. Settles the ends of the record. `optimistic`: what the application sends meanwhile, where that may go already.
    pub(super) async fn connect_upstream(
        &self,
        upstream: &Upstream,
        candidate: Option<&Candidate>,
        optimistic: Option<&OptimisticData<'_>>,
        record: &ConnectionRecord,
    ) -> Result<OpenedUpstream, OutboundError> {
        let Some(candidate) = candidate else { return self.open_at_any_endpoint(upstream, optimistic, record).await };
        if Box::pin(candidate.speaks_hbone(self.pod_proxy)).await {
            let over_hbone = &candidate.upstream;
            match Box::pin(self.open(over_hbone, optimistic, record)).await {
                Ok(opened) => {
                    record.settle(Some(self.ends(Some(over_hbone))));
                    return Ok(opened);
                }
                // It speaks HBONE: it is asked once more, and what it says then holds.
                Err(error) if error.is_refused_by_peer() => {
                    record.settle(Some(self.ends(Some(over_hbone))));
                    return Box::pin(self.open(over_hbone, optimistic, record)).await;
                }
                // Nothing is sent again, not in plaintext either.
                Err(error) if error.may_have_delivered() => {
                    record.settle(Some(self.ends(Some(over_hbone))));
                    return Err(error);
                }
                Err(_) => candidate.forget(self.pod_proxy),
            }
        }
        self.open_at_any_endpoint(upstream, optimistic, record).await
    }

    /// Opens the upstream, or, where it is an endpoint of a service that cannot be reached or whose application does not
    /// listen, that of another endpoint. No endpoint that may have got a byte of the application is followed by another one, so nothing
    /// is sent twice.
    async fn open_at_any_endpoint(
        &self,
        first: &Upstream,
        optimistic: Option<&OptimisticData<'_>>,
        record: &ConnectionRecord,
    ) -> Result<OpenedUpstream, OutboundError> {
        let mut error = match self.open(first, optimistic, record).await {
            Ok(opened) => {
                record.settle(None);
                return Ok(opened);
            }
            Err(error) => error,
        };
        let (mut tried, mut last) = (Vec::new(), None);
        while error.may_succeed_elsewhere() && tried.len() + 1 < MAX_ENDPOINTS_TRIED {
            let Some(another) = self.another_endpoint(last.as_ref().unwrap_or(first), &mut tried) else { break };
            tracing::debug!(%error, endpoint = ?another.workload.as_ref().map(|w| &w.uid), "trying another endpoint");
            match Box::pin(self.open(&another, optimistic, record)).await {
                Ok(opened) => {
                    record.settle(Some(self.ends(Some(&another))));
                    return Ok(opened);
                }
                Err(another_error) => (error, last) = (another_error, Some(another)),
            }
        }
        record.settle(last.as_ref().map(|last| self.ends(Some(last))));
        Err(error)
    }

    /// An endpoint of the same service that was not tried yet. `last` was tried now.
    fn another_endpoint(&self, last: &Upstream, tried: &mut Vec<Arc<str>>) -> Option<Upstream> {
        last.service.as_ref()?;
        tried.push(last.workload.as_ref()?.uid.clone());
        let mesh = self.pod_proxy.proxy.mesh.read();
        mesh.resolve_elsewhere(&self.source.workload, self.original_dst, tried, rand::random).ok()
    }

    async fn open(
        &self,
        upstream: &Upstream,
        optimistic: Option<&OptimisticData<'_>>,
        record: &ConnectionRecord,
    ) -> Result<OpenedUpstream, OutboundError> {
        let own_tls = OwnTls::of(self.pod_proxy, &self.source, self.original_dst, upstream);
        // The application's bytes go inside of that TLS.
        let optimistic = optimistic.filter(|_| own_tls.is_none());
        let OpenedEndpoint { stream, data_sent, identity, address } = self.open_endpoint(upstream, optimistic).await?;
        if let Some(identity) = &identity {
            record.peer_proved(identity.clone());
        }
        if let Some(endpoint) = address {
            record.settle(Some(ConnectionEnds { endpoint, ..self.ends(Some(upstream)) }));
        }
        let Some(tls) = own_tls else { return Ok(OpenedUpstream { stream, data_sent }) };
        let below = match stream {
            UpstreamStream::Hbone(stream) => UpstreamIo::hbone(stream, None, identity),
            UpstreamStream::Tcp(tcp) => UpstreamIo::tcp(tcp, None),
            UpstreamStream::Tls(io) => *io,
        };
        let stream = UpstreamStream::Tls(Box::new(Box::pin(tls.over(below, self.pod_proxy)).await?));
        Ok(OpenedUpstream { stream, data_sent })
    }

    /// Opens a connection to one endpoint; TLS of the destination's own is not begun yet.
    pub(super) async fn open_endpoint(
        &self,
        upstream: &Upstream,
        optimistic: Option<&OptimisticData<'_>>,
    ) -> Result<OpenedEndpoint, OutboundError> {
        match upstream.transport.carrier() {
            Transport::Hbone { peer, authority, identities } => {
                let target = Target { peer: *peer, identities: identities.clone() };
                let service = upstream.service.as_ref().map(|service| &*service.key.hostname);
                let headers = self.request_headers(service);
                let opened = self.pod_proxy.pool().open(&target, authority, &headers, optimistic).await?;
                let OpenedStream { stream, peer_identity, data_sent } = opened;
                let (stream, identity) = (UpstreamStream::Hbone(stream), Some(peer_identity));
                Ok(OpenedEndpoint { stream, data_sent, identity, address: None })
            }
            Transport::Passthrough(to) => {
                let stream = UpstreamStream::Tcp(Box::pin(self.connect(*to)).await?);
                Ok(OpenedEndpoint { stream, data_sent: 0, identity: None, address: None })
            }
            Transport::Tls { .. } => unreachable!("a carrier has no TLS of the destination's own"),
            Transport::ResolveHostname { hostname, port } => {
                // Without a workload that has the name, a request has chosen it.
                let PodProxy { proxy, pod, names, .. } = &**self.pod_proxy;
                let is_shared = upstream.workload.is_some() && pod.spec.resolv_conf.is_none();
                let names = if is_shared { &proxy.names } else { names };
                let (address, tcp) = Box::pin(self.open_by_name(names, hostname, *port)).await?;
                let stream = UpstreamStream::Tcp(tcp);
                Ok(OpenedEndpoint { stream, data_sent: 0, identity: None, address: Some(address) })
            }
        }
    }

    /// Opens a connection for requests to an endpoint that is a pod of the same node; `None` where it is none, or HBONE has to do.
    pub(super) async fn open_beside(&self, upstream: &Upstream) -> Result<Option<OpenedBeside>, OutboundError> {
        let Transport::Hbone { peer, authority, identities } = upstream.transport.carrier() else { return Ok(None) };
        let target = Target { peer: *peer, identities: identities.clone() };
        let service = upstream.service.as_ref().map(|service| &*service.key.hostname);
        let forwarded = forwarded(self.source.addr, service);
        Ok(self.pod_proxy.open_beside(&target, authority, forwarded).await.transpose()?)
    }

    /// Looks the name of an endpoint up and connects to one of its addresses, both within the time of one connect.
    async fn open_by_name(
        &self,
        names: &Names,
        hostname: &Arc<str>,
        port: u16,
    ) -> Result<(SocketAddr, TcpStream), OutboundError> {
        let PodProxy { proxy, pod, lookups, .. } = &**self.pod_proxy;
        let (within, started) = (proxy.timeouts.connect, Instant::now());
        let lookup = names.addresses(hostname, lookups, within).await;
        let found = lookup.map_err(|error| OutboundError::Lookup(hostname.clone(), error))?;
        let mut addresses: Vec<SocketAddr> = found.iter().map(|ip| SocketAddr::new(*ip, port)).collect();
        // IPv6 first (RFC 8305), unless the pod has none (RFC 6724, rule 1).
        let has_family = |of: &SocketAddr| pod.spec.addresses.iter().any(|own| own.is_ipv4() == of.is_ipv4());
        addresses.sort_by_key(|address| !has_family(address));
        let first =
            *addresses.first().ok_or_else(|| OutboundError::Lookup(hostname.clone(), LookupError::NoAddress))?;
        let connecting = connect_first(addresses, |to| self.connect(to));
        let connected = tokio::time::timeout(within.saturating_sub(started.elapsed()), connecting).await;
        match connected {
            Ok(Ok(connected)) => Ok(connected),
            Ok(Err(Some(error))) => Err(error.into()),
            Ok(Err(None)) | Err(_) => Err(ConnectError::Timeout(first, within).into()),
        }
    }

    async fn connect(&self, to: SocketAddr) -> Result<TcpStream, ConnectError> {
        let PodProxy { proxy, pod, .. } = &**self.pod_proxy;
        let timeout = proxy.timeouts.connect;
        if pod.spec.addresses.contains(&to.ip()) {
            // The pod calls itself through a service: straight to its own application.
            return connector::connect_application(pod, &proxy.capture, to, self.source.addr, timeout).await;
        }
        origin::connect_from_pod(pod, to, timeout).await
    }

    fn request_headers(&self, service: Option<&str>) -> HeaderMap {
        let mut map = HeaderMap::with_capacity(2);
        if let Some(value) = self.pod_proxy.baggage(&self.source.workload) {
            map.insert("baggage", value);
        }
        if let Some(value) = forwarded(self.source.addr, service) {
            map.insert(FORWARDED, value);
        }
        map
    }
}
