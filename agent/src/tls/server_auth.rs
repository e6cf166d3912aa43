//! TLS 1.3 where only the server has a certificate, with ALPN `h2`: the channel between an agent and its control plane
//! or CA. The client proves itself inside the channel, with a bearer token.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::pem::{self, InvalidPem};
use super::provider::{ALPN, client_builder, server_builder};

/// Why a root certificate cannot be trusted.
#[derive(Debug, thiserror::Error)]
pub enum InvalidRoot {
    #[error(transparent)]
    Pem(#[from] InvalidPem),
    #[error(transparent)]
    Unsupported(rustls::Error),
}

/// Why a certificate and key cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServerConfigError {
    #[error("server certificate is not PEM")]
    Certificate(#[source] rustls_pki_types::pem::Error),
    #[error("server key is not PEM")]
    Key(#[source] rustls_pki_types::pem::Error),
    #[error("server certificate and key cannot be used")]
    Tls(#[from] rustls::Error),
}

/// What to do with a root certificate of a kind that the crypto provider does not support.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnsupportedRoots {
    /// A system's bundle may hold such roots, and a control plane's is not among them.
    Skip,
    Refuse,
}

/// The client's configuration: the server's chain must end in one of these roots (PEM, one each).
///
/// # Errors
/// See [`InvalidRoot`].
pub fn client_config(roots_pem: &[String], unsupported: UnsupportedRoots) -> Result<Arc<ClientConfig>, InvalidRoot> {
    let mut roots = RootCertStore::empty();
    for block in roots_pem {
        let added = roots.add(pem::certificate(block)?);
        if unsupported == UnsupportedRoots::Refuse {
            added.map_err(InvalidRoot::Unsupported)?;
        }
    }
    let mut config = client_builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}

/// The server's configuration, with its certificate chain (leaf first) and key, both PEM.
///
/// # Errors
/// If they do not parse or do not belong together.
pub fn server_config(chain_pem: &str, key_pem: &str) -> Result<Arc<ServerConfig>, ServerConfigError> {
    let chain = CertificateDer::pem_slice_iter(chain_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(ServerConfigError::Certificate)?;
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(ServerConfigError::Key)?;
    let mut config = server_builder().with_no_client_auth().with_single_cert(chain, key)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}
