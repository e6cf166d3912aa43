//! What servers and proxies have logged of each request, by its mark.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use weir_tests::answers::{NAMESPACE, Witnessed};
use weir_tests::cluster::CLIENT_NODE;
use weir_tests::wait;

use super::stage::Stage;
use crate::mesh;

/// How long the logs of all pods may take to be whole.
const LOGGED: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(500);

/// By the mark of each request that something is known of.
pub(super) fn witnesses(stage: &Stage<'_>) -> Result<BTreeMap<String, Witnessed>> {
    let mut witnesses: BTreeMap<String, Witnessed> = BTreeMap::new();
    for (server, mark) in arrived(stage)? {
        *witnesses.entry(mark).or_default().arrivals.entry(server.to_owned()).or_default() += 1;
    }
    let agent = mesh::agent_of(stage.cluster, CLIENT_NODE)?;
    let of_weir = stage.cluster.kubectl.run(&["logs", "--namespace", mesh::NAMESPACE, &agent.name])?;
    for log in [of_weir, stage.sidecar.access_log()] {
        for (mark, flags) in log.lines().filter_map(flags) {
            witnesses.entry(mark).or_default().flags = Some(flags);
        }
    }
    Ok(witnesses)
}

/// Server and mark of each arrival. Copies of requests arrive when they do.
fn arrived(stage: &Stage<'_>) -> Result<Vec<(&'static str, String)>> {
    let mut before = None;
    wait::until_every(PAUSE, "nothing more is logged", LOGGED, || {
        let mut lines = Vec::new();
        for (pod, server) in &stage.servers {
            let log = stage.cluster.kubectl.run(&["logs", "--namespace", NAMESPACE, pod])?;
            let arrived = log.lines().filter_map(|line| line.strip_prefix("arrived "));
            lines.extend(arrived.map(|mark| (*server, mark.to_owned())));
        }
        let count = lines.len();
        ensure!(before.replace(count) == Some(count), "there were {count} lines");
        Ok(lines)
    })
}

/// Mark and flags of a line in Istio's usual format, which both write: status and flags stand behind the first line of the request, whose
/// path may hold any quotation mark.
fn flags(line: &str) -> Option<(String, String)> {
    let mark = line.split('"').find(|text| text.starts_with("envoy-") || text.starts_with("weir-"))?;
    let ends = ["HTTP/1.1\" ", "HTTP/1.0\" ", "HTTP/2\" ", " -\" "];
    let behind = ends.iter().find_map(|end| Some(line.split_once(end)?.1))?;
    Some((mark.to_owned(), behind.split(' ').nth(1)?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_tell_the_mark_and_the_flags() {
        let envoy = "[2026-01-01T00:00:00.000Z] \"GET /a\"<> HTTP/1.1\" 503 UF,URX via_upstream - \"-\" 0 91 1 - \"-\" \
                     \"-\" \"envoy-00012\" \"a.b\" \"-\" outbound|80||a - 10.0.0.1:80 10.0.0.2:1 - default";
        assert_eq!(flags(envoy), Some(("envoy-00012".to_owned(), "UF,URX".to_owned())));
        assert_eq!(flags("[2026-01-01T00:00:00.000Z] \"- - HTTP/1.1\" 400 DPE - - \"-\" \"-\""), None);
    }
}
