//! Sockets that the agent opens on behalf of a pod: towards the network, and towards the pod's own application.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::IpBindAddressNoPort;
use socket2::{SockRef, Socket, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};

use crate::capture::Capture;
use crate::enrollment::pod::EnrolledPod;

/// An HBONE peer that does not acknowledge data for this long is gone.
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a connection could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("socket for {0}: {1}")]
    Socket(SocketAddr, io::Error),
    #[error("connect to {0}: {1}")]
    Connect(SocketAddr, io::Error),
    #[error("connect to {0}: no answer within {1:?}")]
    Timeout(SocketAddr, Duration),
}

/// Connects from inside a pod's namespace, so that the network sees the pod's address.
///
/// # Errors
/// See [`ConnectError`].
pub async fn connect(pod: &EnrolledPod, to: SocketAddr, timeout: Duration) -> Result<TcpStream, ConnectError> {
    let socket = pod.netns.tcp_socket(to.ip()).map_err(|e| ConnectError::Socket(to, e))?;
    finish_connect(socket, to, timeout).await
}

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
    socket.bind(&SocketAddr::new(application_source(to.ip()), 0).into()).map_err(failed)?;
    capture.present_client(socket.as_fd(), client).map_err(|e| failed(io::Error::other(e)))?;
    finish_connect(socket, to, timeout).await
}

/// A source that capture knows for the pod's own. IPv4 sources are spread over 127.6.0.0/16, so that a busy application
/// never runs out of (address, port) pairs. IPv6 has a single loopback address, and Linux does not deliver resets to it
/// (a closed port would be silent): there the pod's address itself is the source.
fn application_source(to: IpAddr) -> IpAddr {
    match to {
        IpAddr::V4(_) => {
            let [_, _, high, low] = rand::random::<u32>().to_be_bytes();
            Ipv4Addr::new(127, 6, high, low.clamp(1, 254)).into()
        }
        IpAddr::V6(_) => to,
    }
}

async fn finish_connect(socket: Socket, to: SocketAddr, timeout: Duration) -> Result<TcpStream, ConnectError> {
    tune(&SockRef::from(&socket)).map_err(|e| ConnectError::Socket(to, e))?;
    let connecting = TcpSocket::from_std_stream(socket.into()).connect(to);
    match tokio::time::timeout(timeout, connecting).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(ConnectError::Connect(to, error)),
        Err(_) => Err(ConnectError::Timeout(to, timeout)),
    }
}

/// What every connection of the proxy wants: no Nagle delay, and to notice a peer that is gone while nothing is said.
pub(super) fn tune(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(10));
    socket.set_tcp_keepalive(&keepalive.with_retries(3))
}

/// Connections between agents also notice a peer that is gone in the middle of something. Those of applications must
/// not: the kernel counts a reader that pauses (a closed window) as gone too.
pub(super) fn tune_hbone(stream: &TcpStream) {
    // Best effort: a socket that is dead already shows it at the first read.
    let socket = SockRef::from(stream);
    let _ = tune(&socket).and_then(|()| socket.set_tcp_user_timeout(Some(USER_TIMEOUT)));
}

/// Makes the coming close of a socket a reset: the peer learns that the connection broke, not that it ended.
pub(super) fn reset_on_close(stream: &TcpStream) {
    // A socket that is closed already cannot be reset any more, and need not be.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
