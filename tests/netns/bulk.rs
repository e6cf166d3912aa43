//! Much of everything: no byte changed, no connection lost.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use weir_tests::mesh::{FAR_VIPS, Mesh, NEAR_VIPS, ip};
use weir_tests::test_app::{self, Bulk, ECHO, Many, SINK, SOURCE, WATCH};
use weir_tests::world::Pod;

use crate::harness::{Case, Check, note};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "bulk: 1 GiB to a pod of another node, bit for bit",
        check: Check::Mesh(|mesh| upload(mesh, &mesh.far)),
    },
    Case {
        name: "bulk: 1 GiB from a pod of another node, bit for bit",
        check: Check::Mesh(|mesh| download(mesh, &mesh.far)),
    },
    Case {
        name: "bulk: 1 GiB to a pod of the same node, bit for bit",
        check: Check::Mesh(|mesh| upload(mesh, &mesh.near)),
    },
    Case { name: "bulk: 256 MiB there and back at the same time", check: Check::Mesh(both_ways) },
    Case { name: "bulk: 10000 connections one after another, none lost", check: Check::Mesh(sequential) },
    Case { name: "bulk: 5000 connections at once, none lost", check: Check::Mesh(concurrent) },
    Case {
        name: "ports: 1000 local ports carry 500 connections to each of 8 destinations",
        check: Check::Mesh(few_ports),
    },
];

const GIB: u64 = 1 << 30;
const PATIENCE: Duration = Duration::from_secs(180);

fn upload(mesh: &Mesh, pod: &Pod) -> Result<()> {
    stream(mesh, "upload", SocketAddr::new(pod.ipv4(), SINK), GIB)
}

fn download(mesh: &Mesh, pod: &Pod) -> Result<()> {
    stream(mesh, "download", SocketAddr::new(pod.ipv6(), SOURCE), GIB)
}

fn both_ways(mesh: &Mesh) -> Result<()> {
    stream(mesh, "echo", SocketAddr::new(mesh.far.ipv4(), ECHO), GIB / 4)
}

fn stream(mesh: &Mesh, act: &str, address: SocketAddr, bytes: u64) -> Result<()> {
    let arguments = [act, &address.to_string(), &bytes.to_string()];
    let bulk: Bulk = test_app::client(&mesh.client.place, PATIENCE, &arguments)?;
    ensure!(bulk.bytes == bytes && bulk.exact, "{bulk:?}");
    note(format!("{:.2} GB/s", bytes as f64 / bulk.seconds / 1e9));
    Ok(())
}

fn sequential(mesh: &Mesh) -> Result<()> {
    let address = SocketAddr::new(ip(FAR_VIPS[0]), ECHO).to_string();
    many(mesh, &[&address, "--count", "10000"], 10_000)
}

fn concurrent(mesh: &Mesh) -> Result<()> {
    let address = SocketAddr::new(mesh.far.ipv4(), ECHO).to_string();
    many(mesh, &[&address, "--count", "5000", "--concurrent", "256", "--hold"], 5000)
}

fn few_ports(mesh: &Mesh) -> Result<()> {
    let netns = mesh.client.netns();
    netns.sysctl("net/ipv4/ip_local_port_range", "40000 40999")?;
    let hosts = [mesh.near.ipv4(), mesh.far.ipv4(), ip(NEAR_VIPS[0]), ip(FAR_VIPS[0])];
    let destinations =
        hosts.into_iter().flat_map(|host| [ECHO, WATCH].map(|port| SocketAddr::new(host, port).to_string()));
    let destinations: Vec<String> = destinations.collect();
    let mut arguments: Vec<&str> = destinations.iter().map(String::as_str).collect();
    arguments.extend(["--count", "4000", "--concurrent", "128", "--hold"]);
    let outcome = many(mesh, &arguments, 4000);
    netns.sysctl("net/ipv4/ip_local_port_range", "32768 60999")?;
    outcome
}

fn many(mesh: &Mesh, arguments: &[&str], expected: u64) -> Result<()> {
    let arguments = [&["many"], arguments].concat();
    let many: Many = test_app::client(&mesh.client.place, PATIENCE, &arguments)?;
    ensure!(many.ok == expected && many.failed == 0, "{many:?}");
    note(format!("{:.1} s, {:.0} connections/s", many.seconds, expected as f64 / many.seconds));
    Ok(())
}
