//! Which endpoint each request goes to: one by one, whatever connection it came over.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use weir_tests::http_mesh::{HttpMesh, HttpSeen, HttpService, VERSIONS};
use weir_tests::wait;

use super::split::answered_by;
use crate::harness::{Case, Check, note};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "http: requests of one kept HTTP/1 connection are spread over all pods",
        check: Check::Http(kept_connection),
    },
    Case { name: "http: subsets of a DestinationRule are told apart by labels", check: Check::Http(subsets) },
    Case {
        name: "http: a consistent hash keeps a key at its pod, and spreads keys",
        check: Check::Http(consistent_hash),
    },
    Case {
        name: "http: pods of the same node and of another one, by IPv4 and IPv6",
        check: Check::Http(nodes_and_families),
    },
    Case {
        name: "http: a new endpoint is asked by connections that are older than it",
        check: Check::Http(new_endpoint),
    },
];

/// Requests of which a spread is checked.
pub(super) const REQUESTS: u64 = 600;

/// All were answered with 200, and no pod got less than half of what an even share is.
pub(super) fn is_spread(seen: &HttpSeen) -> Result<()> {
    seen.all_are(200)?;
    let counts = VERSIONS.map(|pod| seen.by(pod));
    note(format!(
        "{} connection, {REQUESTS} requests: {} to v1, {} to v2, {} to v3",
        seen.connections, counts[0], counts[1], counts[2]
    ));
    let least = REQUESTS / 3 / 2;
    ensure!(seen.connections == 1, "{seen:?}");
    ensure!(counts.iter().sum::<u64>() == REQUESTS && counts.iter().all(|count| *count >= least), "{seen:?}");
    Ok(())
}

/// A service that is known to all agents.
pub(super) fn known<'a>(mesh: &'a HttpMesh, name: &str) -> Result<HttpService<'a>> {
    let service = mesh.service(name)?;
    answered_by(&service, &VERSIONS)?;
    Ok(service)
}

fn kept_connection(mesh: &HttpMesh) -> Result<()> {
    let service = known(mesh, "kept")?;
    is_spread(&service.load(80, &[&format!("--requests={REQUESTS}")])?)
}

fn subsets(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.service("subsets")?;
    let _rule =
        service.destination_rule("subsets: [{name: two, labels: {version: v2}}, {name: all, labels: {app: web}}]")?;
    let to = |subset: &str| format!("[{{route: [{{destination: {{host: subsets, subset: {subset}}}}}]}}]");
    let _route = service.virtual_service(&to("two"))?;
    answered_by(&service, &["v2"])?;
    let _route = service.virtual_service(&to("all"))?;
    answered_by(&service, &VERSIONS)
}

fn consistent_hash(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.service("hash")?;
    let _rule =
        service.destination_rule("trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}}")?;
    let of_user = |user: u32| -> Result<BTreeSet<String>> {
        let seen = service.load(80, &["--requests=20", &format!("--field=x-user: user-{user}")])?;
        seen.all_are(200)?;
        Ok(seen.pods.into_keys().collect())
    };
    wait::until("a key has one pod", Duration::from_secs(10), || {
        let pods = of_user(0)?;
        ensure!(pods.len() == 1, "{pods:?}");
        Ok(())
    })?;
    let mut all = BTreeSet::new();
    for user in 0..24 {
        let pods = of_user(user)?;
        ensure!(pods.len() == 1, "user {user}: {pods:?}");
        all.extend(pods);
    }
    ensure!(all.len() == 3, "24 keys are at {all:?} alone");
    // A request without the key goes anywhere.
    answered_by(&service, &VERSIONS)
}

fn nodes_and_families(mesh: &HttpMesh) -> Result<()> {
    for version in VERSIONS {
        let service = mesh.version(version);
        for vip in [service.vip(), service.vip6()] {
            let answer = service.ask_at(vip, 80, "/", &[])?;
            answer.expect(200, Some(version))?;
            let echo = answer.echo()?;
            // The application sees its client, not the mesh.
            let client = mesh.client.addresses().map(|address| address.to_string());
            ensure!(client.iter().any(|address| echo.peer.contains(address)), "{version} at {vip}: {echo:?}");
        }
    }
    Ok(())
}

fn new_endpoint(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.service_of("grows", ("grows", "yes"))?;
    let joined = |pod: &'static str| mesh.relabel(pod, &[("app", "web"), ("version", pod), ("grows", "yes")]);
    let v1 = joined("v1")?;
    answered_by(&service, &["v1"])?;
    let load = service.start_load(80, &["--pause-ms=1"])?;
    let _v2 = joined("v2")?;
    answered_by(&service, &["v1", "v2"])?;
    drop(v1);
    answered_by(&service, &["v2"])?;
    let seen = load.end()?;
    seen.all_are(200)?;
    ensure!(seen.connections == 1 && seen.by("v1") > 0 && seen.by("v2") > 0, "{seen:?}");
    Ok(())
}
