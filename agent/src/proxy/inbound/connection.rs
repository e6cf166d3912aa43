//! An inbound connection from the moment its destination is known: admitted by policy, joined with the pod's application or served
//! request by request, recorded. Plaintext connections and HBONE requests take the same steps.
//!
//! The state of admitting and connecting is large and soon over, while a connection may last long. So those are a future of their
//! own, [`InboundConnection::establish`], which callers put into a box: its memory is free again before bytes move.

use std::net::SocketAddr;
use std::sync::Arc;

use super::admission::{self, Admitted};
use super::client::{Client, Downstream};
use super::error::InboundError;
use super::http::{self, HttpDownstream};
use super::peers::AuthenticatedPeer;
use super::spliced::Spliced;
use crate::model::authorization::AccessRequest;
use crate::model::http::served::{Carries, carries};
use crate::model::mesh::Mesh;
use crate::model::service::{PortMapping, Service, ServiceKey};
use crate::model::workload::Workload;
use crate::proxy::connector::ApplicationStream;
use crate::proxy::pod::PodProxy;
use crate::proxy::revocation::{Tracked, TrackedRequests};
use crate::telemetry::ends::{ConnectionEnds, InboundDestination, InboundSource, RecordedPeer};
use crate::telemetry::record::ConnectionRecord;

/// An inbound connection whose destination is known.
#[derive(Clone, Copy)]
pub(super) struct InboundConnection<'a> {
    pub(super) pod_proxy: &'a Arc<PodProxy>,
    /// The client as the application is shown it.
    pub(super) client: SocketAddr,
    /// The pod's own address, and the port of its application.
    pub(super) destination: SocketAddr,
    /// `None` for plaintext.
    pub(super) peer: Option<&'a AuthenticatedPeer>,
}

/// An inbound connection that was admitted, and whose client knows.
pub(super) enum Established {
    /// Both of its sides are open.
    Bytes(Spliced),
    /// Policy decides about each of its requests. The application's side opens with the first that is allowed.
    Requests(Box<HttpDownstream>),
}

/// An inbound connection that was admitted, and whose client does not know yet.
enum Opened {
    Bytes(Tracked, ApplicationStream),
    Requests {
        tracked: TrackedRequests,
        ends: Box<ConnectionEnds>,
        /// Nobody has declared that the port carries HTTP.
        is_guess: bool,
    },
}

impl InboundConnection<'_> {
    /// Opens the connection's record, and then the application's side. `None` where that fails: the client is told, and the record
    /// is complete.
    pub(super) async fn establish(self, downstream: Downstream) -> Option<Established> {
        // Whether the connection carries requests, and where the mesh does not know the pod yet also its ends, are settled once it is
        // admitted.
        let (mut record, is_known) = self.open_record(&downstream);
        let established = match self.open(&downstream, &record, is_known).await {
            Ok(opened) => {
                let client = downstream.accept(matches!(opened, Opened::Requests { .. }));
                client.map(|client| (opened, client))
            }
            Err(error) => {
                downstream.refuse(&error);
                Err(error)
            }
        };
        match established {
            Ok((opened, client)) => Some(self.established(record, opened, client)),
            Err(error) => {
                record.fail(error.flag(), &error);
                None
            }
        }
    }

    fn established(self, record: ConnectionRecord, opened: Opened, client: Client) -> Established {
        match opened {
            Opened::Bytes(tracked, application) => {
                Established::Bytes(Spliced { record, tracked, client, application, read: None })
            }
            Opened::Requests { tracked, ends, is_guess } => Established::Requests(Box::new(HttpDownstream {
                record,
                tracked,
                client,
                ends: *ends,
                access: self.access_request(),
                shown: self.client,
                peer: self.peer.cloned(),
                is_guess,
            })),
        }
    }

    /// Provisional; and whether the mesh knows the pod.
    fn open_record(&self, downstream: &Downstream) -> (ConnectionRecord, bool) {
        let PodProxy { proxy, .. } = &**self.pod_proxy;
        let mesh = proxy.mesh.read();
        let known = self.pod_proxy.known_workload(&mesh);
        let is_known = known.is_some();
        let workload = known.unwrap_or_else(|| self.pod_proxy.source_workload(&mesh));
        let ends = self.ends(&mesh, workload, downstream.requested_service());
        (ConnectionRecord::open_provisional(self.pod_proxy.connection_reporting(), ends), is_known)
    }

    /// Opens the application's side, for as long as the client is there.
    async fn open(
        self,
        downstream: &Downstream,
        record: &ConnectionRecord,
        is_known: bool,
    ) -> Result<Opened, InboundError> {
        let PodProxy { proxy, pod, .. } = &**self.pod_proxy;
        tokio::select! {
            opened = self.admit_and_connect(downstream, record, is_known) => opened,
            () = downstream.left() => Err(InboundError::ClientLeft),
            () = pod.dead.cancelled() => Err(InboundError::PodGone),
            () = proxy.drain.closing() => Err(InboundError::DrainEnded),
        }
    }

    async fn admit_and_connect(
        self,
        downstream: &Downstream,
        record: &ConnectionRecord,
        is_known: bool,
    ) -> Result<Opened, InboundError> {
        let PodProxy { proxy, pod, .. } = &**self.pod_proxy;
        let admitted = admission::admit(self.pod_proxy, &self.access_request()).await;
        let ends_now = || {
            let mesh = proxy.mesh.read();
            self.ends(&mesh, self.pod_proxy.source_workload(&mesh), downstream.requested_service())
        };
        let for_bytes = match admitted {
            Ok(Admitted::Requests(tracked)) => {
                return Ok(Opened::Requests { tracked, ends: Box::new(ends_now()), is_guess: self.is_guess() });
            }
            Ok(Admitted::Bytes(permit, tracked)) => Ok((permit, tracked)),
            Err(error) => Err(error),
        };
        record.settle((!is_known).then(ends_now));
        let (permit, tracked) = for_bytes?;
        let application = ApplicationStream::connect(proxy, pod, permit, self.client).await?;
        Ok(Opened::Bytes(tracked, application))
    }

    /// Whether some service of the pod leaves open what the port carries.
    fn is_guess(&self) -> bool {
        let mesh = self.pod_proxy.proxy.mesh.read();
        let workload = self.pod_proxy.source_workload(&mesh);
        carries(&mesh, &workload, self.destination.port()) == Carries::Unknown
    }

    /// What policy is asked: about the direct peer, never about whom it claims to speak for.
    pub(super) fn access_request(&self) -> AccessRequest {
        let source_ip = self.peer.map_or(self.client, |peer| peer.addr).ip();
        AccessRequest { source: self.peer.map(|peer| peer.identity.clone()), source_ip, destination: self.destination }
    }

    /// `asked_for`: the service that the client asked for, as its proxy says.
    pub(super) fn ends(&self, mesh: &Mesh, workload: Arc<Workload>, asked_for: Option<&str>) -> ConnectionEnds {
        let settings = mesh.settings();
        let peer = self.peer.map(|peer| {
            // For labels only: the address finds the workload, and only one that carries the proven identity counts.
            let found = mesh.workload_by_address(&settings.network, peer.addr.ip());
            let workload = found.filter(|found| found.identity() == peer.identity).cloned();
            RecordedPeer { identity: peer.identity.clone(), workload, listener: peer.listener }
        });
        let destination = InboundDestination {
            endpoint: self.destination,
            service: service_of(mesh, &workload, asked_for, self.destination.port()),
            identity: self.pod_proxy.pod.identity(&settings.trust_domain),
            workload,
        };
        ConnectionEnds::inbound(InboundSource { addr: self.client, peer }, destination)
    }
}

impl Established {
    /// Serves the connection to its end. Then its record is complete.
    pub(super) async fn run(self, pod_proxy: &Arc<PodProxy>) {
        match self {
            Self::Bytes(spliced) => spliced.run(pod_proxy).await,
            // In a box, so that a connection that carries no HTTP does not hold the room that serving HTTP takes.
            Self::Requests(client) => Box::pin(http::serve(pod_proxy, client)).await,
        }
    }
}

/// The ends of a connection that came to a pod directly from another pod of this node.
pub(in crate::proxy) fn direct_ends(
    mesh: &Mesh,
    server: &PodProxy,
    (source, client): (RecordedPeer, SocketAddr),
    endpoint: SocketAddr,
    asked_for: Option<&str>,
) -> ConnectionEnds {
    let workload = server.source_workload(mesh);
    let destination = InboundDestination {
        endpoint,
        service: service_of(mesh, &workload, asked_for, endpoint.port()),
        identity: server.pod.identity(&mesh.settings().trust_domain),
        workload,
    };
    let ends = ConnectionEnds::inbound(InboundSource { addr: client, peer: Some(source) }, destination);
    ConnectionEnds { hbone_listener: None, ..ends }
}

/// The service that a connection came through, for labels: the one the client asked for if the workload serves it, else
/// the first that the workload serves on this port.
fn service_of(mesh: &Mesh, workload: &Workload, asked_for: Option<&str>, port: u16) -> Option<Arc<Service>> {
    let serves = |(_, ports): &(&ServiceKey, &Vec<PortMapping>)| ports.iter().any(|p| p.target_port == port);
    let asked_for = workload.services.iter().find(|(key, _)| Some(&*key.hostname) == asked_for);
    let (key, _) = asked_for.or_else(|| workload.services.iter().find(serves))?;
    mesh.service(key).cloned()
}
