//! The task behind one identity's certificate: fetches it from the CA (or reads it from files), renews it at half of its life,
//! and backs off while the CA refuses or cannot be reached.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{sleep, timeout};

use super::options::{CertificateEvent, CertificateOptions, CertificateSource};
use super::ready_files::{ReadyFiles, Stamp};
use super::schedule::{renewal_time, retry_pause};
use super::slot::{FailureKind, Slot};
use super::store::KeyStore;
use crate::causes::with_causes;
use crate::model::identity::Identity;
use crate::tls::ca::request::new_request;
use crate::tls::ca::{IssueError, Issuer};
use crate::tls::pem;
use crate::tls::trust::Trust;
use crate::tls::workload_certificate::{Material, UnusableCertificate, WorkloadCertificate};

/// Requests to the CA at a time: a node that starts must not flood it.
const PARALLEL_REQUESTS: usize = 8;
/// How long the CA may take to answer a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest pause after a failure while a connection waits for the certificate.
const RETRY_PAUSE_WHILE_WAITED_FOR: Duration = Duration::from_millis(250);
/// How often ready files are looked at, and how often while a connection waits for one.
const FILES_INTERVAL: Duration = Duration::from_secs(5);
const FILES_INTERVAL_WHILE_WAITED_FOR: Duration = Duration::from_millis(100);
/// After this long a sleeping task looks at the wall clock again, which may have jumped.
const CLOCK_CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// What the tasks of all identities share.
#[derive(Debug)]
pub(super) struct Rotation {
    source: Source,
    pub(super) store: Option<KeyStore>,
    pub(super) options: CertificateOptions,
    requests: Semaphore,
    /// Roots that count besides those that come with certificates, as PEM, one each.
    pub(super) extra_roots: ArcSwap<Vec<String>>,
    pub(super) trust: Trust,
    /// Why the CA cannot be reached, if the last attempt of any identity found that, or its other channel.
    ca_unavailable: ArcSwapOption<Arc<str>>,
    /// Notified when those who failed should try again at once.
    pub(super) retry: Notify,
}

#[derive(Debug)]
enum Source {
    Issuer(Arc<dyn Issuer>),
    Files(ReadyFiles),
}

/// Why a certificate could not be fetched.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("cannot make a key and a request")]
    Request(#[source] rcgen::Error),
    #[error("certificate authority did not answer within {REQUEST_TIMEOUT:?}")]
    Timeout,
    #[error(transparent)]
    Issue(#[from] IssueError),
    #[error("certificate authority's answer cannot be used")]
    Answer(#[source] UnusableCertificate),
}

impl FetchError {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Timeout | Self::Issue(IssueError::Unreachable(_) | IssueError::Unavailable(_)) => {
                FailureKind::Unavailable
            }
            Self::Issue(_) | Self::Request(_) | Self::Answer(_) => FailureKind::Refused,
        }
    }
}

impl Rotation {
    pub(super) fn new(source: CertificateSource, store: Option<KeyStore>, options: CertificateOptions) -> Self {
        let source = match source {
            CertificateSource::Issuer(issuer) => Source::Issuer(issuer),
            CertificateSource::Files(dir) => Source::Files(ReadyFiles::new(dir)),
        };
        let requests = Semaphore::new(PARALLEL_REQUESTS);
        let (extra_roots, trust, ca_unavailable, retry) = Default::default();
        Self { source, store, options, requests, extra_roots, trust, ca_unavailable, retry }
    }

    /// Records why the CA cannot be reached; `None`: it can be, as far as is known.
    pub(super) fn set_ca_unavailable(&self, reason: Option<Arc<str>>) {
        self.ca_unavailable.store(reason.map(Arc::new));
    }

    /// Why the CA cannot be reached, as far as is known.
    pub(super) fn ca_unavailable(&self) -> Option<Arc<str>> {
        self.ca_unavailable.load().as_deref().cloned()
    }

    fn now(&self) -> SystemTime {
        (self.options.clock)()
    }

    async fn sleep_until(&self, time: SystemTime) {
        while let Ok(left) = time.duration_since(self.now()) {
            if left.is_zero() {
                return;
            }
            sleep(left.min(CLOCK_CHECK_INTERVAL)).await;
        }
    }

    /// Waits until it is time to renew. A wall clock that is set back does not delay it. If one that was set forward made
    /// the certificate expire, the next connection that needs it ends the wait.
    async fn wait_for_renewal(&self, slot: &Slot, until: SystemTime) {
        let from_now = until.duration_since(self.now()).unwrap_or_default();
        tokio::select! {
            () = self.sleep_until(until) => {}
            () = sleep(from_now) => {}
            () = slot.wanted(&self.options.clock) => {}
            () = slot.untrusted() => {}
        }
    }

    /// Waits before the next attempt, after that many failures before this one.
    async fn wait_for_retry(&self, slot: &Slot, failures: u32) {
        let wanted = async {
            sleep(RETRY_PAUSE_WHILE_WAITED_FOR).await;
            slot.wanted(&self.options.clock).await;
        };
        tokio::select! {
            () = sleep(retry_pause(failures)) => {}
            () = wanted => {}
            () = self.retry.notified() => {}
        }
    }

    /// Makes a key and has it signed. The answer is used only if it is a certificate of that key and identity that peers
    /// will accept.
    async fn fetch(&self, issuer: &dyn Issuer, identity: &Identity) -> Result<Fetched, FetchError> {
        let _permit = self.requests.acquire().await.expect("the semaphore is never closed");
        let (key, csr) = new_request(identity).map_err(FetchError::Request)?;
        let answer = timeout(REQUEST_TIMEOUT, issuer.sign(&csr, identity, self.options.lifetime))
            .await
            .map_err(|_| FetchError::Timeout)??;
        let (roots, chain) = answer.split_last().ok_or(FetchError::Answer(UnusableCertificate::EmptyChain))?;
        let material = Material {
            key_pem: key.serialize_pem(),
            chain_pem: chain.iter().flat_map(|text| pem::certificate_blocks(text)).collect(),
            root_pem: pem::certificate_blocks(roots),
        };
        let certificate =
            WorkloadCertificate::new(identity, &material, &self.trust, self.now()).map_err(FetchError::Answer)?;
        Ok(Fetched { certificate: Arc::new(self.with_extra_roots(certificate)), material })
    }

    /// The certificate that an agent before this one left, if it is still good.
    fn load_saved(&self, identity: &Identity) -> Option<Arc<WorkloadCertificate>> {
        match self.store.as_ref()?.load(identity, &self.trust, self.now()) {
            Ok(found) => found.map(|certificate| Arc::new(self.with_extra_roots(certificate))),
            Err(error) => {
                tracing::info!(%identity, reason = with_causes(&error), "kept certificate is not used");
                None
            }
        }
    }

    fn with_extra_roots(&self, certificate: WorkloadCertificate) -> WorkloadCertificate {
        certificate.with_extra_roots(&self.extra_roots.load()).unwrap_or(certificate)
    }

    fn save(&self, identity: &Identity, material: &Material) {
        if let Some(store) = &self.store
            && let Err(error) = store.save(identity, material)
        {
            tracing::warn!(%identity, %error, "certificate will not outlive a restart");
        }
    }

    fn report_obtained(&self, certificate: &WorkloadCertificate) {
        let WorkloadCertificate { identity, not_after, .. } = certificate;
        tracing::debug!(%identity, serial = certificate.serial, "certificate in use");
        self.notify_observer(&CertificateEvent::Obtained { identity: identity.clone(), not_after: *not_after });
    }

    /// Keeps what the failure of one identity's request says of the CA: only where it could not be reached, it is away for others, too.
    fn note_availability(&self, error: &FetchError) {
        match error {
            FetchError::Issue(IssueError::Unreachable(reason)) => self.set_ca_unavailable(Some(reason.as_str().into())),
            FetchError::Issue(_) | FetchError::Answer(_) => self.set_ca_unavailable(None),
            FetchError::Timeout | FetchError::Request(_) => {}
        }
    }

    fn report_failure(&self, slot: &Slot, kind: FailureKind, error: &dyn Error) {
        let reason: Arc<str> = with_causes(error).into();
        if slot.record_failure(kind, reason.clone()) {
            tracing::warn!(identity = %slot.identity, %reason, "no new certificate, it is being retried");
        }
        self.notify_observer(&CertificateEvent::Failed { identity: slot.identity.clone(), reason });
    }

    fn notify_observer(&self, event: &CertificateEvent) {
        if let Some(observer) = &self.options.observer {
            observer(event);
        }
    }
}

#[derive(Debug)]
struct Fetched {
    certificate: Arc<WorkloadCertificate>,
    material: Material,
}

/// Obtains and renews one identity's certificate until aborted.
pub(super) async fn run(rotation: Arc<Rotation>, slot: Arc<Slot>) {
    match &rotation.source {
        Source::Issuer(issuer) => renew_from_ca(&rotation, issuer.as_ref(), &slot).await,
        Source::Files(files) => reread_files(&rotation, files, &slot).await,
    }
}

async fn renew_from_ca(rotation: &Rotation, issuer: &dyn Issuer, slot: &Slot) {
    if let Some(certificate) = rotation.load_saved(&slot.identity) {
        // Its age counts from its issue, so that restarts do not put off the renewal.
        let renew_at = renewal_time(certificate.not_before, certificate.not_after);
        rotation.report_obtained(&certificate);
        slot.publish(certificate, || ());
        rotation.wait_for_renewal(slot, renew_at).await;
    }
    let mut failures = 0;
    loop {
        match rotation.fetch(issuer, &slot.identity).await {
            Ok(Fetched { certificate, material }) => {
                failures = 0;
                rotation.set_ca_unavailable(None);
                // Counted from now, not from `not_before`, which lies in the past to allow for clock skew.
                let renew_at = renewal_time(rotation.now(), certificate.not_after);
                rotation.report_obtained(&certificate);
                // Small files on a tmpfs: not worth a blocking task, which an abort could not stop.
                slot.publish(certificate, || rotation.save(&slot.identity, &material));
                rotation.wait_for_renewal(slot, renew_at).await;
            }
            Err(error) => {
                rotation.note_availability(&error);
                rotation.report_failure(slot, error.kind(), &error);
                rotation.wait_for_retry(slot, failures).await;
                failures = failures.saturating_add(1);
            }
        }
    }
}

async fn reread_files(rotation: &Rotation, files: &ReadyFiles, slot: &Slot) {
    let mut stamp = Stamp::default();
    loop {
        match files.read_if_changed(&slot.identity, &mut stamp, &rotation.trust, rotation.now()) {
            Ok(Some(certificate)) => {
                let certificate = Arc::new(rotation.with_extra_roots(certificate));
                rotation.report_obtained(&certificate);
                slot.publish(certificate, || ());
            }
            Ok(None) => {}
            Err(error) => rotation.report_failure(slot, FailureKind::Refused, &error),
        }
        sleep(FILES_INTERVAL_WHILE_WAITED_FOR).await;
        let wanted = slot.wanted(&rotation.options.clock);
        // Whether a connection waits for it or the interval is over, the files are read again.
        let _ = timeout(FILES_INTERVAL - FILES_INTERVAL_WHILE_WAITED_FOR, wanted).await;
    }
}
