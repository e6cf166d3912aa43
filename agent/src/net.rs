//! TCP sockets as the data path uses them: how they connect within a time limit, how they are read, and which options they
//! carry, namely no Nagle delay, detection of dead peers, and a reset instead of an orderly close.
//!
//! Sockets come in from outside, already opened in the network namespace that they belong to. Who may connect where is
//! decided elsewhere.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use nix::sys::uio::readv;
use socket2::{SockRef, Socket, TcpKeepalive};
use tokio::io::Interest;
use tokio::net::{TcpSocket, TcpStream};

use crate::model::http::destination;

/// How long a connection may be silent before the kernel probes the peer, and how far apart the probes are.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// Probes without an answer after which the peer counts as dead.
const KEEPALIVE_PROBES: u32 = 3;
/// What the kernel takes of these at most (`MAX_TCP_KEEPIDLE`, `MAX_TCP_KEEPINTVL`, `MAX_TCP_KEEPCNT` in its include/net/tcp.h).
const LONGEST_KEEPALIVE: Duration = Duration::from_secs(32767);
const MOST_KEEPALIVE_PROBES: u32 = 127;
/// How long sent data may stay unacknowledged before the peer counts as dead (`TCP_USER_TIMEOUT`).
const UNACKNOWLEDGED_TIMEOUT: Duration = Duration::from_secs(30);

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

/// Connects a new, non-blocking socket to another host and [tunes](tune) it. Its close is a reset until [`end_in_order`].
///
/// # Errors
/// See [`ConnectError`].
pub(crate) async fn connect(socket: Socket, to: SocketAddr, timeout: Duration) -> Result<TcpStream, ConnectError> {
    tune(&SockRef::from(&socket)).map_err(|e| ConnectError::Socket(to, e))?;
    connect_tuned(socket, to, timeout).await
}

/// As [`connect`], over loopback: both ends are in the same kernel, which resets a connection whose other end is gone. Keepalive
/// probes would find nothing out.
///
/// # Errors
/// See [`ConnectError`].
pub(crate) async fn connect_loopback(
    socket: Socket,
    to: SocketAddr,
    timeout: Duration,
) -> Result<TcpStream, ConnectError> {
    socket.set_tcp_nodelay(true).map_err(|e| ConnectError::Socket(to, e))?;
    connect_tuned(socket, to, timeout).await
}

async fn connect_tuned(socket: Socket, to: SocketAddr, timeout: Duration) -> Result<TcpStream, ConnectError> {
    reset_on_close(&SockRef::from(&socket)).map_err(|e| ConnectError::Socket(to, e))?;
    let connecting = TcpSocket::from_std_stream(socket.into()).connect(to);
    match tokio::time::timeout(timeout, connecting).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(ConnectError::Connect(to, error)),
        Err(_) => Err(ConnectError::Timeout(to, timeout)),
    }
}

/// Sets what every connection of the proxy needs: no Nagle delay, and keepalive probes that detect a peer which died
/// while the connection was silent. Connections that a listener accepts inherit all of it.
///
/// # Errors
/// Those of setsockopt(2).
pub(crate) fn tune(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL);
    socket.set_tcp_keepalive(&keepalive.with_retries(KEEPALIVE_PROBES))
}

/// Has the kernel probe the peer of a connection as a DestinationRule says, in whole seconds and within what the kernel takes; as
/// [`tune`] says where it does not. Over loopback probes find nothing out, and do no harm.
pub(crate) fn keep_alive(stream: &TcpStream, asked: destination::TcpKeepalive) {
    let destination::TcpKeepalive { probes, time, interval } = asked;
    if (probes, time, interval) == (None, None, None) {
        return;
    }
    let seconds = |asked: Option<Duration>, usual: Duration| {
        Duration::from_secs(asked.unwrap_or(usual).as_secs().max(1)).min(LONGEST_KEEPALIVE)
    };
    let keepalive = TcpKeepalive::new()
        .with_time(seconds(time, KEEPALIVE_IDLE))
        .with_interval(seconds(interval, KEEPALIVE_INTERVAL))
        .with_retries(probes.unwrap_or(KEEPALIVE_PROBES).clamp(1, MOST_KEEPALIVE_PROBES));
    // Fails only for what is no TCP socket.
    let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive);
}

/// Also detects a peer that dies while data is under way to it: for connections between agents. Never for connections of
/// applications: the kernel counts a reader that pauses (a closed window) as dead too. Connections that a listener accepts
/// inherit it.
///
/// # Errors
/// Those of setsockopt(2).
pub(crate) fn limit_unacknowledged_time(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_TIMEOUT))
}

/// Makes every close of a socket a reset (`SO_LINGER` with no time, socket(7)): its peer learns that the connection broke, not
/// that it ended, also where the process dies. Connections that a listener accepts inherit it.
///
/// # Errors
/// Those of setsockopt(2).
pub(crate) fn reset_on_close(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_linger(Some(Duration::ZERO))
}

/// Makes the coming close of a socket an orderly end: what was written is still delivered, and the end of data after it.
pub(crate) fn end_in_order(stream: &TcpStream) {
    // Fails only for what is no socket.
    let _ = SockRef::from(stream).set_linger(None);
}

/// Whether the other end has sent nothing that was not read, its end neither. The kernel is asked: the runtime may not have looked yet.
pub(crate) fn is_silent(tcp: &TcpStream) -> bool {
    recv(tcp.as_raw_fd(), &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT) == Err(Errno::EAGAIN)
}

/// Reads what has come already, whether the runtime knows of it or not: of a new connection it learns that only after the tasks that are
/// ready have had their turns.
///
/// # Errors
/// `WouldBlock` when there is nothing; those of recv(2).
pub(crate) fn read_what_is_here(tcp: &TcpStream, place: &mut [u8]) -> io::Result<usize> {
    Ok(recv(tcp.as_raw_fd(), place, MsgFlags::MSG_DONTWAIT)?)
}

/// Reads into several places in turn. A short read means that the socket is empty; the runtime learns this, which saves
/// the read that would only return `EAGAIN`.
///
/// # Errors
/// `WouldBlock` when there is nothing; those of readv(2).
pub(crate) fn read_vectored(tcp: &TcpStream, places: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
    let wanted = places.iter().map(|place| place.len()).sum();
    let mut short = 0;
    let outcome = tcp.try_io(Interest::READABLE, || {
        let count = readv(tcp, places)?;
        if 0 < count && count < wanted {
            // The runtime takes this for `EAGAIN` and waits for the next readiness event of the socket.
            short = count;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(count)
    });
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock && short > 0 => Ok(short),
        outcome => outcome,
    }
}

/// Reads into one place. See [`read_vectored`].
///
/// # Errors
/// `WouldBlock` when there is nothing; those of readv(2).
pub(crate) fn read(tcp: &TcpStream, place: &mut [u8]) -> io::Result<usize> {
    read_vectored(tcp, &mut [IoSliceMut::new(place)])
}
