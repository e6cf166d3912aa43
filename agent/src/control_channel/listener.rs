//! The control plane's end of the channel: accepts agents' connections over TLS with server authentication.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use crate::tls::server_auth::{self, ServerConfigError};

/// How long a client may take for its TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause after a failed accept: a lack of file descriptors does not pass at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The certificate and key of a control plane. May be renewed while it serves.
pub struct ServerIdentity {
    acceptor: ArcSwap<TlsAcceptor>,
}

impl fmt::Debug for ServerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerIdentity").finish_non_exhaustive()
    }
}

impl ServerIdentity {
    /// From a certificate chain (leaf first) and its key, both PEM.
    ///
    /// # Errors
    /// If they do not parse or do not belong together.
    pub fn new(chain_pem: &str, key_pem: &str) -> Result<Self, ServerConfigError> {
        Ok(Self { acceptor: ArcSwap::from_pointee(acceptor(chain_pem, key_pem)?) })
    }

    /// Replaces the certificate for connections that are accepted from now on.
    ///
    /// # Errors
    /// As [`Self::new`]; the former one stays in use then.
    pub fn renew(&self, chain_pem: &str, key_pem: &str) -> Result<(), ServerConfigError> {
        self.acceptor.store(Arc::new(acceptor(chain_pem, key_pem)?));
        Ok(())
    }
}

fn acceptor(chain_pem: &str, key_pem: &str) -> Result<TlsAcceptor, ServerConfigError> {
    server_auth::server_config(chain_pem, key_pem).map(TlsAcceptor::from)
}

/// Connections whose handshake is done, as a tonic server accepts them. A handshake that fails or hangs affects no other.
/// Accepting ends when the stream is dropped.
#[must_use]
pub fn incoming(listener: TcpListener, identity: Arc<ServerIdentity>) -> ReceiverStream<io::Result<AgentConnection>> {
    let (ready, stream) = mpsc::channel(64);
    tokio::spawn(async move {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = ready.closed() => return,
            };
            match accepted {
                Ok((tcp, peer)) => {
                    tokio::spawn(handshake(identity.acceptor.load().as_ref().clone(), tcp, peer, ready.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    });
    ReceiverStream::new(stream)
}

async fn handshake(
    acceptor: TlsAcceptor,
    tcp: TcpStream,
    peer: SocketAddr,
    ready: mpsc::Sender<io::Result<AgentConnection>>,
) {
    let _ = tcp.set_nodelay(true);
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(tcp)).await {
        Ok(Ok(stream)) => {
            // A closed receiver means that the server stops: the connection is dropped with it.
            let _ = ready.send(Ok(AgentConnection { stream, peer })).await;
        }
        Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
        Err(_) => tracing::debug!(%peer, "TLS handshake timed out"),
    }
}

/// A connection from an agent.
#[derive(Debug)]
pub struct AgentConnection {
    stream: tokio_rustls::server::TlsStream<TcpStream>,
    peer: SocketAddr,
}

/// Where a request came from; for logs, never proof of anything.
#[derive(Debug, Clone, Copy)]
pub struct AgentAddr(pub SocketAddr);

impl Connected for AgentConnection {
    type ConnectInfo = AgentAddr;

    fn connect_info(&self) -> AgentAddr {
        AgentAddr(self.peer)
    }
}

impl AsyncRead for AgentConnection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for AgentConnection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
