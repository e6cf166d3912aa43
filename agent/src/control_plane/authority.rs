//! The built-in CA: a root key in a directory, generated once, and the certificates signed with it. The caller decides who may
//! ask for which identity.

#[cfg(test)]
mod tests;

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256,
};

use crate::model::identity::Identity;
use crate::tls::ca::local::{CLOCK_SKEW, CaError, LocalCa, random_serial, set_validity};
use crate::tls::ca::{Issuer, SignError};

const CERTIFICATE: &str = "ca-cert.pem";
const KEY: &str = "ca-key.pem";
/// Only where the CA is an intermediate, or where roots are being exchanged: all roots to trust.
const ROOTS: &str = "root-cert.pem";
const ROOT_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
const SERVER_LIFETIME: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Why there is no CA.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {path}")]
    Write { path: PathBuf, source: io::Error },
    #[error("{path} can be read by every user of this machine: run `chmod 600 {path}`")]
    KeyIsPublic { path: PathBuf },
    #[error(
        "{certificate} is there without its key {key}: put the key beside it, or take the certificate away to start a new mesh root"
    )]
    KeyMissing { certificate: PathBuf, key: PathBuf },
    #[error("cannot make a root key and certificate")]
    Generate(#[source] rcgen::Error),
    #[error("cannot make a root certificate")]
    Serial(#[source] SignError),
    #[error("{dir} holds no usable CA")]
    Unusable { dir: PathBuf, source: CaError },
}

/// The CA of one directory. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Authority {
    ca: Arc<LocalCa>,
}

impl Authority {
    /// Opens the CA in a directory: `ca-cert.pem`, `ca-key.pem`, and `root-cert.pem` if the CA is not the root itself.
    /// An empty directory gets a new root. What is there is never overwritten, even by two processes at once.
    ///
    /// # Errors
    /// See [`AuthorityError`].
    pub fn open(dir: &Path) -> Result<Self, AuthorityError> {
        let (certificate, key) = (dir.join(CERTIFICATE), dir.join(KEY));
        if !certificate.exists() {
            create_root(dir, &certificate, &key)?;
        } else if !key.exists() {
            return Err(AuthorityError::KeyMissing { certificate, key });
        }
        let key_pem = read_key(&key)?;
        let roots = match fs::read_to_string(dir.join(ROOTS)) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(source) => return Err(AuthorityError::Read { path: dir.join(ROOTS), source }),
        };
        let ca = LocalCa::new(&read(&certificate)?, &key_pem, roots.as_deref())
            .map_err(|source| AuthorityError::Unusable { dir: dir.to_owned(), source })?;
        Ok(Self { ca: Arc::new(ca) })
    }

    /// Signs a workload's request: leaf first, roots last. See [`LocalCa::sign`].
    ///
    /// # Errors
    /// When the request is not one that may be signed for this identity.
    pub fn sign(&self, csr_pem: &str, identity: &Identity, validity: Duration) -> Result<Vec<String>, SignError> {
        self.ca.sign(csr_pem, identity, validity)
    }

    /// A certificate for the control plane's own server, with these DNS names and addresses, as (chain, key) in PEM.
    /// Valid for a year: a server that runs longer asks again.
    ///
    /// # Errors
    /// When a name cannot stand in a certificate, or the CA expired.
    pub fn server_certificate(&self, names: &[String]) -> Result<(String, String), SignError> {
        self.ca.server_certificate(names, SERVER_LIFETIME)
    }

    /// The roots that agents must trust.
    #[must_use]
    pub fn root_pem(&self) -> &str {
        self.ca.root_pem()
    }

    /// This CA as the source of the certificates of an agent in the same process.
    #[must_use]
    pub fn issuer(&self) -> Arc<dyn Issuer> {
        self.ca.clone()
    }
}

/// Makes root key and certificate. The key comes first: a crash in between leaves a key, which the next start, or
/// another process that is at it right now, takes for its certificate.
fn create_root(dir: &Path, certificate: &Path, key: &Path) -> Result<(), AuthorityError> {
    let failed = |source| AuthorityError::Write { path: dir.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
    if !key.exists() {
        let fresh = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(AuthorityError::Generate)?;
        create_once(key, &fresh.serialize_pem(), 0o600)?;
    }
    let unusable = |_| AuthorityError::Unusable { dir: dir.to_owned(), source: CaError::Key };
    let key = KeyPair::from_pem(&read_key(key)?).map_err(unusable)?;
    let root = root_params()?.self_signed(&key).map_err(AuthorityError::Generate)?;
    create_once(certificate, &root.pem(), 0o644)
}

fn root_params() -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Weir root");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.serial_number = Some(random_serial().map_err(AuthorityError::Serial)?);
    let now = SystemTime::now();
    set_validity(&mut params, now - CLOCK_SKEW, now + ROOT_LIFETIME);
    Ok(params)
}

/// Writes a file as a whole, or leaves the one that is there.
fn create_once(path: &Path, text: &str, mode: u32) -> Result<(), AuthorityError> {
    let fresh = path.with_extension(format!("{:016x}.new", rand::random::<u64>()));
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&fresh)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        // Unlike a rename, a link never replaces.
        match fs::hard_link(&fresh, path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    };
    let written = write();
    let removed = fs::remove_file(&fresh);
    written.and(removed).map_err(|source| AuthorityError::Write { path: path.to_owned(), source })
}

fn read_key(path: &Path) -> Result<String, AuthorityError> {
    let mode = fs::metadata(path).map_err(|source| AuthorityError::Read { path: path.to_owned(), source })?.mode();
    if mode & 0o007 != 0 {
        return Err(AuthorityError::KeyIsPublic { path: path.to_owned() });
    }
    read(path)
}

fn read(path: &Path) -> Result<String, AuthorityError> {
    fs::read_to_string(path).map_err(|source| AuthorityError::Read { path: path.to_owned(), source })
}
