//! What RateLimit objects (`weir.dev`) ask for, before it is decided which of them count for a pod.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::descriptor::Descriptor;
use super::tokens::Rate;
use crate::model::authorization::Group;
use crate::model::peer_authentication::Labels;
use crate::model::service::ServiceKey;

/// A RateLimit object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimitObject {
    /// `<namespace>/<name>`.
    pub key: Arc<str>,
    pub namespace: Arc<str>,
    pub target: LimitTarget,
    pub limits: Vec<Arc<LimitRule>>,
    /// What is beyond a limit is counted and told, and let through.
    pub dry_run: bool,
    pub response: LimitResponse,
}

/// Which pods an object is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LimitTarget {
    /// Those of its namespace; all of the mesh in the root namespace.
    Namespace,
    /// Those with these labels, never empty: of its namespace, or of all in the root namespace.
    Selector(Labels),
    /// Those behind any of these services, and only requests to the ports of theirs that the service leads to.
    Services(Vec<ServiceKey>),
}

/// An item of `limits`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitRule {
    /// Unique within its object.
    pub name: Arc<str>,
    /// It is about the requests that any group matches; about all without one.
    pub groups: Vec<Group>,
    pub measure: Measure,
}

/// What of requests is bounded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Measure {
    /// How many there are in a time.
    Rate { rate: Rate, by: CountedBy },
    /// How many are under way at once.
    Concurrency { most: u32, by: CountedBy },
    /// What a rate limit service says.
    Global(Box<GlobalLimit>),
}

/// Which requests are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CountedBy {
    /// All to one pod.
    #[default]
    Pod,
    /// All to the pods of one node that the object is about.
    Node,
    /// Those of one identity to one pod. All that come in plaintext are one source.
    Source,
}

/// A limit that Envoy's rate limit service keeps (`envoy.service.ratelimit.v3`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GlobalLimit {
    /// The full name of the service: `host`, or `namespace/host`.
    pub service: Arc<str>,
    pub port: u16,
    /// Of the service's configuration.
    pub domain: Arc<str>,
    pub timeout: Duration,
    /// Whether requests pass where the service does not answer in time, or not in its terms.
    pub fail_open: bool,
    /// Each that a request has all entries of is sent.
    pub descriptors: Vec<Descriptor>,
}

/// What a client is answered whose request is beyond a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitResponse {
    pub status: u16,
    /// For clients of gRPC.
    pub grpc_status: u8,
    /// `None`: Envoy's text for the kind of limit.
    pub body: Option<Arc<str>>,
    /// Besides those that say how much is left.
    pub headers: Vec<(Box<str>, Box<str>)>,
    pub quota_headers: QuotaHeaders,
}

/// Which responses have `x-ratelimit-limit`, `x-ratelimit-remaining` and `x-ratelimit-reset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum QuotaHeaders {
    Never,
    /// Those to requests beyond the limit.
    #[default]
    Limited,
    /// Those to requests within it, too.
    Always,
}

/// The status of gRPC that Envoy answers with unless a setting says otherwise: UNAVAILABLE.
pub const DEFAULT_GRPC_STATUS: u8 = 14;
/// RESOURCE_EXHAUSTED, which Envoy has as a setting.
pub const RESOURCE_EXHAUSTED: u8 = 8;

impl Default for LimitResponse {
    fn default() -> Self {
        Self {
            status: 429,
            grpc_status: DEFAULT_GRPC_STATUS,
            body: None,
            headers: Vec::new(),
            quota_headers: QuotaHeaders::default(),
        }
    }
}

impl RateLimitObject {
    /// Its namespace and its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.key.split_once('/').map_or(&*self.key, |(_, name)| name)
    }
}

/// In words: `5 requests in 60s, by source`.
impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = match self {
            Self::Rate { rate: Rate { requests, period, burst }, by } => {
                write!(f, "{requests} requests in {period:?}")?;
                if burst != requests {
                    write!(f, ", {burst} at once")?;
                }
                *by
            }
            Self::Concurrency { most, by } => {
                write!(f, "{most} requests under way")?;
                *by
            }
            Self::Global(limit) => {
                return write!(f, "as {}:{} says of the domain {}", limit.service, limit.port, limit.domain);
            }
        };
        f.write_str(match by {
            CountedBy::Pod => "",
            CountedBy::Node => ", by node",
            CountedBy::Source => ", by source",
        })
    }
}
