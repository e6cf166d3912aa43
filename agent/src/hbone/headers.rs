//! The headers of a CONNECT request besides its authority: `baggage` (who the source says it is, for metrics only) and
//! `forwarded` (RFC 7239: the client's own address and port).

use std::fmt::Write;
use std::net::SocketAddr;

use http::HeaderValue;

use crate::model::workload::{Workload, WorkloadType};

/// The source as W3C baggage, with the keys that ztunnel and waypoints use.
#[must_use]
pub fn baggage(source: &Workload) -> Option<HeaderValue> {
    let kind = match source.workload_type {
        WorkloadType::Deployment => "deployment",
        WorkloadType::CronJob => "cronjob",
        WorkloadType::Pod => "pod",
        WorkloadType::Job => "job",
    };
    let workload = format!("k8s.{kind}.name");
    let mut text = String::with_capacity(256);
    for (key, value) in [
        ("k8s.cluster.name", &source.cluster_id),
        ("k8s.namespace.name", &source.namespace),
        (workload.as_str(), &source.workload_name),
        ("service.name", &source.canonical_name),
        ("service.version", &source.canonical_revision),
        ("cloud.region", &source.locality.region),
        ("cloud.availability_zone", &source.locality.zone),
    ] {
        if value.is_empty() {
            continue;
        }
        let separator = if text.is_empty() { "" } else { "," };
        // Writing to a String cannot fail.
        let _ = write!(text, "{separator}{key}={value}");
    }
    HeaderValue::try_from(text).ok()
}

/// `forwarded: for="<client>"`, with `;host=<hostname>` where the application asked for a service.
#[must_use]
pub fn forwarded(client: SocketAddr, service: Option<&str>) -> Option<HeaderValue> {
    let text = match service {
        Some(hostname) => format!("for=\"{client}\";host={hostname}"),
        None => format!("for=\"{client}\""),
    };
    HeaderValue::try_from(text).ok()
}

/// The client's address in a `forwarded` header, where it is a full address with port.
#[must_use]
pub fn client_of(forwarded: &[u8]) -> Option<SocketAddr> {
    parameter(forwarded, "for")?.parse().ok().map(crate::model::address::canonical)
}

/// The hostname of the service that the client asked for.
#[must_use]
pub fn service_of(forwarded: &[u8]) -> Option<&str> {
    parameter(forwarded, "host")
}

/// A parameter of the first element of a `forwarded` header, without quotes.
fn parameter<'a>(forwarded: &'a [u8], name: &str) -> Option<&'a str> {
    let first = std::str::from_utf8(forwarded).ok().filter(|text| text.is_ascii())?.split(',').next()?;
    let value = first.split(';').find_map(|pair| {
        let (key, value) = pair.trim().split_once('=')?;
        key.eq_ignore_ascii_case(name).then_some(value)
    })?;
    Some(value.trim().trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_is_read_back_from_what_we_and_others_write() {
        for (text, expected) in [
            ("for=\"10.0.0.1:4000\"", Some("10.0.0.1:4000")),
            ("for=\"[fd00::1]:4000\"", Some("[fd00::1]:4000")),
            ("by=x;For=\"10.0.0.1:4000\";host=web.default.svc", Some("10.0.0.1:4000")),
            ("for=10.0.0.1:4000, for=10.0.0.2:1", Some("10.0.0.1:4000")),
            ("for=10.0.0.1", None),
            ("host=x", None),
            ("", None),
        ] {
            assert_eq!(client_of(text.as_bytes()), expected.map(|e| e.parse().expect("an address")), "{text}");
        }
        let address = "[fd00::1]:4000".parse().expect("an address");
        let header = forwarded(address, Some("web.default.svc")).expect("a header");
        let header = header.as_bytes();
        assert_eq!((client_of(header), service_of(header)), (Some(address), Some("web.default.svc")));
        assert_eq!(service_of(forwarded(address, None).expect("a header").as_bytes()), None);
    }
}
