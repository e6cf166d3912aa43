//! An endpoint that comes and goes: a pod whose server listens late and leaves early, so that it refuses connections for a while, and that
//! dies once nobody asks it any more. None of that may cost a request.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use weir_tests::agent::binary;
use weir_tests::http_mesh::VERSIONS;
use weir_tests::mesh::NAMESPACE;
use weir_tests::objects::WorkloadEntry;
use weir_tests::program::Program;
use weir_tests::wait;
use weir_tests::world::{N2, Pod};

use super::super::split::answered_by;
use super::stage::{SERVING, Stage};

/// What it is called by policies and by its answers; its pods have a number besides.
const NAME: &str = "v4";
/// Where it serves, as other versions do.
const PORT: u16 = 8080;
/// Servers that one pod has, one after the other: a node has addresses for some two hundred pods.
const SERVERS_PER_POD: u32 = 4;
/// How long a pod that is there may take until it can be enrolled: its agent may be one that begins to serve.
const ENROLLED_WITHIN: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Endpoint {
    server: Option<Program>,
    pod: Option<Pod>,
    phase: Phase,
    pods: u32,
    /// How many servers there were.
    pub(super) servers: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    /// No endpoint, and no server.
    #[default]
    Absent,
    /// An endpoint that refuses connections.
    Announced,
    Serving,
    /// An endpoint whose server finishes what it has.
    Draining,
    /// No endpoint any more.
    Withdrawn,
}

impl Endpoint {
    /// Goes on to what comes next in its life.
    pub(super) fn step(&mut self, stage: &Stage<'_>) -> Result<()> {
        self.phase = match self.phase {
            Phase::Absent => {
                self.announce(stage)?;
                Phase::Announced
            }
            Phase::Announced => {
                self.serve()?;
                Phase::Serving
            }
            Phase::Serving => {
                self.server.as_ref().context("it serves")?.signal(Signal::SIGTERM)?;
                Phase::Draining
            }
            Phase::Draining => {
                self.describe(stage, false)?;
                answered_by(&stage.spread(), &VERSIONS)?;
                Phase::Withdrawn
            }
            Phase::Withdrawn => {
                self.die(stage)?;
                Phase::Absent
            }
        };
        Ok(())
    }

    /// Comes and goes once without serving: its agent keeps the connection on which it asks for a certificate.
    pub(super) fn visit(&mut self, stage: &Stage<'_>) -> Result<()> {
        self.begin_pod(stage)?;
        wait::until("it has a certificate", ENROLLED_WITHIN, || {
            let expiries = stage.mesh.agents[N2].metrics()?;
            let identity = format!("spiffe://cluster.local/ns/{NAMESPACE}/sa/{NAME}");
            let has = expiries.matching("weir_certificate_expiry_seconds", &[("identity", &identity)]).count();
            ensure!(has > 0, "it has none");
            Ok(())
        })?;
        self.end_pod(stage)
    }

    /// Goes on until it is gone, and its pod too.
    pub(super) fn leave(&mut self, stage: &Stage<'_>) -> Result<()> {
        while self.phase != Phase::Absent {
            self.step(stage)?;
        }
        self.end_pod(stage)
    }

    fn announce(&mut self, stage: &Stage<'_>) -> Result<()> {
        if self.pod.is_none() {
            self.begin_pod(stage)?;
        }
        self.describe(stage, true)
    }

    fn begin_pod(&mut self, stage: &Stage<'_>) -> Result<()> {
        let pod = self.pod.insert(stage.mesh.world.nodes[N2].pod(&format!("{NAME}-{}", self.pods))?);
        self.pods += 1;
        let agent = &stage.mesh.agents[N2];
        wait::until("the pod is enrolled", ENROLLED_WITHIN, || agent.enroll(pod, NAMESPACE, NAME))?;
        self.describe(stage, false)
    }

    fn describe(&self, stage: &Stage<'_>, is_serving: bool) -> Result<()> {
        let pod = self.pod.as_ref().context("it has a pod")?;
        let labels = [("app", "web"), ("version", NAME), SERVING];
        let entry = WorkloadEntry {
            name: NAME,
            namespace: NAMESPACE,
            service_account: NAME,
            node: pod.node(),
            addresses: &pod.addresses(),
            labels: if is_serving { &labels } else { &labels[..2] },
            hbone: true,
        };
        stage.mesh.control_plane.objects.put(NAME, &entry.yaml())
    }

    fn serve(&mut self) -> Result<()> {
        let pod = self.pod.as_ref().context("it has a pod")?;
        let program = binary("weir-test-app")?.display().to_string();
        let (name, service) = (format!("--pod={NAME}"), format!("http-echo:{PORT}"));
        let mut server = pod.place.spawn(&[&*program, "serve", "--drain", &name, &service])?;
        server.listens_on(PORT)?;
        self.server = Some(server);
        self.servers += 1;
        Ok(())
    }

    /// What it was asked before it was no endpoint any more is answered by now: that takes milliseconds, and a round of changes more.
    fn die(&mut self, stage: &Stage<'_>) -> Result<()> {
        self.server = None;
        if self.servers.is_multiple_of(SERVERS_PER_POD) { self.end_pod(stage) } else { Ok(()) }
    }

    fn end_pod(&mut self, stage: &Stage<'_>) -> Result<()> {
        let Some(pod) = self.pod.take() else { return Ok(()) };
        stage.mesh.control_plane.objects.remove(NAME)?;
        drop(pod);
        Ok(())
    }
}
