//! One published state of the mesh: encoded resources, what changed since the state before, and which identities each
//! node may ask certificates for.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;

use super::telemetry_defaults;
use super::translate::Resources;
use crate::model::balance::FailoverLabel;
use crate::model::http::destination::{LocalitySetting, TcpKeepalive};
use crate::model::http::objects::PathNormalization;
use crate::model::http::proxy_headers::ProxyHeaders;
use crate::model::identity::{Identity, TrustDomain};
use crate::model::mesh::OutboundTrafficPolicy;
use crate::model::telemetry::providers::TelemetryDefaults;
use crate::objects::{CaCertificate, MeshConfig, Retries, RetryConditions};
use crate::proto::istio::mesh::v1alpha1 as pb;
use crate::proto::istio::mesh::v1alpha1::mesh_config::outbound_traffic_policy::Mode;
use crate::proto::istio::workload::{Address, address};
use crate::resources::{Resource, ResourceSet, ResourceType};

/// A state of the mesh; never changes once published.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    pub resources: ResourceSet,
    /// Counts up by one from snapshot to snapshot.
    pub generation: u64,
    /// By type: names that were added, changed or removed since the generation before.
    changes: [Vec<Arc<str>>; ResourceType::COUNT],
    /// By node: the identities of the workloads placed there.
    placements: HashMap<String, HashSet<Identity>>,
}

impl Snapshot {
    /// The state that follows `previous`; `None` if nothing changed.
    #[must_use]
    pub fn following(previous: &Self, translated: &Resources) -> Option<Self> {
        let resources = encode(translated);
        let changes = ResourceType::in_table(|kind| changes(&previous.resources, &resources, kind));
        if previous.generation > 0 && changes.iter().all(Vec::is_empty) {
            return None;
        }
        let placements = placements(translated.addresses.values());
        Some(Self { resources, generation: previous.generation + 1, changes, placements })
    }

    /// Names of a type that differ from the generation before.
    #[must_use]
    pub fn changes(&self, kind: ResourceType) -> &[Arc<str>] {
        &self.changes[kind.index()]
    }

    /// True if a workload with this identity is placed on the node.
    #[must_use]
    pub fn is_placed(&self, node: &str, identity: &Identity) -> bool {
        self.placements.get(node).is_some_and(|identities| identities.contains(identity))
    }
}

fn changes(old: &ResourceSet, new: &ResourceSet, kind: ResourceType) -> Vec<Arc<str>> {
    let (old, new) = (old.of(kind), new.of(kind));
    let upserted = new.iter().filter(|(name, resource)| old.get(*name) != Some(resource)).map(|(name, _)| name);
    let removed = old.keys().filter(|name| !new.contains_key(*name));
    upserted.chain(removed).cloned().collect::<BTreeSet<_>>().into_iter().collect()
}

fn encode(translated: &Resources) -> ResourceSet {
    let mut set = ResourceSet::default();
    let addresses = translated.addresses.iter().map(|(name, address)| (name.as_str().into(), encoded(address)));
    set.of_mut(ResourceType::Address).extend(addresses);
    let policies = translated.authorizations.iter().map(|(name, policy)| (name.as_str().into(), encoded(policy)));
    set.of_mut(ResourceType::Authorization).extend(policies);
    for ((kind, name), object) in &translated.objects {
        set.of_mut(ResourceType::Object(*kind)).insert(name.as_str().into(), encoded(object));
    }
    // As istiod names it: not at all.
    set.of_mut(ResourceType::MeshConfig).insert("".into(), encoded(&mesh_config(&translated.mesh_config)));
    set
}

fn encoded(message: &impl Message) -> Resource {
    Resource::hashed(Bytes::from(message.encode_to_vec()))
}

/// With Istio's defaults filled in, as istiod sends it.
fn mesh_config(config: &MeshConfig) -> pb::MeshConfig {
    let mode = match config.outbound_traffic_policy() {
        OutboundTrafficPolicy::AllowAny => Mode::AllowAny,
        OutboundTrafficPolicy::RegistryOnly => Mode::RegistryOnly,
    };
    let access_log_file = if config.access_log.is_some() { "/dev/stdout" } else { "" };
    let telemetry = &config.telemetry;
    pb::MeshConfig {
        access_log_file: access_log_file.to_owned(),
        access_log_format: telemetry.log_form.format.as_ref().to_owned(),
        access_log_encoding: telemetry_defaults::encoding(&telemetry.log_form).into(),
        extension_providers: telemetry_defaults::providers(telemetry),
        default_providers: Some(telemetry_defaults::default_providers(telemetry)),
        ca_certificates: config.ca_certificates.iter().map(ca_certificate).collect(),
        outbound_traffic_policy: Some(pb::mesh_config::OutboundTrafficPolicy { mode: mode.into(), tls: None }),
        trust_domain: config.trust_domain().to_owned(),
        root_namespace: config.root_namespace().to_owned(),
        trust_domain_aliases: config.trust_domain_aliases.clone(),
        connect_timeout: duration(config.http.connect_timeout),
        default_config: Some(proxy_config(&config.http.proxy_headers, telemetry)),
        default_virtual_service_export_to: config.http.virtual_service_export_to.values(),
        default_destination_rule_export_to: config.http.destination_rule_export_to.values(),
        path_normalization: config.http.path_normalization.map(path_normalization),
        default_http_retry_policy: config.http.retry.as_ref().map(retries),
        locality_lb_setting: config.http.locality.as_ref().map(locality),
        h2_upgrade_policy: config.http.upgrades_to_http2.into(),
        tcp_keepalive: Some(tcp_keepalive(config.http.tcp_keepalive)),
        default_traffic_policy: config.http.traffic_policy.as_ref().map(|policy| policy.encoded.clone()),
        without_effect: config.without_effect.clone(),
    }
}

fn locality(setting: &LocalitySetting) -> pb::mesh_config::LocalityLoadBalancerSetting {
    use pb::mesh_config::locality_load_balancer_setting as wire_of;
    let distribute = setting.distribute.iter().map(|one| wire_of::Distribute {
        from: one.from.text(),
        to: one.to.iter().map(|(place, share)| (place.text(), *share)).collect(),
    });
    let failover = setting.failover.iter();
    let label = |label: &FailoverLabel| match &label.value {
        Some(value) => format!("{}={value}", label.name),
        None => label.name.to_string(),
    };
    pb::mesh_config::LocalityLoadBalancerSetting {
        distribute: distribute.collect(),
        failover: failover.map(|(from, to)| wire_of::Failover { from: from.to_string(), to: to.to_string() }).collect(),
        enabled: Some(setting.enabled),
        failover_priority: setting.failover_priority.iter().map(label).collect(),
    }
}

fn ca_certificate(certificate: &CaCertificate) -> pb::mesh_config::CertificateData {
    use pb::mesh_config::certificate_data::CertificateData;
    pb::mesh_config::CertificateData {
        trust_domains: certificate.trust_domains.clone(),
        certificate_data: Some(CertificateData::Pem(certificate.pem.clone())),
    }
}

fn tcp_keepalive(keepalive: TcpKeepalive) -> pb::mesh_config::TcpKeepalive {
    let TcpKeepalive { probes, time, interval } = keepalive;
    pb::mesh_config::TcpKeepalive { probes: probes.unwrap_or(0), time: duration(time), interval: duration(interval) }
}

fn path_normalization(value: PathNormalization) -> pb::mesh_config::ProxyPathNormalization {
    use pb::mesh_config::proxy_path_normalization::NormalizationType as Wire;
    let normalization = match value {
        PathNormalization::None => Wire::None,
        PathNormalization::Base => Wire::Base,
        PathNormalization::MergeSlashes => Wire::MergeSlashes,
        PathNormalization::DecodeAndMergeSlashes => Wire::DecodeAndMergeSlashes,
    };
    pb::mesh_config::ProxyPathNormalization { normalization: normalization.into() }
}

fn proxy_config(headers: &ProxyHeaders, telemetry: &TelemetryDefaults) -> pb::ProxyConfig {
    use pb::proxy_config::ProxyHeaders as Wire;
    use pb::proxy_config::proxy_headers::{
        AttemptCount, EnvoyDebugHeaders, RequestId, Server, XForwardedHost, XForwardedPort,
    };
    let server = headers.server.as_ref().map(|name| Server { disabled: None, value: name.to_string() });
    let headers = Wire {
        server,
        request_id: Some(RequestId { disabled: Some(!headers.request_id) }),
        attempt_count: Some(AttemptCount { disabled: Some(!headers.attempt_count) }),
        envoy_debug_headers: Some(EnvoyDebugHeaders { disabled: Some(!headers.debug) }),
        preserve_http1_header_case: Some(headers.preserve_case),
        x_forwarded_host: Some(XForwardedHost { enabled: Some(headers.forwarded_host) }),
        x_forwarded_port: Some(XForwardedPort { enabled: Some(headers.forwarded_port) }),
    };
    pb::ProxyConfig { tracing: telemetry_defaults::tracing(telemetry), proxy_headers: Some(headers) }
}

fn retries(retries: &Retries) -> pb::mesh_config::HttpRetry {
    pb::mesh_config::HttpRetry {
        attempts: i32::try_from(retries.attempts).unwrap_or(i32::MAX),
        per_try_timeout: duration(retries.per_try_timeout),
        retry_on: retries.on.as_ref().map(RetryConditions::text).unwrap_or_default(),
        retry_ignore_previous_hosts: retries.ignore_previous_hosts,
        backoff: duration(retries.backoff),
    }
}

fn duration(duration: Option<Duration>) -> Option<prost_types::Duration> {
    duration.and_then(|duration| duration.try_into().ok())
}

fn placements<'a>(addresses: impl Iterator<Item = &'a Address>) -> HashMap<String, HashSet<Identity>> {
    let mut placements: HashMap<String, HashSet<Identity>> = HashMap::new();
    for address in addresses {
        let Some(address::Type::Workload(workload)) = &address.r#type else { continue };
        if workload.node.is_empty() {
            continue;
        }
        let trust_domain = TrustDomain::new(&workload.trust_domain);
        let identity = Identity::new(trust_domain, &workload.namespace, &workload.service_account);
        placements.entry(workload.node.clone()).or_default().insert(identity);
    }
    placements
}
