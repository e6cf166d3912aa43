//! Sockets that the agent opens towards a pod's own application. Inbound, it is only reached with a [`Permit`].

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV6};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::IpBindAddressNoPort;
use tokio::net::TcpStream;

use super::node::Proxy;
use crate::capture::Capture;
use crate::enrollment::pod::EnrolledPod;
use crate::model::authorization::Permit;
use crate::model::identity::Identity;
use crate::net::{self, ConnectError};

/// Connects to a pod's own application over the pod's loopback. The application sees `client` as its peer.
///
/// # Errors
/// See [`ConnectError`].
pub async fn connect_application(
    pod: &EnrolledPod,
    capture: &Capture,
    to: SocketAddr,
    client: SocketAddr,
    timeout: Duration,
) -> Result<TcpStream, ConnectError> {
    let failed = |e| ConnectError::Socket(to, e);
    let socket = pod.netns.tcp_socket(to.ip()).map_err(failed)?;
    // Such a source keeps capture from steering this connection back to us.
    setsockopt(&socket, IpBindAddressNoPort, &true).map_err(|e| failed(e.into()))?;
    socket.bind(&application_source(to).into()).map_err(failed)?;
    capture.present_client(socket.as_fd(), client).map_err(|e| failed(io::Error::other(e)))?;
    net::connect(socket, to, timeout).await
}

/// A connection to the application of a pod, to the address that its permit names. Inbound bytes move through nothing else.
#[derive(Debug)]
pub(super) struct ApplicationStream(TcpStream);

impl ApplicationStream {
    /// Connects to [`Permit::destination`] over the pod's loopback. The application sees `client` as its peer.
    ///
    /// # Errors
    /// When the application does not accept in time, or at all.
    pub(super) async fn connect(
        proxy: &Proxy,
        pod: &EnrolledPod,
        permit: Permit,
        client: SocketAddr,
    ) -> Result<Self, ConnectError> {
        let to = permit.destination();
        tracing::debug!(
            source = permit.source().map(Identity::to_string),
            source_ip = %permit.source_ip(),
            destination = %to,
            workload = %permit.workload(),
            policy = permit.policy().map(|key| &**key),
            "permitted"
        );
        let timeout = proxy.timeouts.connect;
        connect_application(pod, &proxy.capture, to, client, timeout).await.map(Self)
    }

    pub(super) fn into_tcp(self) -> TcpStream {
        self.0
    }
}

/// A source that capture knows for the pod's own. IPv4 sources are spread over 127.6.0.0/16, so that a busy application
/// never runs out of (address, port) pairs. IPv6 has a single loopback address, and Linux does not deliver resets to it
/// (a closed port would be silent): there the pod's address itself is the source.
fn application_source(to: SocketAddr) -> SocketAddr {
    match to {
        SocketAddr::V4(_) => {
            let [_, _, high, low] = rand::random::<u32>().to_be_bytes();
            (Ipv4Addr::new(127, 6, high, low.clamp(1, 254)), 0).into()
        }
        // A link-local address needs its interface.
        SocketAddr::V6(to) => SocketAddrV6::new(*to.ip(), 0, 0, to.scope_id()).into(),
    }
}
