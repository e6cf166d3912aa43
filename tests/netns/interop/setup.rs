//! The two setups of the interop cases. Both put an Envoy into the outsider's pod, which Weir does not serve: in one the
//! mesh is told that it is a workload and Weir's pods talk to it, in the other it talks to a pod of Weir's.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::Value;
use weir_tests::certificates::Presented;
use weir_tests::envoy::bootstrap::{self, HBONE, Http2, PAGES, TUNNEL};
use weir_tests::envoy::identity::EnvoyIdentity;
use weir_tests::envoy::{self, Envoy};
use weir_tests::mesh::{Mesh, NAMESPACE, principal};
use weir_tests::objects::WorkloadEntry;
use weir_tests::place::Place;
use weir_tests::test_app::{self, ECHO, Many, PORTS};
use weir_tests::{nginx, wait};

use crate::harness::Skip;

/// The workload that Envoy is, as the mesh and its certificate say.
pub(super) const ENVOY: &str = "spiffe://cluster.local/ns/shop/sa/envoy";
/// Ports for servers that a case starts itself.
pub(super) const OWN_PORT: u16 = 7901;
/// A port that nobody listens on.
pub(super) const CLOSED_PORT: u16 = 7999;

/// From a client's place to a server's, through HBONE between Weir and Envoy.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way<'a> {
    pub client: &'a Place,
    pub server: &'a Place,
    address: IpAddr,
    offset: u16,
}

impl Way<'_> {
    /// The address at which the client reaches a port of the server.
    pub(super) fn to(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.address, port + self.offset)
    }

    /// Makes many connections to the echo; all of them must succeed.
    pub(super) fn many(&self, arguments: &[&str]) -> Result<Many> {
        let to = self.to(ECHO).to_string();
        let arguments = [&["many", &*to][..], arguments].concat();
        let many: Many = test_app::client(self.client, Duration::from_secs(120), &arguments)?;
        ensure!(many.failed == 0 && many.ok > 0, "{arguments:?}: {many:?}");
        Ok(many)
    }
}

/// An Envoy that accepts HBONE, reached by the pod `client` through its agent.
#[derive(Debug)]
pub(super) struct ToEnvoy<'a> {
    pub mesh: &'a Mesh,
    pub envoy: Envoy,
    pub identity: EnvoyIdentity,
    bootstrap: Value,
}

impl<'a> ToEnvoy<'a> {
    /// Lets an Envoy with a good certificate accept `client` and runs a check.
    pub(super) fn run(mesh: &'a Mesh, http2: &Http2, check: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        Self::run_as(mesh, Presented::Identity(ENVOY), http2, &[], check)
    }

    /// As [`ToEnvoy::run`], with any certificate, and headers added to its answers. The mesh is left as found.
    pub(super) fn run_as(
        mesh: &'a Mesh,
        presented: Presented<'_>,
        http2: &Http2,
        headers: &[(&str, String)],
        check: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        is_there()?;
        let place = &mesh.outsider.place;
        let identity = identity(mesh, presented, &principal(&mesh.client))?;
        let bootstrap = bootstrap::terminator(&identity, http2, headers);
        let envoy = Envoy::start(place, mesh.world.run(), &bootstrap)?;
        {
            let _entry = mesh.control_plane.objects.put_for_now("envoy", &entry(mesh))?;
            let mut setup = Self { mesh, envoy, identity, bootstrap };
            wait::until("the client's agent talks HBONE to Envoy", Duration::from_secs(5), || {
                test_app::probe(&mesh.client.place, mesh.outsider.ipv4(), ECHO, "x")?;
                ensure!(setup.envoy.stat("listener.hbone.downstream_cx_total")? > 0, "it does not");
                Ok(())
            })?;
            check(&mut setup).map_err(|error| anyhow!("{error:#}\nEnvoy says {:?}", setup.envoy.words()))?;
        }
        wait::until("the mesh has forgotten Envoy", Duration::from_secs(5), || {
            test_app::echoes(&mesh.client.place, mesh.outsider.ipv4(), ECHO).map(drop)
        })
    }

    pub(super) fn way(&self) -> Way<'a> {
        let Mesh { client, outsider, .. } = self.mesh;
        Way { client: &client.place, server: &outsider.place, address: outsider.ipv4(), offset: 0 }
    }

    /// Kills Envoy, as a crash would, and starts another.
    pub(super) fn restart(&mut self) -> Result<()> {
        self.envoy.kill()?;
        self.envoy = Envoy::start(&self.mesh.outsider.place, self.mesh.world.run(), &self.bootstrap)?;
        Ok(())
    }

    /// HBONE connections that Envoy has accepted.
    pub(super) fn connections(&self) -> Result<u64> {
        self.envoy.stat("http.hbone.downstream_cx_total")
    }
}

/// An Envoy that opens HBONE to the pod `far`, whose agent accepts it.
#[derive(Debug)]
pub(super) struct FromEnvoy<'a> {
    outsider: &'a Place,
    far: &'a Place,
    pub envoy: Envoy,
    pub identity: EnvoyIdentity,
}

impl<'a> FromEnvoy<'a> {
    /// An Envoy with a good certificate that accepts `far`.
    pub(super) fn start(mesh: &'a Mesh, http2: &Http2) -> Result<Self> {
        Self::start_as(mesh, Presented::Identity(ENVOY), &principal(&mesh.far), http2)
    }

    /// An Envoy with any certificate that accepts one peer.
    pub(super) fn start_as(mesh: &'a Mesh, presented: Presented<'_>, accepted: &str, http2: &Http2) -> Result<Self> {
        is_there()?;
        let identity = identity(mesh, presented, accepted)?;
        let peer = SocketAddr::new(mesh.far.ipv4(), HBONE);
        let ports = [&PORTS[..], &[nginx::PORT, PAGES, OWN_PORT, CLOSED_PORT]].concat();
        let bootstrap = bootstrap::originator(&identity, http2, peer, &ports);
        let envoy = Envoy::start(&mesh.outsider.place, mesh.world.run(), &bootstrap)?;
        Ok(Self { outsider: &mesh.outsider.place, far: &mesh.far.place, envoy, identity })
    }

    pub(super) fn way(&self) -> Way<'a> {
        Way { client: self.outsider, server: self.far, address: Ipv4Addr::LOCALHOST.into(), offset: TUNNEL }
    }

    /// HBONE connections that Envoy has opened.
    pub(super) fn connections(&self) -> Result<u64> {
        self.envoy.stat("cluster.hbone.upstream_cx_total")
    }
}

/// Does something again and again until a condition holds, for at most a minute. A failure of either is final: nothing is
/// tried twice.
pub(super) fn keep_on<T>(
    until: &str,
    mut act: impl FnMut() -> Result<T>,
    mut holds: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let start = Instant::now();
    while !holds()? {
        ensure!(start.elapsed() < Duration::from_secs(60), "{until}: not within a minute");
        act().with_context(|| format!("until {until}"))?;
    }
    Ok(())
}

/// Skips where there is no Envoy; one of another version fails, because documents name the version.
fn is_there() -> Result<()> {
    let binary = envoy::binary().map_err(|error| Skip(format!("{error:#}")))?;
    let output = std::process::Command::new(&binary).arg("--version").output().context("running Envoy")?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !said.contains(&format!("/{}/", envoy::VERSION)) {
        bail!("{} is {said}, not {}", binary.display(), envoy::VERSION);
    }
    Ok(())
}

fn identity(mesh: &Mesh, presented: Presented<'_>, accepted: &str) -> Result<EnvoyIdentity> {
    let folder = envoy::folder(mesh.world.run(), &mesh.outsider.place)?;
    EnvoyIdentity::new(&folder, &mesh.control_plane.authority()?, presented, &mesh.control_plane.root(), &[accepted])
}

fn entry(mesh: &Mesh) -> String {
    WorkloadEntry {
        name: "envoy",
        namespace: NAMESPACE,
        service_account: "envoy",
        node: "n2",
        addresses: &mesh.outsider.addresses(),
        labels: &[("app", "envoy")],
        hbone: true,
    }
    .yaml()
}
