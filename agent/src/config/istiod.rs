//! Settings of the way to istiod, and ztunnel's own environment variables where they mean the same here, so that the
//! values of an existing chart carry over.

mod duration;
mod environment;

use std::time::Duration;

use clap::Args;

pub use self::duration::duration;
pub use self::environment::Environment;

/// What `certificate_seconds` and `drain_seconds` are unless somebody says otherwise.
pub(super) const CERTIFICATE_SECONDS: u64 = 86_400;
pub(super) const DRAIN_SECONDS: u64 = 300;

/// Where the users' own objects (routes, policies) come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ObjectsFrom {
    /// The control plane's stream.
    Xds,
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
    /// Take the objects that users wrote (policies, routes) from the control plane: policies that need HTTP are enforced
    /// in a safe form without it.
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
