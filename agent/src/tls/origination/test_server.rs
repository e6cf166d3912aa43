//! A TLS server for tests of whoever asks servers outside of the mesh.

use std::sync::Arc;

use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio_rustls::TlsAcceptor;

use crate::tls::pem;
use crate::tls::provider::destination_provider;
use crate::tls::test_mesh::{Leaf, TestRoot, dns};
use crate::tls::workload_certificate::Material;

/// Accepts connections with a certificate below a root for a name in DNS.
pub(crate) fn acceptor(root: &TestRoot, name: &str) -> TlsAcceptor {
    let leaf = Leaf { names: vec![dns(name)], ..Leaf::new("spiffe://td/ns/n/sa/s") };
    acceptor_with(&root.issue(&leaf), None, &TLS13)
}

/// Accepts connections with this certificate; `clients` must have one below that root.
pub(super) fn acceptor_with(
    material: &Material,
    clients: Option<&TestRoot>,
    version: &'static SupportedProtocolVersion,
) -> TlsAcceptor {
    let provider = destination_provider();
    let builder =
        ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(&[version]).expect("suites");
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            roots.add(pem::certificate(&clients.pem).expect("PEM")).expect("a root");
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build().expect("roots");
            builder.with_client_cert_verifier(verifier)
        }
    };
    let chain = material.chain_pem.iter().map(|block| pem::certificate(block).expect("PEM")).collect();
    let mut config =
        builder.with_single_cert(chain, pem::private_key(&material.key_pem).expect("PEM")).expect("a pair");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}
