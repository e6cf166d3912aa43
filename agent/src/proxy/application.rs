//! The upstream of an inbound connection: the pod's own application, which is only reached with a [`Permit`].

use std::net::SocketAddr;

use tokio::net::TcpStream;

use super::PodProxy;
use super::connector;
use crate::model::authorization::Permit;
use crate::model::identity::Identity;
use crate::net::ConnectError;

/// A connection to the application of a pod, to the address that its permit names. Inbound bytes move through nothing else.
#[derive(Debug)]
pub(super) struct ApplicationStream(TcpStream);

impl ApplicationStream {
    /// Connects to [`Permit::destination`] over the pod's loopback. The application sees `client` as its peer.
    ///
    /// # Errors
    /// When the application does not accept in time, or at all.
    pub(super) async fn connect(served: &PodProxy, permit: Permit, client: SocketAddr) -> Result<Self, ConnectError> {
        let (proxy, to) = (&served.proxy, permit.destination());
        tracing::debug!(
            source = permit.source().map(Identity::to_string),
            source_ip = %permit.source_ip(),
            destination = %to,
            workload = %permit.workload(),
            policy = permit.policy().map(|key| &**key),
            "permitted"
        );
        let timeout = proxy.timeouts.connect;
        connector::connect_application(&served.pod, &proxy.capture, to, client, timeout).await.map(Self)
    }

    pub(super) fn into_tcp(self) -> TcpStream {
        self.0
    }
}
