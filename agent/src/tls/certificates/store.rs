//! Keeps keys and certificates over a restart: an agent that starts while the CA cannot be reached uses what it had.
//! One file per identity, for root alone, replaced as a whole.

use std::fs::{self, DirBuilder, DirEntry, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::model::identity::Identity;
use crate::tls::pem;
use crate::tls::trust::Trust;
use crate::tls::workload_certificate::{Material, UnusableCertificate, WorkloadCertificate};
use crate::whole_file;

/// A file holds a private key.
const KEY_FILE_MODE: u32 = 0o600;
/// Separates the chain from the roots; PEM readers skip it.
const ROOTS_BELOW: &str = "# roots\n";

/// Why a kept certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path}")]
    Unusable { path: PathBuf, source: Box<UnusableCertificate> },
}

#[derive(Debug)]
pub(super) struct KeyStore {
    dir: PathBuf,
}

impl KeyStore {
    /// Opens the directory, making it and closing it to everybody else as needed. Files written before `outdated` hold
    /// nothing valid any more (their pods left while no agent ran) and are removed.
    pub(super) fn open(dir: &Path, outdated: Option<SystemTime>) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        fs::set_permissions(dir, Permissions::from_mode(0o700))?;
        for file in fs::read_dir(dir)? {
            let file = file?;
            // Only files of ours, whatever directory it is that was configured.
            let ours = file.file_name().to_str().is_some_and(is_key_file);
            if ours && outdated.is_some_and(|outdated| modified(&file).is_ok_and(|time| time < outdated)) {
                fs::remove_file(file.path())?;
            }
        }
        Ok(Self { dir: dir.to_owned() })
    }

    pub(super) fn save(&self, identity: &Identity, material: &Material) -> io::Result<()> {
        let path = self.path(identity);
        let fresh = path.with_extension("new");
        let (chain, roots) = (material.chain_pem.concat(), material.root_pem.concat());
        let content = [&*material.key_pem, &chain, ROOTS_BELOW, &roots].map(str::as_bytes);
        whole_file::replace(&path, &fresh, KEY_FILE_MODE, &content).map(drop)
    }

    /// What was saved for this identity; `None` if nothing was.
    pub(super) fn load(
        &self,
        identity: &Identity,
        trust: &Trust,
        now: SystemTime,
    ) -> Result<Option<WorkloadCertificate>, LoadError> {
        let path = self.path(identity);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(LoadError::Read { path, source }),
        };
        let (own, roots) = text.split_once(ROOTS_BELOW).unwrap_or((&text, ""));
        let material = Material {
            key_pem: own.to_owned(),
            chain_pem: pem::certificate_blocks(own),
            root_pem: pem::certificate_blocks(roots),
        };
        match WorkloadCertificate::new(identity, &material, trust, now) {
            Ok(certificate) => Ok(Some(certificate)),
            Err(error) => Err(LoadError::Unusable { path, source: Box::new(error) }),
        }
    }

    pub(super) fn remove(&self, identity: &Identity) {
        let path = self.path(identity);
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "a forgotten key stays on disk");
        }
    }

    /// `~` separates the names and is escaped inside of them, as is all that could lead out of the directory.
    fn path(&self, identity: &Identity) -> PathBuf {
        let Identity { trust_domain, namespace, service_account } = identity;
        let parts = [trust_domain.as_str(), namespace, service_account].map(escape);
        self.dir.join(parts.join("~") + ".pem")
    }
}

/// Whether a name is one under which the key of an identity is stored, or is just being.
#[must_use]
pub fn is_key_file(name: &str) -> bool {
    let stem = name.strip_suffix(".pem").or_else(|| name.strip_suffix(".new"));
    stem.is_some_and(|stem| stem.matches('~').count() == 2)
}

fn modified(file: &DirEntry) -> io::Result<SystemTime> {
    file.metadata()?.modified()
}

fn escape(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for (at, byte) in name.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => text.push(byte.into()),
            b'.' if at > 0 => text.push('.'),
            _ => text.push_str(&format!("%{byte:02x}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::identity::TrustDomain;

    #[test]
    fn no_two_identities_share_a_file_and_none_leaves_the_directory() {
        let store = KeyStore { dir: "/keys".into() };
        for (namespace, account, path) in [
            ("shop", "cart.v1", "/keys/td~shop~cart.v1.pem"),
            ("shop~cart", "v1", "/keys/td~shop%7ecart~v1.pem"),
            ("../../etc", "passwd", "/keys/td~%2e.%2f..%2fetc~passwd.pem"),
        ] {
            let identity = Identity::new(TrustDomain::new("td"), namespace, account);
            let stored = store.path(&identity);
            assert_eq!(stored, Path::new(path));
            for own in [&stored, &stored.with_extension("new")] {
                assert!(is_key_file(own.file_name().unwrap().to_str().unwrap()), "{}", own.display());
            }
        }
        for other in ["notes.pem~", "ca-key.pem", "a~b.pem", "td~shop~cart.pem.bak"] {
            assert!(!is_key_file(other), "{other}");
        }
    }
}
