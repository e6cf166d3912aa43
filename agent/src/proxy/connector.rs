//! Sockets that the agent opens towards a pod's own application. Inbound, it is only reached with a [`Permit`].

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV6};
use std::os::fd::AsFd;
use std::time::Duration;

use bytes::BytesMut;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::IpBindAddressNoPort;
use socket2::Socket;
use tokio::io::{AsyncReadExt as _, AsyncWrite};
use tokio::net::TcpStream;

use super::node::Proxy;
use crate::capture::Capture;
use crate::enrollment::pod::EnrolledPod;
use crate::model::authorization::Permit;
use crate::model::identity::Identity;
use crate::net::{self, ConnectError};

/// The port that connections to applications come from over IPv4: one that Istio reserves in the pods of a mesh. Their
/// addresses differ, so one port is enough for all, and the pod keeps those that its applications may ask for.
const SOURCE_PORT: u16 = 15053;
/// How many sources with that port are tried before the kernel chooses a port: an address may have been drawn before.
const SOURCE_ATTEMPTS: u32 = 4;

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
    let attempts = if to.is_ipv4() { SOURCE_ATTEMPTS } else { 0 };
    for _ in 0..attempts {
        let socket = match application_socket(pod, to, SOURCE_PORT) {
            // An application listens on the port.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => break,
            socket => socket.map_err(|e| ConnectError::Socket(to, e))?,
        };
        match connect_as(capture, socket, to, client, timeout).await {
            Err(ConnectError::Connect(_, error)) if error.kind() == io::ErrorKind::AddrNotAvailable => {}
            connected => return connected,
        }
    }
    let socket = application_socket(pod, to, 0).map_err(|e| ConnectError::Socket(to, e))?;
    connect_as(capture, socket, to, client, timeout).await
}

async fn connect_as(
    capture: &Capture,
    socket: Socket,
    to: SocketAddr,
    client: SocketAddr,
    timeout: Duration,
) -> Result<TcpStream, ConnectError> {
    let presented = capture.present_client(socket.as_fd(), client);
    presented.map_err(|e| ConnectError::Socket(to, io::Error::other(e)))?;
    net::connect_loopback(socket, to, timeout).await
}

/// A socket bound to a source that keeps capture from steering the connection back to us. For port 0 the kernel chooses one
/// when the socket connects.
fn application_socket(pod: &EnrolledPod, to: SocketAddr, port: u16) -> io::Result<Socket> {
    let socket = pod.netns.tcp_socket(to.ip())?;
    if port == 0 {
        setsockopt(&socket, IpBindAddressNoPort, &true)?;
    }
    socket.bind(&application_source(to, port).into())?;
    Ok(socket)
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

    /// Where bytes go that were read of the client before the application was connected.
    pub(super) fn writer(&mut self) -> &mut (impl AsyncWrite + Unpin + use<>) {
        &mut self.0
    }

    /// Reads what the application sends first; nothing at its end.
    ///
    /// # Errors
    /// When the application has reset the connection.
    pub(super) async fn read_first(&mut self, bytes: &mut BytesMut) -> io::Result<usize> {
        self.0.read_buf(bytes).await
    }

    /// Closes a connection on which nothing was said, in order.
    pub(super) fn end_unused(self) {
        net::end_in_order(&self.0);
    }

    pub(super) fn into_tcp(self) -> TcpStream {
        self.0
    }
}

/// A source that capture knows for the pod's own. IPv4 sources are spread over 127.6.0.0/16, so that a busy application
/// never runs out of (address, port) pairs. IPv6 has a single loopback address, and Linux does not deliver resets to it
/// (a closed port would be silent): there the pod's address itself is the source, and the kernel chooses a port for each
/// connection.
fn application_source(to: SocketAddr, port: u16) -> SocketAddr {
    match to {
        SocketAddr::V4(_) => {
            let [_, _, high, low] = rand::random::<u32>().to_be_bytes();
            (Ipv4Addr::new(127, 6, high, low.clamp(1, 254)), port).into()
        }
        // A link-local address needs its interface.
        SocketAddr::V6(to) => SocketAddrV6::new(*to.ip(), port, 0, to.scope_id()).into(),
    }
}
