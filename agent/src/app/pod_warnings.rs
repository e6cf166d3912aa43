//! What an operator has to know of single pods from what the kernel programs decided about their connections.

use std::collections::{BTreeMap, HashMap};

use crate::capture::{Capture, NetnsCookie};
use crate::config::UncapturableOutbound;
use crate::enrollment::Enrollment;
use crate::telemetry::connection::LiveConnection;

/// One line for each pod and kind of decision.
pub(super) fn warnings(capture: &Capture, enrollment: &Enrollment, setting: UncapturableOutbound) -> Vec<String> {
    let names: HashMap<NetnsCookie, String> = enrollment
        .pods()
        .iter()
        .map(|pod| (pod.netns.cookie(), format!("{}/{}", pod.spec.namespace, pod.spec.name)))
        .collect();
    let verdicts = capture.pod_verdicts();
    let mut lines: Vec<_> = verdicts
        .into_iter()
        .filter_map(|(cookie, verdict, count)| warning(names.get(&cookie)?, verdict, count, setting))
        .collect();
    let pods = enrollment.pods();
    lines.extend(pods.iter().filter_map(|pod| {
        let packets = enrollment.forwarded_by(pod)?;
        let (namespace, name) = (&pod.spec.namespace, &pod.spec.name);
        Some(format!(
            "{namespace}/{name} forwards packets to network namespaces within it ({packets} so far): policy does not see TCP \
             connections that come in this way"
        ))
    }));
    lines.sort();
    lines
}

/// One line for each pod that has plaintext connections which could be over HBONE.
pub(super) fn late_plaintext(connections: &[LiveConnection]) -> Vec<String> {
    let mut by_pod: BTreeMap<String, usize> = BTreeMap::new();
    for own in connections.iter().filter_map(|connection| connection.ends.own_workload()) {
        *by_pod.entry(format!("{}/{}", own.namespace, own.name)).or_default() += 1;
    }
    let line = |(pod, count)| {
        format!(
            "{pod} has {count} plaintext connections with pods that speak HBONE by now: `weir plaintext` lists them, and with \
             --end it ends them"
        )
    };
    by_pod.into_iter().map(line).collect()
}

fn warning(pod: &str, verdict: &str, count: u64, setting: UncapturableOutbound) -> Option<String> {
    if verdict == "listening_overflowed" {
        return Some(format!(
            "{pod} began to listen {count} times on more ports than are counted for one pod: until the next look at its \
             sockets, none of its ports refuses as it would without capture ({verdict})"
        ));
    }
    let why = match verdict {
        "connect_from_foreign_source" => "their sockets are bound to an address that the pod was not enrolled with",
        "connect_bound_to_device" => "their sockets are bound to another device than that of the pod's addresses",
        "connect_without_source_address" => "the pod was enrolled without an address of that family",
        "connect_source_unavailable" => "the pod's address could not be used",
        _ => return None,
    };
    let what = match setting {
        UncapturableOutbound::Refuse => "were refused",
        UncapturableOutbound::Pass => "left outside the mesh",
    };
    Some(format!("{count} connections of {pod} {what}: {why} ({verdict}, --uncapturable-outbound)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_the_pod_the_number_the_reason_and_the_setting() {
        let line = |verdict, setting| warning("shop/a", verdict, 3, setting);
        assert_eq!(
            line("connect_bound_to_device", UncapturableOutbound::Refuse).as_deref(),
            Some(
                "3 connections of shop/a were refused: their sockets are bound to another device than that of the pod's \
                 addresses (connect_bound_to_device, --uncapturable-outbound)"
            )
        );
        assert_eq!(
            line("connect_source_unavailable", UncapturableOutbound::Pass).as_deref(),
            Some(
                "3 connections of shop/a left outside the mesh: the pod's address could not be used \
                 (connect_source_unavailable, --uncapturable-outbound)"
            )
        );
        assert_eq!(line("connect_redirected", UncapturableOutbound::Pass), None);
    }
}
