//! `connectionPool` of a traffic policy (`istio.networking.v1.ConnectionPoolSettings`).

use std::time::Duration;

use super::values;
use crate::model::http::destination::{Http2Keepalive, TcpKeepalive};
use crate::objects::reading::Fields;

/// Limits of connections and requests to a destination. What is `None` is not set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConnectionPool {
    pub max_connections: Option<u32>,
    pub connect_timeout: Option<Duration>,
    pub max_connection_duration: Option<Duration>,
    pub tcp_keepalive: TcpKeepalive,
    /// Of `http` where it is set there, else of `tcp`.
    pub idle_timeout: Option<Duration>,
    pub http1_max_pending_requests: Option<u32>,
    pub http2_max_requests: Option<u32>,
    pub max_requests_per_connection: Option<u32>,
    pub max_retries: Option<u32>,
    pub max_concurrent_streams: Option<u32>,
    pub http2_keepalive: Option<Http2Keepalive>,
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

/// How long the answer to a PING may take where `http2KeepAlive` does not say.
const DEFAULT_PING_TIMEOUT: Duration = Duration::from_secs(20);
/// The shortest time between PINGs: servers end connections that ask more often.
const SHORTEST_PING_INTERVAL: Duration = Duration::from_secs(1);

/// Reads the block.
pub(super) fn read(mut fields: Fields<'_>) -> ConnectionPool {
    let mut found = ConnectionPool::default();
    if let Some(mut tcp) = fields.fields("tcp") {
        found.max_connections = limit(&mut tcp, "maxConnections");
        found.connect_timeout = values::duration(&mut tcp, "connectTimeout");
        found.max_connection_duration = values::duration(&mut tcp, "maxConnectionDuration");
        found.idle_timeout = values::duration(&mut tcp, "idleTimeout");
        found.tcp_keepalive = tcp.fields("tcpKeepalive").map(tcp_keepalive).unwrap_or_default();
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
        found.h2_upgrade = http.word("h2UpgradePolicy", &upgrades).unwrap_or_default();
        found.use_client_protocol = http.flag("useClientProtocol").unwrap_or(false);
        found.max_concurrent_streams = limit(&mut http, "maxConcurrentStreams");
        found.http2_keepalive = http.fields("http2KeepAlive").and_then(http2_keepalive);
        http.finish();
    }
    fields.finish();
    found
}

/// Reads `tcpKeepalive`, of a rule or of MeshConfig.
pub(super) fn tcp_keepalive(mut fields: Fields<'_>) -> TcpKeepalive {
    let found = TcpKeepalive {
        probes: fields.number("probes", 0..=i128::from(u32::MAX)).filter(|probes| *probes != 0),
        time: values::duration(&mut fields, "time"),
        interval: values::duration(&mut fields, "interval"),
    };
    fields.finish();
    found
}

/// Without an interval nothing is asked.
fn http2_keepalive(mut fields: Fields<'_>) -> Option<Http2Keepalive> {
    let interval = values::duration(&mut fields, "interval").filter(|interval| !interval.is_zero());
    let timeout = values::duration(&mut fields, "timeout").filter(|timeout| !timeout.is_zero());
    if interval.is_some_and(|interval| interval < SHORTEST_PING_INTERVAL) {
        fields.notice("interval", "counts as 1s: servers end connections that ask more often");
    }
    if interval.is_none() && timeout.is_some() {
        fields.notice("timeout", "has no effect without interval: nothing is asked");
    }
    fields.finish();
    let timeout = timeout.unwrap_or(DEFAULT_PING_TIMEOUT);
    interval.map(|interval| Http2Keepalive { interval: interval.max(SHORTEST_PING_INTERVAL), timeout })
}

/// A limit; 0 is none.
fn limit(fields: &mut Fields<'_>, name: &'static str) -> Option<u32> {
    fields.number(name, 0..=i128::from(i32::MAX)).filter(|limit| *limit != 0)
}
