//! Kubernetes Service: a service by selector. Defaults are those the Kubernetes API server fills in.

use std::net::IpAddr;

use crate::objects::labels::{self, Labels};
use crate::objects::reading::yaml::Value;
use crate::objects::reading::{Fields, Item, Report, names};

/// `spec` of a Service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Service {
    /// `type: ExternalName`: an alias in DNS and no service of the mesh.
    pub external_name: bool,
    /// `clusterIPs`; empty for a headless service.
    pub cluster_ips: Vec<IpAddr>,
    pub ip_families: Vec<IpFamily>,
    pub ports: Vec<KubernetesPort>,
    pub selector: Labels,
    /// `internalTrafficPolicy: Local`.
    pub node_local: bool,
    /// `publishNotReadyAddresses`.
    pub publish_not_ready: bool,
    /// `sessionAffinity: ClientIP`.
    pub client_ip_affinity: bool,
    /// `trafficDistribution` as written; empty if unset.
    pub traffic_distribution: String,
}

/// An item of `ipFamilies`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IpFamily {
    V4,
    V6,
}

/// An item of `ports`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubernetesPort {
    pub number: u16,
    /// Empty if the service has one port without a name.
    pub name: String,
    /// `protocol: TCP`, or none: what the mesh carries. UDP and SCTP ports have numbers of their own.
    pub is_tcp: bool,
    pub target: TargetPort,
    pub app_protocol: Option<String>,
}

/// `targetPort`: where the selected pods listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetPort {
    Number(u16),
    /// A port that each pod or workload has under this name.
    Name(String),
}

/// Fields without a meaning inside the mesh.
const NOT_USED: [&str; 12] = [
    "externalIPs",
    // Its time limit: an affinity without state has none.
    "sessionAffinityConfig",
    "loadBalancerIP",
    "loadBalancerClass",
    "loadBalancerSourceRanges",
    "externalName",
    "externalTrafficPolicy",
    "healthCheckNodePort",
    "allocateLoadBalancerNodePorts",
    "ipFamilyPolicy",
    "topologyKeys",
    "ipFamily",
];

/// Reads and checks `spec`.
pub(in crate::objects) fn read(mut fields: Fields<'_>) -> Service {
    let cluster_ips = cluster_ips(&mut fields);
    let families = [("IPv4", IpFamily::V4), ("IPv6", IpFamily::V6)];
    let report = fields.report();
    let mut ip_families: Vec<IpFamily> =
        fields.items("ipFamilies").iter().filter_map(|item| item.word(&families, report)).collect();
    if ip_families.is_empty() {
        ip_families = cluster_ips.iter().map(|ip| if ip.is_ipv4() { IpFamily::V4 } else { IpFamily::V6 }).collect();
    }
    let types = [("ClusterIP", false), ("NodePort", false), ("LoadBalancer", false), ("ExternalName", true)];
    let service = Service {
        external_name: fields.word("type", &types).unwrap_or(false),
        cluster_ips,
        ip_families,
        ports: fields.items("ports").iter().filter_map(|item| port(item.fields(report)?)).collect(),
        selector: labels::read_selector(&mut fields, "selector"),
        node_local: fields.word("internalTrafficPolicy", &[("Cluster", false), ("Local", true)]).unwrap_or(false),
        client_ip_affinity: fields.word("sessionAffinity", &[("None", false), ("ClientIP", true)]).unwrap_or(false),
        publish_not_ready: fields.flag("publishNotReadyAddresses").unwrap_or(false),
        traffic_distribution: fields.text("trafficDistribution").unwrap_or_default(),
    };
    for name in NOT_USED {
        fields.skip(name);
    }
    fields.finish();
    service
}

/// `None` and nothing at all both mean a headless service: no one hands out addresses to a file.
fn cluster_ips(fields: &mut Fields<'_>) -> Vec<IpAddr> {
    let report = fields.report();
    let single = fields.get("clusterIP");
    let mut items = fields.items("clusterIPs");
    if items.is_empty() {
        items.extend(single);
    }
    let mut found = Vec::new();
    for item in items {
        match item.text(report) {
            None | Some("" | "None") => {}
            Some(text) => match text.parse() {
                Ok(ip) => found.push(ip),
                Err(_) => item.error(report, format!("{text:?} is not an IP address")),
            },
        }
    }
    found
}

fn port(mut fields: Fields<'_>) -> Option<KubernetesPort> {
    let report = fields.report();
    let number = fields.get("port");
    if number.is_none() {
        fields.error("port", "a port needs its number, 1..65535");
    }
    let number = number.and_then(|item| names::port(&item, report));
    let protocols = [("TCP", true), ("UDP", false), ("SCTP", false)];
    let name = fields.text("name").unwrap_or_default();
    let is_tcp = fields.word("protocol", &protocols).unwrap_or(true);
    let target = fields.get("targetPort").and_then(|item| target_port(&item, report));
    let app_protocol = fields.text("appProtocol");
    fields.skip("nodePort");
    fields.finish();
    let number = number?;
    Some(KubernetesPort { number, name, is_tcp, target: target.unwrap_or(TargetPort::Number(number)), app_protocol })
}

fn target_port(item: &Item<'_>, report: &Report) -> Option<TargetPort> {
    if let Value::Text(name) = &item.node.value {
        return Some(TargetPort::Name(name.clone()));
    }
    names::port(item, report).map(TargetPort::Number)
}
