//! What goes on when something stops, and what is left when all has stopped.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use weir_tests::mesh::{Mesh, NAMESPACE};
use weir_tests::objects::peer_authentication;
use weir_tests::program::listening_ports;
use weir_tests::test_app::{self, ECHO, PORTS};
use weir_tests::world::{N1, N2};
use weir_tests::{nginx, wait};

use crate::count::Counter;
use crate::harness::{Case, Check, note};

pub(crate) const CASES: &[Case] = &[
    Case { name: "resilience: without the control plane everything goes on", check: Check::OwnMesh(no_control_plane) },
    Case { name: "resilience: an agent starts from its last good configuration", check: Check::OwnMesh(last_good) },
    Case { name: "resilience: a killed agent's successor takes its pods over", check: Check::OwnMesh(killed) },
    Case {
        name: "resilience: a strict pod refuses plaintext while no agent runs",
        check: Check::OwnMesh(strict_without_agent),
    },
    Case { name: "resilience: a stopping agent finishes what is open", check: Check::OwnMesh(drains) },
    Case { name: "resilience: a stopped and uninstalled agent leaves nothing", check: Check::OwnMesh(uninstall) },
    Case { name: "resilience: uninstalling removes Weir's own files only", check: Check::OwnMesh(uninstall_own_files) },
    Case {
        name: "resilience: a control plane that comes back is found again",
        check: Check::OwnMesh(control_plane_returns),
    },
];

/// A file of another program in the agent's directories.
const FOREIGN: &str = "another.json";
/// By when a successor must work, on however busy a machine. How soon it does, `killed` tells.
const SUCCESSION: Duration = Duration::from_secs(20);

fn no_control_plane(mesh: &mut Mesh) -> Result<()> {
    mesh.control_plane.stop()?;
    wait::throughout("traffic flows", Duration::from_secs(2), || {
        test_app::echoes(&mesh.client.place, mesh.far.ipv4(), ECHO).map(drop)
    })
}

fn last_good(mesh: &mut Mesh) -> Result<()> {
    for agent in &mesh.agents {
        let file = agent.folders().state.join("last-good/mesh");
        wait::until("the configuration is on disk", Duration::from_secs(10), || {
            let saved = std::fs::read(&file)?;
            let whole = ["shop/far", "shop/near", "shop/client"]
                .iter()
                .all(|name| saved.windows(name.len()).any(|window| window == name.as_bytes()));
            ensure!(whole, "not yet all of it");
            Ok(())
        })?;
    }
    mesh.control_plane.stop()?;
    for agent in &mut mesh.agents {
        agent.kill()?;
    }
    for agent in &mut mesh.agents {
        agent.launch()?;
    }
    for agent in &mut mesh.agents {
        agent.becomes_ready()?;
    }
    mesh.carries_traffic()
}

fn killed(mesh: &mut Mesh) -> Result<()> {
    for node in [N1, N2] {
        mesh.agents[node].kill()?;
        let start = Instant::now();
        mesh.agents[node].launch()?;
        let echoed = wait::until("connections are carried again", SUCCESSION, || {
            test_app::echoes(&mesh.client.place, mesh.far.ipv4(), ECHO)
        });
        echoed.with_context(|| mesh.logs())?;
        note(format!(
            "agent of n{}: {} ms from its start to the first connection",
            node + 1,
            start.elapsed().as_millis()
        ));
        mesh.agents[node].becomes_ready()?;
        mesh.carries_traffic()?;
    }
    Ok(())
}

fn strict_without_agent(mesh: &mut Mesh) -> Result<()> {
    mesh.control_plane.objects.put("strict", &peer_authentication("strict", NAMESPACE, Some("far"), "STRICT"))?;
    let refused = |mesh: &Mesh| {
        let seen = test_app::probe(&mesh.outsider.place, mesh.far.ipv4(), ECHO, "let me in")?;
        ensure!(seen.refused(), "{seen:?}");
        Ok(())
    };
    wait::until("plaintext is refused", Duration::from_secs(10), || refused(mesh))?;
    mesh.agents[N2].kill()?;
    wait::throughout("plaintext is refused", Duration::from_secs(1), || refused(mesh))?;
    mesh.agents[N2].launch()?;
    mesh.agents[N2].becomes_ready()?;
    mesh.carries_traffic()?;
    refused(mesh)
}

fn drains(mesh: &mut Mesh) -> Result<()> {
    let source = std::net::SocketAddr::new(mesh.far.ipv4(), test_app::SOURCE).to_string();
    let app = weir_tests::agent::binary("weir-test-app")?.display().to_string();
    let sent = Counter::sent(mesh, &mesh.client)?;
    let download = mesh.client.place.spawn(&[app.as_str(), "download", &source, "1073741824"])?;
    sent.grows_by(1.0).context("the download is under way")?;
    let stopped = mesh.agents[N1].stop(Duration::from_secs(60))?;
    ensure!(stopped.success, "the agent ended badly: {}", stopped.summary());
    let output = download.finish(Duration::from_secs(60))?;
    ensure!(
        output.success && output.stdout.contains("\"exact\":true"),
        "the download was cut off: {}",
        output.summary()
    );
    Ok(())
}

fn uninstall(mesh: &mut Mesh) -> Result<()> {
    let cgroups: Vec<String> = mesh.world.nodes.iter().map(|node| node.pods_cgroup().display().to_string()).collect();
    let programs = |mesh: &Mesh, cgroup: &str| mesh.world.fabric.run(&["bpftool", "cgroup", "show", cgroup]);
    ensure!(programs(mesh, &cgroups[0])?.contains("connect4"), "while it runs, its programs are attached");
    for agent in &mut mesh.agents {
        let stopped = agent.stop(Duration::from_secs(20))?;
        ensure!(stopped.success, "the agent ended badly: {}", stopped.summary());
        agent.uninstall()?;
        ensure!(!agent.has_pins(), "pins are left in {}", agent.folders().bpf.display());
    }
    for cgroup in &cgroups {
        let left = programs(mesh, cgroup)?;
        ensure!(!left.contains("connect4"), "programs are left on {cgroup}:\n{left}");
    }
    for (pod, server) in [(&mesh.near, &mesh.servers.near), (&mesh.far, &mesh.servers.far)] {
        let ours = PORTS.into_iter().chain([nginx::PORT]).collect::<Vec<_>>();
        let left: Vec<u16> = listening_ports(server.id())?.into_iter().filter(|port| !ours.contains(port)).collect();
        ensure!(left.is_empty(), "listeners on {left:?} are left in {}", pod.name());
        let lookups = mesh.world.fabric.run(&["bpftool", "-j", "link", "list"])?;
        let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(pod.netns().path())?);
        ensure!(
            !lookups.contains(&format!("\"netns_ino\":{inode}")),
            "a link is left on the namespace of {}",
            pod.name()
        );
    }
    for (before, after) in mesh.rules_before.iter().zip(mesh.rules()?) {
        let difference = before.difference(&after);
        ensure!(difference.is_empty(), "rules after it is gone:\n{difference}");
    }
    test_app::echoes(&mesh.client.place, mesh.far.ipv4(), ECHO).context("without the mesh pods talk as before")?;
    Ok(())
}

fn uninstall_own_files(mesh: &mut Mesh) -> Result<()> {
    for agent in &mut mesh.agents {
        let stopped = agent.stop(Duration::from_secs(20))?;
        ensure!(stopped.success, "the agent ended badly: {}", stopped.summary());
        let folders = [agent.folders().run.clone(), agent.folders().state.clone()];
        for folder in &folders {
            ensure!(!names(folder)?.is_empty(), "the agent has left files in {}", folder.display());
            std::fs::write(folder.join(FOREIGN), "of another program")?;
        }
        agent.uninstall()?;
        for folder in &folders {
            let left = names(folder).with_context(|| format!("{} is there no more", folder.display()))?;
            ensure!(left == [FOREIGN], "{left:?} are left in {}", folder.display());
        }
    }
    Ok(())
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(folder)?;
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

fn control_plane_returns(mesh: &mut Mesh) -> Result<()> {
    mesh.control_plane.stop()?;
    test_app::echoes(&mesh.client.place, mesh.far.ipv4(), ECHO)?;
    mesh.control_plane.objects.put("strict", &peer_authentication("strict", NAMESPACE, Some("far"), "STRICT"))?;
    mesh.control_plane.resume()?;
    let refused = wait::until("what changed meanwhile is in force", Duration::from_secs(20), || {
        let seen = test_app::probe(&mesh.outsider.place, mesh.far.ipv4(), ECHO, "let me in")?;
        ensure!(seen.refused(), "{seen:?}");
        Ok(())
    });
    refused.with_context(|| mesh.logs())?;
    mesh.carries_traffic()
}
