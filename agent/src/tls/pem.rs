//! PEM text to certificates and keys. It looks at block boundaries only and judges nothing.

use std::path::Path;
use std::str::Utf8Error;

use rustls_pki_types::pem::{Error as PemError, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// Where distributions keep the roots that they trust, in PEM.
const SYSTEM_BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The file of the roots that this system trusts, where it is in a place that is known.
pub(crate) fn system_bundle() -> Option<&'static Path> {
    SYSTEM_BUNDLES.iter().map(Path::new).find(|path| path.is_file())
}

/// Why a text is not the PEM it should be.
#[derive(Debug, thiserror::Error)]
pub enum InvalidPem {
    #[error("it is not text")]
    NotText(#[from] Utf8Error),
    #[error("it holds no certificate")]
    NoCertificate,
    #[error("certificate in it is damaged: {0:?}")]
    Certificate(PemError),
    #[error("private key in it is missing or damaged")]
    Key,
}

/// The certificate blocks of a text, in order, one string each; whatever stands between them is dropped.
pub(crate) fn certificate_blocks(text: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once(BEGIN) {
        let Some((body, after)) = after.split_once(END) else { break };
        blocks.push(format!("{BEGIN}{body}{END}\n"));
        rest = after;
    }
    blocks
}

/// Decodes one block made by [`certificate_blocks`].
pub(crate) fn certificate(block: &str) -> Result<CertificateDer<'static>, InvalidPem> {
    CertificateDer::from_pem_slice(block.as_bytes()).map_err(InvalidPem::Certificate)
}

/// Decodes the first private key of a text. The error says nothing about the content.
pub(crate) fn private_key(text: &str) -> Result<PrivateKeyDer<'static>, InvalidPem> {
    PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| InvalidPem::Key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_in_order_and_text_between_them_is_dropped() {
        let text = format!("subject=a\n{BEGIN}\nAA==\n{END}\n# next\n{BEGIN}\nBB==\n{END}\n{BEGIN}\ncut off");
        assert_eq!(certificate_blocks(&text), [format!("{BEGIN}\nAA==\n{END}\n"), format!("{BEGIN}\nBB==\n{END}\n")]);
        assert!(certificate_blocks("nothing").is_empty());
    }

    #[test]
    fn damage_is_told() {
        assert!(matches!(certificate(&format!("{BEGIN}\n!!\n{END}\n")), Err(InvalidPem::Certificate(_))));
        assert!(matches!(private_key("no key here"), Err(InvalidPem::Key)));
    }
}
