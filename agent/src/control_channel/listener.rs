//! The control plane's end of the channel: accepts agents' connections over TLS with server authentication.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use crate::tls::server_auth::{self, ServerConfigError};

/// How long a client may take for its TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections of one source, handshakes included: a node's agent has two, and nodes may share an address (NAT). Whoever opens more
/// takes no descriptors from the others.
const MAX_PER_SOURCE: usize = 256;
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
    let sources = Sources::default();
    tokio::spawn(async move {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = ready.closed() => return,
            };
            match accepted {
                Ok((tcp, peer)) => match sources.take(peer.ip()) {
                    Some(counted) => {
                        let acceptor = identity.acceptor.load().as_ref().clone();
                        tokio::spawn(handshake(acceptor, tcp, peer, counted, ready.clone()));
                    }
                    None => tracing::debug!(%peer, "refused: too many connections of this address are open"),
                },
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
    counted: Counted,
    ready: mpsc::Sender<io::Result<AgentConnection>>,
) {
    let _ = tcp.set_nodelay(true);
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(tcp)).await {
        Ok(Ok(stream)) => {
            // A closed receiver means that the server stops: the connection is dropped with it.
            let _ = ready.send(Ok(AgentConnection { stream, peer, _counted: counted })).await;
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
    _counted: Counted,
}

/// How many connections each source has. An IPv6 source is a /64: whoever has one address of it has all.
#[derive(Debug, Clone, Default)]
struct Sources(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// A connection that counts for its source, until dropped.
#[derive(Debug)]
struct Counted {
    sources: Sources,
    source: IpAddr,
}

impl Sources {
    /// Counts one more connection; `None` where there are too many.
    fn take(&self, address: IpAddr) -> Option<Counted> {
        let source = match address.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6((address.to_bits() & (!0 << 64)).into()),
            v4 => v4,
        };
        let mut all = self.0.lock();
        let count = all.entry(source).or_default();
        if *count >= MAX_PER_SOURCE {
            return None;
        }
        *count += 1;
        Some(Counted { sources: self.clone(), source })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut all = self.sources.0.lock();
        if let Some(count) = all.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.source);
            }
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_its_share_and_takes_nobody_elses() {
        let sources = Sources::default();
        let take = |address: &str| sources.take(address.parse().expect("an address"));
        let mut held: Vec<_> = (0..MAX_PER_SOURCE).map(|_| take("10.0.0.1").expect("its share")).collect();
        assert!(take("10.0.0.1").is_none() && take("::ffff:10.0.0.1").is_none(), "it has its share");
        held.extend([take("10.0.0.2").expect("another"), take("2001:db8::1").expect("another")]);
        assert!(take("10.0.0.1").is_none());
        let of_one_network: Vec<_> =
            (0..MAX_PER_SOURCE as u128).filter_map(|n| take(&format!("2001:db8:1::{n:x}"))).collect();
        assert_eq!(of_one_network.len(), MAX_PER_SOURCE);
        assert!(take("2001:db8:1::ffff").is_none() && take("2001:db8:2::1").is_some());
        drop((held, of_one_network));
        assert!(sources.0.lock().is_empty(), "what is closed is forgotten");
    }
}
