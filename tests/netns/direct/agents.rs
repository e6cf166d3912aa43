//! Direct connections and the agents that come and go.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use weir_tests::agent::{Agent, AgentOptions};
use weir_tests::mesh::{Mesh, principal};
use weir_tests::test_app::{self, ECHO, Held};
use weir_tests::wait;
use weir_tests::world::N1;

use super::stage::{SOON, becomes_direct, count, denies, ends, held, mesh};
use crate::count::OPENED;
use crate::harness::{Case, Check, note};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "direct: what is open outlives the agent, and the next one goes on with it",
        check: Check::Alone(outlives),
    },
    Case {
        name: "direct: what ends while no agent runs is told of by the next one",
        check: Check::Alone(ended_meanwhile),
    },
    Case {
        name: "direct: what policy forbids meanwhile ends with the next agent",
        check: Check::Alone(forbidden_meanwhile),
    },
    Case {
        name: "direct: an agent that is to let none be direct ends those of the one before",
        check: Check::Alone(switched_off),
    },
    Case {
        name: "direct: an upgrade cuts nothing off, and each connection is told of once",
        check: Check::Alone(upgraded),
    },
    Case {
        name: "direct: the kernel keeps room for direct connections once an agent allows them, and not before",
        check: Check::Alone(room_is_made),
    },
];

fn outlives() -> Result<()> {
    let mut mesh = mesh()?;
    let (kept, other) = (held(&mesh, mesh.near.ipv6())?, held(&mesh, mesh.near.ipv4())?);
    mesh.agents[N1].kill()?;
    // Longer than connections may begin to be direct without an agent.
    wait::throughout("what is open goes on", Duration::from_secs(2), || kept.is_open().and(other.is_open()))?;
    let seen = test_app::probe(&mesh.client.place, mesh.near.ipv4(), ECHO, "x")?;
    ensure!(seen.refused(), "without an agent nothing begins: {seen:?}");
    mesh.agents[N1].launch()?;
    mesh.agents[N1].becomes_ready()?;
    kept.is_open().and(other.is_open()).context("the next agent goes on with them")?;
    wait::until("the next agent has both", SOON, || {
        let opened = mesh.agents[N1].metrics()?.sum(OPENED, &[("reporter", "destination")]);
        ensure!(opened >= 2.0, "it has opened {opened}");
        Ok(())
    })?;
    let logged = mesh.agents[N1].log().len();
    let _policy = mesh.control_plane.objects.put_for_now("case", &denies(&mesh.client))?;
    for connection in [&kept, &other] {
        let end = ends(&mesh, connection, SOON)?;
        ensure!(end == "ConnectionReset", "{end}");
    }
    mesh.agents[N1].logs_line(logged, &["policy no longer allows it", &principal(&mesh.client)]).map(drop)
}

fn ended_meanwhile() -> Result<()> {
    let mut mesh = mesh()?;
    let held = held(&mesh, mesh.near.ipv4())?;
    mesh.agents[N1].kill()?;
    // Its process is killed, which closes the connection.
    drop(held);
    mesh.agents[N1].launch()?;
    for direction in ["outbound", "inbound"] {
        let words = ["connection complete", "dst.workload=\"near\"", &format!("direction=\"{direction}\"")];
        let line = mesh.agents[N1].logs_line(0, &words)?;
        ensure!(!line.contains("bytes_sent=0") && !line.contains("dst.hbone_addr"), "{line}");
    }
    Ok(())
}

fn forbidden_meanwhile() -> Result<()> {
    let mut mesh = mesh()?;
    let held = held(&mesh, mesh.near.ipv4())?;
    mesh.agents[N1].kill()?;
    let _policy = mesh.control_plane.objects.put_for_now("case", &denies(&mesh.client))?;
    held.is_open().context("nobody ends it")?;
    mesh.agents[N1].launch()?;
    let end = ends(&mesh, &held, SOON)?;
    ensure!(end == "ConnectionReset", "{end}");
    Ok(())
}

fn switched_off() -> Result<()> {
    let mut mesh = mesh()?;
    let held = held(&mesh, mesh.near.ipv4())?;
    mesh.agents[N1].kill()?;
    held.is_open()?;
    let node = &mesh.world.nodes[N1];
    let flags = vec!["--same-node=hbone".to_owned()];
    mesh.agents[N1] = Agent::start(node, AgentOptions { delivery: mesh.control_plane.flags_for(node.name())?, flags })?;
    let end = ends(&mesh, &held, SOON)?;
    ensure!(end == "ConnectionReset", "{end}");
    // The maps stay, and what they count.
    let before = count(&mesh.agents[N1])?;
    wait::throughout("connections go by the agent", Duration::from_secs(2), || {
        test_app::echoes(&mesh.client.place, mesh.near.ipv4(), ECHO)?;
        ensure!(count(&mesh.agents[N1])? == before, "one was direct");
        Ok(())
    })
}

fn upgraded() -> Result<()> {
    let mut mesh = mesh()?;
    let held = held(&mesh, mesh.near.ipv4())?;
    let (mut old, _) = mesh.agents[N1].replace()?;
    let ended = old.finish(Duration::from_secs(20))?;
    ensure!(ended.success, "nothing that is open needs the old agent: {}", ended.summary());
    held.is_open()?;
    becomes_direct(&mesh, mesh.near.ipv4(), ECHO)?;
    let _policy = mesh.control_plane.objects.put_for_now("case", &denies(&mesh.client))?;
    ends(&mesh, &held, SOON)?;
    for direction in ["inbound", "outbound"] {
        mesh.agents[N1].logs_line(0, &["no longer allows it", &format!("direction=\"{direction}\"")])?;
    }
    let told = |log: &str| log.lines().filter(|line| line.contains("no longer allows it")).count();
    let (by_old, by_new) = (told(&ended.stdout), told(&mesh.agents[N1].log()));
    ensure!((by_old, by_new) == (0, 2), "the old agent tells of it {by_old} times, the new one {by_new} times");
    Ok(())
}

/// The maps that hold nothing but direct connections, and what is decided about them. How many entries each has room for before an agent
/// allows direct connections, and after; the last is a ring, whose bytes these are, in whole pages.
const ROOM: [(&str, u64, u64); 6] = [
    ("DIRECT_ROUTES", 1, 16_384),
    ("DIRECT_PERMITS", 1, 65_536),
    ("DIRECT_CONNECTIONS", 1, 65_536),
    ("DIRECT_ROOM", 1, 1024),
    ("DIRECT_FLOWS", 1, 65_536),
    ("DIRECT_ENDED", 4096, 524_288),
];

/// A map as the kernel tells it.
#[derive(Debug, Deserialize)]
struct KernelMap {
    id: u64,
    max_entries: u64,
    /// How a map's memory is counted, and what of it, depends on the kernel.
    bytes_memlock: u64,
}

/// The maps of [`ROOM`], in its order.
fn room(mesh: &Mesh) -> Result<Vec<KernelMap>> {
    let maps = mesh.agents[N1].folders().bpf.join("maps");
    let map = |name: &str| {
        let path = maps.join(name).display().to_string();
        let said = mesh.world.fabric.run(&["bpftool", "-j", "map", "show", "pinned", &path])?;
        serde_json::from_str(&said).with_context(|| format!("bpftool says {said}"))
    };
    ROOM.iter().map(|(name, ..)| map(name)).collect()
}

fn room_is_made() -> Result<()> {
    let entries = |maps: &[KernelMap]| maps.iter().map(|map| map.max_entries).collect::<Vec<_>>();
    let ids = |maps: &[KernelMap]| maps.iter().map(|map| map.id).collect::<Vec<_>>();
    let bytes = |maps: &[KernelMap]| maps.iter().map(|map| map.bytes_memlock).sum::<u64>();
    let mut mesh = Mesh::start("t")?;
    let small = room(&mesh)?;
    ensure!(entries(&small) == ROOM.map(|(_, before, _)| before), "{small:?}");
    let by_the_agent = Held::open(&mesh.client.place, mesh.near.ipv4())?;
    wait::until("a connection is open", SOON, || by_the_agent.is_open())?;
    mesh.agents[N1].add_flags(["--same-node=direct".to_owned()]);
    let (_old, _) = mesh.agents[N1].replace()?;
    let direct = held(&mesh, mesh.near.ipv4())?;
    let large = room(&mesh)?;
    ensure!(entries(&large) == ROOM.map(|(.., after)| after), "{large:?}");
    note(format!("the maps take {} bytes before, {} after", bytes(&small), bytes(&large)));
    by_the_agent.is_open()?;
    mesh.agents[N1].restart()?;
    by_the_agent.is_open().and(direct.is_open()).context("the next agent goes on with the same maps")?;
    ensure!(ids(&room(&mesh)?) == ids(&large), "the maps are others");
    becomes_direct(&mesh, mesh.near.ipv4(), ECHO).map(drop)
}
