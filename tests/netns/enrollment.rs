//! The pods of a node: how they come, how they go, and what is refused.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_tests::mesh::{Mesh, NAMESPACE, workload_entry};
use weir_tests::test_app::{self, ECHO};
use weir_tests::wait;

use crate::count::Counter;
use crate::harness::{Case, Check};

pub(crate) const CASES: &[Case] = &[
    Case { name: "enrollment: bad input is refused and the field named", check: Check::Mesh(bad_input) },
    Case { name: "enrollment: a refused pod is left as it was", check: Check::Mesh(refused_is_untouched) },
    Case { name: "enrollment: enrolling twice is refused and changes nothing", check: Check::Mesh(twice) },
    Case {
        name: "enrollment: of two pods with one address the later one is refused and told, until the first has lost it",
        check: Check::Mesh(one_address),
    },
    Case { name: "enrollment: a pod that leaves is as before", check: Check::Mesh(leaves) },
    Case { name: "enrollment: a pod that dies is undone", check: Check::Mesh(dies) },
    Case {
        name: "enrollment: a pod enrolled before the mesh knows it works once it does",
        check: Check::Mesh(known_later),
    },
];

fn bad_input(mesh: &Mesh) -> Result<()> {
    let agent = mesh.agent_of(&mesh.outsider);
    let netns = mesh.outsider.netns().path().display().to_string();
    let file = mesh.control_plane.root().display().to_string();
    let socket = agent.socket();
    let cases: [(&str, [&str; 5]); 6] = [
        ("netns", ["/run/netns/there-is-none", "u1", "a", "b", "c"]),
        ("netns", [&file, "u1", "a", "b", "c"]),
        ("uid", [&netns, "", "a", "b", "c"]),
        ("name", [&netns, "u1", "", "b", "c"]),
        ("namespace", [&netns, "u1", "a", "", "c"]),
        ("service", [&netns, "u1", "a", "b", "not/an account"]),
    ];
    for (field, [netns, uid, name, namespace, account]) in cases {
        let output = agent.weir(&[
            "enroll",
            "--netns",
            netns,
            "--uid",
            uid,
            "--name",
            name,
            "--namespace",
            namespace,
            "--service-account",
            account,
            "--socket",
            &socket,
        ])?;
        let said = output.stderr.to_lowercase() + &output.stdout.to_lowercase();
        ensure!(!output.success && said.contains(field), "{field}: {}", output.summary());
    }
    let node = mesh.node_of(&mesh.outsider);
    let own = format!("/proc/{}/ns/net", std::process::id());
    let output = agent.weir(&[
        "enroll",
        "--netns",
        &own,
        "--uid",
        "u2",
        "--name",
        "a",
        "--namespace",
        "b",
        "--address",
        "not an address",
        "--socket",
        &socket,
    ])?;
    ensure!(!output.success && output.summary().contains("address"), "{}: {}", node.name(), output.summary());
    Ok(())
}

fn refused_is_untouched(mesh: &Mesh) -> Result<()> {
    let agent = mesh.agent_of(&mesh.outsider);
    let netns = mesh.outsider.netns().path().display().to_string();
    let socket = agent.socket();
    let output = agent.weir(&[
        "enroll",
        "--netns",
        &netns,
        "--uid",
        "u1",
        "--name",
        "",
        "--namespace",
        "b",
        "--socket",
        &socket,
    ])?;
    ensure!(!output.success, "{}", output.summary());
    let sent = Counter::sent(mesh, &mesh.outsider)?;
    test_app::echoes(&mesh.outsider.place, mesh.far.ipv4(), ECHO)?;
    sent.stays().context("the pod is not captured")
}

fn twice(mesh: &Mesh) -> Result<()> {
    let received = Counter::received(mesh, &mesh.client, &mesh.far)?;
    let again = mesh.agent_of(&mesh.client).enroll(&mesh.client, NAMESPACE, mesh.client.name());
    let said = again.err().map(|error| format!("{error:#}")).unwrap_or_default();
    ensure!(said.contains("uid"), "the second enrolment: {said:?}");
    test_app::echoes(&mesh.client.place, mesh.far.ipv4(), ECHO)?;
    received.grows_by(1.0)
}

/// Networks of a node may overlap, and a pod that is gone may still be known. Whoever has an address keeps it: traffic to it must
/// never get another pod's identity, nor another pod's policy.
fn one_address(mesh: &Mesh) -> Result<()> {
    let (first, agent) = (&mesh.near, mesh.agent_of(&mesh.near));
    let address = first.ipv4().to_string();
    let later = mesh.node_of(first).pod("later")?;
    let (netns, socket) = (later.netns().path().display().to_string(), agent.socket());
    let enroll = || {
        agent.weir(&[
            "enroll",
            "--netns",
            &netns,
            "--uid",
            "later",
            "--name",
            "later",
            "--namespace",
            NAMESPACE,
            "--address",
            &address,
            "--socket",
            &socket,
        ])
    };
    let refused = Counter::of(agent, "weir_enrollment_refusals_total", &[("field", "addresses")])?;
    let received = Counter::received(mesh, &mesh.client, first)?;
    let output = enroll()?;
    let told = format!("addresses: {address} is already enrolled by pod \"{NAMESPACE}/{}\"", first.name());
    ensure!(!output.success && output.summary().contains(&told), "{}", output.summary());
    refused.grows_by(1.0)?;
    let sent = Counter::sent(mesh, &later)?;
    test_app::echoes(&later.place, mesh.far.ipv4(), ECHO)?;
    sent.stays().context("the one that was refused carries nobody's identity")?;
    test_app::echoes(&mesh.client.place, first.ipv4(), ECHO).context("the first is served as before")?;
    received.grows_by(1.0)?;

    agent.unenroll(first.name())?;
    let output = enroll()?;
    ensure!(output.success, "the address is free: {}", output.summary());
    agent.unenroll("later")?;
    agent.enroll(first, NAMESPACE, first.name())?;
    mesh.carries_traffic()
}

fn leaves(mesh: &Mesh) -> Result<()> {
    let agent = mesh.agent_of(&mesh.client);
    agent.unenroll(mesh.client.name())?;
    let pods = agent.weir(&["pods", "--socket", &agent.socket()])?;
    ensure!(!pods.stdout.contains("client"), "{}", pods.summary());
    let received = Counter::received(mesh, &mesh.client, &mesh.far)?;
    test_app::echoes(&mesh.client.place, mesh.far.ipv4(), ECHO)?;
    received.stays().context("the pod is not captured any more")?;
    agent.enroll(&mesh.client, NAMESPACE, mesh.client.name())?;
    mesh.carries_traffic()
}

fn dies(mesh: &Mesh) -> Result<()> {
    let node = mesh.node_of(&mesh.near);
    let agent = mesh.agent_of(&mesh.near);
    let pod = node.pod("mortal")?;
    let _entry = mesh.control_plane.objects.put_for_now("mortal", &workload_entry(&pod))?;
    let _server = test_app::serve(&pod.place)?;
    agent.enroll(&pod, NAMESPACE, pod.name())?;
    wait::until("the pod is in the mesh", Duration::from_secs(5), || {
        test_app::echoes(&mesh.client.place, pod.ipv4(), ECHO).map(drop)
    })?;
    drop(pod);
    wait::until("the agent lets go of it", Duration::from_secs(5), || {
        let pods = agent.weir(&["pods", "--socket", &agent.socket()])?;
        ensure!(pods.success && !pods.stdout.contains("mortal"), "{}", pods.summary());
        Ok(())
    })?;
    mesh.carries_traffic()
}

fn known_later(mesh: &Mesh) -> Result<()> {
    let pod = mesh.node_of(&mesh.near).pod("early")?;
    let agent = mesh.agent_of(&mesh.near);
    agent.enroll(&pod, NAMESPACE, pod.name())?;
    let _entry = mesh.control_plane.objects.put_for_now("early", &workload_entry(&pod))?;
    let received = Counter::received(mesh, &pod, &mesh.far)?;
    wait::until("its connections are carried", Duration::from_secs(5), || {
        test_app::echoes(&pod.place, mesh.far.ipv4(), ECHO).map(drop)
    })?;
    received.grows_by(1.0)?;
    agent.unenroll(pod.name())?;
    Ok(())
}
