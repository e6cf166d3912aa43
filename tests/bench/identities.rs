//! Certificates for proxies that are not Weir: one for each end, with SPIFFE ids, of an authority that both trust.

use std::path::{Path, PathBuf};

use anyhow::Result;
use weir_tests::certificates::{Authority, CertificateFiles, Presented};

/// Who the client's proxy is.
pub(crate) const CLIENT: &str = "spiffe://cluster.local/ns/shop/sa/client";
/// Who the server's proxy is.
pub(crate) const SERVER: &str = "spiffe://cluster.local/ns/shop/sa/far";

/// Files in PEM form.
#[derive(Debug)]
pub(crate) struct Identities {
    pub(crate) root: PathBuf,
    pub(crate) client: CertificateFiles,
    pub(crate) server: CertificateFiles,
}

impl Identities {
    /// Makes an authority and both certificates and writes them into a folder.
    pub(crate) fn write(folder: &Path) -> Result<Self> {
        let authority = Authority::generate()?;
        authority.store(folder)?;
        Ok(Self {
            root: folder.join("ca-cert.pem"),
            client: authority.write(Presented::Identity(CLIENT), folder, "client")?,
            server: authority.write(Presented::Identity(SERVER), folder, "server")?,
        })
    }
}
