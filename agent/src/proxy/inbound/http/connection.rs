//! What the requests of one inbound connection have in common.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::http::UpstreamPool;
use crate::limits::{Held, Limit, LimitKind};
use crate::model::authorization::{AccessRequest, HttpRequest, RequestDenied};
use crate::model::http::client_cert::forwarded_client_cert;
use crate::model::http::config::HttpConfig;
use crate::model::http::destination::DEFAULT_IDLE_TIMEOUT;
use crate::proxy::inbound::admission::{self, JudgedRequest};
use crate::proxy::inbound::authentication::IssuerRules;
use crate::proxy::inbound::error::RefusedRequest;
use crate::proxy::inbound::peers::AuthenticatedPeer;
use crate::proxy::pod::PodProxy;
use crate::telemetry::ends::ConnectionEnds;
use crate::telemetry::request_ends::RequestEnds;

/// Connections to an application that carry requests.
pub(super) type ApplicationPool = UpstreamPool<(), TcpStream>;

/// The connections to the application that serve an inbound connection, or several of one peer.
#[derive(Default)]
pub(super) struct Applications {
    pub(super) pool: Arc<ApplicationPool>,
    pub(super) are_shared: bool,
}

impl Applications {
    /// How long one is kept without requests: where nothing else ends it, no longer than the client's agent would have kept its own.
    pub(super) fn longest_idle(&self) -> Duration {
        if self.are_shared { DEFAULT_IDLE_TIMEOUT } else { Duration::MAX }
    }
}

/// See the module.
pub(super) struct HttpConnection {
    pub(super) pod_proxy: Arc<PodProxy>,
    /// What policy is asked about the connection.
    pub(super) access: AccessRequest,
    /// The client as the application is shown it.
    pub(super) shown: SocketAddr,
    pub(super) ends: Arc<RequestEnds>,
    /// The value of `x-forwarded-client-cert`; `None` in plaintext.
    pub(super) client_cert: Option<String>,
    /// What the peer may hold of the pod's inbound connections; `None` in plaintext.
    peer_limit: Option<Arc<Limit>>,
    /// The connections to the application that serve this one.
    pub(super) applications: Applications,
    /// Cancelled when policy allows no request of the connection any more.
    pub(super) revoked: CancellationToken,
}

impl HttpConnection {
    pub(super) fn new(
        pod_proxy: &Arc<PodProxy>,
        access: AccessRequest,
        shown: SocketAddr,
        ends: ConnectionEnds,
        peer: Option<AuthenticatedPeer>,
        revoked: CancellationToken,
    ) -> Self {
        let own = pod_proxy.identity();
        let client_cert = peer.as_ref().map(|peer| forwarded_client_cert(&own, &peer.identity, &peer.certificate));
        Self {
            pod_proxy: pod_proxy.clone(),
            access,
            shown,
            ends: RequestEnds::new(&pod_proxy.proxy.requests, &pod_proxy.pod.telemetry, ends),
            client_cert,
            peer_limit: peer.map(|peer| peer.limit),
            applications: Applications::default(),
            revoked,
        }
    }

    /// The same, where others share its connections to the application.
    pub(super) fn sharing(self, pool: Arc<ApplicationPool>) -> Self {
        Self { applications: Applications { pool, are_shared: true }, ..self }
    }

    /// The port of the pod that the connection is to.
    pub(super) fn port(&self) -> u16 {
        self.access.destination.port()
    }

    /// The identity that the peer has proven, as text; `None` in plaintext.
    pub(super) fn source(&self) -> Option<String> {
        self.access.source.as_ref().map(ToString::to_string)
    }

    /// The address and the port of the pod that the connection is to.
    pub(super) fn destination(&self) -> SocketAddr {
        self.access.destination
    }

    /// Decides about a request as policy is now.
    pub(super) fn judge(&self, request: &HttpRequest<'_>) -> JudgedRequest {
        admission::judge_request(&self.pod_proxy, &self.access, request)
    }

    /// Which external authorizer a request needs the answer of, before its token is verified and it is judged.
    pub(super) fn authorizer_needed(&self, request: &HttpRequest<'_>) -> Option<RequestDenied> {
        admission::authorizer_needed(&self.pod_proxy, &self.access, request)
    }

    /// Whether a request may be allowed whose authorizers have not all answered, and whose token is not verified.
    ///
    /// # Errors
    /// Why it is not, whatever they say and whoever sent it.
    pub(super) fn may_be_allowed(&self, request: &HttpRequest<'_>) -> Result<(), RefusedRequest> {
        admission::may_be_allowed(&self.pod_proxy, &self.access, request)
    }

    /// What the tokens of requests must be; `None` where nobody asks for them.
    pub(super) fn authentication(&self, config: &HttpConfig) -> Option<Arc<IssuerRules>> {
        let PodProxy { proxy, pod, authenticator, .. } = &*self.pod_proxy;
        authenticator.rules(config.authentication(), pod, &proxy.mesh, &proxy.key_sets)
    }

    /// A place for a request beside others of the connection, of those that its peer and the pod may have: it counts as a connection
    /// of its own.
    pub(super) fn take_place(&self) -> Option<(Option<Held>, Held)> {
        let of_peer = match &self.peer_limit {
            Some(limit) => Some(limit.try_take()?),
            None => None,
        };
        let of_pod = self.pod_proxy.pod.limits.of(LimitKind::InboundConnections).try_take()?;
        Some((of_peer, of_pod))
    }
}
