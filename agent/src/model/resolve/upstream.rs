//! The outcome of resolving an outbound connection: where it goes and how, or why nowhere.

use std::net::SocketAddr;
use std::sync::Arc;

use weir_common::HBONE_PORT;

use crate::model::http::destination::UpstreamTls;
use crate::model::identity::Identity;
use crate::model::service::Service;
use crate::model::workload::{NetworkMode, Workload};

/// The outcome of resolving an outbound connection.
#[derive(Debug, Clone)]
pub struct Upstream {
    pub transport: Transport,
    /// The endpoint that will serve the connection, where it is a workload of the mesh.
    pub workload: Option<Arc<Workload>>,
    /// The service the application asked for, where it asked for one.
    pub service: Option<Arc<Service>>,
}

impl Upstream {
    /// How its workload would be reached if it spoke HBONE: for a pod of which the mesh says that it does not, and that
    /// may be captured already.
    #[must_use]
    pub fn over_hbone(&self) -> Option<Transport> {
        let (Transport::Passthrough(address), Some(workload)) = (&self.transport, &self.workload) else { return None };
        let may_be_captured = workload.is_pod() && workload.network_mode == NetworkMode::Standard;
        may_be_captured.then(|| Transport::hbone(workload, *address, self.service.as_deref()))
    }
}

/// How to reach the upstream.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Transport {
    /// HTTP/2 CONNECT over mTLS.
    Hbone {
        /// Address of the peer's HBONE listener.
        peer: SocketAddr,
        /// `:authority` of the CONNECT request.
        authority: String,
        /// The peer must carry one of these identities.
        identities: Vec<Identity>,
    },
    /// Plain TCP to an endpoint of the mesh that does not speak HBONE, or to an address the mesh does not know.
    Passthrough(SocketAddr),
    /// Plain TCP to an endpoint that only has a name: the proxy looks it up.
    ResolveHostname { hostname: Arc<str>, port: u16 },
    /// TLS of the destination's own, as a DestinationRule asks for it, over any of the others.
    Tls {
        below: Box<Transport>,
        settings: Arc<UpstreamTls>,
        /// The name that is asked for.
        server_name: Arc<str>,
    },
}

impl Transport {
    /// What carries the bytes: itself, or what its TLS is over.
    #[must_use]
    pub fn carrier(&self) -> &Self {
        match self {
            Self::Tls { below, .. } => below.carrier(),
            carrier => carrier,
        }
    }

    /// Over HBONE to a workload's own listener. A service may add identities (`subject_alt_names`)
    /// to the workload's own.
    pub(super) fn hbone(workload: &Workload, address: SocketAddr, service: Option<&Service>) -> Self {
        let mut identities = vec![workload.identity()];
        for name in service.into_iter().flat_map(|service| &service.subject_alt_names) {
            identities.extend(name.parse::<Identity>().ok().filter(|identity| !identities.contains(identity)));
        }
        Self::Hbone { peer: SocketAddr::new(address.ip(), HBONE_PORT), authority: address.to_string(), identities }
    }
}

/// Why an outbound connection goes nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    #[error("service {0} has no healthy endpoint for port {1}")]
    NoHealthyEndpoint(String, u16),
    #[error("service {0} has no port {1}")]
    NoSuchPort(String, u16),
    #[error("destination is not in the registry and outboundTrafficPolicy is REGISTRY_ONLY")]
    RegistryOnly,
    #[error("waypoint or gateway {0} is not known")]
    UnknownGateway(String),
    #[error("service {0} does not stand for the host {1:?}")]
    WrongHost(String, String),
    #[error("endpoint {0} has no address")]
    NoAddress(String),
}
