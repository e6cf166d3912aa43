//! Every metric: name, help, labels. Istio's names and labels, so that existing dashboards work; ours begin with `weir_`.
//!
//! Counters get `_total` appended when they are written.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Name and help of a metric.
pub(super) type Described = (&'static str, &'static str);

// Labels: see `labels.rs`. `sent` is the response and `received` the request, whichever side reports: see
// `OpenConnection::count_bytes`.
pub(super) const TCP_CONNECTIONS_OPENED: Described =
    ("istio_tcp_connections_opened", "The total number of TCP connections opened");
pub(super) const TCP_CONNECTIONS_CLOSED: Described =
    ("istio_tcp_connections_closed", "The total number of TCP connections closed");
pub(super) const TCP_CONNECTIONS_FAILED: Described =
    ("istio_tcp_connections_failed", "The total number of TCP connections that ended in a failure or were refused");
pub(super) const TCP_RECEIVED_BYTES: Described =
    ("istio_tcp_received_bytes", "The size of total bytes received during request in case of a TCP connection");
pub(super) const TCP_SENT_BYTES: Described =
    ("istio_tcp_sent_bytes", "The size of total bytes sent during response in case of a TCP connection");

// Labels: see `request_labels.rs`. Counted at the end of a request, but for the messages of gRPC.
pub(super) const REQUESTS: Described = ("istio_requests", "The total number of requests");
pub(super) const REQUEST_DURATION: Described =
    ("istio_request_duration_milliseconds", "Milliseconds from the head of a request to the end of its response");
pub(super) const REQUEST_BYTES: Described = ("istio_request_bytes", "The size of the bodies of requests in bytes");
pub(super) const RESPONSE_BYTES: Described = ("istio_response_bytes", "The size of the bodies of responses in bytes");
pub(super) const REQUEST_MESSAGES: Described =
    ("istio_request_messages", "The total number of gRPC messages that clients have sent");
pub(super) const RESPONSE_MESSAGES: Described =
    ("istio_response_messages", "The total number of gRPC messages that servers have sent");

/// Labels: `verdict`.
pub(super) const CAPTURE_VERDICTS: Described =
    ("weir_capture_verdicts", "What the kernel programs decided, by verdict and bypass reason");
/// Labels: `map`.
pub(super) const CAPTURE_MAP_ENTRIES: Described =
    ("weir_capture_map_entries", "Entries in the maps of the kernel programs now");
/// Labels: `limit`.
pub(super) const LIMIT_REACHED: Described = (
    "weir_limit_reached",
    "How often something of a pod had to wait or was refused because the pod held as much as it may, by limit",
);
/// Labels: `kind`, that of an object.
pub(super) const FIELDS_WITHOUT_EFFECT: Described = (
    "weir_config_fields_without_effect",
    "Fields of the objects in force that have no effect, by kind of object; weir status --config names them",
);
/// Labels: `protocol`, `kind`.
pub(super) const HEADS_PARSED: Described = (
    "weir_http_heads_parsed",
    "Heads of messages that were parsed, by protocol (http1, http2, hbone, request_stream) and by kind (request, response)",
);
/// Labels: `identity` (bounded by the pods of the node).
pub(super) const CERTIFICATE_EXPIRY: Described =
    ("weir_certificate_expiry_seconds", "Seconds until the workload certificate expires; negative once it has");
pub(super) const LAST_GOOD_AGE: Described =
    ("weir_last_good_age_seconds", "Seconds since configuration was last received and accepted");

pub(super) const WORKER_RESTARTS: Described = (
    "weir_worker_restarts",
    "Workers of this agent that ended without a request to stop, and were followed by another",
);

pub(super) const LOG_LINES_DROPPED: Described =
    ("weir_log_lines_dropped", "Log lines dropped because the log could not be written fast enough");

pub(super) const PROCESS_OPEN_FDS: Described = ("process_open_fds", "Number of open file descriptors");
pub(super) const PROCESS_MAX_FDS: Described = ("process_max_fds", "Maximum number of open file descriptors");
pub(super) const PROCESS_RESIDENT_MEMORY: Described =
    ("process_resident_memory_bytes", "Resident memory size in bytes");
pub(super) const PROCESS_CPU_SECONDS: Described =
    ("process_cpu_seconds", "Total user and system CPU time spent in seconds");
pub(super) const PROCESS_THREADS: Described = ("process_threads", "Number of operating system threads");
pub(super) const PROCESS_START_TIME: Described =
    ("process_start_time_seconds", "Start time of the process since the Unix epoch in seconds");

type Labels<const N: usize> = [(&'static str, &'static str); N];
type TextLabel = [(&'static str, String); 1];

/// The metrics that are counted where things happen. Everything else is read at a scrape.
#[derive(Debug, Default)]
pub(super) struct Counted {
    /// Labels: `reporter`.
    pub(super) sockets_open: Family<Labels<1>, Gauge>,
    /// Labels: `reason`.
    pub(super) xds_connection_terminations: Family<Labels<1>, Counter>,
    /// Labels: `url`.
    pub(super) xds_messages: Family<TextLabel, Counter>,
    /// Labels: `url`.
    pub(super) xds_message_bytes: Family<TextLabel, Counter>,
    /// Labels: `type`.
    pub(super) xds_repeats: Family<TextLabel, Counter>,
    pub(super) active_proxies: Gauge,
    pub(super) pending_proxies: Gauge,
    /// Labels: `side`, `reason`.
    pub(super) handshake_failures: Family<Labels<2>, Counter>,
    pub(super) peers_distrusted: Family<Labels<2>, Counter>,
    /// Labels: `result`.
    pub(super) certificate_requests: Family<Labels<1>, Counter>,
    /// Labels: `type`.
    pub(super) config_rejected: Family<TextLabel, Counter>,
    /// Labels: `field`.
    pub(super) enrollment_refusals: Family<Labels<1>, Counter>,
    /// Labels: `command`, `answer`.
    pub(super) cni_calls: Family<Labels<2>, Counter>,
    /// Labels: `command`, `answer`.
    pub(super) nri_requests: Family<Labels<2>, Counter>,
    pub(super) nri_connected: Gauge,
    /// Labels: `side`.
    pub(super) hbone_connections_open: Family<Labels<1>, Gauge>,
    pub(super) same_node_links_open: Gauge,
    pub(super) late_plaintext: Gauge,
    pub(super) late_plaintext_ended: Counter,
    pub(super) policy_closed_connections: Counter,
    pub(super) dry_run_denials: Counter,
    pub(super) request_denials: Counter,
    pub(super) audited: Counter,
    /// Labels: `result`.
    pub(super) external_authorizations: Family<Labels<1>, Counter>,
    pub(super) accept_errors: Counter,
    pub(super) spans_exported: Counter,
    pub(super) spans_dropped: Counter,
    /// Labels: `result`.
    pub(super) jwks_fetches: Family<Labels<1>, Counter>,
    /// Labels: `file`.
    pub(super) state_write_failures: Family<Labels<1>, Counter>,
    pub(super) kubernetes_watch_errors: Counter,
    /// Labels: `result`.
    pub(super) object_status_writes: Family<Labels<1>, Counter>,
}

impl Counted {
    pub(super) fn register(&self, registry: &mut Registry) {
        let istio = registry.sub_registry_with_prefix("istio");
        istio.register("tcp_sockets_open", "Connections open now", self.sockets_open.clone());
        istio.register(
            "xds_connection_terminations",
            "The total number of completed connections to the control plane, by how they ended",
            self.xds_connection_terminations.clone(),
        );
        istio.register(
            "xds_message",
            "The total number of messages received from the control plane",
            self.xds_messages.clone(),
        );
        istio.register(
            "xds_message_bytes",
            "The total size of messages received from the control plane",
            self.xds_message_bytes.clone(),
        );
        let build: Family<Labels<2>, Gauge> = Family::default();
        // Under the second name dashboards look for whatever serves a node.
        for component in ["weir", "ztunnel"] {
            build.get_or_create(&[("component", component), ("tag", env!("CARGO_PKG_VERSION"))]).set(1);
        }
        istio.register("build", "Component and version", build);

        registry.register(
            "workload_manager_active_proxy_count",
            "Enrolled pods whose traffic is captured now",
            self.active_proxies.clone(),
        );
        registry.register(
            "workload_manager_pending_proxy_count",
            "Enrolled pods that are not captured yet",
            self.pending_proxies.clone(),
        );
        let weir = registry.sub_registry_with_prefix("weir");
        self.register_peers(weir);
        self.register_connections(weir);
        self.register_own(weir);
    }

    fn register_peers(&self, weir: &mut Registry) {
        weir.register(
            "tls_handshake_failures",
            "The total number of TLS handshakes that failed, as server (downstream) or client (upstream)",
            self.handshake_failures.clone(),
        );
        weir.register(
            "hbone_peers_distrusted",
            "The total number of open HBONE connections whose peer would no longer be accepted, as server (downstream) or client \
             (upstream)",
            self.peers_distrusted.clone(),
        );
        weir.register(
            "hbone_connections_open",
            "HBONE connections open now, accepted (downstream) or opened (upstream)",
            self.hbone_connections_open.clone(),
        );
        weir.register(
            "same_node_links_open",
            "Pairs of a pod and another one of the same node whose requests go from one to the other within the agent now",
            self.same_node_links_open.clone(),
        );
    }

    fn register_own(&self, weir: &mut Registry) {
        weir.register(
            "certificate_requests",
            "The total number of certificates asked for, by result",
            self.certificate_requests.clone(),
        );
        weir.register(
            "xds_repeated_resources",
            "The total number of resources from the control plane that were what is held already, by type",
            self.xds_repeats.clone(),
        );
        weir.register(
            "config_rejected",
            "The total number of configuration resources that were refused, by type",
            self.config_rejected.clone(),
        );
        weir.register(
            "enrollment_refusals",
            "The total number of enrolment requests that were refused, by the field that was wrong",
            self.enrollment_refusals.clone(),
        );
        weir.register(
            "cni_calls",
            "The total number of calls of the CNI plugin, by command and by what it was answered",
            self.cni_calls.clone(),
        );
        weir.register(
            "nri_requests",
            "The total number of the container runtime's questions about pods, by command and by what it was answered",
            self.nri_requests.clone(),
        );
        weir.register("nri_connected", "Whether the container runtime asks about new pods", self.nri_connected.clone());
        weir.register(
            "accept_errors",
            "The total number of failures to accept a connection",
            self.accept_errors.clone(),
        );
        weir.register(
            "state_write_failures",
            "The total number of times that what must outlive a restart could not be written to disk",
            self.state_write_failures.clone(),
        );
        weir.register(
            "kubernetes_watch_errors",
            "The total number of times that following Kubernetes was interrupted",
            self.kubernetes_watch_errors.clone(),
        );
        weir.register(
            "object_status_writes",
            "The total number of times that the status of an object was sent to Kubernetes, by result (written, overtaken, failed)",
            self.object_status_writes.clone(),
        );
    }

    fn register_connections(&self, weir: &mut Registry) {
        weir.register(
            "late_plaintext_connections",
            "Plaintext connections open now whose other end is a pod that speaks HBONE: opened before the mesh said so",
            self.late_plaintext.clone(),
        );
        weir.register(
            "late_plaintext_ended",
            "The total number of such connections that were ended on request, or by --end-late-plaintext-after-seconds",
            self.late_plaintext_ended.clone(),
        );
        weir.register(
            "spans_exported",
            "The total number of spans of requests that the collector has taken",
            self.spans_exported.clone(),
        );
        weir.register(
            "spans_dropped",
            "The total number of spans of requests that the collector has not taken, or not fast enough",
            self.spans_dropped.clone(),
        );
        weir.register(
            "jwks_fetches",
            "The total number of times that a provider was asked for the keys of an issuer of tokens, by result",
            self.jwks_fetches.clone(),
        );
        weir.register(
            "policy_closed_connections",
            "The total number of live connections closed because policy no longer allows them",
            self.policy_closed_connections.clone(),
        );
        weir.register(
            "request_denials",
            "The total number of requests that policy has denied at their destination",
            self.request_denials.clone(),
        );
        weir.register(
            "audited",
            "The total number of requests, and of connections without any, that an AUDIT policy matches",
            self.audited.clone(),
        );
        weir.register(
            "external_authorizations",
            "The total number of requests that an external authorizer was asked about, by what came of it (allowed, denied, error, failed_open)",
            self.external_authorizations.clone(),
        );
        weir.register(
            "dry_run_denials",
            "The total number of allowed connections that a dry-run policy would have denied",
            self.dry_run_denials.clone(),
        );
    }
}
