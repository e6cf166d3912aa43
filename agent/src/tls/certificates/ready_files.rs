//! Certificates that somebody else issues and renews, as files in a directory that is read again when they change.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::model::identity::Identity;
use crate::tls::pem;
use crate::tls::trust::Trust;
use crate::tls::workload_certificate::{Material, UnusableCertificate, WorkloadCertificate};

const ROOTS: &str = "root-cert.pem";

/// Why ready files give no certificate.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadyFilesError {
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} cannot be used")]
    Unusable { path: PathBuf, source: Box<UnusableCertificate> },
    #[error("name cannot be part of a file name")]
    Name,
}

/// The state of the files when they were last read with success.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Stamp([Option<FileStamp>; 2]);

/// Inode, size and time of change: a replaced file differs in the first, a rewritten one in the others.
#[derive(Debug, PartialEq, Eq)]
struct FileStamp(u64, u64, i64, i64);

impl FileStamp {
    fn of(metadata: &Metadata) -> Self {
        Self(metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec())
    }
}

#[derive(Debug)]
pub(super) struct ReadyFiles {
    dir: PathBuf,
}

impl ReadyFiles {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// The certificate of this identity, unless its files are the same as at `stamp`, which is updated.
    pub(super) fn read_if_changed(
        &self,
        identity: &Identity,
        stamp: &mut Stamp,
        trust: &Trust,
        now: SystemTime,
    ) -> Result<Option<WorkloadCertificate>, ReadyFilesError> {
        let path = self.dir.join(file_name(identity)?);
        let roots_path = self.dir.join(ROOTS);
        // Taken before reading: a change in between is then seen the next time.
        let seen = Stamp([Some(file_stamp(&path)?), Some(file_stamp(&roots_path)?)]);
        if seen == *stamp {
            return Ok(None);
        }
        let own = read(&path)?;
        let material = Material {
            chain_pem: pem::certificate_blocks(&own),
            root_pem: pem::certificate_blocks(&read(&roots_path)?),
            key_pem: own,
        };
        let certificate = WorkloadCertificate::new(identity, &material, trust, now)
            .map_err(|error| ReadyFilesError::Unusable { path, source: Box::new(error) })?;
        *stamp = seen;
        Ok(Some(certificate))
    }
}

/// The roots in a directory of ready files, PEM, one each.
///
/// # Errors
/// Those of reading the file.
pub fn ready_roots(dir: &Path) -> io::Result<Vec<String>> {
    Ok(pem::certificate_blocks(&fs::read_to_string(dir.join(ROOTS))?))
}

fn file_stamp(path: &Path) -> Result<FileStamp, ReadyFilesError> {
    let metadata = fs::metadata(path).map_err(|source| ReadyFilesError::Read { path: path.to_owned(), source })?;
    Ok(FileStamp::of(&metadata))
}

fn read(path: &Path) -> Result<String, ReadyFilesError> {
    fs::read_to_string(path).map_err(|source| ReadyFilesError::Read { path: path.to_owned(), source })
}

/// Names as Kubernetes allows them; others are refused rather than escaped, since people write these files.
fn file_name(identity: &Identity) -> Result<String, ReadyFilesError> {
    let allowed = |name: &str| {
        !name.starts_with('.') && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    let Identity { namespace, service_account, .. } = identity;
    if allowed(namespace) && allowed(service_account) {
        Ok(format!("{namespace}.{service_account}.pem"))
    } else {
        Err(ReadyFilesError::Name)
    }
}
