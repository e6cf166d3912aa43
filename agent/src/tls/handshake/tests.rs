//! Who gets through and who does not, by real handshakes.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{ExtendedKeyUsagePurpose, KeyPair, PKCS_RSA_SHA256, RsaKeySize, SanType};
use rustls::ClientConfig;
use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};
use tokio_rustls::TlsConnector;

use super::*;
use crate::model::identity::TrustDomain;
use crate::tls::revocation_lists::RevocationLists;
use crate::tls::test_mesh::{Leaf, TestRoot, dns, id, uri};
use crate::tls::trust::{Revocation, Trust};
use crate::tls::workload_certificate::Material;

const CLIENT: &str = "spiffe://cluster.local/ns/shop/sa/web";
const SERVER: &str = "spiffe://cluster.local/ns/shop/sa/cart";
const OLD_SERVER: &str = "spiffe://old.mesh/ns/shop/sa/cart";
const FOREIGN: &str = "spiffe://elsewhere/ns/shop/sa/cart";

fn trusted() -> TrustedDomains {
    TrustedDomains(vec![TrustDomain::new("cluster.local"), TrustDomain::new("old.mesh")])
}

type Ends = (Result<Secured<DuplexStream>, HandshakeError>, Result<Secured<DuplexStream>, HandshakeError>);

async fn handshake(client: &WorkloadCertificate, server: &WorkloadCertificate, expected: &[&str]) -> Ends {
    let expected: Vec<_> = expected.iter().map(|text| id(text)).collect();
    let (near, far) = duplex(64 * 1024);
    let trusted = trusted();
    tokio::join!(connect(client, near, &expected, &trusted), accept(server, far, &trusted))
}

fn refusal<S>(result: Result<Secured<S>, HandshakeError>) -> Result<Identity, PeerRefused> {
    match result {
        Ok(secured) => Ok(secured.peer),
        Err(HandshakeError::PeerRefused(refused)) => Err(refused),
        Err(other) => panic!("not about the certificate: {other}"),
    }
}

/// Certificates that a peer may show, and what becomes of it on either side. All name the server's identity, if any.
fn peers(root: &TestRoot) -> Vec<(&'static str, Material, Result<Identity, PeerRefused>)> {
    let leaf = |change: fn(&mut Leaf)| {
        let mut leaf = Leaf::new(SERVER);
        change(&mut leaf);
        leaf
    };
    let names = |names: Vec<SanType>| Leaf { names, ..Leaf::new(SERVER) };
    let past = leaf(|leaf| leaf.not_after = SystemTime::now() - Duration::from_secs(5));
    let future = leaf(|leaf| leaf.not_before = SystemTime::now() + Duration::from_secs(600));
    let rsa = leaf(|leaf| leaf.key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap());
    let server_only = leaf(|leaf| leaf.usages = vec![ExtendedKeyUsagePurpose::CodeSigning]);
    let unnamed_usage = leaf(|leaf| leaf.usages.clear());
    let no_identity = || Err(PeerRefused::NoIdentity);
    vec![
        ("right", root.issue(&Leaf::new(SERVER)), Ok(id(SERVER))),
        ("an RSA key, as Envoy has", root.issue(&rsa), Ok(id(SERVER))),
        ("no usages named", root.issue(&unnamed_usage), Ok(id(SERVER))),
        ("a DNS name beside the id", root.issue(&names(vec![dns("cart"), uri(SERVER)])), Ok(id(SERVER))),
        ("expired", root.issue(&past), Err(PeerRefused::Expired)),
        ("not yet valid", root.issue(&future), Err(PeerRefused::Expired)),
        ("self-signed", root.self_signed(&Leaf::new(SERVER)), Err(PeerRefused::UnknownIssuer)),
        ("of a root with the same name", with_roots(TestRoot::new().issue(&Leaf::new(SERVER)), root), {
            Err(PeerRefused::UnknownIssuer)
        }),
        ("another trust domain", root.issue(&Leaf::new(FOREIGN)), Err(PeerRefused::WrongTrustDomain(id(FOREIGN)))),
        ("no name", root.issue(&names(vec![])), no_identity()),
        ("a DNS name only", root.issue(&names(vec![dns("cart.shop")])), no_identity()),
        ("two ids", root.issue(&names(vec![uri(SERVER), uri(CLIENT)])), no_identity()),
        ("an id and another URI", root.issue(&names(vec![uri(SERVER), uri("https://a.b")])), no_identity()),
        ("not Istio's form", root.issue(&names(vec![uri("spiffe://cluster.local/cart")])), no_identity()),
        ("for other purposes", root.issue(&server_only), Err(PeerRefused::WrongPurpose)),
    ]
}

fn with_roots(material: Material, root: &TestRoot) -> Material {
    Material { root_pem: vec![root.pem.clone()], ..material }
}

#[tokio::test]
async fn a_client_is_judged_by_its_certificate() {
    let root = TestRoot::new();
    let server = root.workload(SERVER);
    for (case, material, outcome) in peers(&root) {
        let client = WorkloadCertificate::assemble(&id(SERVER), &material, &Trust::default()).unwrap();
        let (_, accepted) = handshake(&client, &server, &[SERVER]).await;
        assert_eq!(refusal(accepted), outcome, "{case}");
    }
}

#[tokio::test]
async fn a_server_is_judged_by_its_certificate() {
    let root = TestRoot::new();
    let client = root.workload(CLIENT);
    for (case, material, outcome) in peers(&root) {
        let server = WorkloadCertificate::assemble(&id(SERVER), &material, &Trust::default()).unwrap();
        let (connected, accepted) = handshake(&client, &server, &[SERVER]).await;
        assert_eq!(refusal(connected), outcome, "{case}");
        assert_eq!(accepted.is_ok(), outcome.is_ok(), "{case}: the server knows too");
    }
}

#[tokio::test]
async fn a_server_must_be_the_expected_one() {
    let root = TestRoot::new();
    let client = root.workload(CLIENT);
    let wrong = |found: &str, expected: &str| {
        Err(PeerRefused::WrongIdentity { found: id(found), expected: expected.to_owned() })
    };
    let other_account = "spiffe://cluster.local/ns/shop/sa/cart2";
    let other_namespace = "spiffe://cluster.local/ns/shop2/sa/cart";
    for (found, expected, outcome) in [
        (SERVER, vec![SERVER], Ok(id(SERVER))),
        (SERVER, vec![CLIENT, SERVER], Ok(id(SERVER))),
        (OLD_SERVER, vec![SERVER], Ok(id(OLD_SERVER))),
        (SERVER, vec![OLD_SERVER], Ok(id(SERVER))),
        (SERVER, vec![CLIENT], wrong(SERVER, CLIENT)),
        (SERVER, vec![], wrong(SERVER, "nobody")),
        (SERVER, vec![FOREIGN], wrong(SERVER, FOREIGN)),
        (other_account, vec![SERVER], wrong(other_account, SERVER)),
        (other_namespace, vec![SERVER], wrong(other_namespace, SERVER)),
        (FOREIGN, vec![FOREIGN], Err(PeerRefused::WrongTrustDomain(id(FOREIGN)))),
    ] {
        let (connected, _) = handshake(&client, &root.workload(found), &expected).await;
        assert_eq!(refusal(connected), outcome, "{found} for {expected:?}");
    }
}

/// A client of rustls as it comes, with our server's peers' habits changed one by one.
async fn foreign_client(server: &WorkloadCertificate, change: impl FnOnce(&mut ClientConfig)) -> HandshakeError {
    let client = server.client_config(&[id(SERVER)], &trusted());
    let mut config = (*client).clone();
    change(&mut config);
    let (near, far) = duplex(64 * 1024);
    let connector = TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from("cart.shop").unwrap();
    let trusted = trusted();
    let (_, accepted) = tokio::join!(connector.connect(name, near), accept(server, far, &trusted));
    accepted.expect_err("must be refused")
}

#[tokio::test]
async fn a_client_without_certificate_is_refused() {
    #[derive(Debug)]
    struct Nothing;
    impl rustls::client::ResolvesClientCert for Nothing {
        fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<rustls::sign::CertifiedKey>> {
            None
        }
        fn has_certs(&self) -> bool {
            false
        }
    }
    let server = TestRoot::new().workload(SERVER);
    let error = foreign_client(&server, |config| config.client_auth_cert_resolver = Arc::new(Nothing)).await;
    assert!(matches!(error, HandshakeError::PeerRefused(PeerRefused::NoCertificate)), "{error}");
}

#[tokio::test]
async fn a_client_that_does_not_hold_the_key_is_refused() {
    #[derive(Debug)]
    struct Stolen(Arc<rustls::sign::CertifiedKey>);
    impl rustls::client::ResolvesClientCert for Stolen {
        fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<rustls::sign::CertifiedKey>> {
            Some(self.0.clone())
        }
        fn has_certs(&self) -> bool {
            true
        }
    }
    let root = TestRoot::new();
    let server = root.workload(SERVER);
    let (shown, held) = (root.issue(&Leaf::new(CLIENT)), Leaf::new(CLIENT));
    let chain = vec![crate::tls::pem::certificate(&shown.chain_pem[0]).unwrap()];
    let key = crate::tls::pem::private_key(&held.key.serialize_pem()).unwrap();
    let key = crate::tls::provider::provider().key_provider.load_private_key(key).unwrap();
    let stolen = Stolen(Arc::new(rustls::sign::CertifiedKey::new(chain, key)));
    let error = foreign_client(&server, |config| config.client_auth_cert_resolver = Arc::new(stolen)).await;
    assert!(matches!(error, HandshakeError::PeerRefused(PeerRefused::KeyNotProven)), "{error}");
}

#[tokio::test]
async fn a_client_must_speak_h2() {
    let server = TestRoot::new().workload(SERVER);
    for protocols in [vec![], vec![b"http/1.1".to_vec()]] {
        let error = foreign_client(&server, |config| config.alpn_protocols = protocols).await;
        assert!(matches!(&error, HandshakeError::Tls(_)), "{error}");
    }
}

#[tokio::test]
async fn bytes_that_are_no_tls_are_not_blamed_on_a_certificate() {
    let server = TestRoot::new().workload(SERVER);
    let (mut near, far) = duplex(1024);
    near.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let error = accept(&server, far, &trusted()).await.unwrap_err();
    assert!(matches!(error, HandshakeError::Tls(_)), "{error}");
}

#[test]
fn a_server_configuration_is_made_once_per_set_of_trusted_domains() {
    let certificate = TestRoot::new().workload(SERVER);
    let first = certificate.server_config(&trusted());
    assert!(Arc::ptr_eq(&first, &certificate.server_config(&trusted())));
    let fewer = TrustedDomains(vec![TrustDomain::new("cluster.local")]);
    assert!(!Arc::ptr_eq(&first, &certificate.server_config(&fewer)));
}

/// Both sides of an open connection learn that the other's certificate is revoked; a peer of another certificate does not.
#[tokio::test]
async fn the_peer_of_an_open_connection_is_held_to_what_counts_now() {
    let root = TestRoot::new();
    let trust = Trust::default();
    let with_serial = |identity, serial| {
        let material = root.issue(&Leaf { serial: Some(serial), ..Leaf::new(identity) });
        WorkloadCertificate::new(&id(identity), &material, &trust, SystemTime::now()).unwrap()
    };
    let (client, server) = (with_serial(CLIENT, 7), with_serial(SERVER, 8));
    let (near, far) = handshake(&client, &server, &[SERVER]).await;
    let (near, far) = (near.unwrap(), far.unwrap());
    let check = |trusted: &TrustedDomains| -> Vec<_> {
        let peers = trust.peers();
        let own = |identity: &Identity| if *identity == client.identity { &client } else { &server };
        peers.iter().map(|peer| own(&peer.shown.own).check_again(&peer.shown, trusted, SystemTime::now())).collect()
    };
    assert_eq!(check(&trusted()), [Ok(()), Ok(())]);
    let others = TrustedDomains(vec![TrustDomain::new("elsewhere")]);
    let mut refused: Vec<_> = check(&others).into_iter().map(|checked| checked.unwrap_err().label()).collect();
    refused.dedup();
    assert_eq!(refused, ["wrong_trust_domain"], "the domains of the mesh have changed");
    let lists = RevocationLists::read(root.revocation_list(&[7]).as_bytes()).unwrap();
    trust.set_revocation(Revocation::Lists(lists));
    let mut checked = check(&trusted());
    checked.sort_by_key(Result::is_ok);
    assert_eq!(checked, [Err(PeerRefused::Revoked), Ok(())], "the client's certificate is on the list");
    drop((near, far));
    assert_eq!(check(&trusted()), []);
    let (near, far) = handshake(&client, &server, &[SERVER]).await;
    assert!(matches!(far, Err(HandshakeError::PeerRefused(PeerRefused::Revoked))), "{far:?}");
    drop(near);
}
