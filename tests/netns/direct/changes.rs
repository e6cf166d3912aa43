//! What changes while connections are direct: policy, the pods, who is in the mesh.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use weir_tests::certificates::serial_of;
use weir_tests::mesh::{Mesh, NAMESPACE, NEAR_VIPS, ip, labelled_entry, principal};
use weir_tests::objects::authorization_policy;
use weir_tests::test_app::{self, ECHO};
use weir_tests::wait;
use weir_tests::world::N1;

use super::stage::{SOON, becomes_direct, count, denies, ends, held, held_by, is_refused, mesh};
use crate::count::{Counter, FAILED};
use crate::harness::{Case, Check, note};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "direct: what is open ends within a second when policy no longer allows it",
        check: Check::Alone(revoked),
    },
    Case {
        name: "direct: what a policy in a dry run, or one about requests, looks at goes by the agent",
        check: Check::Alone(looked_at),
    },
    Case {
        name: "direct: what is open ends when a certificate is revoked, and others notice nothing",
        check: Check::Alone(certificate_revoked),
    },
    Case { name: "direct: with a pod that dies, its connections end", check: Check::Alone(pod_dies) },
    Case {
        name: "direct: where the network lets only HBONE through, connections go by the agent",
        check: Check::Alone(only_hbone_passes),
    },
    Case {
        name: "direct: a pod that leaves the mesh keeps what is open, and gets nothing more",
        check: Check::Alone(leaves),
    },
];

/// How long a revoked connection may stay, from the moment at which policy has it.
const REVOKED_WITHIN: Duration = Duration::from_secs(1);
/// For how long a verdict is watched that must not be given.
const WATCHED: Duration = Duration::from_secs(2);

fn revoked() -> Result<()> {
    let mesh = mesh()?;
    let agent = &mesh.agents[N1];
    let connections = [mesh.near.ipv4(), mesh.near.ipv6(), ip(NEAR_VIPS[0])].map(|address| held(&mesh, address));
    let connections = connections.into_iter().collect::<Result<Vec<_>>>()?;
    let failed = Counter::of(agent, FAILED, &[("reporter", "destination"), ("response_flags", "DENY")])?;
    let policy = mesh.control_plane.objects.put_for_now("case", &denies(&mesh.client))?;
    is_refused(&mesh)?;
    let start = Instant::now();
    for connection in &connections {
        let end = ends(&mesh, connection, REVOKED_WITHIN)?;
        ensure!(end == "ConnectionReset", "{end}");
    }
    note(format!("all had ended {} ms after a new one was refused", start.elapsed().as_millis()));
    failed.grows_by(3.0).with_context(|| mesh.logs())?;
    let before = count(agent)?;
    is_refused(&mesh)?;
    ensure!(count(agent)? == before, "a connection that is denied was direct");
    drop(policy);
    becomes_direct(&mesh, mesh.near.ipv4(), ECHO).map(drop)
}

fn looked_at() -> Result<()> {
    let mesh = mesh()?;
    let dry_run = authorization_policy("case", NAMESPACE, "near", "DENY", "[{}]")
        .replace("  name: case\n", "  name: case\n  annotations:\n    istio.io/dry-run: \"true\"\n");
    for (policy, what) in
        [(dry_run, "a dry run"), (authorization_policy("case", NAMESPACE, "near", "AUDIT", "[{}]"), "AUDIT")]
    {
        let held = held(&mesh, mesh.near.ipv4())?;
        let policy = mesh.control_plane.objects.put_for_now("case", &policy)?;
        wait::until(&format!("{what} has connections go by the agent"), SOON, || {
            let before = count(&mesh.agents[N1])?;
            let seen = test_app::probe(&mesh.client.place, mesh.near.ipv4(), ECHO, "hello")?;
            ensure!(seen.received == "hello" && count(&mesh.agents[N1])? == before, "{seen:?}");
            Ok(())
        })?;
        let before = count(&mesh.agents[N1])?;
        wait::throughout("they go on to", WATCHED, || {
            let seen = test_app::probe(&mesh.client.place, mesh.near.ipv4(), ECHO, "hello")?;
            ensure!(seen.received == "hello" && count(&mesh.agents[N1])? == before, "{seen:?}");
            Ok(())
        })?;
        held.is_open().context("it decides nothing")?;
        drop(policy);
    }
    becomes_direct(&mesh, mesh.near.ipv4(), ECHO).map(drop)
}

fn certificate_revoked() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let lists = folder.path().join("ca-crl.pem");
    let mesh = Mesh::start_with("t", &["--same-node=direct", &format!("--crl={}", lists.display())])?;
    let bystander = mesh.world.nodes[N1].pod("other")?;
    mesh.control_plane.objects.put("other", &labelled_entry(&bystander, &[], true))?;
    mesh.agents[N1].enroll(&bystander, NAMESPACE, "other")?;
    let (held, other) = (held(&mesh, mesh.near.ipv4())?, held_by(&mesh, &bystander, mesh.near.ipv4())?);
    let dump = mesh.agents[N1].config_dump()?;
    let all = dump["certificates"].as_array().context("the dump lists certificates")?;
    let identity = principal(&mesh.client);
    let own = all.iter().find(|one| one["identity"] == identity.as_str()).context("the pod has one")?;
    let serial = serial_of(own["certChain"][0]["pem"].as_str().context("it has a leaf")?)?;
    fs::write(&lists, mesh.control_plane.authority()?.revocation_list(&[serial])?)?;
    // The file is read every five seconds.
    let end = ends(&mesh, &held, Duration::from_secs(15))?;
    ensure!(end == "ConnectionReset", "{end}");
    becomes_direct(&mesh, mesh.near.ipv4(), ECHO).context("the pod has another certificate")?;
    other.is_open()
}

fn pod_dies() -> Result<()> {
    let mut mesh = mesh()?;
    let held = held(&mesh, mesh.near.ipv4())?;
    // Its interface is gone before its processes are: they cannot say goodbye.
    mesh.near.netns().ip("link del eth0")?;
    let next = mesh.world.nodes[N1].pod("next")?;
    drop(std::mem::replace(&mut mesh.near, next));
    let end = ends(&mesh, &held, SOON)?;
    ensure!(["ConnectionReset", "ConnectionAborted"].contains(&&*end), "{end}");
    Ok(())
}

/// As with a NetworkPolicy for port 15008.
fn only_hbone_passes() -> Result<()> {
    let mesh = mesh()?;
    becomes_direct(&mesh, mesh.near.ipv4(), ECHO)?;
    let rules = format!(
        "add table ip case; add chain ip case forward {{ type filter hook forward priority 0; }}; \
         add rule ip case forward ip daddr {} tcp dport {ECHO} drop",
        mesh.near.ipv4()
    );
    mesh.world.nodes[N1].place.run(&["nft", &rules])?;
    wait::until("connections go by the agent", SOON, || {
        let seen = test_app::probe(&mesh.client.place, mesh.near.ipv4(), ECHO, "hello")?;
        ensure!(seen.received == "hello", "{seen:?}");
        Ok(())
    })
    .with_context(|| mesh.logs())
}

fn leaves() -> Result<()> {
    let mesh = mesh()?;
    let held = held(&mesh, mesh.near.ipv4())?;
    mesh.agents[N1].unenroll("near")?;
    let before = count(&mesh.agents[N1])?;
    wait::throughout("nothing more is direct", WATCHED, || {
        let seen = test_app::probe(&mesh.client.place, mesh.near.ipv4(), ECHO, "hello")?;
        ensure!(count(&mesh.agents[N1])? == before, "{seen:?}");
        held.is_open()
    })?;
    mesh.agents[N1].enroll(&mesh.near, NAMESPACE, "near")?;
    becomes_direct(&mesh, mesh.near.ipv4(), ECHO)?;
    held.is_open()
}
