//! Connections to a pod: HBONE from peers, plaintext from everybody else; authorized, then joined to the application.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::net::TcpStream;

use super::PodProxy;
use super::application::ApplicationStream;
use super::revocation::{self, Tracked};
use super::splice::{self, SpliceError};
use super::workers::Workers;
use crate::hbone::authority::{self, Authority};
use crate::hbone::headers;
use crate::hbone::server::{ConnectRequest, HboneServer};
use crate::model::address::canonical;
use crate::model::authorization::{AccessRequest, Denied, Permit};
use crate::model::identity::Identity;
use crate::model::mesh::Mesh;
use crate::model::service::{PortMapping, Service, ServiceKey};
use crate::model::workload::Workload;
use crate::net::{self, ConnectError, reset_on_close};
use crate::telemetry::connection::{RefusedConnection, ResponseFlag};
use crate::telemetry::ends::{ConnectionEnds, HbonePeer, InboundDestination, InboundSource, Reporter};
use crate::telemetry::metrics::Side;
use crate::telemetry::record::ConnectionRecord;
use crate::tls::handshake::{self, HandshakeError};

/// How long a connection waits for the mesh to tell us of the pod it is for.
const WORKLOAD_WAIT: Duration = Duration::from_secs(3);

/// Why an inbound connection came to nothing, or broke.
#[derive(Debug, thiserror::Error)]
enum InboundError {
    #[error("the destination workload is not known to the mesh, so neither are its policies")]
    UnknownWorkload,
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Splice(#[from] SpliceError),
    #[error("HBONE stream: {0}")]
    Stream(#[from] crate::hbone::StreamError),
    #[error("connection closed due to policy change")]
    Revoked,
    #[error("the pod is gone")]
    PodGone,
    #[error("cut off at the end of the drain")]
    DrainEnded,
}

impl InboundError {
    fn flag(&self) -> ResponseFlag {
        match self {
            Self::UnknownWorkload | Self::Denied(_) | Self::Revoked => ResponseFlag::Denied,
            Self::Connect(_) => ResponseFlag::ConnectFailure,
            Self::Splice(_) | Self::Stream(_) | Self::PodGone | Self::DrainEnded => ResponseFlag::None,
        }
    }

    /// What the peer's proxy is told; ztunnel's codes.
    fn status(&self) -> StatusCode {
        match self {
            Self::UnknownWorkload | Self::Denied(_) | Self::Revoked => StatusCode::UNAUTHORIZED,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// An authenticated HBONE peer.
#[derive(Debug, Clone)]
struct Peer {
    identity: Identity,
    addr: SocketAddr,
    /// The pod's address that the peer dialled.
    local: SocketAddr,
}

/// Serves a plaintext connection from outside the mesh.
pub(super) async fn serve_plaintext(served: Arc<PodProxy>, downstream: TcpStream) {
    let (Ok(source), Ok(destination)) = (downstream.peer_addr(), downstream.local_addr()) else { return };
    let (source, destination) = (canonical(source), canonical(destination));
    if dialled_directly(&served, source, destination) {
        return reset_on_close(&downstream);
    }
    let _open = served.pod.count_connection();
    let _ = net::tune(&socket2::SockRef::from(&downstream));
    let request = AccessRequest { source: None, source_ip: source.ip(), destination };
    let admitted = admit(&served, request).await;
    let ends = ends(&served, source, destination, None, None);
    let mut record = ConnectionRecord::open(&served.proxy.metrics, ends);
    let outcome = async {
        let (permit, tracked) = admitted?;
        let application = match ApplicationStream::connect(&served, permit, source).await {
            Ok(application) => application,
            Err(error) => {
                reset_on_close(&downstream);
                return Err(error.into());
            }
        };
        let splicing = splice::inbound_tcp(downstream, application, record.bytes());
        guarded(&served, &tracked, splicing).await
    };
    if let Err(error) = outcome.await {
        record.fail(error.flag(), &error);
    }
}

/// Whether somebody in the pod dialled the agent's listener itself, which serves only what capture steers to it: the
/// connection's destination would be the listener again, and so on without end.
fn dialled_directly(served: &PodProxy, source: SocketAddr, destination: SocketAddr) -> bool {
    if served.pod.spec.addresses.contains(&destination.ip()) {
        return false;
    }
    let error = "the agent's listener was dialled directly";
    let metrics = &served.proxy.metrics;
    refused(source, destination, ResponseFlag::Denied).record(metrics, &error);
    true
}

fn refused(source_addr: SocketAddr, listener: SocketAddr, flag: ResponseFlag) -> RefusedConnection {
    RefusedConnection { reporter: Reporter::Destination, source_addr, listener, flag }
}

/// Serves a connection to the HBONE port: a handshake, then any number of streams.
pub(super) async fn serve_hbone(served: Arc<PodProxy>, tcp: TcpStream) {
    let (Ok(addr), Ok(local)) = (tcp.peer_addr(), tcp.local_addr()) else { return };
    let (addr, local) = (canonical(addr), canonical(local));
    if dialled_directly(&served, addr, local) {
        return reset_on_close(&tcp);
    }
    let proxy = &served.proxy;
    net::detect_dead_peer(&tcp);
    let own = match proxy.certificates.get(&served.identity()).await {
        Ok(own) => own,
        Err(error) => {
            let flag = ResponseFlag::IdentityError;
            refused(addr, local, flag).record(&proxy.metrics, &error);
            return reset_on_close(&tcp);
        }
    };
    let trusted = proxy.trusted();
    let accepted = tokio::time::timeout(proxy.timeouts.handshake, handshake::accept(&own, tcp, &trusted)).await;
    let secured = match accepted.unwrap_or(Err(HandshakeError::Timeout)) {
        Ok(secured) => secured,
        Err(error) => {
            proxy.metrics.handshake_failed(Side::Downstream, super::failure_label(&error));
            let flag = ResponseFlag::TlsFailure;
            return refused(addr, local, flag).record(&proxy.metrics, &error);
        }
    };
    let peer = Peer { identity: secured.peer.clone(), addr, local };
    match tokio::time::timeout(proxy.timeouts.handshake, HboneServer::greet(secured)).await {
        Ok(Ok(server)) => serve_streams(&served, server, peer).await,
        Ok(Err(error)) => {
            proxy.metrics.handshake_failed(Side::Downstream, "http2");
            tracing::debug!(peer = %addr, %error, "HTTP/2 preface failed");
        }
        Err(_) => {
            proxy.metrics.handshake_failed(Side::Downstream, "timeout");
            tracing::debug!(peer = %addr, "HTTP/2 preface took too long");
        }
    }
}

async fn serve_streams(served: &Arc<PodProxy>, mut server: HboneServer, peer: Peer) {
    let _gauge = served.proxy.metrics.hbone_connection_opened(Side::Downstream);
    let mut leaving = false;
    loop {
        tokio::select! {
            next = server.next() => match next {
                Ok(request) => drop(tokio::spawn(serve_request(served.clone(), peer.clone(), request))),
                Err(error) => {
                    tracing::debug!(peer = %peer.addr, %error, "HBONE connection ended");
                    return;
                }
            },
            () = served.pod.left.cancelled(), if !leaving => {
                leaving = true;
                server.goaway();
            }
            () = served.proxy.drain.draining(), if !leaving => {
                leaving = true;
                server.goaway();
            }
            () = served.pod.dead.cancelled() => return server.abort().await,
            () = served.proxy.drain.closing() => return server.abort().await,
        }
    }
}

async fn serve_request(served: Arc<PodProxy>, peer: Peer, request: ConnectRequest) {
    let destination = match destination_of(&served, &peer, &request) {
        Ok(destination) => destination,
        Err(reason) => {
            let metrics = &served.proxy.metrics;
            let flag = ResponseFlag::ConnectFailure;
            refused(peer.addr, peer.local, flag).record(metrics, &reason);
            return request.refuse(StatusCode::BAD_REQUEST);
        }
    };
    let _open = served.pod.count_connection();
    let _load = served.proxy.workers.count_load(Workers::current());
    let access = AccessRequest { source: Some(peer.identity.clone()), source_ip: peer.addr.ip(), destination };
    let admitted = admit(&served, access).await;
    let client = client_address(&peer, &request);
    let asked_for = request.headers().get(http::header::FORWARDED).and_then(headers::service_of);
    let ends = ends(&served, client, destination, Some(&peer), asked_for);
    let mut record = ConnectionRecord::open(&served.proxy.metrics, ends);
    let outcome = async {
        let joined = async {
            let (permit, tracked) = admitted?;
            let application = ApplicationStream::connect(&served, permit, client).await?;
            Ok::<_, InboundError>((tracked, application))
        };
        let (tracked, application) = match joined.await {
            Ok(joined) => joined,
            Err(error) => {
                request.refuse(error.status());
                return Err(error);
            }
        };
        let stream = request.accept()?;
        let splicing = splice::inbound_hbone(stream, application, record.bytes());
        guarded(&served, &tracked, splicing).await
    };
    if let Err(error) = outcome.await {
        record.fail(error.flag(), &error);
    }
}

/// The pod's own address and port that a CONNECT request asks for, or why it asks for something else.
fn destination_of(served: &PodProxy, peer: &Peer, request: &ConnectRequest) -> Result<SocketAddr, String> {
    let authority = request.authority().ok_or("only CONNECT is served here")?;
    match authority::parse(authority).map_err(|e| e.to_string())? {
        Authority::Address(address) if served.pod.spec.addresses.contains(&address.ip()) => Ok(address),
        Authority::Address(address) => Err(format!("{address} is not an address of this pod")),
        Authority::Hostname(hostname, port) => {
            let mesh = served.proxy.mesh.read();
            let workload = served.known_workload(&mesh);
            let mapped = workload.as_ref().and_then(|workload| {
                let service = mesh.service_by_hostname(&hostname, &workload.namespace)?;
                let ports = workload.services.get(&service.key)?;
                ports.iter().find(|mapping| mapping.service_port == port)
            });
            match mapped {
                Some(mapping) => Ok(SocketAddr::new(peer.local.ip(), mapping.target_port)),
                None => Err(format!("{hostname}:{port} is not served by this pod")),
            }
        }
    }
}

/// The client as the application is shown it: its address as the network has it, its port as its proxy says.
fn client_address(peer: &Peer, request: &ConnectRequest) -> SocketAddr {
    let claimed = request.headers().get(http::header::FORWARDED).and_then(headers::client_of);
    claimed.filter(|claimed| claimed.ip() == peer.addr.ip()).unwrap_or(peer.addr)
}

/// Asks for a permit, and keeps the connection on the list of those that are asked about again.
async fn admit(served: &Arc<PodProxy>, request: AccessRequest) -> Result<(Permit, Tracked), InboundError> {
    let tracked = revocation::track(served, &request);
    let workload = destination_workload(served).await?;
    let verdict = served.proxy.mesh.read().authorize(&served.as_destination(&workload), &request);
    let dry_run = &verdict.dry_run;
    if !dry_run.would_deny.is_empty() || dry_run.no_allow_matched {
        served.proxy.metrics.dry_run_denied();
        tracing::info!(target: "access", source = ?request.source.as_ref().map(ToString::to_string), source_ip = %request.source_ip,
            destination = %request.destination, policies = ?dry_run.would_deny, "dry-run policy would deny");
    }
    Ok((verdict.outcome?, tracked))
}

/// The pod as policy is asked about it: as the mesh knows it, or by its labels, where policies say whom they select.
async fn destination_workload(served: &Arc<PodProxy>) -> Result<Arc<Workload>, InboundError> {
    let mut changes = served.proxy.mesh.watch();
    let told = async {
        loop {
            let told = {
                let mesh = served.proxy.mesh.read();
                served.known_workload(&mesh).map(Ok).or_else(|| served.workload_by_labels(&mesh))
            };
            let unclear = match told {
                Some(Ok(workload)) => return Ok(workload),
                Some(Err(unclear)) => Some(unclear),
                None => None,
            };
            // The mesh may yet tell of the pod, or a policy whom it selects.
            if changes.changed().await.is_err() {
                return Err(unclear.map_or(InboundError::UnknownWorkload, Into::into));
            }
        }
    };
    match tokio::time::timeout(WORKLOAD_WAIT, told).await {
        Ok(told) => told,
        Err(_) => match served.workload_by_labels(&served.proxy.mesh.read()) {
            Some(Err(unclear)) => Err(unclear.into()),
            _ => Err(InboundError::UnknownWorkload),
        },
    }
}

/// Runs a splice until it ends, policy revokes it, its pod dies or the drain is over.
async fn guarded(
    served: &PodProxy,
    tracked: &Tracked,
    splicing: impl Future<Output = Result<(), SpliceError>>,
) -> Result<(), InboundError> {
    tokio::select! {
        result = splicing => Ok(result?),
        () = tracked.revoked.cancelled() => Err(InboundError::Revoked),
        () = served.pod.dead.cancelled() => Err(InboundError::PodGone),
        () = served.proxy.drain.closing() => Err(InboundError::DrainEnded),
    }
}

fn ends(
    served: &PodProxy,
    source_addr: SocketAddr,
    destination_addr: SocketAddr,
    peer: Option<&Peer>,
    asked_for: Option<&str>,
) -> ConnectionEnds {
    let mesh = served.proxy.mesh.read();
    let peer = peer.map(|peer| {
        // For labels only: the address finds the workload, and only one that carries the proven identity counts.
        let found = mesh.workload_by_address(&mesh.settings().network, peer.addr.ip());
        let workload = found.filter(|found| found.identity() == peer.identity).cloned();
        HbonePeer { identity: peer.identity.clone(), workload, listener: peer.local }
    });
    let workload = served.source_workload(&mesh);
    let service = service_of(&mesh, &workload, asked_for, destination_addr.port());
    let identity = served.pod.identity(&mesh.settings().trust_domain);
    let destination = InboundDestination { endpoint: destination_addr, workload, identity, service };
    ConnectionEnds::inbound(InboundSource { addr: source_addr, peer }, destination)
}

/// The service that a connection came through, for labels: the one the client asked for if the workload serves it, else
/// the first that the workload serves on this port.
fn service_of(mesh: &Mesh, workload: &Workload, asked_for: Option<&str>, port: u16) -> Option<Arc<Service>> {
    let serves = |(_, ports): &(&ServiceKey, &Vec<PortMapping>)| ports.iter().any(|p| p.target_port == port);
    let asked_for = workload.services.iter().find(|(key, _)| Some(&*key.hostname) == asked_for);
    let (key, _) = asked_for.or_else(|| workload.services.iter().find(serves))?;
    mesh.service(key).cloned()
}
