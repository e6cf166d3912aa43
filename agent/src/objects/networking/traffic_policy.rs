//! `trafficPolicy` of a DestinationRule, of its subsets and of its ports (`istio.networking.v1.TrafficPolicy`).

use std::time::Duration;

use super::connection_pool::{self, ConnectionPool};
use super::{load_balancer, values};
use crate::model::http::destination::{LoadBalancer, OutlierDetection, RetryBudget, TlsMode, UpstreamTls};
use crate::objects::reading::Fields;

/// The blocks of a policy. What is `None` is not in the object.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TrafficPolicy {
    pub load_balancer: Option<LoadBalancer>,
    pub connection_pool: Option<ConnectionPool>,
    pub outlier_detection: Option<OutlierDetection>,
    pub tls: Option<UpstreamTls>,
    pub retry_budget: Option<RetryBudget>,
    /// By port of the service: each replaces the blocks of the policy as a whole.
    pub ports: Vec<(u16, TrafficPolicy)>,
}

/// Reads a policy.
pub(in crate::objects) fn read(mut fields: Fields<'_>) -> TrafficPolicy {
    let mut policy = blocks(&mut fields);
    policy.retry_budget = fields.fields("retryBudget").map(retry_budget);
    policy.ports = ports(&mut fields);
    fields.without_effect("tunnel", "has no effect: connections are not tunnelled through a further proxy");
    fields.without_effect("proxyProtocol", "has no effect: no PROXY header is sent");
    fields.finish();
    policy
}

fn blocks(fields: &mut Fields<'_>) -> TrafficPolicy {
    TrafficPolicy {
        load_balancer: fields.fields("loadBalancer").map(load_balancer::read),
        connection_pool: fields.fields("connectionPool").map(connection_pool::read),
        outlier_detection: fields.fields("outlierDetection").map(outlier_detection),
        tls: fields.fields("tls").map(tls),
        ..TrafficPolicy::default()
    }
}

fn ports(fields: &mut Fields<'_>) -> Vec<(u16, TrafficPolicy)> {
    let report = fields.report();
    let mut found: Vec<(u16, TrafficPolicy)> = Vec::new();
    for item in fields.items("portLevelSettings") {
        let Some(mut fields) = item.fields(report) else { continue };
        let port = values::port_selector(&mut fields);
        if port.is_none() && fields.get("port").is_none() {
            fields.error("port", "the number of a port of the service is needed");
        }
        let policy = blocks(&mut fields);
        if port.is_some_and(|port| found.iter().any(|(known, _)| *known == port)) {
            fields.error("port", "this port is already listed: remove one of the two");
        }
        fields.finish();
        found.extend(port.map(|port| (port, policy)));
    }
    found
}

fn retry_budget(mut fields: Fields<'_>) -> RetryBudget {
    let percent = fields.decimal("percent").unwrap_or(20.0);
    if !(0.0..=100.0).contains(&percent) {
        fields.error("percent", format!("{percent} is no percentage: use 0 to 100"));
    }
    // What is not set, and what is set to 0, is one in the message in which it travels.
    let min_concurrency: Option<u32> = fields.number("minRetryConcurrency", 0..=i128::from(u32::MAX));
    let min_concurrency = min_concurrency.filter(|few| *few != 0).unwrap_or(3);
    let interval = values::duration(&mut fields, "budgetInterval").unwrap_or_default();
    fields.finish();
    RetryBudget { percent, min_concurrency, interval }
}

fn tls(mut fields: Fields<'_>) -> UpstreamTls {
    let modes = [
        ("DISABLE", TlsMode::Disable),
        ("SIMPLE", TlsMode::Simple),
        ("MUTUAL", TlsMode::Mutual),
        ("ISTIO_MUTUAL", TlsMode::IstioMutual),
    ];
    let has_credential = fields.text("credentialName").is_some_and(|name| !name.is_empty());
    let found = UpstreamTls {
        is_unsupported: has_credential,
        mode: fields.word("mode", &modes).unwrap_or_default(),
        client_certificate: fields.text("clientCertificate").unwrap_or_default().into(),
        private_key: fields.text("privateKey").unwrap_or_default().into(),
        ca_certificates: fields.text("caCertificates").unwrap_or_default().into(),
        ca_crl: fields.text("caCrl").unwrap_or_default().into(),
        subject_alt_names: fields.texts("subjectAltNames").into_iter().map(Box::from).collect(),
        sni: fields.text("sni").unwrap_or_default().into(),
        skips_verification: fields.flag("insecureSkipVerify").unwrap_or(false),
    };
    if !found.ca_crl.is_empty() && (!found.is_own() || found.skips_verification) {
        fields.notice("caCrl", "has no effect without mode SIMPLE or MUTUAL, and with insecureSkipVerify");
    }
    if has_credential {
        let reason = if found.is_own() {
            "is not supported: HTTP requests to the destination fail with 503. Use files"
        } else {
            "has no effect without mode SIMPLE or MUTUAL"
        };
        fields.notice("credentialName", reason);
    }
    if found.mode == TlsMode::Disable {
        fields.notice("mode", "DISABLE has no effect: endpoints of the mesh are reached over HBONE");
    }
    let own_files = [
        ("clientCertificate", &found.client_certificate),
        ("privateKey", &found.private_key),
        ("caCertificates", &found.ca_certificates),
    ];
    for (name, value) in own_files {
        let is_needed = found.mode == TlsMode::Mutual && name != "caCertificates";
        if is_needed && value.is_empty() && fields.get("credentialName").is_none() {
            fields.error(name, "mode MUTUAL needs it");
        }
        if found.mode == TlsMode::IstioMutual && !value.is_empty() {
            fields.error(name, "mode ISTIO_MUTUAL has the mesh's own certificates: remove it");
        }
    }
    fields.finish();
    found
}

/// Reads the block; an empty one switches the detection on. What it leaves out is as Envoy has it.
pub(super) fn outlier_detection(mut fields: Fields<'_>) -> OutlierDetection {
    const COUNT: std::ops::RangeInclusive<i128> = 0..=u32::MAX as i128;
    let seconds = Duration::from_secs;
    let local_origin = fields.number("consecutiveLocalOriginFailures", COUNT);
    let found = OutlierDetection {
        consecutive_5xx: fields.number("consecutive5xxErrors", COUNT).unwrap_or(5),
        consecutive_gateway_errors: fields.number("consecutiveGatewayErrors", COUNT).unwrap_or(0),
        splits_local_origin: fields.flag("splitExternalLocalOriginErrors").unwrap_or(false),
        consecutive_local_origin_failures: local_origin.unwrap_or(5),
        interval: values::duration(&mut fields, "interval").unwrap_or(seconds(10)),
        base_ejection_time: values::duration(&mut fields, "baseEjectionTime").unwrap_or(seconds(30)),
        max_ejection_percent: percent(&mut fields, "maxEjectionPercent").filter(|percent| *percent != 0).unwrap_or(10),
        min_health_percent: percent(&mut fields, "minHealthPercent").unwrap_or(0),
    };
    if !found.splits_local_origin && local_origin.is_some() {
        let reason = "has no effect without splitExternalLocalOriginErrors: failures to connect count as 5xx";
        fields.notice("consecutiveLocalOriginFailures", reason);
    }
    fields.without_effect("consecutiveErrors", "has no effect any more: use consecutive5xxErrors");
    fields.without_effect("outlierDetectionHttpErrorCodes", "has no effect: all of 500 to 599 count");
    fields.finish();
    found
}

fn percent(fields: &mut Fields<'_>, name: &'static str) -> Option<u8> {
    fields.number(name, 0..=100)
}
