//! Which captured pods forward packets to network namespaces within them: capture sees what is delivered in the pod's own
//! namespace, and no hook of it sees what the pod forwards. The kernel counts that for each namespace (`/proc/net/snmp`).

use std::collections::HashMap;
use std::sync::Arc;
use std::{fs, io};

use parking_lot::Mutex;

use super::pod::EnrolledPod;
use crate::capture::NetnsCookie;

/// Pods that were seen to forward packets, and how many so far.
#[derive(Debug, Default)]
pub struct Forwarding {
    pods: Mutex<HashMap<NetnsCookie, u64>>,
}

impl Forwarding {
    /// Packets that a pod has forwarded, where it was seen to.
    #[must_use]
    pub fn of(&self, pod: NetnsCookie) -> Option<u64> {
        self.pods.lock().get(&pod).copied()
    }

    /// Looks which of these pods forward packets, and says so in the log when one begins. Enters their namespaces.
    pub(super) fn look(&self, pods: &[Arc<EnrolledPod>]) {
        let counts: HashMap<NetnsCookie, u64> = pods
            .iter()
            .filter_map(|pod| Some((pod.netns.cookie(), forwarded(pod).ok()?)))
            .filter(|(_, packets)| *packets > 0)
            .collect();
        let former = std::mem::replace(&mut *self.pods.lock(), counts.clone());
        let began = |pod: &&Arc<EnrolledPod>| {
            let cookie = pod.netns.cookie();
            counts.contains_key(&cookie) && !former.contains_key(&cookie)
        };
        for pod in pods.iter().filter(began) {
            tracing::warn!(
                uid = pod.spec.uid,
                pod = format!("{}/{}", pod.spec.namespace, pod.spec.name),
                "the pod forwards packets between its interfaces: policy does not see TCP connections that come in this way"
            );
        }
    }
}

fn forwarded(pod: &EnrolledPod) -> io::Result<u64> {
    pod.netns.run(|| {
        let snmp = fs::read_to_string("/proc/thread-self/net/snmp")?;
        // Missing where there is no IPv6.
        let snmp6 = fs::read_to_string("/proc/thread-self/net/snmp6").unwrap_or_default();
        Ok(packets(&snmp, &snmp6))
    })?
}

/// The packets that a namespace has forwarded, from its `/proc/net/snmp` (IPv4) and `/proc/net/snmp6`.
fn packets(snmp: &str, snmp6: &str) -> u64 {
    let mut ip = snmp.lines().filter_map(|line| line.strip_prefix("Ip: ")).map(str::split_whitespace);
    let v4 = ip.next().zip(ip.next()).and_then(|(names, values)| {
        names.zip(values).find(|(name, _)| *name == "ForwDatagrams").and_then(|(_, value)| value.parse::<u64>().ok())
    });
    let v6 = snmp6.lines().find_map(|line| line.strip_prefix("Ip6OutForwDatagrams")?.trim().parse::<u64>().ok());
    v4.unwrap_or_default() + v6.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_counts_of_both_families_are_added() {
        let snmp =
            "Ip: Forwarding DefaultTTL InReceives ForwDatagrams InDelivers\nIp: 1 64 900 41 800\nIcmp: a\nIcmp: 1\n";
        let snmp6 = "Ip6InReceives                   \t7\nIp6OutForwDatagrams             \t2\n";
        for (snmp, snmp6, expected) in [(snmp, snmp6, 43), (snmp, "", 41), ("", snmp6, 2), ("Ip: x\n", "y", 0)] {
            assert_eq!(packets(snmp, snmp6), expected);
        }
    }
}
