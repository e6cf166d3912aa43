//! The task behind one identity's certificate: fetch, keep, renew at half of its life, back off when the CA is away.

use std::error::Error;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{sleep, timeout};

use super::ready_files::{ReadyFiles, Stamp};
use super::slot::{Slot, Trouble};
use super::store::KeyStore;
use super::{CertificateEvent, CertificateOptions, CertificateSource, WorkloadCertificate};
use crate::causes::with_causes;
use crate::model::identity::Identity;
use crate::tls::ca::request::new_request;
use crate::tls::ca::{IssueError, Issuer};
use crate::tls::pem;
use crate::tls::workload_certificate::{Material, UnusableCertificate};

/// Requests on their way to the CA at once: a node that starts must not flood it.
const PARALLEL_REQUESTS: usize = 8;
/// An answer that takes longer is not coming.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(30);
/// How soon after a failure it is tried again where a connection waits, whatever the pause would be.
const WANTED_RETRY: Duration = Duration::from_millis(250);
/// How often ready files are looked at, and how often at most while somebody waits for one.
const FILES_INTERVAL: Duration = Duration::from_secs(5);
const WANTED_FILES_INTERVAL: Duration = Duration::from_millis(100);
/// Sleeps are cut into pieces, as the wall clock may jump, or the machine may have slept.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// The part of a certificate's life after which it is renewed; spread, so that a node's certificates part ways.
const RENEW_AT: Range<f64> = 0.45..0.55;
const RETRY_SPREAD: Range<f64> = 0.8..1.2;

/// What the tasks of all identities share.
#[derive(Debug)]
pub(super) struct Rotation {
    source: Source,
    pub(super) store: Option<KeyStore>,
    pub(super) options: CertificateOptions,
    requests: Semaphore,
    /// Roots that count besides those that come with certificates, as PEM, one each.
    pub(super) extra_roots: ArcSwap<Vec<String>>,
    /// Why the CA does not answer, where the last attempt of any identity ended so.
    away: ArcSwapOption<Arc<str>>,
    /// Told when those who failed should try again at once.
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
    fn trouble(&self) -> Trouble {
        match self {
            Self::Timeout | Self::Issue(IssueError::Unavailable(_)) => Trouble::Away,
            Self::Issue(_) | Self::Request(_) | Self::Answer(_) => Trouble::Refused,
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
        let (extra_roots, away, retry) = Default::default();
        Self { source, store, options, requests, extra_roots, away, retry }
    }

    pub(super) fn note_away(&self, reason: Option<Arc<str>>) {
        self.away.store(reason.map(Arc::new));
    }

    /// Why the CA does not answer, as far as is known.
    pub(super) fn away(&self) -> Option<Arc<str>> {
        self.away.load().as_deref().cloned()
    }

    fn now(&self) -> SystemTime {
        (self.options.clock)()
    }

    async fn sleep_until(&self, time: SystemTime) {
        while let Ok(left) = time.duration_since(self.now()) {
            if left.is_zero() {
                return;
            }
            sleep(left.min(LONGEST_SLEEP)).await;
        }
    }

    /// Waits until it is time to renew. A clock that is put back does not put it off, and where one that was put forward
    /// made the certificate expire, whoever asks for it ends the wait.
    async fn rest(&self, slot: &Slot, until: SystemTime) {
        let as_it_seems = until.duration_since(self.now()).unwrap_or_default();
        tokio::select! {
            () = self.sleep_until(until) => {}
            () = sleep(as_it_seems) => {}
            () = slot.wanted(&self.options.clock) => {}
            () = slot.outdated() => {}
        }
    }

    /// Waits until it is worth trying again after that many failures before this one.
    async fn recover(&self, slot: &Slot, failures: u32) {
        let wanted = async {
            sleep(WANTED_RETRY).await;
            slot.wanted(&self.options.clock).await;
        };
        tokio::select! {
            () = sleep(retry_after(failures)) => {}
            () = wanted => {}
            () = self.retry.notified() => {}
        }
    }

    /// Makes a key, has it signed, and accepts the answer only if it is what was asked for.
    async fn fetch(&self, issuer: &dyn Issuer, identity: &Identity) -> Result<Fetched, FetchError> {
        let _turn = self.requests.acquire().await.expect("the semaphore is never closed");
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
        let certificate = WorkloadCertificate::new(identity, &material, self.now()).map_err(FetchError::Answer)?;
        Ok(Fetched { certificate: Arc::new(self.with_extra_roots(certificate)), material })
    }

    /// The certificate that an agent before this one left, if it is still good.
    fn load(&self, identity: &Identity) -> Option<Arc<WorkloadCertificate>> {
        match self.store.as_ref()?.load(identity, self.now()) {
            Ok(found) => found.map(|certificate| Arc::new(self.with_extra_roots(certificate))),
            Err(error) => {
                tracing::info!(%identity, reason = with_causes(&error), "kept certificate is not used");
                None
            }
        }
    }

    fn with_extra_roots(&self, certificate: WorkloadCertificate) -> WorkloadCertificate {
        certificate.trusting(&self.extra_roots.load()).unwrap_or(certificate)
    }

    fn save(&self, identity: &Identity, material: &Material) {
        if let Some(store) = &self.store
            && let Err(error) = store.save(identity, material)
        {
            tracing::warn!(%identity, %error, "certificate will not outlive a restart");
        }
    }

    fn obtained(&self, certificate: &WorkloadCertificate) {
        let WorkloadCertificate { identity, not_after, .. } = certificate;
        tracing::debug!(%identity, serial = certificate.serial, "certificate in use");
        self.tell(&CertificateEvent::Obtained { identity: identity.clone(), not_after: *not_after });
    }

    fn failed(&self, slot: &Slot, trouble: Trouble, error: &dyn Error) {
        let reason: Arc<str> = with_causes(error).into();
        self.note_away((trouble == Trouble::Away).then(|| reason.clone()));
        if slot.fail(trouble, reason.clone()) {
            tracing::warn!(identity = %slot.identity, %reason, "no new certificate, it is being retried");
        }
        self.tell(&CertificateEvent::Failed { identity: slot.identity.clone(), reason });
    }

    fn tell(&self, event: &CertificateEvent) {
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

/// Keeps one identity's certificate fresh until aborted.
pub(super) async fn keep(rotation: Arc<Rotation>, slot: Arc<Slot>) {
    match &rotation.source {
        Source::Issuer(issuer) => keep_renewed(&rotation, issuer.as_ref(), &slot).await,
        Source::Files(files) => keep_reread(&rotation, files, &slot).await,
    }
}

async fn keep_renewed(rotation: &Rotation, issuer: &dyn Issuer, slot: &Slot) {
    if let Some(certificate) = rotation.load(&slot.identity) {
        // Its age counts from its issue, so that restarts do not put off the renewal.
        let renew_at = renewal(certificate.not_before, certificate.not_after);
        rotation.obtained(&certificate);
        slot.publish(certificate, || ());
        rotation.rest(slot, renew_at).await;
    }
    let mut failures = 0;
    loop {
        match rotation.fetch(issuer, &slot.identity).await {
            Ok(Fetched { certificate, material }) => {
                failures = 0;
                rotation.note_away(None);
                // Counted from now, not from `not_before`, which lies in the past to allow for clock skew.
                let renew_at = renewal(rotation.now(), certificate.not_after);
                rotation.obtained(&certificate);
                // Small files on a tmpfs: not worth a blocking task, which an abort could not stop.
                slot.publish(certificate, || rotation.save(&slot.identity, &material));
                rotation.rest(slot, renew_at).await;
            }
            Err(error) => {
                rotation.failed(slot, error.trouble(), &error);
                rotation.recover(slot, failures).await;
                failures = failures.saturating_add(1);
            }
        }
    }
}

async fn keep_reread(rotation: &Rotation, files: &ReadyFiles, slot: &Slot) {
    let mut stamp = Stamp::default();
    loop {
        match files.read_if_changed(&slot.identity, &mut stamp, rotation.now()) {
            Ok(Some(certificate)) => {
                let certificate = Arc::new(certificate);
                rotation.obtained(&certificate);
                slot.publish(certificate, || ());
            }
            Ok(None) => {}
            Err(error) => rotation.failed(slot, Trouble::Refused, &error),
        }
        sleep(WANTED_FILES_INTERVAL).await;
        let wanted = slot.wanted(&rotation.options.clock);
        // Nobody who wants it is as good as the end of the interval.
        let _ = timeout(FILES_INTERVAL - WANTED_FILES_INTERVAL, wanted).await;
    }
}

/// When to renew a certificate whose life counts from `start`.
fn renewal(start: SystemTime, not_after: SystemTime) -> SystemTime {
    start + not_after.duration_since(start).unwrap_or_default().mul_f64(rand::random_range(RENEW_AT))
}

/// How long to wait after that many failures before this one.
fn retry_after(failures: u32) -> Duration {
    let base = FIRST_RETRY.saturating_mul(2u32.saturating_pow(failures)).min(LAST_RETRY);
    base.mul_f64(rand::random_range(RETRY_SPREAD))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_double_up_to_the_last_and_are_spread() {
        for (failures, seconds) in [(0, 0.1), (1, 0.2), (2, 0.4), (5, 3.2), (8, 25.6), (9, 30.0), (u32::MAX, 30.0)] {
            let range = Duration::from_secs_f64(seconds * 0.8)..=Duration::from_secs_f64(seconds * 1.2);
            for _ in 0..20 {
                assert!(range.contains(&retry_after(failures)), "after {failures} failures");
            }
        }
    }

    #[test]
    fn renewal_is_around_half_of_the_life() {
        let start = SystemTime::UNIX_EPOCH;
        for _ in 0..20 {
            let at = renewal(start, start + Duration::from_secs(1000)).duration_since(start).unwrap().as_secs();
            assert!((450..=550).contains(&at), "{at}");
        }
        assert_eq!(renewal(start + Duration::from_secs(5), start), start + Duration::from_secs(5), "expired: now");
    }
}
