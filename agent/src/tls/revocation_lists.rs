//! Certificate revocation lists (RFC 5280 §5): certificates that peers may no longer use although they have not expired.

use std::fmt;
use std::time::{Duration, SystemTime};

use rustls_pki_types::CertificateRevocationListDer;
use rustls_pki_types::pem::{Error as PemError, PemObject as _};
use webpki::{
    CertRevocationList, ExpirationPolicy, OwnedCertRevocationList, RevocationCheckDepth, RevocationOptions,
    RevocationOptionsBuilder, UnknownStatusPolicy,
};
use x509_parser::prelude::{CertificateRevocationList, FromDer as _};

/// Why a text is not usable as revocation lists.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLists {
    #[error("block {0} is not PEM: {1}")]
    Pem(usize, String),
    #[error("list {0} cannot be used: {1}")]
    List(usize, webpki::Error),
    #[error("it holds no block \"X509 CRL\"")]
    Empty,
}

/// The lists of one file, one per issuer at most that counts: the first of an issuer's.
pub struct RevocationLists {
    lists: Vec<CertRevocationList<'static>>,
    /// Certificates that the lists name.
    pub revoked: usize,
    /// When the first of them should have been replaced by a newer one; `None` where none says so.
    pub next_update: Option<SystemTime>,
}

impl fmt::Debug for RevocationLists {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RevocationLists")
            .field("lists", &self.lists.len())
            .field("revoked", &self.revoked)
            .finish_non_exhaustive()
    }
}

impl RevocationLists {
    /// Reads PEM text with one list or more.
    ///
    /// # Errors
    /// See [`InvalidLists`]: one list that cannot be used makes all of them invalid, since nobody knows what it revokes.
    pub fn read(text: &[u8]) -> Result<Self, InvalidLists> {
        let mut read = Self { lists: Vec::new(), revoked: 0, next_update: None };
        for (at, block) in CertificateRevocationListDer::pem_slice_iter(text).enumerate() {
            let der = block.map_err(|error: PemError| InvalidLists::Pem(at + 1, format!("{error:?}")))?;
            let list = OwnedCertRevocationList::from_der(&der).map_err(|error| InvalidLists::List(at + 1, error))?;
            let (_, parsed) = CertificateRevocationList::from_der(&der)
                .map_err(|_| InvalidLists::List(at + 1, webpki::Error::BadDer))?;
            read.revoked += parsed.iter_revoked_certificates().count();
            let next = parsed.next_update().and_then(|next| u64::try_from(next.timestamp()).ok());
            let next = next.map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
            read.next_update = [read.next_update, next].into_iter().flatten().min();
            read.lists.push(list.into());
        }
        if read.lists.is_empty() { Err(InvalidLists::Empty) } else { Ok(read) }
    }

    #[must_use]
    pub fn count(&self) -> usize {
        self.lists.len()
    }

    /// The lists by reference, as [`options`] needs them.
    pub(super) fn by_reference(&self) -> Vec<&CertRevocationList<'_>> {
        self.lists.iter().collect()
    }
}

/// How lists are applied; `None` where there are none. Every certificate of a chain is looked up. A certificate whose issuer has
/// published no list is not revoked. A list that is overdue still revokes what it names: without its issuer's newest list it
/// is all that is known.
pub(super) fn options<'a>(lists: &'a [&'a CertRevocationList<'a>]) -> Option<RevocationOptions<'a>> {
    let builder = RevocationOptionsBuilder::new(lists).ok()?;
    Some(
        builder
            .with_depth(RevocationCheckDepth::Chain)
            .with_status_policy(UnknownStatusPolicy::Allow)
            .with_expiration_policy(ExpirationPolicy::Ignore)
            .build(),
    )
}

/// How the lists of a destination are applied, which somebody has asked for: every certificate of a chain is looked up, its issuer must
/// have published a list, and one that is overdue says nothing.
pub(super) fn strict_options<'a>(lists: &'a [&'a CertRevocationList<'a>]) -> Option<RevocationOptions<'a>> {
    let builder = RevocationOptionsBuilder::new(lists).ok()?;
    Some(
        builder
            .with_depth(RevocationCheckDepth::Chain)
            .with_status_policy(UnknownStatusPolicy::Deny)
            .with_expiration_policy(ExpirationPolicy::Enforce)
            .build(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::test_mesh::TestRoot;

    #[test]
    fn lists_are_read_whole_or_refused() {
        let root = TestRoot::new();
        let (empty, two) = (root.revocation_list(&[]), root.revocation_list(&[1, 2]));
        let read = |text: &str| RevocationLists::read(text.as_bytes()).map(|lists| (lists.count(), lists.revoked));
        let damaged = two.replace("MII", "AAA").replace("MIH", "AAA");
        assert_eq!(read(&empty), Ok((1, 0)));
        assert_eq!(read(&format!("# of the root\n{two}{empty}")), Ok((2, 2)));
        assert_eq!(read(""), Err(InvalidLists::Empty));
        assert_eq!(read(&root.pem), Err(InvalidLists::Empty), "a certificate is no list");
        assert!(matches!(read(&format!("{empty}{damaged}")), Err(InvalidLists::List(2, _))));
        assert!(matches!(
            read(&two.replace("-----END", "----END")),
            Err(InvalidLists::Pem(1, _) | InvalidLists::Empty)
        ));
        assert!(RevocationLists::read(two.as_bytes()).unwrap().next_update.is_some());
    }
}
