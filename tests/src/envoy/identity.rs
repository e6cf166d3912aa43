//! Who an Envoy is and whom it believes: a certificate in files that it watches, and the SPIFFE ids it accepts.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::{Value, json};

use crate::certificates::{Authority, Presented};

/// The certificate of an Envoy, in a folder that it watches, and the peers it accepts.
#[derive(Debug)]
pub struct EnvoyIdentity {
    folder: PathBuf,
    root: PathBuf,
    accepted: Vec<String>,
}

impl EnvoyIdentity {
    /// Writes a first certificate into a folder. `root` is what peers must be signed by, `accepted` the SPIFFE ids they
    /// may carry.
    ///
    /// # Errors
    /// If the certificate cannot be made.
    pub fn new(
        folder: &Path,
        authority: &Authority,
        presented: Presented<'_>,
        root: &Path,
        accepted: &[&str],
    ) -> Result<Self> {
        let accepted = accepted.iter().map(|id| (*id).to_owned()).collect();
        let identity = Self { folder: folder.join("identity"), root: root.to_owned(), accepted };
        identity.rotate(authority, presented)?;
        Ok(identity)
    }

    /// Replaces the certificate and the key. Envoy sees the new secret when its file is moved into the folder, which is
    /// after both are written.
    ///
    /// # Errors
    /// If the certificate cannot be made.
    pub fn rotate(&self, authority: &Authority, presented: Presented<'_>) -> Result<()> {
        fs::create_dir_all(&self.folder)?;
        let files = authority.write(presented, &self.folder, "new")?;
        let (chain, key) = (fs::read_to_string(files.chain)?, fs::read_to_string(files.key)?);
        let secret = json!({ "resources": [{
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
            "name": "own",
            "tls_certificate": {
                "certificate_chain": { "inline_string": chain },
                "private_key": { "inline_string": key },
            },
        }]});
        let written = self.folder.join("secret.new");
        fs::write(&written, secret.to_string())?;
        Ok(fs::rename(written, self.secret())?)
    }

    fn secret(&self) -> PathBuf {
        self.folder.join("secret.json")
    }

    /// TLS as HBONE wants it, for either side: TLS 1.3, ALPN h2, own certificate, the peer's checked by chain and name.
    pub(super) fn common_tls_context(&self) -> Value {
        let names: Vec<Value> =
            self.accepted.iter().map(|id| json!({ "san_type": "URI", "matcher": { "exact": id } })).collect();
        json!({
            "tls_params": { "tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3" },
            "alpn_protocols": ["h2"],
            "tls_certificate_sds_secret_configs": [{
                "name": "own",
                "sds_config": {
                    "resource_api_version": "V3",
                    "path_config_source": {
                        "path": self.secret(),
                        "watched_directory": { "path": self.folder },
                    },
                },
            }],
            "validation_context": {
                "trusted_ca": { "filename": self.root },
                "match_typed_subject_alt_names": names,
            },
        })
    }
}
