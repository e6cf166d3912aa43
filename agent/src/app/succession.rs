//! The worker between its supervisor and a successor: taking over from the agent before, and handing over to the next one.
//! Who says what to whom is `supervisor`'s to know.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures_util::future::join_all;
use tokio::sync::watch;

use super::delivery::Delivery;
use crate::enrollment::Enrollment;
use crate::enrollment::store::PodStore;
use crate::model::identity::Identity;
use crate::state::SharedMesh;
use crate::supervisor::{SupervisorCommand, SupervisorLink};

/// Stack of the thread that obeys the supervisor: it mostly waits.
const STACK_BYTES: usize = 256 * 1024;
/// What the former agent had begun to write when it was relieved is on disk by then.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Prepares all that takes time, and then takes over: the former agent lets no pod come or go from there until this one
/// serves.
///
/// # Errors
/// When the supervisor is gone.
pub(super) async fn take_over(
    supervisor: &Arc<SupervisorLink>,
    delivery: &Delivery,
    mesh: &SharedMesh,
    store: &PodStore,
) -> anyhow::Result<()> {
    tracing::info!("another agent serves this node: waiting for the configuration before taking over");
    delivery.status.first_sync().await;
    let identities: BTreeSet<Identity> = {
        let trust_domain = mesh.read().settings().trust_domain.clone();
        let identity = |pod: crate::enrollment::pod::PodSpec| {
            Identity::new(trust_domain.clone(), &pod.namespace, &pod.service_account)
        };
        store.load().into_iter().map(identity).collect()
    };
    for failed in join_all(identities.iter().map(|identity| delivery.certificates.get(identity))).await {
        if let Err(error) = failed {
            // The former agent's problem as well: it goes on being tried for.
            tracing::warn!(%error, "taking over without");
        }
    }
    let supervisor = supervisor.clone();
    tokio::task::spawn_blocking(move || supervisor.take_over()).await?.context("taking over from the former agent")
}

/// Whether this agent serves the node alone, and what is only one agent's to write.
#[derive(Debug)]
pub(super) struct Standing {
    may_save: watch::Sender<bool>,
    /// Once a successor serves: whether in this network namespace.
    relieved: watch::Sender<Option<bool>>,
}

impl Standing {
    /// Of a worker that succeeds another agent, or of one that is alone.
    pub(super) fn new(succeeds: bool) -> Arc<Self> {
        Arc::new(Self { may_save: watch::Sender::new(!succeeds), relieved: watch::Sender::default() })
    }

    /// Whether the state directory is this agent's to write to.
    pub(super) fn may_save(&self) -> watch::Receiver<bool> {
        self.may_save.subscribe()
    }

    /// Resolves once a successor serves; true if it does in this network namespace.
    pub(super) async fn relieved(&self) -> bool {
        let mut relieved = self.relieved.subscribe();
        let known = relieved.wait_for(Option::is_some).await;
        known.ok().and_then(|same_network| *same_network).unwrap_or_default()
    }

    /// This agent serves: the former one writes nothing any more, soon.
    pub(super) fn serves(self: &Arc<Self>, enrollment: Arc<Enrollment>) {
        let standing = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(LAST_WORDS).await;
            if enrollment.is_in_charge() {
                standing.may_save.send_replace(true);
            }
        });
    }

    /// Does what the supervisor says, in a thread of its own.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn obey(
        self: &Arc<Self>,
        supervisor: Arc<SupervisorLink>,
        enrollment: Arc<Enrollment>,
    ) -> io::Result<()> {
        let standing = self.clone();
        let obey = move || {
            while let Some(command) = supervisor.next_command() {
                match command {
                    SupervisorCommand::Freeze => {
                        tracing::info!("a successor takes over: pods that come or go wait");
                        enrollment.freeze();
                        standing.may_save.send_replace(false);
                        supervisor.report_frozen();
                    }
                    SupervisorCommand::Resume => {
                        tracing::warn!("the successor failed: this agent goes on");
                        enrollment.go_on();
                        standing.may_save.send_replace(true);
                    }
                    SupervisorCommand::Drain { same_network } => {
                        standing.may_save.send_replace(false);
                        enrollment.hand_over();
                        standing.relieved.send_replace(Some(same_network));
                    }
                }
            }
        };
        std::thread::Builder::new().name("supervisor".to_owned()).stack_size(STACK_BYTES).spawn(obey).map(drop)
    }
}
