//! What the compilation of every object depends on beside the object itself.

use std::sync::Arc;
use std::time::Duration;

use crate::model::http::destination::{ConnectionPool, LoadBalancer, LocalitySetting, TcpKeepalive, UpstreamProtocol};
use crate::model::http::objects::{PathNormalization, TrafficPolicy};
use crate::model::http::policies::{BackOff, RetryOn, RetryPolicy};
use crate::model::http::proxy_headers::ProxyHeaders;
use crate::model::http::route::Semantics;
use crate::model::http::visibility;
use crate::model::telemetry::providers::TelemetryDefaults;
use crate::objects::{
    self, ExportTo, H2Upgrade, HttpDefaults, MeshConfig, MeshTrafficPolicy, Retries, RetryConditions,
};

/// Attempts after the first where nothing says how often a request is tried again.
const DEFAULT_ATTEMPTS: u32 = 2;
/// How long a connection may take to open where nothing says so.
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Settings of the mesh that count for HTTP.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpSettings {
    /// What ends the names of Kubernetes services.
    pub cluster_domain: Arc<str>,
    pub root_namespace: Arc<str>,
    pub(super) default_retry: Option<RetryPolicy>,
    pub(super) path_normalization: PathNormalization,
    connect_timeout: Duration,
    pub(super) proxy_headers: ProxyHeaders,
    pub(super) virtual_services: ExportTo,
    pub(super) destination_rules: ExportTo,
    pub(super) telemetry: TelemetryDefaults,
    locality: Option<LocalitySetting>,
    tcp_keepalive: TcpKeepalive,
    traffic_policy: Option<MeshTrafficPolicy>,
    upgrades_to_http2: bool,
}

/// What an object's rules are compiled with.
#[derive(Debug, Clone, Copy)]
pub(super) struct RuleContext<'a> {
    pub(super) settings: &'a HttpSettings,
    /// Of the object.
    pub(super) namespace: &'a str,
    pub(super) semantics: Semantics,
}

impl HttpSettings {
    /// What MeshConfig says, with Istio's defaults where it is silent.
    #[must_use]
    pub fn new(cluster_domain: &str, mesh: &MeshConfig) -> Self {
        let HttpDefaults {
            retry,
            path_normalization,
            connect_timeout,
            proxy_headers,
            virtual_service_export_to,
            destination_rule_export_to,
            locality,
            upgrades_to_http2,
            tcp_keepalive,
            traffic_policy,
        } = &mesh.http;
        let built_in = Retries { attempts: DEFAULT_ATTEMPTS, ..Retries::default() };
        Self {
            cluster_domain: cluster_domain.into(),
            root_namespace: mesh.root_namespace().into(),
            default_retry: retry_policy(retry.as_ref().unwrap_or(&built_in)),
            path_normalization: path_normalization.unwrap_or_default(),
            connect_timeout: connect_timeout.unwrap_or(DEFAULT_CONNECT_TIMEOUT),
            proxy_headers: proxy_headers.clone(),
            virtual_services: virtual_service_export_to.clone(),
            destination_rules: destination_rule_export_to.clone(),
            telemetry: mesh.telemetry.clone(),
            locality: locality.clone(),
            tcp_keepalive: *tcp_keepalive,
            traffic_policy: traffic_policy.clone(),
            upgrades_to_http2: *upgrades_to_http2,
        }
    }

    /// The policy of destinations of which no DestinationRule says anything.
    pub(super) fn default_policy(&self) -> TrafficPolicy {
        let baseline = self.traffic_policy.clone().unwrap_or_default();
        let pool = self.pool(&baseline.connection_pool.unwrap_or_default());
        let balancer = LoadBalancer { locality: self.locality.clone(), ..LoadBalancer::default() };
        TrafficPolicy {
            pool: Some(pool),
            load_balancer: Some(balancer),
            outlier_detection: baseline.outlier_detection,
            ..TrafficPolicy::default()
        }
    }

    /// Limits of a rule, or of the mesh; what they leave out is as the mesh's single settings have it, and else Istio's default.
    pub(super) fn pool(&self, pool: &objects::ConnectionPool) -> ConnectionPool {
        let unlimited = |limit: Option<u32>| limit.unwrap_or(u32::MAX);
        let protocol = match pool.h2_upgrade {
            _ if pool.use_client_protocol => UpstreamProtocol::OfClient,
            H2Upgrade::Upgrade => UpstreamProtocol::Http2,
            H2Upgrade::Default => self.protocol(),
            H2Upgrade::DoNotUpgrade => UpstreamProtocol::OfPort,
        };
        let defaults = ConnectionPool::default();
        ConnectionPool {
            max_connections: unlimited(pool.max_connections),
            connect_timeout: pool.connect_timeout.unwrap_or(self.connect_timeout),
            max_connection_duration: pool.max_connection_duration,
            tcp_keepalive: pool.tcp_keepalive.or(self.tcp_keepalive),
            // Zero: connections are kept for as long as they last.
            idle_timeout: pool.idle_timeout.or(defaults.idle_timeout).filter(|timeout| !timeout.is_zero()),
            max_pending_requests: unlimited(pool.http1_max_pending_requests),
            max_requests: unlimited(pool.http2_max_requests),
            max_requests_per_connection: unlimited(pool.max_requests_per_connection),
            max_retries: unlimited(pool.max_retries),
            max_concurrent_streams: unlimited(pool.max_concurrent_streams),
            http2_keepalive: pool.http2_keepalive,
            protocol,
        }
    }

    /// How endpoints are spoken to where no DestinationRule says so.
    fn protocol(&self) -> UpstreamProtocol {
        if self.upgrades_to_http2 { UpstreamProtocol::Http2OfPort } else { UpstreamProtocol::OfPort }
    }

    /// The full name of a host that an object of a namespace names: one without a dot is a service of that namespace.
    pub(super) fn full_name(&self, host: &str, namespace: &str) -> String {
        let host = host.to_ascii_lowercase();
        if host.contains('.') || host.contains(':') || host.contains('*') || host.is_empty() {
            return host.strip_suffix('.').map(str::to_owned).unwrap_or(host);
        }
        self.service_name(&host, namespace)
    }

    /// The full name of a Kubernetes service.
    pub(super) fn service_name(&self, name: &str, namespace: &str) -> String {
        format!("{name}.{namespace}.svc.{}", self.cluster_domain)
    }

    /// The namespace of the Kubernetes service that this is the full name of.
    pub(super) fn namespace_of<'n>(&self, full_name: &'n str) -> Option<&'n str> {
        let service = full_name.strip_suffix(&*self.cluster_domain)?.strip_suffix(".svc.")?;
        service.split_once('.').map(|(_, namespace)| namespace).filter(|namespace| !namespace.contains('.'))
    }
}

/// Who sees an object of the namespace `own`; `default` counts where the object does not say.
pub(super) fn exported_to(export_to: &ExportTo, default: &ExportTo, own: &str) -> visibility::ExportTo {
    match export_to {
        ExportTo::Unset if *default == ExportTo::Unset => visibility::ExportTo::Everyone,
        ExportTo::Unset => exported_to(default, &ExportTo::Unset, own),
        ExportTo::Public => visibility::ExportTo::Everyone,
        ExportTo::Nobody => visibility::ExportTo::Namespaces(Vec::new()),
        ExportTo::Namespaces(names) => {
            let name = |name: &String| Arc::from(if name == "." { own } else { name.as_str() });
            visibility::ExportTo::Namespaces(names.iter().map(name).collect())
        }
    }
}

/// What a retry block means; `None`: nothing is tried again. What it leaves out is as istiod has it.
pub(super) fn retry_policy(retries: &Retries) -> Option<RetryPolicy> {
    let built_in = || RetryConditions {
        on: RetryOn::CONNECT_FAILURE
            .and(RetryOn::REFUSED_STREAM)
            .and(RetryOn::UNAVAILABLE)
            .and(RetryOn::CANCELLED)
            .and(RetryOn::RETRIABLE_STATUS_CODES),
        codes: Vec::new(),
    };
    if retries.attempts == 0 {
        return None;
    }
    let RetryConditions { on, codes } = retries.on.clone().unwrap_or_else(built_in);
    let is_set = |duration: &Duration| !duration.is_zero();
    Some(RetryPolicy {
        attempts: retries.attempts,
        per_try_timeout: retries.per_try_timeout.filter(is_set),
        on,
        codes,
        back_off: retries.backoff.filter(is_set).map(BackOff::from_base).unwrap_or_default(),
        avoids_tried_endpoints: retries.ignore_previous_hosts.unwrap_or(true),
    })
}
