//! The place of one identity's certificate: one task writes it, connections read it and wait for it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

use super::{CertificateStatus, Clock, NoCertificate, WorkloadCertificate};
use crate::model::identity::Identity;

/// However long the trouble has lasted, somebody who asks may just have come in time for its end.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);
/// How long a refusal of a new identity is not taken for an answer: the CA may hear of a new pod after its node does.
const NEWS_TAKE: Duration = Duration::from_secs(1);

/// What kind of trouble there is with a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The CA says no, or what it says cannot be used.
    Refused,
    /// The CA does not answer.
    Away,
}

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) identity: Identity,
    made: Instant,
    state: watch::Sender<State>,
    /// Set when the identity was forgotten. Held while files are written, so that none appears after they were removed.
    closed: Mutex<bool>,
    /// Told when somebody asks and there is no valid certificate.
    wanted: Notify,
    /// Told when the certificate's root is on its way out.
    outdated: Notify,
}

#[derive(Debug, Default)]
struct State {
    current: Option<Arc<WorkloadCertificate>>,
    /// The last failure, if nothing has been issued since.
    failing: Option<(Trouble, Arc<str>)>,
    closed: bool,
}

impl State {
    fn valid_at(&self, now: SystemTime) -> Option<Arc<WorkloadCertificate>> {
        self.current.as_ref().filter(|certificate| now < certificate.not_after).cloned()
    }
}

impl Slot {
    pub(super) fn new(identity: Identity) -> Self {
        let (wanted, outdated) = (Notify::new(), Notify::new());
        Self {
            identity,
            made: Instant::now(),
            state: watch::Sender::default(),
            closed: Mutex::new(false),
            wanted,
            outdated,
        }
    }

    /// The certificate, unless there is none or it expired.
    pub(super) fn valid_at(&self, now: SystemTime) -> Option<Arc<WorkloadCertificate>> {
        self.state.borrow().valid_at(now)
    }

    /// Resolves when somebody asked and there was no valid certificate.
    pub(super) async fn wanted(&self, clock: &Clock) {
        loop {
            self.wanted.notified().await;
            if self.valid_at(clock()).is_none() {
                return;
            }
        }
    }

    /// Resolves when the certificate should be renewed whatever its age.
    pub(super) async fn outdated(&self) {
        self.outdated.notified().await;
    }

    /// Waits for a valid certificate until the bound; where there is trouble, no longer than that may pass by itself. Then
    /// fails with the last reason there is. `away` says why the CA does not answer anybody, if that is so.
    pub(super) async fn wait(
        &self,
        bound: Duration,
        away: impl Fn() -> Option<Arc<str>>,
        clock: &Clock,
    ) -> Result<Arc<WorkloadCertificate>, NoCertificate> {
        self.wanted.notify_one();
        let asked = Instant::now();
        let mut changes = self.state.subscribe();
        loop {
            let (until, reason) = {
                let state = changes.borrow_and_update();
                if state.closed {
                    return Err(self.without("no pod of this node carries this identity any more".into()));
                }
                if let Some(certificate) = state.valid_at(clock()) {
                    return Ok(certificate);
                }
                self.patience(&state, asked, bound, away())
            };
            if timeout_at(until, changes.changed()).await.is_err() {
                return Err(self.without(reason));
            }
        }
    }

    /// Until when somebody who asked then waits, and what the matter is if nothing changes until then.
    fn patience(&self, state: &State, asked: Instant, bound: Duration, away: Option<Arc<str>>) -> (Instant, Arc<str>) {
        let soon = asked + SHORTEST_WAIT;
        match (&state.failing, away) {
            (Some((Trouble::Refused, reason)), _) => (soon.max(self.made + NEWS_TAKE), reason.clone()),
            (Some((Trouble::Away, reason)), _) => (soon, reason.clone()),
            (None, Some(reason)) => (soon, reason),
            (None, None) if state.current.is_some() => {
                (asked + bound, "it expired and the new one is not there yet".into())
            }
            (None, None) => (asked + bound, format!("no answer within {bound:?}").into()),
        }
    }

    fn without(&self, reason: Arc<str>) -> NoCertificate {
        NoCertificate { identity: self.identity.clone(), reason }
    }

    /// Puts a certificate in use; `save` runs first, and neither happens once the identity is forgotten.
    pub(super) fn publish(&self, certificate: Arc<WorkloadCertificate>, save: impl FnOnce()) {
        let closed = self.closed.lock();
        if *closed {
            return;
        }
        save();
        self.state.send_modify(|state| {
            state.current = Some(certificate);
            state.failing = None;
        });
    }

    /// Trusts a bundle besides the certificate's own roots. Where one of these is not in `bundle` any more, it is renewed.
    pub(super) fn follow_bundle(&self, bundle: &[String]) {
        let leaves = |certificate: &WorkloadCertificate| !bundle.is_empty() && !certificate.came_with_roots_of(bundle);
        if self.state.borrow().current.as_deref().is_some_and(leaves) {
            self.outdated.notify_one();
        }
        self.replace(|certificate| certificate.trusting(bundle));
    }

    /// Puts another form of the certificate in use.
    fn replace(&self, change: impl FnOnce(&WorkloadCertificate) -> Option<WorkloadCertificate>) {
        self.state.send_if_modified(|state| {
            let changed = state.current.as_deref().and_then(change).map(Arc::new);
            let is_changed = changed.is_some();
            state.current = changed.or_else(|| state.current.take());
            is_changed
        });
    }

    /// Notes why there is no newer certificate, and says whether that is news. The one in use stays in use while valid.
    pub(super) fn fail(&self, trouble: Trouble, reason: Arc<str>) -> bool {
        let mut news = false;
        self.state.send_modify(|state| {
            let failing = (trouble, reason);
            news = state.failing.as_ref() != Some(&failing);
            state.failing = Some(failing);
        });
        news
    }

    /// Forgets the certificate and lets nobody wait any longer.
    pub(super) fn close(&self, remove: impl FnOnce()) {
        let mut closed = self.closed.lock();
        *closed = true;
        remove();
        self.state.send_modify(|state| *state = State { closed: true, ..State::default() });
    }

    pub(super) fn status(&self) -> CertificateStatus {
        let state = self.state.borrow();
        let current = state.current.as_deref();
        CertificateStatus {
            identity: self.identity.clone(),
            chain_pem: current.map(|certificate| certificate.chain_pem.clone()).unwrap_or_default(),
            root_pem: current.map(WorkloadCertificate::trusted_pem).unwrap_or_default(),
            serial: current.map(|certificate| certificate.serial.clone()).unwrap_or_default(),
            not_before: current.map(|certificate| certificate.not_before),
            not_after: current.map(|certificate| certificate.not_after),
            last_error: state.failing.as_ref().map(|(_, reason)| reason.clone()),
        }
    }
}
