//! The worker's part in a handover: it takes the node over from the agent before it, and hands it to the next one when its
//! supervisor says so.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use futures_util::future::join_all;
use tokio::sync::watch;

use super::known_destinations::KnownDestinations;
use crate::enrollment::Enrollment;
use crate::enrollment::pod::PodSpec;
use crate::enrollment::store::PodStore;
use crate::model::identity::Identity;
use crate::state::SharedMesh;
use crate::supervisor::{SupervisorCommand, SupervisorLink};
use crate::tls::certificates::Certificates;
use crate::xds::XdsStatus;

/// Stack of the thread that carries out the supervisor's commands. It mostly waits.
const COMMAND_THREAD_STACK_BYTES: usize = 256 * 1024;
/// By then, what the former agent was writing when this one began to serve is on disk.
const PREDECESSOR_LAST_WRITE: Duration = Duration::from_secs(1);

/// Prepares all that takes time, the configuration and the certificates of the enrolled pods, and then takes the node over:
/// from there on the former agent enrols and unenrols no pod, until this one serves.
///
/// # Errors
/// When the supervisor is gone.
pub(super) async fn take_over(
    supervisor: &Arc<SupervisorLink>,
    status: &XdsStatus,
    certificates: &Certificates,
    mesh: &SharedMesh,
    store: &PodStore,
) -> anyhow::Result<()> {
    tracing::info!("another agent serves this node: waiting for the configuration before taking over");
    status.first_sync().await;
    let identities: BTreeSet<Identity> = {
        let trust_domain = mesh.read().settings().trust_domain.clone();
        let identity = |pod: PodSpec| Identity::new(trust_domain.clone(), &pod.namespace, &pod.service_account);
        store.load().into_iter().map(identity).collect()
    };
    for certificate in join_all(identities.iter().map(|identity| certificates.get(identity))).await {
        if let Err(error) = certificate {
            // The former agent has no better one, and this agent goes on asking for it.
            tracing::warn!(%error, "taking over without a certificate");
        }
    }
    let supervisor = supervisor.clone();
    tokio::task::spawn_blocking(move || supervisor.take_over()).await?.context("taking over from the former agent")
}

/// A successor that serves the node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct ServingSuccessor {
    /// It runs in this process's network namespace, where a port can be bound only once.
    pub(super) same_network: bool,
}

/// Whether the node is this agent's: whether it may write the state directory, which only one agent may, and whether a
/// successor serves the node in its place.
#[derive(Debug)]
pub(super) struct NodeOwnership {
    may_write_state: watch::Sender<bool>,
    successor: watch::Sender<Option<ServingSuccessor>>,
    /// Set once this agent serves.
    destinations: OnceLock<Arc<KnownDestinations>>,
}

impl NodeOwnership {
    /// With a predecessor the state directory is that one's until this agent serves.
    pub(super) fn new(has_predecessor: bool) -> Arc<Self> {
        Arc::new(Self {
            may_write_state: watch::Sender::new(!has_predecessor),
            successor: watch::Sender::default(),
            destinations: OnceLock::new(),
        })
    }

    /// Whether the state directory is this agent's to write to.
    pub(super) fn may_write_state(&self) -> watch::Receiver<bool> {
        self.may_write_state.subscribe()
    }

    /// Resolves once a successor serves the node.
    pub(super) async fn superseded(&self) -> ServingSuccessor {
        let mut successor = self.successor.subscribe();
        let serving = successor.wait_for(Option::is_some).await;
        serving.ok().and_then(|successor| *successor).unwrap_or_default()
    }

    /// This agent serves. The state directory becomes its own once the former agent has finished writing.
    pub(super) fn on_serving(self: &Arc<Self>, enrollment: Arc<Enrollment>, destinations: Arc<KnownDestinations>) {
        let ownership = self.clone();
        self.destinations.get_or_init(|| destinations).serves(enrollment.is_in_charge());
        // Whoever took over meanwhile has not found them yet.
        self.is_in_charge(enrollment.is_in_charge());
        tokio::spawn(async move {
            tokio::time::sleep(PREDECESSOR_LAST_WRITE).await;
            if enrollment.is_in_charge() {
                ownership.may_write_state.send_replace(true);
            }
        });
    }

    fn is_in_charge(&self, is_in_charge: bool) {
        if let Some(destinations) = self.destinations.get() {
            destinations.serves(is_in_charge);
        }
    }

    /// Carries out the supervisor's commands, in a thread of its own.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn spawn_command_thread(
        self: &Arc<Self>,
        supervisor: Arc<SupervisorLink>,
        enrollment: Arc<Enrollment>,
    ) -> io::Result<()> {
        let ownership = self.clone();
        let carry_out = move || {
            while let Some(command) = supervisor.next_command() {
                ownership.on_command(command, &supervisor, &enrollment);
            }
        };
        let thread = std::thread::Builder::new().name("supervisor".to_owned()).stack_size(COMMAND_THREAD_STACK_BYTES);
        thread.spawn(carry_out).map(drop)
    }

    fn on_command(&self, command: SupervisorCommand, supervisor: &SupervisorLink, enrollment: &Enrollment) {
        match command {
            SupervisorCommand::Freeze => {
                tracing::info!("a successor takes over: pods that come or go wait");
                enrollment.freeze();
                self.may_write_state.send_replace(false);
                self.is_in_charge(false);
                supervisor.report_frozen();
            }
            SupervisorCommand::Resume => {
                tracing::warn!("the successor failed: this agent goes on");
                enrollment.resume();
                self.is_in_charge(true);
                self.may_write_state.send_replace(true);
            }
            SupervisorCommand::Drain { same_network } => {
                self.may_write_state.send_replace(false);
                enrollment.hand_over();
                self.is_in_charge(false);
                self.successor.send_replace(Some(ServingSuccessor { same_network }));
            }
        }
    }
}
