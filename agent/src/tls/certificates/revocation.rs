//! Follows the file with revocation lists, which somebody else keeps up to date (Istio mounts a ConfigMap).

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::time::sleep;

use super::cache::Certificates;
use crate::causes::with_causes;
use crate::tls::revocation_lists::{InvalidLists, RevocationLists};
use crate::tls::trust::Revocation;

/// How often the file is read. The kubelet itself takes up to a minute to write a changed ConfigMap.
const FILE_INTERVAL: Duration = Duration::from_secs(5);
/// The largest file that is read: some 300,000 entries. A ConfigMap has at most 1 MiB.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// Why the file says nothing that can be used.
#[derive(Debug, thiserror::Error)]
enum UnusableFile {
    #[error("cannot read it")]
    Read(#[from] io::Error),
    #[error("it is larger than {MAX_FILE_BYTES} bytes")]
    TooLarge,
    #[error(transparent)]
    Invalid(#[from] InvalidLists),
}

/// What is known of the revocation lists, for operators. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct RevocationStatus(Arc<Mutex<Report>>);

#[derive(Debug, Default)]
struct Report {
    next_update: Option<SystemTime>,
    problem: Option<String>,
}

impl RevocationStatus {
    /// What an operator has to attend to.
    #[must_use]
    pub fn warnings(&self, now: SystemTime) -> Vec<String> {
        let report = self.0.lock();
        let overdue = report.next_update.filter(|next| *next < now).map(|_| {
            "a certificate revocation list is overdue: what it names stays revoked, what was revoked since is not known".to_owned()
        });
        report.problem.clone().into_iter().chain(overdue).collect()
    }
}

/// The file with revocation lists. One that is not there, or empty, revokes nothing: so istiod writes it whose CA has no lists.
/// While one is there that cannot be used, its last good content counts; before there was any, no peer is accepted,
/// since it may be on the lists.
#[derive(Debug)]
pub struct RevocationFile {
    path: PathBuf,
    /// The content in use, `None` inside where there is no file; `None` before the first.
    known: Option<Option<Vec<u8>>>,
    status: RevocationStatus,
}

impl RevocationFile {
    /// Reads it for the first time.
    #[must_use]
    pub fn open(path: PathBuf, certificates: &Certificates) -> Self {
        let mut file = Self { path, known: None, status: RevocationStatus::default() };
        file.refresh(certificates);
        file
    }

    #[must_use]
    pub fn status(&self) -> RevocationStatus {
        self.status.clone()
    }

    /// Reads it again and again, forever.
    pub async fn follow(mut self, certificates: Certificates) {
        loop {
            sleep(FILE_INTERVAL).await;
            self.refresh(&certificates);
        }
    }

    fn refresh(&mut self, certificates: &Certificates) {
        let outcome = read(&self.path).and_then(|content| {
            if self.known.as_ref() != Some(&content) {
                self.apply(certificates, content.as_deref())?;
                self.known = Some(content);
            }
            Ok(())
        });
        match outcome {
            Ok(()) => self.status.0.lock().problem = None,
            Err(error) => self.report(certificates, &error),
        }
    }

    fn apply(&self, certificates: &Certificates, content: Option<&[u8]>) -> Result<(), UnusableFile> {
        let (revocation, next_update) = match content.filter(|content| !content.trim_ascii().is_empty()) {
            None => (Revocation::None, None),
            Some(content) => {
                let lists = RevocationLists::read(content)?;
                let (path, next_update) = (self.path.display(), lists.next_update);
                tracing::info!(%path, lists = lists.count(), revoked = lists.revoked, "revocation lists in use");
                (Revocation::Lists(lists), next_update)
            }
        };
        certificates.set_revocation(revocation);
        self.status.0.lock().next_update = next_update;
        Ok(())
    }

    fn report(&self, certificates: &Certificates, error: &UnusableFile) {
        let consequence = if self.known.is_some() { "the last good content counts" } else { "no peer is accepted" };
        let problem = format!("--crl {}: {}; {consequence}", self.path.display(), with_causes(error));
        if self.status.0.lock().problem.as_ref() == Some(&problem) {
            return;
        }
        tracing::warn!(%problem, "revocation lists cannot be used");
        if self.known.is_none() {
            certificates.set_revocation(Revocation::Unknown);
        }
        self.status.0.lock().problem = Some(problem);
    }
}

/// The content of the file; `None` where there is none.
fn read(path: &Path) -> Result<Option<Vec<u8>>, UnusableFile> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut content = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut content)?;
    if content.len() as u64 > MAX_FILE_BYTES { Err(UnusableFile::TooLarge) } else { Ok(Some(content)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::identity::TrustDomain;
    use crate::tls::certificates::{CertificateOptions, CertificateSource};
    use crate::tls::test_mesh::TestRoot;
    use crate::tls::verify::TrustedDomains;

    /// What is in use after each content of the file.
    #[tokio::test]
    async fn the_last_good_content_counts_and_without_any_nobody_is_accepted() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("ca-crl.pem");
        let root = TestRoot::new();
        let good = root.revocation_list(&[7]);
        let steps: [(&str, Option<&str>, &str, usize); 8] = [
            ("damaged at first", Some("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"), "unknown", 1),
            ("good", Some(&good), "lists", 0),
            ("the same", Some(&good), "lists", 0),
            ("something else", Some("no list"), "lists", 1),
            ("good again", Some(&good), "lists", 0),
            ("empty, as istiod has it", Some("\n"), "none", 0),
            ("good once more", Some(&good), "lists", 0),
            ("removed", None, "none", 0),
        ];
        let source = CertificateSource::Files(home.path().to_owned());
        let certificates = Certificates::start(source, CertificateOptions::default());
        let mut file: Option<RevocationFile> = None;
        for (step, content, expected, warnings) in steps {
            match content {
                Some(content) => std::fs::write(&path, content).unwrap(),
                None => std::fs::remove_file(&path).unwrap(),
            }
            match &mut file {
                Some(file) => file.refresh(&certificates),
                None => file = Some(RevocationFile::open(path.clone(), &certificates)),
            }
            let in_use = match &*certificates.revocation() {
                Revocation::None => "none",
                Revocation::Lists(_) => "lists",
                Revocation::Unknown => "unknown",
            };
            let status = file.as_ref().unwrap().status();
            assert_eq!((in_use, status.warnings(SystemTime::now()).len()), (expected, warnings), "{step}");
        }
        let much_later = SystemTime::now() + Duration::from_secs(7200);
        let overdue = RevocationFile::open(path.clone(), &certificates).status();
        assert_eq!(overdue.warnings(much_later).len(), 0, "there is none");
        std::fs::write(&path, &good).unwrap();
        let overdue = RevocationFile::open(path, &certificates).status();
        assert_eq!(overdue.warnings(much_later).len(), 1);
        let domains = TrustedDomains(vec![TrustDomain::new("td")]);
        assert_eq!(certificates.check_peers(&domains).await, [], "no connection is open");
    }
}
