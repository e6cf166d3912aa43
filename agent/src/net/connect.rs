//! Connecting a socket within a time limit.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockRef, Socket};
use tokio::net::{TcpSocket, TcpStream};

use super::options::tune;

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

/// Connects a new, non-blocking socket and [tunes](tune) it.
///
/// # Errors
/// See [`ConnectError`].
pub(crate) async fn connect(socket: Socket, to: SocketAddr, timeout: Duration) -> Result<TcpStream, ConnectError> {
    tune(&SockRef::from(&socket)).map_err(|e| ConnectError::Socket(to, e))?;
    let connecting = TcpSocket::from_std_stream(socket.into()).connect(to);
    match tokio::time::timeout(timeout, connecting).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(ConnectError::Connect(to, error)),
        Err(_) => Err(ConnectError::Timeout(to, timeout)),
    }
}
