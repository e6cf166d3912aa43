//! Settings of the control plane and the certificate authority, among them ztunnel's own environment variables where they mean
//! the same here, so that the values of an existing chart carry over.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::environment::Environment;
use super::values::{MAX_SECONDS, control_address, duration};

/// The lifetime of workload certificates unless a setting says otherwise, and the longest that may be asked for.
pub(super) const DEFAULT_CERTIFICATE_SECONDS: u64 = 86_400;
const MAX_CERTIFICATE_SECONDS: u64 = 3650 * MAX_SECONDS;

/// Where the users' own objects (routes, policies) come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ObjectsFrom {
    /// The control plane's stream.
    Xds,
    /// Routes and policies of destinations (VirtualService, DestinationRule, Sidecar, HTTPRoute, GRPCRoute), RequestAuthentication,
    /// Telemetry and RateLimit, from the Kubernetes API, the others from the control plane's stream. The agent says in the status of a
    /// RateLimit whether it counts.
    Kubernetes,
    /// Nowhere: only what the control plane made of them is known.
    Off,
}

/// What happens to inbound plaintext while no agent runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum PlaintextWithoutAgent {
    Deny,
    AllowPermissive,
}

/// Settings of the control plane and the certificate authority.
#[derive(Debug, Clone, Args)]
pub struct IstiodConfig {
    /// Control plane for delta ADS, as https://host:port or host:port.
    #[arg(long, env = "XDS_ADDRESS", value_parser = control_address)]
    pub xds_address: Option<String>,
    /// Server name to expect in the control plane's certificate; the host of its address unless set.
    #[arg(long, env = "ALT_XDS_HOSTNAME")]
    pub xds_server_name: Option<String>,
    /// Root certificates of the control plane: a path, which is reread when it changes, PEM text, or SYSTEM.
    #[arg(long, env = "XDS_ROOT_CA", default_value = "/var/run/secrets/istio/root-cert.pem")]
    pub xds_root_ca: PathBuf,
    /// Certificate authority, as https://host:port; the control plane's address unless set.
    #[arg(long, env = "CA_ADDRESS", value_parser = control_address)]
    pub ca_address: Option<String>,
    /// File with the bearer token that proves which node this is; reread for every request.
    #[arg(long, env = "AUTH_TOKEN", default_value = "/var/run/secrets/tokens/istio-token")]
    pub auth_token: PathBuf,
    /// Lifetime to ask for in workload certificates, in seconds. They are renewed at half of it.
    #[arg(long, env = "WEIR_CERTIFICATE_SECONDS", default_value_t = DEFAULT_CERTIFICATE_SECONDS, value_parser = clap::value_parser!(u64).range(1..=MAX_CERTIFICATE_SECONDS))]
    pub certificate_seconds: u64,
    /// Service account of the agent's own pod.
    #[arg(long, env = "SERVICE_ACCOUNT", default_value = "")]
    pub service_account: String,
    /// Root certificate of the certificate authority, beside which it may name more: a path, PEM text or SYSTEM. Workload
    /// certificates of all its roots are trusted. The control plane's root unless set.
    #[arg(long, env = "CA_ROOT_CA")]
    pub ca_root_ca: Option<String>,
    /// Server name to expect in the certificate authority's certificate; the host of its address unless set.
    #[arg(long, env = "ALT_CA_HOSTNAME")]
    pub ca_server_name: Option<String>,
    /// Where the objects come from that users wrote (policies, routes): the control plane, or, for a control plane that sends
    /// no routes, these from the Kubernetes API. Policies that need HTTP are enforced in a safe form without it.
    #[arg(long, env = "WEIR_OBJECTS", value_enum, default_value_t = ObjectsFrom::Xds)]
    pub objects: ObjectsFrom,
    /// Inbound plaintext while no agent runs: refuse it, or pass it to the application of pods for which no policy is in
    /// force. A pod with any policy, STRICT or another, always refuses it.
    #[arg(long, env = "WEIR_PLAINTEXT_WITHOUT_AGENT", value_enum, default_value_t = PlaintextWithoutAgent::Deny)]
    pub plaintext_without_agent: PlaintextWithoutAgent,
    /// ztunnel's name for --certificate-seconds, such as 24h.
    #[arg(long, env = "SECRET_TTL", hide = true, value_parser = duration)]
    pub secret_ttl: Option<Duration>,
    /// ztunnel's name for --drain-seconds, such as 5s.
    #[arg(long, env = "CONNECTION_TERMINATION_DEADLINE", hide = true, value_parser = duration)]
    pub connection_termination_deadline: Option<Duration>,
    /// The pod's termination grace period in seconds: the drain ends 5 seconds before it.
    #[arg(long, env = "TERMINATION_GRACE_PERIOD_SECONDS", hide = true)]
    pub termination_grace_period_seconds: Option<u64>,
    /// What only a scan of the environment finds.
    #[arg(skip = Environment::default())]
    pub environment: Environment,
}
