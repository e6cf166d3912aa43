//! Settings of the data plane: its threads, timeouts and connection pools.

use clap::Args;

use super::values::{MAX_SECONDS, worker_threads};

/// How long a drain may take unless a setting says otherwise.
pub(super) const DEFAULT_DRAIN_SECONDS: u64 = 300;

/// See the module.
#[derive(Debug, Clone, Args)]
pub struct ProxyConfig {
    /// Worker threads of the data plane, or a share of the cores such as 50%; 0 means one per core.
    #[arg(long, env = "ZTUNNEL_WORKER_THREADS", default_value_t = 0, value_parser = worker_threads)]
    pub worker_threads: usize,
    /// Seconds that live connections may take to end after the agent was told to stop.
    #[arg(long, env = "WEIR_DRAIN_SECONDS", default_value_t = DEFAULT_DRAIN_SECONDS, value_parser = clap::value_parser!(u64).range(0..=MAX_SECONDS))]
    pub drain_seconds: u64,
    /// Seconds a TCP connect to an upstream may take.
    #[arg(long, env = "WEIR_CONNECT_TIMEOUT_SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=MAX_SECONDS))]
    pub connect_timeout_seconds: u64,
    /// Seconds a TLS and HTTP/2 handshake with a peer may take, on either side.
    #[arg(long, env = "WEIR_HANDSHAKE_TIMEOUT_SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=MAX_SECONDS))]
    pub handshake_timeout_seconds: u64,
    /// Seconds a peer may take to answer a CONNECT request.
    #[arg(long, env = "WEIR_REQUEST_TIMEOUT_SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=MAX_SECONDS))]
    pub request_timeout_seconds: u64,
    /// Streams that share one HBONE connection before another is opened.
    #[arg(long, env = "POOL_MAX_STREAMS_PER_CONNECTION", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub pool_max_streams: u32,
    /// Seconds after which an idle HBONE connection is closed.
    #[arg(long, env = "WEIR_POOL_IDLE_SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=MAX_SECONDS))]
    pub pool_idle_seconds: u64,
}
