//! The place of one identity's certificate: one task fills it, connections read it and wait for it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

use super::options::{CertificateStatus, Clock, NoCertificate};
use crate::model::identity::Identity;
use crate::tls::workload_certificate::WorkloadCertificate;

/// How long a connection waits at the least, however long requests have failed: the next attempt may succeed.
const MIN_WAIT: Duration = Duration::from_millis(100);
/// How long a refusal of a new identity is not final: the CA may learn of a new pod after its node does.
const NEW_IDENTITY_GRACE: Duration = Duration::from_secs(1);

/// Why a certificate could not be obtained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FailureKind {
    /// The CA refuses, or its answer cannot be used.
    Refused,
    /// The CA cannot be reached or does not answer.
    Unavailable,
}

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) identity: Identity,
    created: Instant,
    state: watch::Sender<State>,
    /// Set when the identity was forgotten. Held while files are written, so that none appears after they were removed.
    closed: Mutex<bool>,
    /// Notified when a connection asks and there is no valid certificate.
    wanted: Notify,
    /// Notified when peers will soon refuse the certificate, or do: a root that came with it has left the trust bundle, or it is
    /// revoked.
    untrusted: Notify,
}

#[derive(Debug, Default)]
struct State {
    current: Option<Arc<WorkloadCertificate>>,
    /// The last failure, if nothing has been issued since.
    failure: Option<(FailureKind, Arc<str>)>,
    closed: bool,
}

impl State {
    fn valid_at(&self, now: SystemTime) -> Option<Arc<WorkloadCertificate>> {
        self.current.as_ref().filter(|certificate| now < certificate.not_after).cloned()
    }
}

impl Slot {
    pub(super) fn new(identity: Identity) -> Self {
        let (wanted, untrusted) = (Notify::new(), Notify::new());
        Self {
            identity,
            created: Instant::now(),
            state: watch::Sender::default(),
            closed: Mutex::new(false),
            wanted,
            untrusted,
        }
    }

    /// The certificate, unless there is none or it expired.
    pub(super) fn valid_at(&self, now: SystemTime) -> Option<Arc<WorkloadCertificate>> {
        self.state.borrow().valid_at(now)
    }

    /// Resolves when a connection has asked and there was no valid certificate.
    pub(super) async fn wanted(&self, clock: &Clock) {
        loop {
            self.wanted.notified().await;
            if self.valid_at(clock()).is_none() {
                return;
            }
        }
    }

    /// Resolves when the certificate should be renewed whatever its age: a root that came with it has left the trust bundle, or
    /// it is revoked.
    pub(super) async fn untrusted(&self) {
        self.untrusted.notified().await;
    }

    /// The certificate in use, valid or not.
    pub(super) fn current(&self) -> Option<Arc<WorkloadCertificate>> {
        self.state.borrow().current.clone()
    }

    /// Has the certificate renewed if it is revoked.
    pub(super) fn renew_if_revoked(&self, now: SystemTime) {
        if self.current().is_some_and(|certificate| certificate.is_revoked(now)) {
            tracing::warn!(identity = %self.identity, "the certificate is revoked: a new one is requested");
            self.untrusted.notify_one();
        }
    }

    /// Waits for a valid certificate, at most for `bound`; while requests fail, only as long as the next attempt may need.
    /// Then fails with the last known reason. `ca_unavailable` says why the CA cannot be reached, if that is so.
    pub(super) async fn wait(
        &self,
        bound: Duration,
        ca_unavailable: impl Fn() -> Option<Arc<str>>,
        clock: &Clock,
    ) -> Result<Arc<WorkloadCertificate>, NoCertificate> {
        self.wanted.notify_one();
        let asked = Instant::now();
        let mut changes = self.state.subscribe();
        loop {
            let (until, reason) = {
                let state = changes.borrow_and_update();
                if state.closed {
                    return Err(self.no_certificate("no pod of this node carries this identity any more".into()));
                }
                if let Some(certificate) = state.valid_at(clock()) {
                    return Ok(certificate);
                }
                self.deadline(&state, asked, bound, ca_unavailable())
            };
            if timeout_at(until, changes.changed()).await.is_err() {
                return Err(self.no_certificate(reason));
            }
        }
    }

    /// Until when a connection that asked at that time waits, and why it then has no certificate if nothing changes.
    fn deadline(
        &self,
        state: &State,
        asked: Instant,
        bound: Duration,
        ca_unavailable: Option<Arc<str>>,
    ) -> (Instant, Arc<str>) {
        let soon = asked + MIN_WAIT;
        match (&state.failure, ca_unavailable) {
            (Some((FailureKind::Refused, reason)), _) => (soon.max(self.created + NEW_IDENTITY_GRACE), reason.clone()),
            (Some((FailureKind::Unavailable, reason)), _) => (soon, reason.clone()),
            (None, Some(reason)) => (soon, reason),
            (None, None) if state.current.is_some() => {
                (asked + bound, "it expired and the new one is not there yet".into())
            }
            (None, None) => (asked + bound, format!("no answer within {bound:?}").into()),
        }
    }

    fn no_certificate(&self, reason: Arc<str>) -> NoCertificate {
        NoCertificate { identity: self.identity.clone(), reason }
    }

    /// Puts a certificate in use; `save` runs first, and neither happens once the identity is forgotten.
    pub(super) fn publish(&self, certificate: Arc<WorkloadCertificate>, save: impl FnOnce()) {
        let closed = self.closed.lock();
        if *closed {
            return;
        }
        save();
        let trust = certificate.trust.clone();
        let mut has_other_roots = false;
        self.state.send_modify(|state| {
            has_other_roots = state.current.as_ref().is_some_and(|old| !old.has_same_roots(&certificate));
            state.current = Some(certificate);
            state.failure = None;
        });
        if has_other_roots {
            trust.changed();
        }
    }

    /// Trusts a bundle besides the certificate's own roots. If one of these is not in `bundle` any more, the certificate is
    /// renewed.
    pub(super) fn set_extra_roots(&self, bundle: &[String]) {
        let removed = |certificate: &WorkloadCertificate| !bundle.is_empty() && !certificate.own_roots_are_in(bundle);
        if self.state.borrow().current.as_deref().is_some_and(removed) {
            self.untrusted.notify_one();
        }
        self.state.send_if_modified(|state| {
            let changed = state.current.as_deref().and_then(|certificate| certificate.with_extra_roots(bundle));
            let is_changed = changed.is_some();
            if let Some(changed) = changed {
                state.current = Some(Arc::new(changed));
            }
            is_changed
        });
    }

    /// Records why there is no newer certificate; true if it is another reason than before. The one in use stays in use
    /// while valid.
    pub(super) fn record_failure(&self, kind: FailureKind, reason: Arc<str>) -> bool {
        let mut is_new = false;
        self.state.send_modify(|state| {
            let failure = (kind, reason);
            is_new = state.failure.as_ref() != Some(&failure);
            state.failure = Some(failure);
        });
        is_new
    }

    /// Drops the certificate and fails everyone who waits for it; `remove` deletes its file.
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
            last_error: state.failure.as_ref().map(|(_, reason)| reason.clone()),
        }
    }
}
