//! What TLS configurations of Weir have in common: among peers of the mesh one crypto provider, TLS 1.3 and ALPN; towards other
//! servers what these may need.

use std::sync::{Arc, LazyLock};

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ConfigBuilder, ServerConfig, WantsVerifier};

/// The only application protocol (RFC 7301) between peers, and between agents and their control plane: HTTP/2.
pub(super) const ALPN: &[u8] = b"h2";

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    Arc::new(CryptoProvider {
        // AES-128 first: on machines with AES instructions it moves more bytes per core, and its margin is enough.
        cipher_suites: vec![cipher_suite::TLS13_AES_128_GCM_SHA256, cipher_suite::TLS13_AES_256_GCM_SHA384],
        kx_groups: vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1],
        ..aws_lc_rs::default_provider()
    })
});

/// aws-lc, TLS 1.3 with AES-GCM, post-quantum key exchange where both ends have it. It is passed explicitly everywhere;
/// no process-wide default is installed.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    PROVIDER.clone()
}

static DESTINATION_PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));

/// aws-lc with all that rustls holds to be safe: for servers that are no peers of the mesh.
#[must_use]
pub(super) fn destination_provider() -> Arc<CryptoProvider> {
    DESTINATION_PROVIDER.clone()
}

/// The beginning of the configuration of a client of such servers: TLS 1.2 and 1.3.
pub(super) fn destination_builder() -> ConfigBuilder<ClientConfig, WantsVerifier> {
    let builder = ClientConfig::builder_with_provider(destination_provider());
    builder.with_protocol_versions(&[&TLS13, &TLS12]).expect("the provider has cipher suites of both versions")
}

/// The beginning of a client's configuration.
pub(super) fn client_builder() -> ConfigBuilder<ClientConfig, WantsVerifier> {
    ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13]).expect(HAS_SUITES)
}

/// The beginning of a server's configuration.
pub(super) fn server_builder() -> ConfigBuilder<ServerConfig, WantsVerifier> {
    ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13]).expect(HAS_SUITES)
}

/// Why a configuration of TLS 1.3 can always be begun.
const HAS_SUITES: &str = "the provider has cipher suites of TLS 1.3";
