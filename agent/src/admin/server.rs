//! Listening and serving: one request per connection, with limits on everything a client may do.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::routes::{self, Route};
use super::spares::{Lent, Spares};
use super::{AdminAddresses, AdminSources, answer};

/// Clients of one listener that are served at once; more wait in its backlog.
const MAX_CONNECTIONS: usize = 64;
/// Request line and headers.
const MAX_HEAD_BYTES: usize = 16 * 1024;
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// From accept to the last byte of the answer.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);
/// Pause after a failed accept(): it usually means that file descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the endpoints cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    #[error("the admin interface can stop the agent and must listen on loopback, not on {0}")]
    NotLoopback(SocketAddr),
    #[error("cannot listen on {address} for {purpose}")]
    Listen { purpose: &'static str, address: SocketAddr, source: io::Error },
}

/// The three listeners, before anybody is served.
#[derive(Debug)]
pub struct AdminServers {
    admin: TcpListener,
    metrics: TcpListener,
    readiness: TcpListener,
}

/// The endpoints are served until this is dropped.
#[derive(Debug)]
pub struct RunningServers(JoinSet<()>);

impl AdminServers {
    /// Listens on the three addresses.
    ///
    /// # Errors
    /// When the admin address is not on loopback, or an address cannot be listened on.
    pub async fn bind(addresses: AdminAddresses) -> Result<Self, AdminError> {
        if !addresses.admin.ip().to_canonical().is_loopback() {
            return Err(AdminError::NotLoopback(addresses.admin));
        }
        Ok(Self {
            admin: listen("admin", addresses.admin).await?,
            metrics: listen("metrics", addresses.metrics).await?,
            readiness: listen("readiness", addresses.readiness).await?,
        })
    }

    /// The addresses listened on, with the ports that the kernel chose where none was asked for.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn addresses(&self) -> io::Result<AdminAddresses> {
        Ok(AdminAddresses {
            admin: self.admin.local_addr()?,
            metrics: self.metrics.local_addr()?,
            readiness: self.readiness.local_addr()?,
        })
    }

    /// Serves, also while the process drains.
    #[must_use]
    pub fn start(self, sources: &Arc<AdminSources>) -> RunningServers {
        let mut servers = JoinSet::new();
        servers.spawn(serve(self.admin, routes::ADMIN, sources.clone()));
        servers.spawn(serve(self.metrics, routes::METRICS, sources.clone()));
        servers.spawn(serve(self.readiness, routes::READINESS, sources.clone()));
        RunningServers(servers)
    }
}

impl RunningServers {
    /// Resolves if a server ends, which they never do by themselves.
    pub async fn ended(&mut self) {
        self.0.join_next().await;
    }
}

async fn listen(purpose: &'static str, address: SocketAddr) -> Result<TcpListener, AdminError> {
    let bound = match TcpListener::bind(address).await {
        // A host without IPv6 has only one kind of "any address".
        Err(error) if address.ip().is_unspecified() && address.is_ipv6() && lacks_ipv6(&error) => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    };
    bound.map_err(|source| AdminError::Listen { purpose, address, source })
}

fn lacks_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

async fn serve(listener: TcpListener, routes: &'static [Route], sources: Arc<AdminSources>) {
    let spares = Spares::new();
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // Dropping the set ends what is still being served.
    let mut connections = JoinSet::new();
    loop {
        let slot = slots.clone().acquire_owned().await.expect("the semaphore is never closed");
        while connections.try_join_next().is_some() {}
        match spares.accept(|| listener.accept()).await {
            Ok(((stream, _), lent)) => {
                connections.spawn(answer(stream, (slot, lent), routes, sources.clone()));
            }
            Err(error) => {
                sources.metrics.accept_failed();
                tracing::debug!(%error, "cannot accept an admin connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves one client; it holds what it was given until its connection is closed.
async fn answer(
    stream: TcpStream,
    _holds: (OwnedSemaphorePermit, Lent),
    routes: &'static [Route],
    sources: Arc<AdminSources>,
) {
    let service = service_fn(|request| respond(routes, sources.clone(), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONNECTION_TIMEOUT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "admin request failed"),
        Err(_) => tracing::debug!("admin client is too slow"),
    }
}

/// Answers on a thread of its own: writing down a large mesh must not keep a data plane worker.
async fn respond(
    routes: &'static [Route],
    sources: Arc<AdminSources>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, _body) = request.into_parts();
    let answered = tokio::task::spawn_blocking(move || routes::respond(routes, &sources, &head)).await;
    Ok(answered.unwrap_or_else(|panic| {
        tracing::error!(%panic, "admin request panicked");
        answer::text(StatusCode::INTERNAL_SERVER_ERROR, "internal error\n")
    }))
}
