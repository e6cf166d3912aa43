//! Bounds on what one pod may hold. `docs/limits.md` has the reasons for the defaults and what happens at each bound.

use clap::Args;

use crate::limits::LimitKind;

/// The most that any of these settings may ask for: more descriptors than Linux gives to a process by default (`fs.nr_open`).
const MAX: i64 = 1 << 20;

/// The most KiB of memory that a setting may name: one TiB.
const MAX_KIB: i64 = 1 << 30;

/// Bounds on what one pod may hold of what all pods of the node share.
#[derive(Debug, Clone, Args)]
pub struct LimitsConfig {
    /// Open connections of one pod to others. At the limit its further connections wait to be accepted.
    #[arg(long, env = "WEIR_MAX_OUTBOUND_CONNECTIONS_PER_POD", default_value_t = 65_536, value_parser = clap::value_parser!(u32).range(1..=MAX))]
    pub max_outbound_connections_per_pod: u32,
    /// Open connections to one pod. At the limit further plaintext connections wait to be accepted, HBONE requests are refused.
    #[arg(long, env = "WEIR_MAX_INBOUND_CONNECTIONS_PER_POD", default_value_t = 65_536, value_parser = clap::value_parser!(u32).range(1..=MAX))]
    pub max_inbound_connections_per_pod: u32,
    /// Connections of one pod that wait for their upstream. At the limit its further connections wait to be accepted.
    #[arg(long, env = "WEIR_MAX_PENDING_CONNECTS_PER_POD", default_value_t = 8192, value_parser = clap::value_parser!(u32).range(1..=MAX))]
    pub max_pending_connects_per_pod: u32,
    /// HBONE connections of one peer to one pod, and requests on them. At the limit further ones are refused.
    #[arg(long, env = "WEIR_MAX_INBOUND_PER_PEER", default_value_t = 32_768, value_parser = clap::value_parser!(u32).range(1..=MAX))]
    pub max_inbound_per_peer: u32,
    /// Connections to one pod's HBONE port whose peer has not authenticated yet. At the limit the oldest of them is ended.
    #[arg(long, env = "WEIR_MAX_HANDSHAKES_PER_POD", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=MAX))]
    pub max_handshakes_per_pod: u32,
    /// KiB that slow readers of one pod may make the agent hold, beyond 64 KiB for each HBONE stream and 16 KiB for each direction of
    /// a plaintext connection. At the limit windows and reads do not grow: peers send less at a time.
    #[arg(long, env = "WEIR_MAX_HELD_KIB_PER_POD", default_value_t = 32_768, value_parser = clap::value_parser!(u32).range(0..=MAX_KIB))]
    pub max_held_kib_per_pod: u32,
    /// The same of all pods of the node together.
    #[arg(long, env = "WEIR_MAX_HELD_KIB", default_value_t = 524_288, value_parser = clap::value_parser!(u32).range(0..=MAX_KIB))]
    pub max_held_kib: u32,
    /// HBONE connections of one pod to one peer, in equal parts for the worker threads. At the limit a further connection of an
    /// application waits for a place on one of them, as long as a connection attempt may take, and is then refused.
    #[arg(long, env = "WEIR_MAX_CONNECTIONS_PER_PEER", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=MAX))]
    pub max_connections_per_peer: u32,
    /// HBONE connections of one pod to all its peers, those on their way included. At the limit those that have been idle for longest
    /// are closed; where none is idle, a further connection of an application waits as at the limit above.
    #[arg(long, env = "WEIR_MAX_HBONE_CONNECTIONS_PER_POD", default_value_t = 8192, value_parser = clap::value_parser!(u32).range(1..=MAX))]
    pub max_hbone_connections_per_pod: u32,
    /// Lookups in DNS for one pod that run at once. At the limit its further connections to endpoints that only have a name wait.
    #[arg(long, env = "WEIR_MAX_NAME_LOOKUPS_PER_POD", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=MAX))]
    pub max_name_lookups_per_pod: u32,
    /// Connections to upstreams that the agent keeps for the HTTP requests of one pod, HBONE streams included. At the limit a request
    /// that needs a further one is answered 503.
    #[arg(long, env = "WEIR_MAX_HTTP_UPSTREAMS_PER_POD", default_value_t = 16_384, value_parser = clap::value_parser!(u32).range(1..=MAX))]
    pub max_http_upstreams_per_pod: u32,
    /// Requests of one pod that are under way as streams of HTTP/2, of which one connection has 1,024 at most. At the limit a further
    /// one is answered 503.
    #[arg(long, env = "WEIR_MAX_HTTP_STREAMS_PER_POD", default_value_t = 16_384, value_parser = clap::value_parser!(u32).range(1..=MAX))]
    pub max_http_streams_per_pod: u32,
    /// Copies of one pod's requests that are under way to mirrors. At the limit a further request has no copy.
    #[arg(long, env = "WEIR_MAX_MIRRORED_REQUESTS_PER_POD", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=MAX))]
    pub max_mirrored_requests_per_pod: u32,
    /// Requests that the agent makes for one pod at once, to ask external authorizers and rate limit services about requests to the
    /// pod. At the limit a further one fails, as if nobody had answered it.
    #[arg(long, env = "WEIR_MAX_AGENT_REQUESTS_PER_POD", default_value_t = 16_384, value_parser = clap::value_parser!(u32).range(1..=MAX))]
    pub max_agent_requests_per_pod: u32,
    /// Series of metrics of one pod whose labels Telemetry objects change (`tagOverrides`). At the limit further combinations of values
    /// are counted together, with the value `overflow` for each changed label.
    #[arg(long, env = "WEIR_MAX_METRIC_SERIES_PER_POD", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=MAX))]
    pub max_metric_series_per_pod: u32,
    /// Sources of requests to one pod that its rate limits count by themselves (`by: source`), those of each such limit counted. At the
    /// limit further sources are counted together, until one is forgotten of which nothing is counted any more.
    #[arg(long, env = "WEIR_MAX_RATE_LIMIT_SOURCES_PER_POD", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=MAX))]
    pub max_rate_limit_sources_per_pod: u32,
    /// Bytes of access lines of one pod that wait to be written, where standard output is not read as fast as they come. Never more
    /// than are left for other pods. At the limit further lines are dropped and counted.
    #[arg(long, env = "WEIR_MAX_LOG_BYTES_PER_POD", default_value_t = 4_194_304, value_parser = clap::value_parser!(u32).range(1..=MAX_KIB))]
    pub max_log_bytes_per_pod: u32,
    /// Spans of one pod's requests that wait to be exported, where the collector does not take them as fast as they come. Never more
    /// than are left for other pods. At the limit further spans are dropped and counted.
    #[arg(long, env = "WEIR_MAX_WAITING_SPANS_PER_POD", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=MAX))]
    pub max_waiting_spans_per_pod: u32,
    /// Tokens (JWT) of requests to one pod that are remembered as verified. At the limit the oldest of them is forgotten: it is verified
    /// again with its next request.
    #[arg(long, env = "WEIR_MAX_REMEMBERED_TOKENS_PER_POD", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(0..=MAX))]
    pub max_remembered_tokens_per_pod: u32,
}

impl LimitsConfig {
    /// The maximum of a kind of limit.
    #[must_use]
    pub fn maximum(&self, kind: LimitKind) -> u32 {
        match kind {
            LimitKind::OutboundConnections => self.max_outbound_connections_per_pod,
            LimitKind::InboundConnections => self.max_inbound_connections_per_pod,
            LimitKind::PendingConnects => self.max_pending_connects_per_pod,
            LimitKind::InboundOfPeer => self.max_inbound_per_peer,
            LimitKind::Handshakes => self.max_handshakes_per_pod,
            LimitKind::HeldKib => self.max_held_kib_per_pod,
            LimitKind::AgentHeldKib => self.max_held_kib,
            LimitKind::PeerConnections => self.max_connections_per_peer,
            LimitKind::HboneConnections => self.max_hbone_connections_per_pod,
            LimitKind::NameLookups => self.max_name_lookups_per_pod,
            LimitKind::HttpUpstreams => self.max_http_upstreams_per_pod,
            LimitKind::HttpStreams => self.max_http_streams_per_pod,
            LimitKind::MirroredRequests => self.max_mirrored_requests_per_pod,
            LimitKind::AgentRequests => self.max_agent_requests_per_pod,
            LimitKind::MetricSeries => self.max_metric_series_per_pod,
            LimitKind::RateLimitSources => self.max_rate_limit_sources_per_pod,
            LimitKind::LogBytes => self.max_log_bytes_per_pod,
            LimitKind::WaitingSpans => self.max_waiting_spans_per_pod,
            LimitKind::RememberedTokens => self.max_remembered_tokens_per_pod,
        }
    }
}
