//! A pod as the origin of HBONE connections: they carry its identity, and are opened in its network namespace.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::enrollment::pod::EnrolledPod;
use crate::hbone::Origin;
use crate::model::identity::{Identity, TrustDomain};
use crate::net::{self, ConnectError};
use crate::state::SharedMesh;
use crate::tls::handshake::TrustedDomains;

/// See the module.
#[derive(Debug)]
pub(super) struct PodOrigin {
    pub(super) pod: Arc<EnrolledPod>,
    pub(super) mesh: SharedMesh,
    /// Trust domains accepted besides the mesh's own.
    pub(super) extra_trust_domains: Vec<TrustDomain>,
    pub(super) connect_timeout: Duration,
}

impl Origin for PodOrigin {
    fn identity(&self) -> Identity {
        self.pod.identity(&self.mesh.read().settings().trust_domain)
    }

    fn trusted_domains(&self) -> TrustedDomains {
        trusted_domains(&self.mesh, &self.extra_trust_domains)
    }

    async fn connect(&self, peer: SocketAddr) -> Result<TcpStream, ConnectError> {
        let tcp = connect_from_pod(&self.pod, peer, self.connect_timeout).await?;
        // Streams that ended in order may have bytes under way when the connection is closed. Should it be cut short, the peer
        // sees that no GOAWAY came.
        net::end_in_order(&tcp);
        Ok(tcp)
    }
}

/// Connects from inside a pod's namespace, so that the network sees the pod's address.
///
/// # Errors
/// See [`ConnectError`].
pub(super) async fn connect_from_pod(
    pod: &EnrolledPod,
    to: SocketAddr,
    timeout: Duration,
) -> Result<TcpStream, ConnectError> {
    let socket = pod.netns.tcp_socket(to.ip()).map_err(|e| ConnectError::Socket(to, e))?;
    net::connect(socket, to, timeout).await
}

/// The trust domains whose identities count as this mesh's own.
pub(super) fn trusted_domains(mesh: &SharedMesh, extra: &[TrustDomain]) -> TrustedDomains {
    let mesh = mesh.read();
    let settings = mesh.settings();
    let mut domains = vec![settings.trust_domain.clone()];
    domains.extend(settings.trust_domain_aliases.iter().chain(extra).cloned());
    TrustedDomains(domains)
}
