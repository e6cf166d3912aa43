//! A workload's certificate, with everything that handshakes need made ahead of them.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use rustls::client::Resumption;
use rustls::pki_types::UnixTime;
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use webpki::KeyUsage;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::certificate_info::CertificateInfo;
use super::pem::{self, InvalidPem};
use super::provider::{ALPN, client_builder, provider, server_builder};
use super::trust::{PeerRole, Shown, Trust};
use super::verify::{ClientVerifier, PeerChecks, PeerRefused, ServerVerifier, TrustedDomains, identity_of};
use crate::model::identity::Identity;

/// Key, chain and roots of a certificate, as PEM. Its `Debug` never shows the key.
pub(crate) struct Material {
    pub(super) key_pem: String,
    /// One certificate each, leaf first, roots not included.
    pub(super) chain_pem: Vec<String>,
    /// One root each.
    pub(super) root_pem: Vec<String>,
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Material").field("chain_pem", &self.chain_pem).finish_non_exhaustive()
    }
}

/// Why a key and a chain cannot serve as a workload's certificate.
#[derive(Debug, thiserror::Error)]
pub enum UnusableCertificate {
    #[error(transparent)]
    Pem(#[from] InvalidPem),
    #[error("chain is empty")]
    EmptyChain,
    #[error("there is no root certificate")]
    NoRoots,
    #[error("root certificate cannot be used")]
    Root(#[source] rustls::Error),
    #[error("certificate is not for this key")]
    Key(#[source] rustls::Error),
    #[error("certificate is for {found}, not for {asked}")]
    Identity { found: Identity, asked: Identity },
    #[error("peers would refuse the certificate: {0}")]
    Refused(PeerRefused),
}

/// A workload's certificate: key, chain and the roots that came with it.
pub struct WorkloadCertificate {
    pub identity: Identity,
    pub not_before: SystemTime,
    pub not_after: SystemTime,
    pub(super) serial: String,
    pub(super) chain_pem: Vec<String>,
    /// The roots that came with it.
    pub(super) root_pem: Vec<String>,
    /// Roots that are trusted besides.
    extra_root_pem: Vec<String>,
    roots: Arc<RootCertStore>,
    pub(super) trust: Trust,
    key: Arc<CertifiedKey>,
    resolver: Arc<SingleCertAndKey>,
    /// Complete but for the peer to expect: as it stands it refuses everybody.
    client: ClientConfig,
    /// The last one made; trusted domains hardly ever change.
    server: ArcSwapOption<(TrustedDomains, Arc<ServerConfig>)>,
}

impl fmt::Debug for WorkloadCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkloadCertificate")
            .field("identity", &self.identity)
            .field("serial", &self.serial)
            .field("not_before", &self.not_before)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

impl WorkloadCertificate {
    /// A certificate that, at that time, peers will accept for this identity.
    ///
    /// # Errors
    /// See [`UnusableCertificate`].
    pub(super) fn new(
        identity: &Identity,
        material: &Material,
        trust: &Trust,
        now: SystemTime,
    ) -> Result<Self, UnusableCertificate> {
        let certificate = Self::assemble(identity, material, trust)?;
        check_as_peers_do(&certificate, now)?;
        Ok(certificate)
    }

    /// Makes all that handshakes need, without checking whether peers will accept it.
    pub(super) fn assemble(
        identity: &Identity,
        material: &Material,
        trust: &Trust,
    ) -> Result<Self, UnusableCertificate> {
        let chain = material.chain_pem.iter().map(|block| pem::certificate(block)).collect::<Result<Vec<_>, _>>()?;
        let leaf = chain.first().ok_or(UnusableCertificate::EmptyChain)?.clone();
        let (_, parsed) = X509Certificate::from_der(&leaf)
            .map_err(|_| UnusableCertificate::Refused(PeerRefused::Malformed(webpki::Error::BadDer)))?;
        let roots = Arc::new(read_roots(&material.root_pem)?);
        let key = CertifiedKey::from_der(chain, pem::private_key(&material.key_pem)?, &provider())
            .map_err(UnusableCertificate::Key)?;
        let key = Arc::new(key);
        let resolver = Arc::new(SingleCertAndKey::from(key.clone()));
        let client = base_client_config(&resolver, peer_checks(&roots, &TrustedDomains(Vec::new()), trust));
        let CertificateInfo { serial, not_before, not_after } = CertificateInfo::new(&parsed);
        Ok(Self {
            identity: identity.clone(),
            not_before,
            not_after,
            serial,
            chain_pem: material.chain_pem.clone(),
            root_pem: material.root_pem.clone(),
            extra_root_pem: Vec::new(),
            roots,
            trust: trust.clone(),
            key,
            resolver,
            client,
            server: ArcSwapOption::empty(),
        })
    }

    /// The same certificate where these roots (PEM, one each) are trusted besides those that came with it; `None` where
    /// that is what it is already. A root that cannot be read is left out.
    pub(super) fn with_extra_roots(&self, extra: &[String]) -> Option<Self> {
        let mut roots = read_roots(&self.root_pem).ok()?;
        let mut extra_root_pem = Vec::new();
        for block in extra.iter().filter(|block| !self.root_pem.contains(block)) {
            let added = pem::certificate(block)
                .map_err(|error| error.to_string())
                .and_then(|certificate| roots.add(certificate).map_err(|error| error.to_string()));
            match added {
                Ok(()) => extra_root_pem.push(block.clone()),
                Err(reason) => tracing::warn!(reason, "a root certificate is not trusted"),
            }
        }
        if roots.roots == self.roots.roots {
            return None;
        }
        let roots = Arc::new(roots);
        let checks = peer_checks(&roots, &TrustedDomains(Vec::new()), &self.trust);
        Some(Self {
            identity: self.identity.clone(),
            not_before: self.not_before,
            not_after: self.not_after,
            serial: self.serial.clone(),
            chain_pem: self.chain_pem.clone(),
            root_pem: self.root_pem.clone(),
            extra_root_pem,
            client: base_client_config(&self.resolver, checks),
            roots,
            trust: self.trust.clone(),
            key: self.key.clone(),
            resolver: self.resolver.clone(),
            server: ArcSwapOption::empty(),
        })
    }

    /// Every root that peers are held to, as PEM, one each.
    pub(super) fn trusted_pem(&self) -> Vec<String> {
        [self.root_pem.as_slice(), &self.extra_root_pem].concat()
    }

    /// True if every root that came with it is in the trust bundle (PEM, one each). A root that left the bundle either
    /// signed this certificate, and peers will soon refuse it; or it is trusted here and by nobody else any more.
    pub(super) fn own_roots_are_in(&self, bundle: &[String]) -> bool {
        let decoded =
            |blocks: &[String]| blocks.iter().filter_map(|block| pem::certificate(block).ok()).collect::<Vec<_>>();
        let bundle = decoded(bundle);
        decoded(&self.root_pem).iter().all(|root| bundle.contains(root))
    }

    /// The configuration for accepting peers. Made once per set of trusted domains.
    pub(super) fn server_config(&self, trusted: &TrustedDomains) -> Arc<ServerConfig> {
        if let Some(made) = self.server.load().as_deref()
            && made.0 == *trusted
        {
            return made.1.clone();
        }
        let verifier = ClientVerifier(self.peer_checks(trusted));
        let mut config =
            server_builder().with_client_cert_verifier(Arc::new(verifier)).with_cert_resolver(self.resolver.clone());
        config.alpn_protocols = vec![ALPN.to_vec()];
        // No resumption: an identity is proven on every connection.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        // The bytes after the handshake are ours: `records`.
        config.enable_secret_extraction = true;
        let config = Arc::new(config);
        self.server.store(Some(Arc::new((trusted.clone(), config.clone()))));
        config
    }

    /// The configuration for connecting to a peer: a cheap copy of a prepared one, with whom to expect.
    pub(super) fn client_config(&self, expected: &[Identity], trusted: &TrustedDomains) -> Arc<ClientConfig> {
        let mut config = self.client.clone();
        config.dangerous().set_certificate_verifier(Arc::new(ServerVerifier {
            checks: self.peer_checks(trusted),
            expected: expected.to_vec(),
        }));
        Arc::new(config)
    }

    /// What peers are held to.
    fn peer_checks(&self, trusted: &TrustedDomains) -> PeerChecks {
        peer_checks(&self.roots, trusted, &self.trust)
    }

    /// Whether a peer that was accepted would be accepted now.
    ///
    /// # Errors
    /// Why it would not.
    pub(super) fn check_again(
        &self,
        peer: &Shown,
        trusted: &TrustedDomains,
        now: SystemTime,
    ) -> Result<(), PeerRefused> {
        self.identity_shown(peer, trusted, now).map(drop)
    }

    /// Who a peer is that has shown this.
    ///
    /// # Errors
    /// Why it is not accepted.
    pub(super) fn identity_shown(
        &self,
        peer: &Shown,
        trusted: &TrustedDomains,
        now: SystemTime,
    ) -> Result<Identity, PeerRefused> {
        let (leaf, intermediates) = peer.chain.split_first().ok_or(PeerRefused::NoCertificate)?;
        let usage = match peer.role {
            PeerRole::Client => KeyUsage::client_auth(),
            PeerRole::Server => KeyUsage::server_auth(),
        };
        self.peer_checks(trusted).check(leaf, intermediates, unix_time(now), usage)
    }

    /// What this certificate's owner shows a peer in a handshake, and that keeps of it. `to`: the peer; `role`: which side the owner is.
    pub(super) fn shown_to(&self, to: &Self, role: PeerRole) -> Shown {
        Shown { own: to.identity.clone(), role, chain: self.key.cert.clone() }
    }

    /// Whether the certificate itself, or one above it, is revoked.
    pub(super) fn is_revoked(&self, now: SystemTime) -> bool {
        matches!(check_as_peers_do(self, now), Err(UnusableCertificate::Refused(PeerRefused::Revoked)))
    }

    /// Whether peers are held to the same roots.
    pub(super) fn has_same_roots(&self, other: &Self) -> bool {
        self.roots.roots == other.roots.roots
    }
}

fn peer_checks(roots: &Arc<RootCertStore>, trusted: &TrustedDomains, trust: &Trust) -> PeerChecks {
    PeerChecks {
        roots: roots.clone(),
        trusted: trusted.clone(),
        trust: trust.clone(),
        algorithms: provider().signature_verification_algorithms,
    }
}

fn base_client_config(resolver: &Arc<SingleCertAndKey>, checks: PeerChecks) -> ClientConfig {
    let mut config = client_builder()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ServerVerifier { checks, expected: Vec::new() }))
        .with_client_cert_resolver(resolver.clone());
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.enable_sni = false;
    config.resumption = Resumption::disabled();
    config.enable_secret_extraction = true;
    config
}

fn read_roots(root_pem: &[String]) -> Result<RootCertStore, UnusableCertificate> {
    let mut roots = RootCertStore::empty();
    for block in root_pem {
        roots.add(pem::certificate(block)?).map_err(UnusableCertificate::Root)?;
    }
    if roots.is_empty() { Err(UnusableCertificate::NoRoots) } else { Ok(roots) }
}

/// Better no certificate, with a reason, than one that every peer refuses.
fn check_as_peers_do(certificate: &WorkloadCertificate, now: SystemTime) -> Result<(), UnusableCertificate> {
    let WorkloadCertificate { identity, key, roots, .. } = certificate;
    let (leaf, intermediates) = key.cert.split_first().ok_or(UnusableCertificate::EmptyChain)?;
    let found = identity_of(leaf).map_err(UnusableCertificate::Refused)?;
    if found != *identity {
        return Err(UnusableCertificate::Identity { found, asked: identity.clone() });
    }
    let checks = peer_checks(roots, &TrustedDomains(vec![identity.trust_domain.clone()]), &certificate.trust);
    for usage in [KeyUsage::server_auth(), KeyUsage::client_auth()] {
        match checks.check(leaf, intermediates, unix_time(now), usage) {
            // Lists that cannot be read here say nothing about whether peers can.
            Ok(_) | Err(PeerRefused::RevocationUnknown) => {}
            Err(refused) => return Err(UnusableCertificate::Refused(refused)),
        }
    }
    Ok(())
}

fn unix_time(now: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(now.duration_since(UNIX_EPOCH).unwrap_or_default())
}

#[cfg(test)]
mod tests;
