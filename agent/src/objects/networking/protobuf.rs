//! MeshConfig as it comes over ADS. The control plane has checked it, and fields that matter to a control plane only do not
//! come: see `proto/istio/mesh/v1alpha1/config.proto`.

mod authorizers;
mod telemetry;
mod unread;

use std::time::Duration;

use prost::Message as _;

use super::ca_certificates::CaCertificate;
use super::mesh_config::{HttpDefaults, MeshConfig, dynamic_dns};
use super::mesh_traffic_policy;
use super::proxy_config::server_name;
use super::retries::{Retries, conditions};
use super::values::ExportTo;
use crate::model::balance::{Distribution, FailoverLabel, LocalityPattern};
use crate::model::http::destination::{LocalitySetting, TcpKeepalive};
use crate::model::http::objects::PathNormalization;
use crate::model::http::proxy_headers::ProxyHeaders;
use crate::model::mesh::{AccessLogEncoding, IstioAccessLog, OutboundTrafficPolicy};
use crate::objects::reading::{Place, Report};
use crate::proto::istio::mesh::v1alpha1 as pb;

/// Reads an encoded MeshConfig. A value that is not known here affects its own field alone; what that comes to is said, as is each field
/// that is not read.
///
/// # Errors
/// When it is no message of its type.
pub(in crate::objects) fn mesh_config(body: &[u8]) -> Result<MeshConfig, prost::DecodeError> {
    let config = read(&pb::MeshConfig::decode(body)?);
    let without_effect = config.without_effect.into_iter().chain(unread::fields(body));
    Ok(MeshConfig { without_effect: without_effect.collect(), ..config })
}

fn read(wire: &pb::MeshConfig) -> MeshConfig {
    let pb::MeshConfig {
        outbound_traffic_policy,
        trust_domain,
        root_namespace,
        trust_domain_aliases,
        ca_certificates,
        ..
    } = wire;
    let set = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let mut notes = wire.without_effect.clone();
    let log_form = log_form(wire, &mut notes);
    let policy = outbound_traffic_policy.as_ref().map(|policy| self::outbound_traffic_policy(policy, &mut notes));
    let http = http_defaults(wire, &mut notes);
    MeshConfig {
        root_namespace: set(root_namespace),
        trust_domain: set(trust_domain),
        // An empty alias would be read as the default trust domain, which nobody has named.
        trust_domain_aliases: trust_domain_aliases.iter().filter_map(set).collect(),
        outbound_traffic_policy: policy,
        access_log: Some(log_form.clone()).filter(|_| !wire.access_log_file.is_empty()),
        ca_certificates: ca_certificates.iter().filter_map(ca_certificate).collect(),
        http,
        telemetry: telemetry::defaults(wire, log_form),
        without_effect: notes,
        ..MeshConfig::default()
    }
}

fn http_defaults(wire: &pb::MeshConfig, notes: &mut Vec<String>) -> HttpDefaults {
    use pb::mesh_config::proxy_path_normalization::NormalizationType as Wire;
    let normalization = wire.path_normalization.as_ref().map(|normalization| normalization.normalization);
    let path_normalization = normalization.map(|value| match Wire::try_from(value) {
        Ok(Wire::Default | Wire::Base) => PathNormalization::Base,
        Ok(Wire::None) => PathNormalization::None,
        Ok(Wire::MergeSlashes) => PathNormalization::MergeSlashes,
        Ok(Wire::DecodeAndMergeSlashes) => PathNormalization::DecodeAndMergeSlashes,
        // Policies compare paths: with fewer forms of one, none gets past them by its form.
        Err(_) => {
            notes.push(unknown("pathNormalization.normalization", value, "DECODE_AND_MERGE_SLASHES"));
            PathNormalization::DecodeAndMergeSlashes
        }
    });
    let upgrade = wire.h2_upgrade_policy;
    if pb::mesh_config::H2UpgradePolicy::try_from(upgrade).is_err() {
        notes.push(unknown("h2UpgradePolicy", upgrade, "DO_NOT_UPGRADE"));
    }
    // A control plane of Weir's has told it already, where it was written.
    let mut note = |text: String| {
        if !notes.iter().any(|known| known.ends_with(&text)) {
            notes.push(text);
        }
    };
    let traffic_policy = wire.default_traffic_policy.as_deref();
    HttpDefaults {
        retry: wire.default_http_retry_policy.as_ref().map(|policy| retries(policy, &mut note)),
        path_normalization,
        connect_timeout: duration(wire.connect_timeout.as_ref()),
        proxy_headers: wire.default_config.as_ref().map(proxy_headers).unwrap_or_default(),
        virtual_service_export_to: ExportTo::of(&wire.default_virtual_service_export_to),
        destination_rule_export_to: ExportTo::of(&wire.default_destination_rule_export_to),
        locality: wire.locality_lb_setting.as_ref().map(locality),
        upgrades_to_http2: wire.h2_upgrade_policy() == pb::mesh_config::H2UpgradePolicy::Upgrade,
        tcp_keepalive: wire.tcp_keepalive.as_ref().map(tcp_keepalive).unwrap_or_default(),
        traffic_policy: traffic_policy.and_then(|encoded| mesh_traffic_policy::decode(encoded, &mut note)),
    }
}

/// What is said of a number that no value here has.
fn unknown(field: &str, value: i32, counts_as: &str) -> String {
    format!("{field}: value {value} is not known here and counts as {counts_as}")
}

fn tcp_keepalive(wire: &pb::mesh_config::TcpKeepalive) -> TcpKeepalive {
    TcpKeepalive {
        probes: Some(wire.probes).filter(|probes| *probes != 0),
        time: duration(wire.time.as_ref()),
        interval: duration(wire.interval.as_ref()),
    }
}

fn proxy_headers(config: &pb::ProxyConfig) -> ProxyHeaders {
    let Some(headers) = &config.proxy_headers else { return ProxyHeaders::default() };
    let is_on = |disabled: Option<bool>| !disabled.unwrap_or(false);
    ProxyHeaders {
        preserve_case: headers.preserve_http1_header_case.unwrap_or(false),
        request_id: is_on(headers.request_id.as_ref().and_then(|setting| setting.disabled)),
        attempt_count: is_on(headers.attempt_count.as_ref().and_then(|setting| setting.disabled)),
        debug: is_on(headers.envoy_debug_headers.as_ref().and_then(|setting| setting.disabled)),
        forwarded_host: headers.x_forwarded_host.as_ref().and_then(|setting| setting.enabled).unwrap_or(false),
        forwarded_port: headers.x_forwarded_port.as_ref().and_then(|setting| setting.enabled).unwrap_or(false),
        server: headers.server.as_ref().and_then(|server| server_name(server.disabled, &server.value)),
    }
}

fn locality(wire: &pb::mesh_config::LocalityLoadBalancerSetting) -> LocalitySetting {
    use pb::mesh_config::locality_load_balancer_setting as wire_of;
    let distribution = |wire: &wire_of::Distribute| {
        let to = wire.to.iter().map(|(place, share)| (LocalityPattern::parse(place), *share));
        Distribution::new(LocalityPattern::parse(&wire.from), to.collect())
    };
    LocalitySetting {
        enabled: wire.enabled.unwrap_or(true),
        distribute: wire.distribute.iter().map(distribution).collect(),
        failover: wire.failover.iter().map(|one| (one.from.as_str().into(), one.to.as_str().into())).collect(),
        failover_priority: wire.failover_priority.iter().map(|text| FailoverLabel::parse(text)).collect(),
    }
}

/// Conditions that are not known here are left out, and told: the control plane has checked them.
fn retries(wire: &pb::mesh_config::HttpRetry, note: impl FnMut(String)) -> Retries {
    let report = Report::default();
    let place = Place::without_lines("defaultHttpRetryPolicy.retryOn", &report);
    let on = Some(wire.retry_on.as_str()).filter(|text| !text.is_empty()).map(|text| conditions(text, &place));
    report.into_findings().into_iter().map(|found| format!("{}: {}", found.field, found.reason)).for_each(note);
    Retries {
        attempts: u32::try_from(wire.attempts).unwrap_or(0),
        per_try_timeout: duration(wire.per_try_timeout.as_ref()),
        on,
        backoff: duration(wire.backoff.as_ref()),
        ignore_previous_hosts: wire.retry_ignore_previous_hosts,
    }
}

fn duration(wire: Option<&prost_types::Duration>) -> Option<Duration> {
    wire.and_then(|wire| Duration::try_from(*wire).ok())
}

fn log_form(wire: &pb::MeshConfig, notes: &mut Vec<String>) -> IstioAccessLog {
    use pb::mesh_config::AccessLogEncoding as Encoding;
    let encoding = match Encoding::try_from(wire.access_log_encoding) {
        Ok(Encoding::Text) => AccessLogEncoding::Text,
        Ok(Encoding::Json) => AccessLogEncoding::Json,
        Err(_) => {
            notes.push(unknown("accessLogEncoding", wire.access_log_encoding, "TEXT"));
            AccessLogEncoding::Text
        }
    };
    IstioAccessLog { format: wire.access_log_format.as_str().into(), encoding }
}

fn ca_certificate(wire: &pb::mesh_config::CertificateData) -> Option<CaCertificate> {
    use pb::mesh_config::certificate_data::CertificateData;
    let pb::mesh_config::CertificateData { trust_domains, certificate_data } = wire;
    match certificate_data {
        Some(CertificateData::Pem(pem)) => {
            Some(CaCertificate { pem: pem.clone(), trust_domains: trust_domains.clone() })
        }
        Some(CertificateData::SpiffeBundleUrl(_)) | None => None,
    }
}

fn outbound_traffic_policy(
    wire: &pb::mesh_config::OutboundTrafficPolicy,
    notes: &mut Vec<String>,
) -> OutboundTrafficPolicy {
    use pb::mesh_config::outbound_traffic_policy::Mode;
    match Mode::try_from(wire.mode) {
        Ok(Mode::RegistryOnly) => OutboundTrafficPolicy::RegistryOnly,
        Ok(Mode::AllowAny) => OutboundTrafficPolicy::AllowAny,
        Ok(Mode::AllowAnyDynamicDns) => {
            let (counts_as, why) = dynamic_dns(wire.tls.is_some_and(|tls| tls.mode != 0));
            notes.push(format!("outboundTrafficPolicy.mode: {why}"));
            counts_as
        }
        // It may be meant to allow less than everything.
        Err(_) => {
            notes.push(unknown("outboundTrafficPolicy.mode", wire.mode, "REGISTRY_ONLY"));
            OutboundTrafficPolicy::RegistryOnly
        }
    }
}
