//! A pod's own connections: from the address the application asked for to an upstream, over HBONE or untouched.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;

use http::{HeaderMap, StatusCode};
use tokio::net::TcpStream;

use super::connector;
use super::splice::{self, SpliceError};
use super::{PodProxy, newcomers};
use crate::hbone::pool::{HboneError, Pool, Target};
use crate::hbone::{HboneStream, headers};
use crate::model::address::canonical;
use crate::model::resolve::{Transport, Unresolved, Upstream};
use crate::model::workload::Workload;
use crate::net::{self, ConnectError, reset_on_close};
use crate::telemetry::connection::{RefusedConnection, ResponseFlag};
use crate::telemetry::ends::{ConnectionEnds, OutboundSource, Reporter};
use crate::telemetry::record::ConnectionRecord;

/// The upstream's side of a connection, ready to be joined.
enum Joined {
    Hbone(HboneStream),
    Tcp(TcpStream),
}

/// Why a connection of a pod came to nothing, or broke.
#[derive(Debug, thiserror::Error)]
enum OutboundError {
    #[error(transparent)]
    Unresolved(#[from] Unresolved),
    #[error(transparent)]
    Hbone(#[from] HboneError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("{0} has no address: {1}")]
    Lookup(Arc<str>, std::io::Error),
    #[error(transparent)]
    Splice(#[from] SpliceError),
    #[error("the pod is gone")]
    PodGone,
    #[error("cut off at the end of the drain")]
    DrainEnded,
}

impl OutboundError {
    fn flag(&self) -> ResponseFlag {
        match self {
            Self::Unresolved(Unresolved::RegistryOnly) => ResponseFlag::Denied,
            Self::Unresolved(_) | Self::Connect(_) | Self::Lookup(..) => ResponseFlag::ConnectFailure,
            Self::Hbone(HboneError::Certificate(_)) => ResponseFlag::IdentityError,
            Self::Hbone(HboneError::Handshake { .. }) => ResponseFlag::TlsFailure,
            Self::Hbone(HboneError::Session { .. }) => ResponseFlag::H2HandshakeFailure,
            // ztunnel and we deny with 401, Envoy's RBAC with 403.
            Self::Hbone(HboneError::Refused { status: StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, .. }) => {
                ResponseFlag::Denied
            }
            Self::Hbone(_) => ResponseFlag::ConnectFailure,
            Self::Splice(_) | Self::PodGone | Self::DrainEnded => ResponseFlag::None,
        }
    }
}

/// Serves one captured connection of a pod to its end.
pub(super) async fn serve(served: Arc<PodProxy>, downstream: TcpStream) {
    let metrics = &served.proxy.metrics;
    let (Ok(source_addr), Ok(listener_addr)) = (downstream.peer_addr(), downstream.local_addr()) else { return };
    let source_addr = canonical(source_addr);
    let Some(destination) = served.proxy.capture.original_dst(downstream.as_fd()) else {
        let error = "the agent's listener was dialled directly";
        let flag = ResponseFlag::Denied;
        RefusedConnection { reporter: Reporter::Source, source_addr, listener: listener_addr, flag }
            .record(metrics, &error);
        reset_on_close(&downstream);
        return;
    };
    let _open = served.pod.count_connection();
    // Best effort: a socket that is dead already shows it at the first read.
    let _ = net::tune(&socket2::SockRef::from(&downstream));
    let (source, resolved) = {
        let mesh = served.proxy.mesh.read();
        let source = served.source_workload(&mesh);
        let resolved = mesh.resolve(&source, destination);
        (source, resolved)
    };
    let (resolved, opened) = match resolved {
        Ok(upstream) => {
            let (upstream, opened) = join_newcomer(&served, upstream, &source, source_addr).await;
            (Ok(upstream), opened)
        }
        Err(unresolved) => (Err(unresolved), None),
    };
    let from = OutboundSource { addr: source_addr, workload: source.clone(), identity: served.identity() };
    let ends = ConnectionEnds::outbound(from, destination, resolved.as_ref().ok());
    let mut record = ConnectionRecord::open(metrics, ends);
    let outcome = match resolved {
        Ok(upstream) => carry(&served, downstream, source_addr, &source, upstream, opened, &record).await,
        Err(unresolved) => {
            reset_on_close(&downstream);
            Err(unresolved.into())
        }
    };
    if let Err(error) = outcome {
        record.fail(error.flag(), &error);
    }
}

async fn carry(
    served: &Arc<PodProxy>,
    downstream: TcpStream,
    source_addr: SocketAddr,
    source: &Workload,
    upstream: Upstream,
    opened: Option<HboneStream>,
    record: &ConnectionRecord,
) -> Result<(), OutboundError> {
    let joined = match opened {
        Some(stream) => Ok(Joined::Hbone(stream)),
        None => join(served, &upstream, source, source_addr).await,
    };
    let joined = match joined {
        Ok(joined) => joined,
        Err(error) => {
            reset_on_close(&downstream);
            return Err(error);
        }
    };
    let splicing = async {
        match joined {
            Joined::Hbone(stream) => splice::outbound_hbone(downstream, stream, record.bytes()).await,
            Joined::Tcp(tcp) => splice::outbound_tcp(downstream, tcp, record.bytes()).await,
        }
    };
    tokio::select! {
        result = splicing => Ok(result?),
        () = served.pod.dead.cancelled() => Err(OutboundError::PodGone),
        () = served.proxy.drain.closing() => Err(OutboundError::DrainEnded),
    }
}

/// Opens the upstream's side over HBONE to a pod that is just coming into the mesh, where it is known to speak it; else,
/// and should that fail, the connection goes as the mesh says.
async fn join_newcomer(
    served: &Arc<PodProxy>,
    upstream: Upstream,
    source: &Workload,
    source_addr: SocketAddr,
) -> (Upstream, Option<HboneStream>) {
    let Some(transport) = newcomers::over_hbone(served, &upstream).await else { return (upstream, None) };
    let over_hbone = Upstream { transport, ..upstream.clone() };
    match join(served, &over_hbone, source, source_addr).await {
        Ok(Joined::Hbone(stream)) => (over_hbone, Some(stream)),
        // It speaks it, and says no.
        Err(OutboundError::Hbone(HboneError::Refused { .. })) => (over_hbone, None),
        Ok(Joined::Tcp(_)) | Err(_) => {
            if let Some(workload) = &upstream.workload {
                newcomers::forget(served, workload);
            }
            (upstream, None)
        }
    }
}

/// Opens the upstream's side.
async fn join(
    served: &Arc<PodProxy>,
    upstream: &Upstream,
    source: &Workload,
    source_addr: SocketAddr,
) -> Result<Joined, OutboundError> {
    let timeout = served.proxy.timeouts.connect;
    match &upstream.transport {
        Transport::Hbone { peer, authority, identities } => {
            let target = Target { peer: *peer, identities: identities.clone() };
            let service = upstream.service.as_ref().map(|service| &*service.key.hostname);
            let headers = request_headers(source, source_addr, service);
            let (stream, _) = Pool::open(served, &target, authority, &headers).await?;
            Ok(Joined::Hbone(stream))
        }
        Transport::Passthrough(to) if served.pod.spec.addresses.contains(&to.ip()) => {
            // The pod calls itself through a service: straight to its own application.
            let capture = &served.proxy.capture;
            let tcp = connector::connect_application(&served.pod, capture, *to, source_addr, timeout).await?;
            Ok(Joined::Tcp(tcp))
        }
        Transport::Passthrough(to) => Ok(Joined::Tcp(connector::connect(&served.pod, *to, timeout).await?)),
        Transport::ResolveHostname { hostname, port } => {
            let to = look_up(hostname, *port).await.map_err(|e| OutboundError::Lookup(hostname.clone(), e))?;
            Ok(Joined::Tcp(connector::connect(&served.pod, to, timeout).await?))
        }
    }
}

async fn look_up(hostname: &str, port: u16) -> std::io::Result<SocketAddr> {
    let mut found = tokio::net::lookup_host((hostname, port)).await?;
    found.next().ok_or_else(|| std::io::ErrorKind::NotFound.into())
}

fn request_headers(source: &Workload, source_addr: SocketAddr, service: Option<&str>) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(2);
    if let Some(value) = headers::baggage(source) {
        map.insert("baggage", value);
    }
    if let Some(value) = headers::forwarded(source_addr, service) {
        map.insert(http::header::FORWARDED, value);
    }
    map
}
