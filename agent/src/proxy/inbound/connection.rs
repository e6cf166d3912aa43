//! An inbound connection from the moment its destination is known to its end: admitted by policy, joined with the pod's
//! application, recorded. Plaintext connections and HBONE requests take the same steps.
//!
//! The state of admitting and connecting is large and soon over, while a connection may last long. So those are a future of their
//! own, [`InboundConnection::establish`], which callers put into a box: its memory is free again before bytes move.

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::Either;
use tokio::net::TcpStream;

use super::admission;
use super::error::InboundError;
use crate::hbone::{self, Activity, ConnectRequest, HboneStream, StreamError, WindowBudget};
use crate::limits::Limit;
use crate::model::authorization::AccessRequest;
use crate::model::identity::Identity;
use crate::model::mesh::Mesh;
use crate::model::service::{PortMapping, Service, ServiceKey};
use crate::model::workload::Workload;
use crate::proxy::client;
use crate::proxy::connector::ApplicationStream;
use crate::proxy::pod::PodProxy;
use crate::proxy::revocation::Tracked;
use crate::proxy::splice::{self, SpliceError};
use crate::telemetry::connection::ByteCounts;
use crate::telemetry::ends::{ConnectionEnds, InboundDestination, InboundSource, RecordedPeer};
use crate::telemetry::record::ConnectionRecord;

/// The client's side of a connection, not answered yet.
pub(super) enum Downstream {
    Plaintext(TcpStream),
    Hbone(ConnectRequest),
}

/// The client's side of a connection that was admitted.
enum Client {
    Plaintext(TcpStream),
    Hbone(HboneStream),
}

impl Downstream {
    /// Tells an HBONE client that its request is granted.
    fn accept(self) -> Result<Client, StreamError> {
        match self {
            Self::Plaintext(tcp) => Ok(Client::Plaintext(tcp)),
            Self::Hbone(request) => request.accept().map(Client::Hbone),
        }
    }

    /// Tells the client that there will be no connection. In plaintext that is a reset, as every close is that is no orderly
    /// end.
    fn refuse(self, error: &InboundError) {
        match self {
            Self::Plaintext(_) => {}
            Self::Hbone(request) => request.refuse(error.status()),
        }
    }

    /// Resolves once the client has left. A plaintext client that has ended its data may still wait for an answer: its socket is
    /// on another machine, so only a reset shows that it does not.
    async fn left(&self) {
        match self {
            Self::Plaintext(tcp) => client::left(tcp, || false).await,
            Self::Hbone(request) => request.given_up().await,
        }
    }

    /// The hostname of the service that the client asked for, where its proxy says so.
    fn requested_service(&self) -> Option<&str> {
        match self {
            Self::Plaintext(_) => None,
            Self::Hbone(request) => request.forwarded().and_then(hbone::service_of),
        }
    }
}

impl Client {
    fn splice(
        self,
        application: ApplicationStream,
        bytes: Arc<ByteCounts>,
        budget: &WindowBudget,
    ) -> impl Future<Output = Result<(), SpliceError>> {
        match self {
            Self::Plaintext(tcp) => Either::Left(splice::inbound_tcp(tcp, application, bytes, budget)),
            Self::Hbone(stream) => Either::Right(splice::inbound_hbone(stream, application, bytes)),
        }
    }
}

/// The authenticated peer of an HBONE connection.
#[derive(Debug, Clone)]
pub(super) struct AuthenticatedPeer {
    pub(super) identity: Identity,
    pub(super) addr: SocketAddr,
    /// The pod's address and port that the peer dialled.
    pub(super) listener: SocketAddr,
    /// What the peer may hold of the pod's inbound connections.
    pub(super) limit: Arc<Limit>,
    /// The requests that the connection carries: those that were granted, and have not ended.
    pub(super) activity: Arc<Activity>,
}

/// An inbound connection whose destination is known.
pub(super) struct InboundConnection<'a> {
    pub(super) pod_proxy: &'a Arc<PodProxy>,
    /// The client as the application is shown it.
    pub(super) client: SocketAddr,
    /// The pod's own address, and the port of its application.
    pub(super) destination: SocketAddr,
    /// `None` for plaintext.
    pub(super) peer: Option<&'a AuthenticatedPeer>,
}

/// An inbound connection with both of its sides open.
pub(super) struct Established {
    record: ConnectionRecord,
    tracked: Tracked,
    client: Client,
    application: ApplicationStream,
}

impl InboundConnection<'_> {
    /// Opens the connection's record, and then the application's side. `None` where that fails: the client is told, and the record
    /// is complete.
    pub(super) async fn establish(self, downstream: Downstream) -> Option<Established> {
        let mut record = self.open_record(&downstream);
        let established = match self.connect(&downstream, &record).await {
            Ok((tracked, application)) => match downstream.accept() {
                Ok(client) => Ok((tracked, client, application)),
                Err(error) => Err(error.into()),
            },
            Err(error) => {
                downstream.refuse(&error);
                Err(error)
            }
        };
        match established {
            Ok((tracked, client, application)) => Some(Established { record, tracked, client, application }),
            Err(error) => {
                record.fail(error.flag(), &error);
                None
            }
        }
    }

    /// Where the mesh does not know the pod yet, the ends of the connection are settled once it is admitted.
    fn open_record(&self, downstream: &Downstream) -> ConnectionRecord {
        let PodProxy { proxy, .. } = &**self.pod_proxy;
        let mesh = proxy.mesh.read();
        let reporting = self.pod_proxy.connection_reporting();
        match self.pod_proxy.known_workload(&mesh) {
            Some(workload) => ConnectionRecord::open(reporting, self.ends(&mesh, workload, downstream)),
            None => {
                let described = self.pod_proxy.source_workload(&mesh);
                ConnectionRecord::open_provisional(reporting, self.ends(&mesh, described, downstream))
            }
        }
    }

    /// Connects the application, for as long as the client is there.
    async fn connect(
        self,
        downstream: &Downstream,
        record: &ConnectionRecord,
    ) -> Result<(Tracked, ApplicationStream), InboundError> {
        let PodProxy { proxy, pod, .. } = &**self.pod_proxy;
        tokio::select! {
            connected = self.connect_application(downstream, record) => connected,
            () = downstream.left() => Err(InboundError::ClientLeft),
            () = pod.dead.cancelled() => Err(InboundError::PodGone),
            () = proxy.drain.closing() => Err(InboundError::DrainEnded),
        }
    }

    async fn connect_application(
        self,
        downstream: &Downstream,
        record: &ConnectionRecord,
    ) -> Result<(Tracked, ApplicationStream), InboundError> {
        let PodProxy { proxy, pod, .. } = &**self.pod_proxy;
        let admitted = admission::admit(self.pod_proxy, &self.access_request()).await;
        if record.is_provisional() {
            let mesh = proxy.mesh.read();
            record.settle(Some(self.ends(&mesh, self.pod_proxy.source_workload(&mesh), downstream)));
        }
        let (permit, tracked) = admitted?;
        let application = ApplicationStream::connect(proxy, pod, permit, self.client).await?;
        Ok((tracked, application))
    }

    /// What policy is asked: about the direct peer, never about whom it claims to speak for.
    fn access_request(&self) -> AccessRequest {
        let source_ip = self.peer.map_or(self.client, |peer| peer.addr).ip();
        AccessRequest { source: self.peer.map(|peer| peer.identity.clone()), source_ip, destination: self.destination }
    }

    fn ends(&self, mesh: &Mesh, workload: Arc<Workload>, downstream: &Downstream) -> ConnectionEnds {
        let settings = mesh.settings();
        let peer = self.peer.map(|peer| {
            // For labels only: the address finds the workload, and only one that carries the proven identity counts.
            let found = mesh.workload_by_address(&settings.network, peer.addr.ip());
            let workload = found.filter(|found| found.identity() == peer.identity).cloned();
            RecordedPeer { identity: peer.identity.clone(), workload, listener: peer.listener }
        });
        let destination = InboundDestination {
            endpoint: self.destination,
            service: service_of(mesh, &workload, downstream.requested_service(), self.destination.port()),
            identity: self.pod_proxy.pod.identity(&settings.trust_domain),
            workload,
        };
        ConnectionEnds::inbound(InboundSource { addr: self.client, peer }, destination)
    }
}

impl Established {
    /// Moves bytes until the connection ends, somebody wants it to end, policy forbids it, its pod dies or the drain is over. Then
    /// the record is complete.
    pub(super) async fn run(self, pod_proxy: &PodProxy) {
        let Self { mut record, tracked, client, application } = self;
        let outcome = tokio::select! {
            biased;
            result = client.splice(application, record.bytes(), &pod_proxy.budget) => result.map_err(InboundError::from),
            () = record.end_wanted() => Err(InboundError::LatePlaintext),
            () = tracked.revoked.cancelled() => Err(InboundError::Revoked),
            () = pod_proxy.pod.dead.cancelled() => Err(InboundError::PodGone),
            () = pod_proxy.proxy.drain.closing() => Err(InboundError::DrainEnded),
        };
        if let Err(error) = outcome {
            record.fail(error.flag(), &error);
        }
    }
}

/// The service that a connection came through, for labels: the one the client asked for if the workload serves it, else
/// the first that the workload serves on this port.
fn service_of(mesh: &Mesh, workload: &Workload, asked_for: Option<&str>, port: u16) -> Option<Arc<Service>> {
    let serves = |(_, ports): &(&ServiceKey, &Vec<PortMapping>)| ports.iter().any(|p| p.target_port == port);
    let asked_for = workload.services.iter().find(|(key, _)| Some(&*key.hostname) == asked_for);
    let (key, _) = asked_for.or_else(|| workload.services.iter().find(serves))?;
    mesh.service(key).cloned()
}
