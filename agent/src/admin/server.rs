//! Listening and serving: one request per connection, with limits on everything a client may do.
//!
//! Clients that send no request keep nobody out: where all places are taken, the one that has been silent for longest is
//! dropped.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};

use super::reserve::{Refill, Reserve};
use super::response::{self, AdminResponse};
use super::routes::{self, Route};
use super::sources::AdminSources;
use crate::config::AgentConfig;

/// Clients of one listener that are served at once.
const MAX_CONNECTIONS: usize = 64;
/// Responses of one listener that are being made at once; more requests wait.
const MAX_RESPONSES: usize = 16;
/// Request line and headers.
const MAX_HEAD_BYTES: usize = 16 * 1024;
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// From accept to the last byte of the response.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);
/// Pause after a failed accept(): it usually means that file descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The three addresses to listen on.
#[derive(Debug, Clone, Copy)]
pub struct AdminAddresses {
    /// Must be on loopback.
    pub admin: SocketAddr,
    pub metrics: SocketAddr,
    pub readiness: SocketAddr,
}

impl From<&AgentConfig> for AdminAddresses {
    fn from(config: &AgentConfig) -> Self {
        Self {
            admin: config.endpoints.admin_address,
            metrics: config.endpoints.metrics_address,
            readiness: config.endpoints.readiness_address,
        }
    }
}

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
    #[cfg(test)]
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
    let reserve = Reserve::new();
    let responses = Arc::new(Semaphore::new(MAX_RESPONSES));
    // Dropping the set ends what is still being served.
    let mut connections = JoinSet::new();
    let mut clients = Clients::default();
    loop {
        let accepted = reserve.accept(|| listener.accept()).await;
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok(((stream, _), refill)) => {
                clients.make_room();
                let has_requested = Arc::<AtomicBool>::default();
                let client = ClientContext { has_requested: has_requested.clone(), responses: responses.clone() };
                let handle = connections.spawn(serve_client(stream, refill, client, routes, sources.clone()));
                clients.0.push_back(Client { handle, has_requested });
            }
            Err(error) => {
                sources.metrics.accept_failed();
                tracing::debug!(%error, "cannot accept an admin connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The clients of a listener, oldest first.
#[derive(Default)]
struct Clients(VecDeque<Client>);

struct Client {
    handle: AbortHandle,
    has_requested: Arc<AtomicBool>,
}

impl Clients {
    /// Makes a place for one more, at the cost of the oldest that has not asked anything yet, else of the oldest.
    fn make_room(&mut self) {
        self.0.retain(|client| !client.handle.is_finished());
        while self.0.len() >= MAX_CONNECTIONS {
            let silent = self.0.iter().position(|client| !client.has_requested.load(Ordering::Relaxed));
            if let Some(client) = self.0.remove(silent.unwrap_or(0)) {
                client.handle.abort();
            }
        }
    }
}

/// What the response to one client needs besides the request.
#[derive(Clone)]
struct ClientContext {
    has_requested: Arc<AtomicBool>,
    responses: Arc<Semaphore>,
}

/// Serves one client; the reserve is filled up once its connection is closed.
async fn serve_client(
    stream: TcpStream,
    _refill: Refill,
    client: ClientContext,
    routes: &'static [Route],
    sources: Arc<AdminSources>,
) {
    let service = service_fn(|request| respond(routes, sources.clone(), client.clone(), request));
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

/// Makes the response on a thread for blocking work: writing down a large mesh must not hold up the runtime.
async fn respond(
    routes: &'static [Route],
    sources: Arc<AdminSources>,
    client: ClientContext,
    request: Request<Incoming>,
) -> Result<AdminResponse, Infallible> {
    client.has_requested.store(true, Ordering::Relaxed);
    // Held by the work, not by the client: one that leaves makes no room for more work.
    let permit = client.responses.acquire_owned().await.expect("the semaphore is never closed");
    let (head, _body) = request.into_parts();
    let responding = tokio::task::spawn_blocking(move || {
        let response = routes::respond(routes, &sources, &head);
        drop(permit);
        response
    });
    Ok(responding.await.unwrap_or_else(|panic| {
        tracing::error!(%panic, "admin request panicked");
        response::text(StatusCode::INTERNAL_SERVER_ERROR, "internal error\n")
    }))
}

#[cfg(test)]
mod tests;
