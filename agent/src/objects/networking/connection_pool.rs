//! `connectionPool` of a traffic policy (`istio.networking.v1.ConnectionPoolSettings`).

use std::time::Duration;

use super::values;
use crate::objects::reading::Fields;

/// Limits of connections and requests to a destination. What is `None` is not set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConnectionPool {
    pub max_connections: Option<u32>,
    pub connect_timeout: Option<Duration>,
    pub max_connection_duration: Option<Duration>,
    /// Of `http` where it is set there, else of `tcp`.
    pub idle_timeout: Option<Duration>,
    pub http1_max_pending_requests: Option<u32>,
    pub http2_max_requests: Option<u32>,
    pub max_requests_per_connection: Option<u32>,
    pub max_retries: Option<u32>,
    pub max_concurrent_streams: Option<u32>,
    pub h2_upgrade: H2Upgrade,
    pub use_client_protocol: bool,
}

/// `http.h2UpgradePolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum H2Upgrade {
    #[default]
    Default,
    DoNotUpgrade,
    Upgrade,
}

/// Connections to an endpoint are kept idle for this long at most.
const MAX_IDLE: Duration = Duration::from_secs(60);

/// Reads the block.
pub(super) fn read(mut fields: Fields<'_>) -> ConnectionPool {
    let mut found = ConnectionPool::default();
    if let Some(mut tcp) = fields.fields("tcp") {
        found.max_connections = limit(&mut tcp, "maxConnections");
        found.connect_timeout = values::duration(&mut tcp, "connectTimeout");
        found.max_connection_duration = values::duration(&mut tcp, "maxConnectionDuration");
        found.idle_timeout = values::duration(&mut tcp, "idleTimeout");
        tcp.without_effect("tcpKeepalive", "has no effect: the agent's own keep-alive finds dead peers");
        tcp.finish();
    }
    if let Some(mut http) = fields.fields("http") {
        let upgrades = [
            ("DEFAULT", H2Upgrade::Default),
            ("DO_NOT_UPGRADE", H2Upgrade::DoNotUpgrade),
            ("UPGRADE", H2Upgrade::Upgrade),
        ];
        found.http1_max_pending_requests = limit(&mut http, "http1MaxPendingRequests");
        found.http2_max_requests = limit(&mut http, "http2MaxRequests");
        found.max_requests_per_connection = limit(&mut http, "maxRequestsPerConnection");
        found.max_retries = limit(&mut http, "maxRetries");
        found.idle_timeout = values::duration(&mut http, "idleTimeout").or(found.idle_timeout);
        if found.idle_timeout.is_some_and(|timeout| timeout > MAX_IDLE) {
            http.notice("idleTimeout", "counts as 60s: no connection is kept idle for longer");
        }
        found.h2_upgrade = http.word("h2UpgradePolicy", &upgrades).unwrap_or_default();
        found.use_client_protocol = http.flag("useClientProtocol").unwrap_or(false);
        found.max_concurrent_streams = limit(&mut http, "maxConcurrentStreams");
        http.without_effect("http2KeepAlive", "has no effect: the agent's own keep-alive finds dead peers");
        http.finish();
    }
    fields.finish();
    found
}

/// A limit; 0 is none.
fn limit(fields: &mut Fields<'_>, name: &'static str) -> Option<u32> {
    fields.number(name, 0..=i128::from(i32::MAX)).filter(|limit| *limit != 0)
}
