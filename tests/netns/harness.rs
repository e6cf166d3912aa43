//! What cases of this table run on: worlds of namespaces, shared between cases where that is cheap.

use std::process::ExitCode;

use anyhow::{Context, Result, anyhow};
use weir_tests::http_mesh::HttpMesh;
use weir_tests::mesh::Mesh;
use weir_tests::table::{self, Fixture, Table};
use weir_tests::workers::{self, Jobs};
use weir_tests::world::World;

pub(crate) use weir_tests::table::{Skip, note};

/// A behaviour and how it is checked.
pub(crate) type Case = table::Case<Check>;

/// What a check needs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Check {
    /// Two nodes without a mesh; shared.
    World(fn(&World) -> Result<()>),
    /// The standard mesh, to be left as found; shared.
    Mesh(fn(&Mesh) -> Result<()>),
    /// The standard mesh, to do with as it likes; its own.
    OwnMesh(fn(&mut Mesh) -> Result<()>),
    /// The mesh whose services speak HTTP, to be left as found; shared.
    Http(fn(&HttpMesh) -> Result<()>),
    /// The same, to do with as it likes; its own.
    OwnHttp(fn(&mut HttpMesh) -> Result<()>),
    /// Whatever it makes itself.
    Alone(fn() -> Result<()>),
}

/// Runs the cases, those called `alone` one at a time and after the others; the exit code says whether all passed. As a worker: those
/// that another process names.
pub(crate) fn run(cases: &[Case], alone: &[&str], jobs: &Jobs) -> Result<ExitCode> {
    if jobs.is_worker() {
        workers::work(cases, Shared::default(), missing_features().as_deref())?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::begin()?;
    workers::run(&mut table, cases, alone, jobs)?;
    Ok(table.finish())
}

/// Worlds that the cases of one process share.
#[derive(Debug, Default)]
struct Shared {
    world: Option<World>,
    mesh: Option<Mesh>,
    http: Option<HttpMesh>,
}

impl Fixture for Shared {
    type Check = Check;

    fn check(&mut self, check: Check) -> Result<()> {
        match check {
            Check::World(check) => {
                if self.world.is_none() {
                    self.world = Some(World::new("t", 2)?);
                }
                check(self.world.as_ref().expect("was just made"))
            }
            Check::Mesh(check) => {
                if self.mesh.is_none() {
                    self.mesh = Some(Mesh::start("t").context("bringing up the shared mesh")?);
                }
                let mesh = self.mesh.as_ref().expect("was just made");
                check(mesh).map_err(|error| with_logs(error, &mesh.world, &mesh.logs()))
            }
            Check::OwnMesh(check) => {
                let mut mesh = Mesh::start("t").context("bringing up a mesh")?;
                check(&mut mesh).map_err(|error| with_logs(error, &mesh.world, &mesh.logs()))
            }
            Check::Http(check) => {
                if self.http.is_none() {
                    self.http = Some(HttpMesh::start("t").context("bringing up the shared HTTP mesh")?);
                }
                let mesh = self.http.as_ref().expect("was just made");
                check(mesh).map_err(|error| with_logs(error, &mesh.world, &mesh.logs()))
            }
            Check::OwnHttp(check) => {
                let mut mesh = HttpMesh::start("t").context("bringing up an HTTP mesh")?;
                check(&mut mesh).map_err(|error| with_logs(error, &mesh.world, &mesh.logs()))
            }
            Check::Alone(check) => check(),
        }
    }

    fn abandon(&mut self) {
        self.world = None;
        self.mesh = None;
        self.http = None;
    }
}

fn with_logs(error: anyhow::Error, world: &World, logs: &str) -> anyhow::Error {
    if error.is::<Skip>() {
        return error;
    }
    let kept = world.run().keep_logs().map_or_else(|error| format!("{error:#}"), |path| path.display().to_string());
    anyhow!("{error:#}\nlogs are in {kept}; they end with\n{logs}")
}

/// What every case needs of the kernel and this machine lacks, if anything.
fn missing_features() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("namespaces and kernel programs need root".into());
    }
    if let Err(error) = weir_tests::cgroup::root() {
        return Some(format!("{error:#}"));
    }
    // Network namespace cookies came with 5.14; everything else that is needed is older.
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").ok()?;
    let socket = socket2::SockRef::from(&socket);
    socket.cookie().err().map(|error| format!("sockets have no cookies: {error}"))
}
