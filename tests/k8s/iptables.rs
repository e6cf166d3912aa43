//! kube-proxy in its iptables mode, which most clusters have: Services by their addresses and by nodes' ports, in the mesh
//! and outside it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_tests::cluster::pods::{app, last_line, service};
use weir_tests::cluster::{CLIENT_NODE, Cluster, NODES, parts};
use weir_tests::table::note;
use weir_tests::wait;

use crate::harness::{Case, Check};
use crate::mesh;
use crate::pair::{ECHO, IN_MESH, Pair, outsider};

pub(crate) const LONG: &[Case] = &[Case {
    name: "iptables: with that kube-proxy, Services are reached in the mesh and from outside it",
    check: Check::Otherwise(services),
}];

const SOON: Duration = Duration::from_secs(20);

fn services(cluster: &mut Cluster) -> Result<()> {
    mesh::install(cluster)?;
    let pair = Pair::create(cluster, "by-iptables", &[IN_MESH])?;
    pair.namespace.start(&app("neighbour", Some(CLIENT_NODE), &["serve", "echo:7001"]))?;
    pair.namespace.start(&outsider())?;
    pair.is_meshed()?;
    let rules = cluster.node(CLIENT_NODE)?.place().run(&["iptables-save", "--table", "nat"])?;
    ensure!(rules.contains("KUBE-SERVICES"), "kube-proxy has written no rules: {rules}");
    for server in ["server", "neighbour"] {
        let address = pair.namespace.service(&service(server, "NodePort", 80, ECHO))?;
        let made = cluster.kubectl.get(&["service", server, "--namespace", &pair.namespace.name])?;
        let port = made["spec"]["ports"][0]["nodePort"].as_u64().context("it has a port on nodes")?;
        from_mesh(&pair, server, &format!("{address}:80"))?;
        from_outside(&pair, &format!("{address}:80"))?;
        for node in &cluster.nodes {
            let way = format!("{}:{port}", node.address());
            from_outside(&pair, &way)?;
            from_machine(cluster, &way)?;
        }
    }
    note(format!("2 Services by address, in the mesh and from outside, and on {} ports of nodes", 2 * NODES.len()));
    Ok(())
}

/// Over mutual TLS.
fn from_mesh(pair: &Pair<'_>, server: &str, way: &str) -> Result<()> {
    wait::until(&format!("Service {server} is reached over mutual TLS"), SOON, || {
        let before = mesh::encrypted(pair.cluster)?;
        let seen = pair.namespace.ask("client", &["probe", way, "--send", "hello"])?;
        ensure!(seen["received"] == "hello", "{seen}");
        ensure!(mesh::encrypted(pair.cluster)? > before, "it went another way");
        Ok(())
    })
}

fn from_outside(pair: &Pair<'_>, way: &str) -> Result<()> {
    wait::until(&format!("{way} leads to the server, from a pod outside the mesh"), SOON, || {
        let seen = pair.namespace.ask("outside", &["probe", way, "--send", "hello"])?;
        ensure!(seen["received"] == "hello", "{seen}");
        Ok(())
    })
}

/// From a machine that is no node.
fn from_machine(cluster: &Cluster, way: &str) -> Result<()> {
    let program = parts::beside("weir-test-app")?.display().to_string();
    wait::until(&format!("{way} leads to the server, from another machine"), SOON, || {
        let place = cluster.control_plane.room().place();
        let seen = last_line(&place.run(&[&program, "probe", way, "--send", "hello"])?)?;
        ensure!(seen["received"] == "hello", "{seen}");
        Ok(())
    })
}
