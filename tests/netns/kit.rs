//! The kit itself, without a mesh: if one of these fails, no other result means anything.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_tests::test_app::{self, BANNER, Bulk, ECHO, PEER, RESET, SINK, WATCH};
use weir_tests::world::{N1, N2, World};
use weir_tests::{nginx, run, wait};

use crate::harness::{Case, Check};

pub(crate) const CASES: &[Case] = &[
    Case { name: "kit: pods of two nodes reach each other, IPv4 and IPv6", check: Check::World(pods_reach_each_other) },
    Case { name: "kit: real programs serve and ask", check: Check::World(real_programs) },
    Case { name: "kit: nothing leads out of the world", check: Check::World(no_way_out) },
    Case {
        name: "kit: a capture sees plaintext, and would tell it from TLS",
        check: Check::World(capture_sees_plaintext),
    },
    Case {
        name: "kit: half-close, reset and addresses are told faithfully",
        check: Check::World(faithful_without_mesh),
    },
    Case { name: "kit: a pod's death ends its programs", check: Check::World(a_pod_dies) },
    Case { name: "kit: rules are listed, and a new one shows", check: Check::World(rules_show) },
    Case { name: "kit: a world leaves nothing behind", check: Check::Alone(nothing_left) },
];

fn pods_reach_each_other(world: &World) -> Result<()> {
    let (a, near, far) =
        (world.nodes[N1].pod("kit-a")?, world.nodes[N1].pod("kit-near")?, world.nodes[N2].pod("kit-far")?);
    let _servers = [test_app::serve(&near.place)?, test_app::serve(&far.place)?];
    for address in [near.addresses(), far.addresses()].concat() {
        test_app::echoes(&a.place, address, ECHO)?;
        let banner = test_app::probe(&a.place, address, BANNER, "x")?;
        ensure!(banner.received == "220 ready\r\nx", "a server that speaks first: {banner:?}");
    }
    Ok(())
}

fn real_programs(world: &World) -> Result<()> {
    let (client, server) = (world.nodes[N1].pod("kit-client")?, world.nodes[N2].pod("kit-server")?);
    let _nginx = nginx::serve(&server.place, world.run(), "a page\n")?;
    let mut iperf = server.place.spawn(&["iperf3", "--server"])?;
    iperf.listens_on(5201)?;
    let folder = world.run().folder().display().to_string();
    let mut python =
        server.place.spawn(&["python3", "-m", "http.server", "8000", "--bind", "::", "--directory", &folder])?;
    python.listens_on(8000)?;
    let v4 = server.ipv4();
    for url in [format!("http://{v4}:8080/"), format!("http://[{}]:8080/", server.ipv6())] {
        ensure!(client.place.run(&["curl", "-sS", "--max-time", "5", &url])? == "a page\n", "curl {url}");
    }
    let listing = client.place.run(&["curl", "-sS", "--max-time", "5", &format!("http://{v4}:8000/")])?;
    ensure!(listing.contains("Directory listing"), "python answered {listing:?}");
    let iperf = client.place.run(&["iperf3", "--client", &v4.to_string(), "--bytes", "50M", "--json"])?;
    ensure!(iperf.contains("\"sum_received\""), "iperf3 said {iperf}");
    let wrk = client.place.run(&["wrk", "-t1", "-c8", "-d1s", &format!("http://{v4}:8080/")])?;
    ensure!(wrk.contains("Requests/sec") && !wrk.contains("Socket errors"), "wrk said {wrk}");
    Ok(())
}

fn no_way_out(world: &World) -> Result<()> {
    let pod = world.nodes[N1].pod("kit-alone")?;
    for address in ["192.0.2.1", "8.8.8.8", "2001:db8::1"] {
        let seen = test_app::probe(&pod.place, address.parse()?, 80, "GET / HTTP/1.0\r\n\r\n")?;
        ensure!(seen.connect != "ok", "{address}: {seen:?}");
    }
    Ok(())
}

fn capture_sees_plaintext(world: &World) -> Result<()> {
    let (client, server) = (world.nodes[N1].pod("kit-talker")?, world.nodes[N2].pod("kit-listener")?);
    let _server = test_app::serve(&server.place)?;
    let capture = world.capture(&world.nodes[N1])?;
    test_app::echoes(&client.place, server.ipv4(), ECHO)?;
    test_app::echoes(&client.place, server.ipv6(), ECHO)?;
    let wire = capture.stop()?;
    ensure!(wire.streams.len() == 4, "two connections have four directions: {wire:?}");
    ensure!(wire.streams_with("hello from kit-talker") == 4, "there and back: {wire:?}");
    ensure!(wire.outside_ports(&[15008]).count() == 4 && wire.outside_ports(&[ECHO]).count() == 0);
    ensure!(wire.tls_records_to(ECHO).is_err(), "a greeting is no TLS");
    Ok(())
}

fn faithful_without_mesh(world: &World) -> Result<()> {
    let (client, server) = (world.nodes[N1].pod("kit-near-end")?, world.nodes[N2].pod("kit-far-end")?);
    let servers = test_app::serve(&server.place)?;
    let sink = format!("{}:{SINK}", server.ipv4());
    let uploaded: Bulk = test_app::client(&client.place, Duration::from_secs(30), &["upload", &sink, "10000001"])?;
    ensure!(uploaded.bytes == 10_000_001 && uploaded.exact, "{uploaded:?}");
    let reset = test_app::probe(&client.place, server.ipv4(), RESET, "x")?;
    ensure!(reset.end == "ConnectionReset", "{reset:?}");
    let peer = test_app::probe(&client.place, server.ipv6(), PEER, "")?;
    ensure!(peer.received.contains(&client.ipv6().to_string()), "{peer:?}");
    let watch = format!("{}:{WATCH}", server.ipv4());
    let _: serde_json::Value = test_app::client(&client.place, Duration::from_secs(5), &["abort", &watch])?;
    wait::until("the server sees the reset", Duration::from_secs(5), || {
        ensure!(servers.stdout().contains("ConnectionReset"), "it printed {:?}", servers.stdout());
        Ok(())
    })
}

fn a_pod_dies(world: &World) -> Result<()> {
    let pod = world.nodes[N1].pod("kit-mortal")?;
    let mut program = test_app::serve(&pod.place)?;
    let (cgroup, netns) = (pod.place.cgroup().to_owned(), pod.netns().path());
    drop(pod);
    program.ended(Duration::from_secs(10))?;
    ensure!(!cgroup.exists() && !netns.exists(), "{} or {} is left", cgroup.display(), netns.display());
    Ok(())
}

fn rules_show(world: &World) -> Result<()> {
    let pod = world.nodes[N1].pod("kit-ruled")?;
    let before = world.nodes[N1].rules_of(&pod)?;
    ensure!(before.lines() > 5, "routes at least are listed: {before:?}");
    ensure!(before.difference(&world.nodes[N1].rules_of(&pod)?).is_empty(), "a listing repeats itself");
    pod.netns().ip("rule add fwmark 0x539 lookup 100")?;
    world.nodes[N1].place.run(&[
        "nsenter",
        &format!("--net={}", pod.netns().path().display()),
        "iptables",
        "-t",
        "nat",
        "-A",
        "OUTPUT",
        "-p",
        "tcp",
        "-j",
        "REDIRECT",
        "--to-ports",
        "15001",
    ])?;
    let difference = before.difference(&world.nodes[N1].rules_of(&pod)?);
    ensure!(difference.contains("fwmark 0x539") && difference.contains("15001"), "a new rule shows: {difference}");
    Ok(())
}

fn nothing_left() -> Result<()> {
    let world = World::new("t", 2)?;
    let name = world.run().name().to_owned();
    let (folder, cgroup) = (world.run().folder(), world.run().cgroup()?);
    let pod = world.nodes[N2].pod("kit-last")?;
    let _program = test_app::serve(&pod.place)?;
    let capture = world.capture(&world.nodes[N2])?;
    drop(world);
    ensure!(!folder.exists() && !cgroup.exists(), "{} or {} is left", folder.display(), cgroup.display());
    ensure!(weir_tests::namespace::with_prefix(&name).is_empty(), "namespaces of {name} are left");
    let mounts = std::fs::read_to_string("/proc/self/mounts").context("reading mounts")?;
    ensure!(!mounts.contains(&name), "mounts of {name} are left");
    drop((capture, pod));
    ensure!(run::take_down_leftovers()?.is_empty(), "something looks like a leftover");
    Ok(())
}
