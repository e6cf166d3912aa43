//! The place of one identity's certificate: one task writes it, connections read it and wait for it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use super::{CertificateStatus, Clock, NoCertificate, WorkloadCertificate};
use crate::model::identity::Identity;

/// However long the trouble has lasted, somebody who asks may just have come in time for its end.
const SHORTEST_WAIT: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) identity: Identity,
    state: watch::Sender<State>,
    /// Set when the identity was forgotten. Held while files are written, so that none appears after they were removed.
    closed: Mutex<bool>,
    /// Told when somebody asks and there is no valid certificate.
    wanted: Notify,
}

#[derive(Debug, Default)]
struct State {
    current: Option<Arc<WorkloadCertificate>>,
    last_error: Option<Arc<str>>,
    /// When the first of the failures in a row was.
    failing_since: Option<Instant>,
    closed: bool,
}

impl State {
    fn valid_at(&self, now: SystemTime) -> Option<Arc<WorkloadCertificate>> {
        self.current.as_ref().filter(|certificate| now < certificate.not_after).cloned()
    }
}

impl Slot {
    pub(super) fn new(identity: Identity) -> Self {
        Self { identity, state: watch::Sender::default(), closed: Mutex::new(false), wanted: Notify::new() }
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

    /// Waits for a valid certificate until the bound; then fails with the last reason there is. The bound counts from the
    /// begin of the trouble: only the first to feel it wait.
    pub(super) async fn wait(&self, bound: Duration, clock: &Clock) -> Result<Arc<WorkloadCertificate>, NoCertificate> {
        self.wanted.notify_one();
        let failing_since = self.state.borrow().failing_since;
        let bound =
            bound.saturating_sub(failing_since.map(|since| since.elapsed()).unwrap_or_default()).max(SHORTEST_WAIT);
        let mut changes = self.state.subscribe();
        let settled = timeout(bound, changes.wait_for(|state| state.closed || state.valid_at(clock()).is_some()));
        let reason = match settled.await {
            Ok(Ok(state)) => match state.current.clone() {
                Some(certificate) => return Ok(certificate),
                None => "no pod of this node carries this identity any more".into(),
            },
            Ok(Err(_)) | Err(_) => self.reason(bound),
        };
        Err(NoCertificate { identity: self.identity.clone(), reason })
    }

    fn reason(&self, bound: Duration) -> Arc<str> {
        let state = self.state.borrow();
        match (&state.last_error, &state.current) {
            (Some(reason), _) => reason.clone(),
            (None, Some(_)) => "it expired and the new one is not there yet".into(),
            (None, None) => format!("no answer within {bound:?}").into(),
        }
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
            (state.last_error, state.failing_since) = (None, None);
        });
    }

    /// Notes why there is no newer certificate, and says whether that is news. The one in use stays in use while valid.
    pub(super) fn fail(&self, reason: Arc<str>) -> bool {
        let mut news = false;
        self.state.send_modify(|state| {
            state.failing_since.get_or_insert_with(Instant::now);
            news = state.last_error.replace(reason.clone()).as_ref() != Some(&reason);
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
            root_pem: current.map(|certificate| certificate.root_pem.clone()).unwrap_or_default(),
            serial: current.map(|certificate| certificate.serial.clone()).unwrap_or_default(),
            not_before: current.map(|certificate| certificate.not_before),
            not_after: current.map(|certificate| certificate.not_after),
            last_error: state.last_error.clone(),
        }
    }
}
