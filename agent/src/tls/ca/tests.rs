//! What a CA of ours signs, and what it refuses.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256,
    PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256, RsaKeySize, SanType, SignatureAlgorithm,
};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::SignError;
use super::local::{CLOCK_SKEW, CaError, LocalCa, MAX_LIFETIME, MIN_LIFETIME};
use super::request::new_request;
use crate::tls::pem;
use crate::tls::test_mesh::{Leaf, TestRoot, dns, id, uri};

const CART: &str = "spiffe://cluster.local/ns/shop/sa/cart";
const HOUR: Duration = Duration::from_secs(3600);

fn request(key: &KeyPair, names: Vec<SanType>, change: impl FnOnce(&mut CertificateParams)) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = names;
    change(&mut params);
    params.serialize_request(key).unwrap().pem().unwrap()
}

fn key(algorithm: &'static SignatureAlgorithm) -> KeyPair {
    KeyPair::generate_for(algorithm).unwrap()
}

#[test]
fn a_request_for_the_own_identity_is_signed() {
    let ca = TestRoot::new().ca();
    let (_, own) = new_request(&id(CART)).unwrap();
    let nameless = request(&key(&PKCS_ECDSA_P256_SHA256), vec![], |_| ());
    let titled = request(&key(&PKCS_ECDSA_P256_SHA256), vec![uri(CART)], |params| {
        params.distinguished_name.push(rcgen::DnType::CommonName, "admin");
    });
    let mut serials = Vec::new();
    for csr in [own, nameless, titled] {
        let chain = ca.sign(&csr, &id(CART), HOUR).unwrap();
        assert_eq!((chain.len(), chain[1].as_str()), (2, ca.root_pem()));
        let der = pem::certificate(&chain[0]).unwrap();
        let (_, leaf) = X509Certificate::from_der(&der).unwrap();
        let names = leaf.subject_alternative_name().unwrap().unwrap();
        assert!(names.critical && leaf.subject().iter().next().is_none(), "the URI is the only name");
        assert_eq!(crate::tls::verify::identity_of(&der), Ok(id(CART)));
        let usages = leaf.extended_key_usage().unwrap().unwrap().value;
        assert!(usages.server_auth && usages.client_auth && !usages.any);
        assert_eq!(leaf.key_usage().unwrap().unwrap().value.flags, 1, "digital signature alone");
        assert!(!leaf.is_ca());
        serials.push(leaf.serial.clone());
    }
    serials.dedup();
    assert_eq!(serials.len(), 3);
}

#[test]
fn a_life_is_kept_within_bounds_and_within_the_ca_s_own() {
    let ca = TestRoot::new().ca();
    let (_, csr) = new_request(&id(CART)).unwrap();
    for (asked, given) in [
        (HOUR, HOUR),
        (Duration::ZERO, MAX_LIFETIME),
        (Duration::from_secs(1), MIN_LIFETIME),
        (HOUR * 48, MAX_LIFETIME),
        (Duration::MAX, MAX_LIFETIME),
    ] {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let chain = ca.sign_at(now, &csr, &id(CART), asked).unwrap();
        let der = pem::certificate(&chain[0]).unwrap();
        let validity = X509Certificate::from_der(&der).unwrap().1.validity().clone();
        let span =
            Duration::from_secs((validity.not_after.timestamp() - validity.not_before.timestamp()).unsigned_abs());
        assert_eq!(span, given + CLOCK_SKEW, "{asked:?}");
    }
    let after_the_ca = SystemTime::UNIX_EPOCH + Duration::from_secs(70_000_000_000);
    assert!(matches!(ca.sign_at(after_the_ca, &csr, &id(CART), HOUR), Err(SignError::CaExpired)));
}

#[test]
fn what_must_not_be_signed_is_refused_with_the_reason() {
    let ca = TestRoot::new().ca();
    let p256 = || key(&PKCS_ECDSA_P256_SHA256);
    let rsa = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let other = "spiffe://cluster.local/ns/shop/sa/web";
    let (_, good) = new_request(&id(CART)).unwrap();
    let forged = {
        // Somewhere in the public key, in the second line of the body.
        let at = good.find('\n').unwrap() + 80;
        let flipped = if good.as_bytes()[at] == b'A' { "B" } else { "A" };
        [&good[..at], flipped, &good[at + 1..]].concat()
    };
    let own = || vec![uri(CART)];
    for (case, csr, reason) in [
        ("RSA", request(&rsa, own(), |_| ()), "request's key must be ECDSA P-256"),
        ("P-384", request(&key(&PKCS_ECDSA_P384_SHA384), own(), |_| ()), "request's key must be ECDSA P-256"),
        ("Ed25519", request(&key(&PKCS_ED25519), own(), |_| ()), "request's key must be ECDSA P-256"),
        ("another id", request(&p256(), vec![uri(other)], |_| ()), "request asks for"),
        ("two ids", request(&p256(), vec![uri(CART), uri(other)], |_| ()), "request asks for"),
        ("a DNS name too", request(&p256(), vec![uri(CART), dns("cart")], |_| ()), "request asks for"),
        (
            "to be a CA",
            request(&p256(), own(), |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
            "request asks for the right to sign",
        ),
        ("forged", forged, "request is malformed or its signature is wrong"),
        ("a certificate", ca.root_pem().to_owned(), "request is not PEM"),
        ("no PEM", "hello".to_owned(), "request is not PEM"),
        ("no text", String::new(), "request is not PEM"),
    ] {
        let error = ca.sign(&csr, &id(CART), HOUR).unwrap_err();
        assert!(error.to_string().starts_with(reason), "{case}: {error}");
    }
}

#[test]
fn a_ca_that_could_not_sign_is_not_taken() {
    let (root, other) = (TestRoot::new(), TestRoot::new());
    let leaf = root.issue(&Leaf::new(CART));
    let take = |certificate: &str, key: &str| LocalCa::new(certificate, key, None).unwrap_err();
    assert!(matches!(take(&root.pem, &other.key_pem), CaError::Mismatch));
    assert!(matches!(take(&leaf.chain_pem[0], &leaf.key_pem), CaError::NotCa));
    assert!(matches!(take("", &root.key_pem), CaError::Certificate(_)));
    assert!(matches!(take(&root.pem, "no key"), CaError::Key));
}

#[test]
fn debug_text_shows_no_key() {
    let root = TestRoot::new();
    let material = root.issue(&Leaf::new(CART));
    let text = format!("{:?} {material:?} {:?}", root.ca(), root.workload(CART));
    assert!(text.contains("shop") && !text.contains("PRIVATE KEY"), "{text}");
    for secret in [root.key_pem, material.key_pem] {
        assert!(!text.contains(secret.lines().nth(1).unwrap()));
    }
}
