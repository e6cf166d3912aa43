//! What an attack consists of while it goes on: programs in pods, or something that is done to the mesh. It ends when it is
//! dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Result, ensure};
use nix::sys::resource::{Resource, getrlimit};
use weir_tests::agent::Agent;
use weir_tests::attack;
use weir_tests::control_plane::ControlPlane;
use weir_tests::mesh::NAMESPACE;
use weir_tests::objects::{ObjectFolder, WorkloadEntry};
use weir_tests::program::Program;
use weir_tests::wait;
use weir_tests::world::Pod;

use super::stage::Stage;

/// Between two changes of endpoints: 20 a second.
const BETWEEN_CHANGES: Duration = Duration::from_millis(50);
/// Idle connections where there are to be very many.
const VERY_MANY: u64 = 20_000;
/// Interfaces and the addresses of each.
const INTERFACES: u32 = 400;
const ADDRESSES_PER_INTERFACE: u32 = 500;
/// How long giving them takes at most.
const ADDRESSES_WITHIN: Duration = Duration::from_secs(90);

/// A part of an attack.
#[derive(Debug)]
pub(crate) enum Attacker<'a> {
    Program(Program),
    Enrolled(Enrolled<'a>),
    Changing(Changing),
}

/// A pod that is enrolled until this is dropped.
#[derive(Debug)]
pub(crate) struct Enrolled<'a> {
    pod: &'a Pod,
    agent: &'a Agent,
}

/// Endpoints that change until this is dropped.
#[derive(Debug)]
pub(crate) struct Changing {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl From<Program> for Attacker<'_> {
    fn from(program: Program) -> Self {
        Self::Program(program)
    }
}

impl<'a> Attacker<'a> {
    /// Enrols a pod.
    pub(crate) fn enrolled(pod: &'a Pod, agent: &'a Agent) -> Result<Self> {
        agent.enroll(pod, NAMESPACE, pod.name())?;
        Ok(Self::Enrolled(Enrolled { pod, agent }))
    }

    /// Has a workload that nobody asks for appear at one address, and at another, and so on.
    pub(crate) fn changing_endpoints(control_plane: &ControlPlane) -> Result<Self> {
        let objects = ObjectFolder::create(control_plane.objects.path())?;
        let over = Arc::new(AtomicBool::new(false));
        let told = over.clone();
        let thread = thread::spawn(move || {
            for number in 0_u8.. {
                if told.load(Ordering::Relaxed) {
                    break;
                }
                objects.put("changing", &endpoint(number % 200))?;
                wait::between_measurements(BETWEEN_CHANGES);
            }
            Ok(())
        });
        Ok(Self::Changing(Changing { over, thread: Some(thread) }))
    }

    /// Whether it goes on: an attacker that has ended would prove nothing.
    pub(crate) fn goes_on(&mut self) -> Result<()> {
        match self {
            Self::Program(program) => {
                ensure!(program.is_running(), "an attacker has ended: {}", program.tail());
            }
            Self::Enrolled(Enrolled { pod, agent }) => {
                ensure!(agent.has_enrolled(pod.name())?, "{} is not enrolled", pod.name());
            }
            Self::Changing(changing) => {
                let ended = changing.thread.as_ref().is_none_or(JoinHandle::is_finished);
                ensure!(!ended, "the endpoints change no more");
            }
        }
        Ok(())
    }
}

impl Drop for Enrolled<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.agent.unenroll(self.pod.name()) {
            eprintln!("{error:#}");
        }
    }
}

impl Drop for Changing {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(Err(error)) = self.thread.take().and_then(|thread| thread.join().ok()) {
            eprintln!("changing endpoints: {error:#}");
        }
    }
}

/// A further endpoint of the near pod's service.
fn endpoint(number: u8) -> String {
    let address = std::net::IpAddr::from([10, 99, 0, number]);
    let entry = WorkloadEntry {
        name: "changing",
        namespace: NAMESPACE,
        service_account: "near",
        node: "n2",
        addresses: &[address],
        labels: &[("app", "near")],
        hbone: true,
    };
    entry.yaml()
}

/// As many idle connections as there are to be, or as this machine's limit of descriptors allows a process.
pub(crate) fn very_many() -> Result<u64> {
    let (_, limit) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(VERY_MANY.min(limit / 100 * 85))
}

/// Gives the hostile pod very many addresses.
pub(crate) fn give_many_addresses(stage: &Stage) -> Result<()> {
    let run = stage.mesh.world.run();
    attack::give_addresses(&stage.hostile, run, INTERFACES, ADDRESSES_PER_INTERFACE, ADDRESSES_WITHIN)
}
