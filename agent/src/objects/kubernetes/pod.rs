//! Kubernetes Pod: only what makes it a workload of the mesh is read; all else in a Pod is the kubelet's business.

use std::net::IpAddr;

use crate::objects::reading::yaml::Node;
use crate::objects::reading::{Fields, names};

/// A Pod, from `spec` and `status`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pod {
    /// `status.podIPs`; empty until it runs.
    pub addresses: Vec<IpAddr>,
    /// `status.phase` is Succeeded or Failed: it has run to its end.
    pub finished: bool,
    /// The condition `Ready` of its status.
    pub ready: bool,
    pub service_account: String,
    /// `spec.nodeName`; empty until it is scheduled.
    pub node: String,
    pub host_network: bool,
    /// TCP ports of its containers that have a name.
    pub named_ports: Vec<(String, u16)>,
}

/// Reads `spec` and `status`.
pub(in crate::objects) fn read(mut spec: Fields<'_>, status: Option<&Node>) -> Pod {
    let mut pod = Pod {
        service_account: spec.text("serviceAccountName").unwrap_or_else(|| "default".to_owned()),
        node: spec.text("nodeName").unwrap_or_default(),
        host_network: spec.flag("hostNetwork").unwrap_or(false),
        ..Pod::default()
    };
    let report = spec.report();
    for item in spec.items("containers") {
        pod.named_ports.extend(item.fields(report).map(named_ports).unwrap_or_default());
    }
    for item in spec.items("initContainers") {
        let Some(mut container) = item.fields(report) else { continue };
        // Only those that stay for the Pod's life serve anything.
        if container.text("restartPolicy").as_deref() == Some("Always") {
            pod.named_ports.extend(named_ports(container));
        }
    }
    if let Some(status) = status.and_then(|node| Fields::of(node, "status", report)) {
        read_status(&mut pod, status);
    }
    pod
}

fn named_ports(mut container: Fields<'_>) -> Vec<(String, u16)> {
    let report = container.report();
    let mut found = Vec::new();
    for item in container.items("ports") {
        let Some(mut port) = item.fields(report) else { continue };
        let number = port.get("containerPort").and_then(|item| names::port(&item, report));
        let is_tcp = port.text("protocol").is_none_or(|protocol| protocol == "TCP");
        if let (Some(number), Some(name), true) = (number, port.text("name"), is_tcp) {
            found.push((name, number));
        }
    }
    found
}

fn read_status(pod: &mut Pod, mut status: Fields<'_>) {
    let report = status.report();
    pod.finished = matches!(status.text("phase").as_deref(), Some("Succeeded" | "Failed"));
    let mut items = Vec::new();
    for item in status.items("podIPs") {
        items.extend(item.fields(report).and_then(|mut address| address.get("ip")));
    }
    if items.is_empty() {
        items.extend(status.get("podIP"));
    }
    for item in items {
        match item.text(report).map(str::parse) {
            Some(Ok(ip)) => pod.addresses.push(ip),
            Some(Err(_)) => item.error(report, "is not an IP address"),
            None => {}
        }
    }
    for item in status.items("conditions") {
        let Some(mut condition) = item.fields(report) else { continue };
        if condition.text("type").as_deref() == Some("Ready") {
            pod.ready = condition.text("status").as_deref() == Some("True");
        }
    }
}
