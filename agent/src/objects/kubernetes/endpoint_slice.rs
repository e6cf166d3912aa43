//! Kubernetes EndpointSlice (`discovery.k8s.io/v1`): addresses that serve a Service which its author gave no selector, such as
//! databases outside the cluster.

use std::net::IpAddr;

use crate::objects::reading::{Fields, names};

/// An EndpointSlice. Its Service is named by its label [`SERVICE_NAME_LABEL`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EndpointSlice {
    pub endpoints: Vec<SliceEndpoint>,
    /// TCP ports by name; a slice with a single port may leave it empty.
    pub ports: Vec<(String, u16)>,
}

/// An item of `endpoints`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SliceEndpoint {
    pub addresses: Vec<IpAddr>,
    /// `conditions.ready`; one that is not known counts as ready.
    pub ready: bool,
    /// `conditions.serving`; one that is not known is that of `ready`.
    pub serving: bool,
    /// `conditions.terminating`; one that is not known counts as false.
    pub terminating: bool,
    /// `targetRef`, where it is a Pod: the Pod's name.
    pub pod: Option<String>,
}

/// The label of an EndpointSlice with the name of its Service.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// Reads the fields of the object itself: it has no `spec`.
pub(in crate::objects) fn read(fields: &mut Fields<'_>) -> EndpointSlice {
    let report = fields.report();
    let families = [("IPv4", true), ("IPv6", true), ("FQDN", false)];
    let has_addresses = fields.word("addressType", &families).unwrap_or(true);
    if !has_addresses {
        fields.notice("addressType", "endpoints by name are not acted on: use a ServiceEntry with resolution DNS");
    }
    let ports = fields.items("ports").iter().filter_map(|item| port(item.fields(report)?)).collect();
    let endpoints = fields.items("endpoints");
    if !has_addresses {
        return EndpointSlice::default();
    }
    EndpointSlice { ports, endpoints: endpoints.iter().filter_map(|item| item.fields(report)).map(endpoint).collect() }
}

fn port(mut fields: Fields<'_>) -> Option<(String, u16)> {
    let report = fields.report();
    let is_tcp = fields.text("protocol").is_none_or(|protocol| protocol == "TCP");
    let name = fields.text("name").unwrap_or_default();
    // A slice may leave the number to its consumer, which has none to fill in here.
    let number = fields.get("port").and_then(|item| names::port(&item, report))?;
    is_tcp.then_some((name, number))
}

fn endpoint(mut fields: Fields<'_>) -> SliceEndpoint {
    let report = fields.report();
    let mut addresses = Vec::new();
    for item in fields.items("addresses") {
        match item.text(report).map(str::parse) {
            Some(Ok(ip)) => addresses.push(ip),
            Some(Err(_)) => item.error(report, "is not an IP address"),
            None => {}
        }
    }
    let mut conditions = fields.fields("conditions");
    let mut condition = |name: &'static str| conditions.as_mut().and_then(|conditions| conditions.flag(name));
    let ready = condition("ready").unwrap_or(true);
    let (serving, terminating) = (condition("serving").unwrap_or(ready), condition("terminating").unwrap_or(false));
    let pod = fields.fields("targetRef").and_then(|mut target| {
        let is_pod = target.text("kind").as_deref() == Some("Pod");
        target.text("name").filter(|_| is_pod)
    });
    SliceEndpoint { addresses, ready, serving, terminating, pod }
}
