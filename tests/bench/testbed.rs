//! Where a subject is measured: two nodes joined by one veth pair, a client, and a server behind each node. No kernel
//! setting that moves bytes is left to the machine's own choice.
//!
//! A subject that changes how pods behave has a testbed of its own, so no other subject passes through its programs.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Result;
use weir_tests::agent::binary;
use weir_tests::place::Place;
use weir_tests::program::Program;
use weir_tests::world::{N1, N2, Pod, World};

use crate::stock;

/// Where nginx answers.
pub(crate) const HTTP: u16 = 8080;
/// Where iperf3 listens.
pub(crate) const IPERF: u16 = 5201;
/// Where gRPC is served, without TLS.
pub(crate) const GRPC: u16 = 8090;

/// The two addresses a server is dialled at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dial {
    pub(crate) http: SocketAddr,
    pub(crate) iperf: SocketAddr,
}

/// The two addresses a server is dialled at where each of its requests is routed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Routed {
    pub(crate) http: SocketAddr,
    pub(crate) grpc: SocketAddr,
}

/// Nodes, pods and servers. Fields are in the order in which they must go.
#[derive(Debug)]
pub(crate) struct Testbed {
    _servers: Vec<Program>,
    /// On n1.
    pub(crate) client: Pod,
    /// A server on n1.
    pub(crate) near: Pod,
    /// A server on n2.
    pub(crate) far: Pod,
    /// Above all that runs on the testbed: clients, servers, proxies, control planes.
    pub(crate) cgroup: PathBuf,
    pub(crate) world: World,
}

impl Testbed {
    /// Sets up a testbed; `purpose` becomes part of all names.
    pub(crate) fn set_up(purpose: &str) -> Result<Self> {
        let world = World::new(purpose, 2)?;
        join_nodes(&world)?;
        let (client, near) = (world.nodes[N1].pod("client")?, world.nodes[N1].pod("near")?);
        let far = world.nodes[N2].pod("far")?;
        let places = world.nodes.iter().map(|node| &node.place).chain([&client, &near, &far].map(|pod| &pod.place));
        stock::apply(places)?;
        let mut servers = Vec::new();
        for pod in [&near, &far] {
            servers.push(serve_http(&pod.place, &world.run().folder())?);
            let mut iperf = pod.place.spawn(&["iperf3", "--server", "--port", &IPERF.to_string()])?;
            iperf.listens_on(IPERF)?;
            servers.push(iperf);
            servers.push(serve_grpc(&pod.place)?);
        }
        let cgroup = world.run().cgroup()?;
        Ok(Self { _servers: servers, client, near, far, cgroup, world })
    }
}

impl Dial {
    /// The servers of a pod, dialled at the pod's own address.
    pub(crate) fn pod(pod: &Pod) -> Self {
        Self { http: (pod.ipv4(), HTTP).into(), iperf: (pod.ipv4(), IPERF).into() }
    }
}

impl Routed {
    /// The servers of a pod, dialled at the pod's own address.
    pub(crate) fn pod(pod: &Pod) -> Self {
        Self { http: (pod.ipv4(), HTTP).into(), grpc: (pod.ipv4(), GRPC).into() }
    }
}

/// A server of gRPC that returns each message.
fn serve_grpc(place: &Place) -> Result<Program> {
    let program = binary("weir-test-app")?.display().to_string();
    let mut server = place.spawn(&[&*program, "serve", &format!("http-echo:{GRPC}")])?;
    server.listens_on(GRPC)?;
    Ok(server)
}

/// A veth pair between the two nodes, which all that goes between their pods takes. The kit's own way is a bridge.
fn join_nodes(world: &World) -> Result<()> {
    let [n1, n2] = &world.nodes[..] else { anyhow::bail!("a testbed has two nodes") };
    let other = format!("{}-{}", world.run().name(), n2.name());
    n1.place.run(&["ip", "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", &other])?;
    for (node, own, peer, pods) in
        [(n1, "10.79.0.1", "10.79.0.2", "10.77.2.0/24"), (n2, "10.79.0.2", "10.79.0.1", "10.77.1.0/24")]
    {
        node.place.run(&["ip", "addr", "add", &format!("{own}/30"), "dev", "wire"])?;
        node.place.run(&["ip", "link", "set", "wire", "up"])?;
        node.place.run(&["ip", "route", "replace", pods, "via", peer, "dev", "wire"])?;
    }
    Ok(())
}

/// One worker, no log, a small body from memory, connections that stay for as long as a case lasts.
pub(crate) fn serve_http(place: &Place, folder: &Path) -> Result<Program> {
    let folder: PathBuf = folder.join(format!("nginx-{}", place.name()));
    fs::create_dir_all(&folder)?;
    let configuration = format!(
        "user root;\nworker_processes 1;\npid nginx.pid;\nevents {{ worker_connections 16384; }}\nhttp {{\n  \
         access_log off;\n  client_body_temp_path body;\n  proxy_temp_path proxy;\n  fastcgi_temp_path fastcgi;\n  \
         uwsgi_temp_path uwsgi;\n  scgi_temp_path scgi;\n  keepalive_requests 1000000000;\n  keepalive_timeout 1h;\n  \
         server {{ listen {HTTP} backlog=4096; location / {{ default_type text/plain; return 200 \"{:-<64}\"; }} }}\n}}\n",
        "a small body"
    );
    fs::write(folder.join("nginx.conf"), configuration)?;
    let prefix = folder.display().to_string();
    let mut nginx =
        place.spawn(&["nginx", "-p", &prefix, "-e", "error.log", "-c", "nginx.conf", "-g", "daemon off;"])?;
    nginx.listens_on(HTTP)?;
    Ok(nginx)
}
