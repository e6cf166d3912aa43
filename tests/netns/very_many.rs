//! Very many of something that belongs to one pod, beside a pod that asks for little.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use weir_tests::attack;
use weir_tests::mesh::{Mesh, NAMESPACE, workload_entry};
use weir_tests::objects::authorization_policy;
use weir_tests::test_app::{self, ECHO, Many};
use weir_tests::wait;
use weir_tests::world::N1;

use crate::harness::{Case, Check, note};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "enrollment: a pod with very many addresses holds up its neighbour for no longer than another",
        check: Check::OwnMesh(addresses),
    },
    Case {
        name: "policy: while policies change and very many connections are open new ones are served, and none is lost",
        check: Check::OwnMesh(changes),
    },
];

/// How long the two may take. One pod is enrolled at a time, and reading the addresses once takes some hundredths of a second.
const ENROLLED_WITHIN: Duration = Duration::from_secs(5);

fn addresses(mesh: &mut Mesh) -> Result<()> {
    const INTERFACES: u32 = 200;
    const EACH: u32 = 500;
    let node = &mesh.world.nodes[N1];
    let (many, neighbour) = (node.pod("many")?, node.pod("neighbour")?);
    for pod in [&many, &neighbour] {
        mesh.control_plane.objects.put(pod.name(), &workload_entry(pod))?;
    }
    let start = Instant::now();
    attack::give_addresses(&many, mesh.world.run(), INTERFACES, EACH, Duration::from_secs(60))?;
    note(format!("{} addresses given within {:.1?}", INTERFACES * EACH, start.elapsed()));
    let agent = &mesh.agents[N1];
    thread::scope(|scope| -> Result<()> {
        let start = Instant::now();
        let enrolling = scope.spawn(|| agent.enroll(&many, NAMESPACE, many.name()));
        agent.enroll(&neighbour, NAMESPACE, neighbour.name())?;
        let of_neighbour = start.elapsed();
        enrolling.join().expect("it does not panic")?;
        let of_both = start.elapsed();
        note(format!("the neighbour is enrolled within {of_neighbour:.1?}, both within {of_both:.1?}"));
        ensure!(
            of_both < ENROLLED_WITHIN,
            "the neighbour waited for {of_neighbour:.1?}, or would have for {of_both:.1?}"
        );
        Ok(())
    })?;
    for pod in [&many, &neighbour] {
        wait::until("it is served", Duration::from_secs(10), || test_app::echoes(&pod.place, mesh.far.ipv4(), ECHO))?;
    }
    Ok(())
}

/// Connections that stay, and new ones that are opened one after the other while policies change.
const KEPT: u32 = 4000;
const NEW: u32 = 150;
/// How long the new ones may take. Each waits for some decisions about those that stay; for all of them, and it would be
/// a minute.
const OPENED_WITHIN: Duration = Duration::from_secs(10);

/// A policy that takes long to decide with: the client's account is among very many that are not its own.
fn slow_policy() -> String {
    const ACCOUNTS: usize = 20_000;
    let others: Vec<String> = (0..ACCOUNTS).map(|number| format!("\"*/sa/another-{number}\"")).collect();
    let rules = format!("[{{from: [{{source: {{principals: [{}, \"*/sa/client\"]}}}}]}}]", others.join(", "));
    authorization_policy("slow", NAMESPACE, "far", "ALLOW", &rules)
}

fn changes(mesh: &mut Mesh) -> Result<()> {
    let objects = &mesh.control_plane.objects;
    objects.put("slow", &slow_policy())?;
    wait::until("the policy is in force", Duration::from_secs(10), || {
        let seen = test_app::probe(&mesh.near.place, mesh.far.ipv4(), ECHO, "let me in")?;
        ensure!(seen.refused(), "{seen:?}");
        Ok(())
    })?;
    let to = SocketAddr::new(mesh.far.ipv4(), ECHO).to_string();
    let kept = attack::app(&mesh.client.place, &["hold", &to, &format!("--count={KEPT}")])?;
    wait::until("very many connections are open", Duration::from_secs(60), || {
        ensure!(kept.stdout().contains("open"), "{}", kept.tail());
        Ok(())
    })?;
    let open_new = || -> Result<Many> {
        let arguments = ["many", &to, &format!("--count={NEW}"), "--patience=10"];
        let many: Many = test_app::client(&mesh.client.place, OPENED_WITHIN, &arguments)?;
        ensure!(many.ok == u64::from(NEW), "{many:?}");
        Ok(many)
    };
    let before = open_new()?;
    let over = AtomicBool::new(false);
    let meanwhile = thread::scope(|scope| -> Result<Many> {
        let changing = scope.spawn(|| -> Result<u32> {
            let mut changes = 0;
            while !over.load(Ordering::Relaxed) {
                let rules = format!("[{{from: [{{source: {{namespaces: [\"other-{changes}\"]}}}}]}}]");
                objects.put("other", &authorization_policy("other", NAMESPACE, "far", "DENY", &rules))?;
                changes += 1;
                wait::between_measurements(Duration::from_millis(50));
            }
            Ok(changes)
        });
        let opened = open_new();
        over.store(true, Ordering::Relaxed);
        let changes = changing.join().expect("it does not panic")?;
        note(format!("{changes} changes"));
        opened
    })?;
    note(format!(
        "{NEW} new connections beside {KEPT}: {:.2} s, while policies change {:.2} s",
        before.seconds, meanwhile.seconds
    ));
    ensure!(!kept.stdout().contains("end"), "a connection ended: {}", kept.tail());
    Ok(())
}
