//! The ports of a pod that the kubelet dials because the pod says so: those of its probes and of its hooks. A probe that
//! names another host does not dial the pod, and says nothing about that host either.

use std::collections::BTreeSet;

use serde::Deserialize;
use weir_common::MAX_PROBE_PORTS_PER_POD;

/// A container, as far as the kubelet dials it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Container {
    ports: Vec<ContainerPort>,
    startup_probe: Option<Action>,
    readiness_probe: Option<Action>,
    liveness_probe: Option<Action>,
    lifecycle: Option<Lifecycle>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Lifecycle {
    post_start: Option<Action>,
    pre_stop: Option<Action>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ContainerPort {
    name: String,
    container_port: u16,
}

/// A probe's or hook's: at most one of them is there, and none for a command.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Action {
    http_get: Option<Dial>,
    tcp_socket: Option<Dial>,
    grpc: Option<Dial>,
}

#[derive(Debug, Deserialize)]
struct Dial {
    /// Empty or missing for the pod itself.
    #[serde(default)]
    host: Option<String>,
    port: PortRef,
}

/// Kubernetes' `IntOrString`: a number, also as text, or the name of a port of the container.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum PortRef {
    Number(u16),
    Name(String),
    /// Whatever else there is: it names no port.
    Other(serde::de::IgnoredAny),
}

/// The ports, in order and each once: the lowest [`MAX_PROBE_PORTS_PER_POD`] of them.
pub(super) fn named<'a>(containers: impl Iterator<Item = &'a Container>) -> Vec<u16> {
    let ports: BTreeSet<u16> = containers.flat_map(ports_of).filter(|&port| port != 0).collect();
    ports.into_iter().take(MAX_PROBE_PORTS_PER_POD).collect()
}

fn ports_of(container: &Container) -> impl Iterator<Item = u16> {
    let Container { startup_probe, readiness_probe, liveness_probe, lifecycle, .. } = container;
    let hooks = lifecycle.iter().flat_map(|lifecycle| [&lifecycle.post_start, &lifecycle.pre_stop]);
    let actions = [startup_probe, readiness_probe, liveness_probe].into_iter().chain(hooks);
    let dials = actions.flatten().flat_map(|action| [&action.http_get, &action.tcp_socket, &action.grpc]);
    let of_pod = dials.flatten().filter(|dial| dial.host.as_deref().unwrap_or_default().is_empty());
    of_pod.filter_map(|dial| match &dial.port {
        PortRef::Number(port) => Some(*port),
        PortRef::Name(name) => name
            .parse()
            .ok()
            .or_else(|| container.ports.iter().find(|port| port.name == *name).map(|port| port.container_port)),
        PortRef::Other(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named_by(containers: &str) -> Vec<u16> {
        let containers: Vec<Container> = serde_json::from_str(containers).expect("containers");
        named(containers.iter())
    }

    #[test]
    fn a_port_counts_when_a_probe_or_hook_of_the_pod_dials_the_pod_there() {
        for (containers, expected) in [
            (r#"[{"name": "a", "ports": [{"containerPort": 80}]}]"#, &[][..]),
            (r#"[{"readinessProbe": {"httpGet": {"port": 8080, "path": "/"}}}]"#, &[8080]),
            (r#"[{"livenessProbe": {"tcpSocket": {"port": "8081"}}}]"#, &[8081]),
            (r#"[{"startupProbe": {"grpc": {"port": 9000, "service": "x"}}}]"#, &[9000]),
            (r#"[{"readinessProbe": {"exec": {"command": ["x"]}}}]"#, &[]),
            (
                r#"[{"lifecycle": {"postStart": {"httpGet": {"port": 1}}, "preStop": {"httpGet": {"port": 2}}}}]"#,
                &[1, 2],
            ),
            (
                r#"[{"ports": [{"name": "web", "containerPort": 80}], "livenessProbe": {"httpGet": {"port": "web"}}},
                    {"livenessProbe": {"httpGet": {"port": "web"}}}]"#,
                &[80],
            ),
            (r#"[{"readinessProbe": {"httpGet": {"port": 8080, "host": "10.0.0.9"}}}]"#, &[]),
            (r#"[{"readinessProbe": {"httpGet": {"port": 8080, "host": ""}}}]"#, &[8080]),
            (r#"[{"readinessProbe": {"httpGet": {"port": 70000}}}]"#, &[]),
            (r#"[{"readinessProbe": {"httpGet": {"port": 0}}}]"#, &[]),
            (
                r#"[{"readinessProbe": {"httpGet": {"port": 7}}, "livenessProbe": {"httpGet": {"port": 7}}},
                    {"readinessProbe": {"httpGet": {"port": 3}}}]"#,
                &[3, 7],
            ),
        ] {
            assert_eq!(named_by(containers), expected, "{containers}");
        }
    }

    #[test]
    fn a_pod_cannot_name_more_ports_than_it_may() {
        let probes: Vec<String> =
            (1..=100).map(|port| format!(r#"{{"livenessProbe": {{"tcpSocket": {{"port": {port}}}}}}}"#)).collect();
        assert_eq!(named_by(&format!("[{}]", probes.join(","))).len(), MAX_PROBE_PORTS_PER_POD);
    }
}
