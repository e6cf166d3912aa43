//! The status as one screen of text.

use std::fmt::Write;

use super::report::{KubernetesStatus, NriState, PodStatus, Status, SupervisorStatus};

/// The whole screen, with a line break at its end.
#[must_use]
pub fn render(status: &Status) -> String {
    let mut screen = String::new();
    for line in lines(status) {
        // Names and errors come from elsewhere; none may steer the terminal.
        screen.extend(line.chars().map(|c| if c.is_control() { ' ' } else { c }));
        screen.truncate(screen.trim_end_matches(' ').len());
        screen.push('\n');
    }
    screen
}

/// `3d 4h`, `4h 12m`, `12m 5s` or `5s`.
pub(super) fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

fn lines(status: &Status) -> Vec<String> {
    let mut lines = vec![headline(status), processes(status), configuration(status), mesh(status)];
    lines.extend(status.kubernetes.as_ref().map(kubernetes));
    lines.extend(status.nri.as_ref().map(nri));
    lines.extend([capture(status), pods(status)]);
    if !status.pods.is_empty() {
        lines.push(String::new());
        lines.extend(pod_table(&status.pods));
    }
    if !status.policies_as_written.is_empty() {
        lines.extend([String::new(), "policies enforced as they are written".to_owned()]);
        lines.extend(status.policies_as_written.iter().map(|policy| format!("  - {policy}")));
    }
    if !status.policies_of_waypoints.is_empty() {
        lines.extend([
            String::new(),
            "policies with targetRefs, which are not enforced at pods: a waypoint may".to_owned(),
        ]);
        lines.extend(status.policies_of_waypoints.iter().map(|policy| format!("  - {policy}")));
    }
    if !status.warnings.is_empty() {
        lines.extend([String::new(), "warnings".to_owned()]);
        lines.extend(status.warnings.iter().map(|warning| format!("  - {warning}")));
    }
    lines
}

fn headline(status: &Status) -> String {
    let node = if status.node.is_empty() { "this node" } else { &status.node };
    let up = duration(status.uptime_seconds);
    let ready = if status.waiting_for.is_empty() {
        "ready".to_owned()
    } else {
        format!("not ready, waiting for {}", status.waiting_for.join(", "))
    };
    format!("weir {} on {node}, up {up}: {ready}", status.version)
}

fn processes(status: &Status) -> String {
    let SupervisorStatus { supervisor, worker, uptime_seconds, restarts, last_end } = &status.supervisor;
    let mut line = format!("processes      supervisor {supervisor}, up {}; worker {worker}", duration(*uptime_seconds));
    if *restarts > 0 {
        let why = last_end.as_deref().unwrap_or("unknown");
        // Writing to a string never fails.
        let _ = write!(
            line,
            ", {} (the last one ended by {why})",
            counted(usize::try_from(*restarts).unwrap_or(usize::MAX), "restart", "restarts")
        );
    }
    line
}

fn configuration(status: &Status) -> String {
    let plane = &status.control_plane;
    let mut line = format!("configuration  {}, ", plane.source);
    line.push_str(if plane.connected { "connected" } else { "not connected" });
    if let Some(seconds) = plane.seconds_since_update {
        // Writing to a string never fails.
        let _ = write!(line, ", last update {} ago", duration(seconds));
    }
    line
}

fn kubernetes(status: &KubernetesStatus) -> String {
    let connected = match status.connected_seconds {
        Some(seconds) => format!("connected for {}", duration(seconds)),
        None => "not connected".to_owned(),
    };
    let pods = counted(status.pods, "pod", "pods");
    let partly = if status.complete { "" } else { " (not all known yet)" };
    format!("kubernetes     {connected}, {pods} on this node, {} in the mesh{partly}", status.in_mesh)
}

fn nri(status: &NriState) -> String {
    let NriState { socket, runtime, connected_seconds, last_error } = status;
    match (runtime, connected_seconds, last_error) {
        (Some(runtime), Some(seconds), _) => {
            format!("nri            connected to {runtime} for {}", duration(*seconds))
        }
        (_, _, Some(_)) => format!("nri            not connected ({socket})"),
        _ => format!("nri            not offered by this node's container runtime ({socket})"),
    }
}

fn mesh(status: &Status) -> String {
    let mesh = status.mesh;
    let counts = [
        counted(mesh.workloads, "workload", "workloads"),
        counted(mesh.services, "service", "services"),
        counted(mesh.policies, "policy", "policies"),
    ];
    format!("mesh           {}", counts.join(", "))
}

fn capture(status: &Status) -> String {
    let counts: Vec<_> = status.capture.iter().map(|(verdict, count)| format!("{verdict} {count}")).collect();
    let counts = if counts.is_empty() { "nothing yet".to_owned() } else { counts.join(", ") };
    format!("capture        {counts}")
}

fn pods(status: &Status) -> String {
    let open = status.pods.iter().map(|pod| pod.connections_open).sum();
    let requests: u64 = status.pods.iter().map(|pod| pod.requests_in_flight).sum();
    let requests = counted(usize::try_from(requests).unwrap_or(usize::MAX), "request", "requests");
    let connections = counted(open, "connection", "connections");
    format!("pods           {} enrolled, {connections} open, {requests} in flight", status.pods.len())
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn pod_table(pods: &[PodStatus]) -> Vec<String> {
    let header = [
        "POD",
        "IDENTITY",
        "ADDRESSES",
        "CERTIFICATE",
        "CONNECTIONS",
        "REQUESTS",
        "5XX",
        "DENIED",
        "UNDER WAY",
        "STATE",
    ]
    .map(str::to_owned);
    let rows: Vec<_> = [header].into_iter().chain(pods.iter().map(pod_row)).collect();
    let widths: [usize; 10] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default());
    rows.iter()
        .map(|row| {
            let cells = row.iter().zip(widths).map(|(cell, width)| format!("  {cell:<width$}"));
            cells.collect()
        })
        .collect()
}

fn pod_row(pod: &PodStatus) -> [String; 10] {
    let addresses: Vec<_> = pod.addresses.iter().map(ToString::to_string).collect();
    let state = match (pod.captured, pod.known_to_mesh) {
        (true, true) => "captured",
        (true, false) => "captured, unknown to the mesh",
        (false, _) => "not captured",
    };
    [
        format!("{}/{}", pod.namespace, pod.name),
        pod.identity.clone(),
        addresses.join(","),
        certificate(pod.certificate_seconds_left),
        pod.connections_open.to_string(),
        pod.requests_ended.to_string(),
        pod.requests_failed.to_string(),
        pod.requests_denied.to_string(),
        pod.requests_in_flight.to_string(),
        state.to_owned(),
    ]
}

fn certificate(seconds_left: Option<i64>) -> String {
    match seconds_left {
        None => "none".to_owned(),
        Some(left) if left < 0 => format!("expired {} ago", duration(left.unsigned_abs())),
        Some(left) => format!("for {}", duration(left.unsigned_abs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::status::report::{ControlPlaneStatus, MeshCounts};

    fn status() -> Status {
        Status {
            node: "node-1".to_owned(),
            version: "0.1.0".to_owned(),
            uptime_seconds: 11_535,
            supervisor: SupervisorStatus {
                supervisor: 7,
                worker: 8,
                uptime_seconds: 11_600,
                ..SupervisorStatus::default()
            },
            waiting_for: Vec::new(),
            control_plane: ControlPlaneStatus {
                source: "https://istiod:15012".to_owned(),
                connected: true,
                seconds_since_update: Some(12),
                last_error: None,
                rejected: Vec::new(),
                unanswered: Vec::new(),
                not_saved: None,
                not_followed: Vec::new(),
            },
            kubernetes: None,
            nri: None,
            last_good_age_seconds: Some(12),
            mesh: MeshCounts { workloads: 120, services: 31, policies: 1 },
            pods: Vec::new(),
            capture: [("redirected".to_owned(), 1200)].into(),
            policies_as_written: Vec::new(),
            policies_of_waypoints: Vec::new(),
            warnings: Vec::new(),
        }
    }

    #[test]
    fn a_node_without_pods() {
        let expected = "\
weir 0.1.0 on node-1, up 3h 12m: ready
processes      supervisor 7, up 3h 13m; worker 8
configuration  https://istiod:15012, connected, last update 12s ago
mesh           120 workloads, 31 services, 1 policy
capture        redirected 1200
pods           0 enrolled, 0 connections open, 0 requests in flight
";
        assert_eq!(render(&status()), expected);
    }

    #[test]
    fn kubernetes_is_a_line_where_it_is_followed() {
        let kubernetes =
            KubernetesStatus { connected_seconds: Some(65), complete: true, pods: 12, in_mesh: 3, last_error: None };
        let line = |kubernetes| {
            let screen = render(&Status { kubernetes: Some(kubernetes), ..status() });
            screen.lines().find(|line| line.starts_with("kubernetes")).expect("there is one").to_owned()
        };
        let expected = "kubernetes     connected for 1m 5s, 12 pods on this node, 3 in the mesh";
        assert_eq!(line(kubernetes.clone()), expected);
        let away = KubernetesStatus { connected_seconds: None, complete: false, pods: 1, ..kubernetes };
        let expected = "kubernetes     not connected, 1 pod on this node, 3 in the mesh (not all known yet)";
        assert_eq!(line(away), expected);
    }

    #[test]
    fn nri_is_a_line_where_it_is_wanted() {
        let there = NriState {
            socket: "/s".to_owned(),
            runtime: Some("containerd v2.4.2".to_owned()),
            connected_seconds: Some(65),
            last_error: None,
        };
        let away = NriState { runtime: None, connected_seconds: None, ..there.clone() };
        let broken = NriState { last_error: Some("connection refused".to_owned()), ..away.clone() };
        for (nri, expected) in [
            (there, "nri            connected to containerd v2.4.2 for 1m 5s"),
            (away, "nri            not offered by this node's container runtime (/s)"),
            (broken, "nri            not connected (/s)"),
        ] {
            let screen = render(&Status { nri: Some(nri), ..status() });
            assert_eq!(screen.lines().find(|line| line.starts_with("nri")), Some(expected));
        }
    }

    #[test]
    fn pods_are_a_table_and_warnings_come_last() {
        let pod = PodStatus {
            namespace: "shop".to_owned(),
            name: "client".to_owned(),
            identity: "spiffe://cluster.local/ns/shop/sa/client".to_owned(),
            addresses: vec!["10.0.0.1".parse().expect("it is one"), "fd00::1".parse().expect("it is one")],
            captured: true,
            known_to_mesh: true,
            certificate_seconds_left: Some(86_000),
            connections_open: 1,
            requests_in_flight: 3,
            requests_ended: 1200,
            requests_failed: 7,
            requests_denied: 40,
            limits_reached: Vec::new(),
        };
        let stranger = PodStatus {
            name: "new".to_owned(),
            addresses: Vec::new(),
            known_to_mesh: false,
            certificate_seconds_left: Some(-65),
            connections_open: 0,
            requests_in_flight: 0,
            requests_ended: 0,
            requests_failed: 0,
            requests_denied: 0,
            ..pod.clone()
        };
        let screen = render(&Status {
            waiting_for: vec!["xds".to_owned(), "capture".to_owned()],
            pods: vec![pod, stranger],
            capture: Default::default(),
            supervisor: SupervisorStatus { restarts: 2, last_end: Some("SIGKILL".to_owned()), ..status().supervisor },
            warnings: vec!["something is \u{1b}[31mwrong".to_owned()],
            ..status()
        });
        let expected = "\
weir 0.1.0 on node-1, up 3h 12m: not ready, waiting for xds, capture
processes      supervisor 7, up 3h 13m; worker 8, 2 restarts (the last one ended by SIGKILL)
configuration  https://istiod:15012, connected, last update 12s ago
mesh           120 workloads, 31 services, 1 policy
capture        nothing yet
pods           2 enrolled, 1 connection open, 3 requests in flight

  POD          IDENTITY                                  ADDRESSES         CERTIFICATE        CONNECTIONS  REQUESTS  5XX  DENIED  UNDER WAY  STATE
  shop/client  spiffe://cluster.local/ns/shop/sa/client  10.0.0.1,fd00::1  for 23h 53m        1            1200      7    40      3          captured
  shop/new     spiffe://cluster.local/ns/shop/sa/client                    expired 1m 5s ago  0            0         0    0       0          captured, unknown to the mesh

warnings
  - something is  [31mwrong
";
        assert_eq!(screen, expected);
    }
}
