//! What a CA or a file may give for a certificate, and why it is not taken into use.

use std::time::Duration;

use rcgen::ExtendedKeyUsagePurpose;

use super::*;
use crate::tls::test_mesh::{Leaf, TestRoot, id, uri};

const OWN: &str = "spiffe://cluster.local/ns/shop/sa/cart";
const OTHER: &str = "spiffe://cluster.local/ns/shop/sa/web";
const GARBAGE: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

fn reason(material: &Material) -> String {
    let error = WorkloadCertificate::new(&id(OWN), material, &Trust::default(), SystemTime::now())
        .expect_err("it cannot be used");
    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
    format!("{error}{}", cause.unwrap_or_default())
}

/// A certificate, what is wrong with it, and words of the reason.
type Row = (&'static str, Material, &'static str);

/// Whole certificates that say the wrong things.
fn unfit() -> Vec<Row> {
    let root = TestRoot::new();
    let issue = |change: fn(&mut Leaf)| {
        let mut leaf = Leaf::new(OWN);
        change(&mut leaf);
        root.issue(&leaf)
    };
    let minute = Duration::from_secs(60);
    vec![
        (
            "expired",
            issue(|leaf| leaf.not_after = SystemTime::now() - Duration::from_secs(5)),
            "expired or is not valid",
        ),
        (
            "from a CA whose clock is ahead",
            root.issue(&Leaf { not_before: SystemTime::now() + minute, ..Leaf::new(OWN) }),
            "expired or is not valid yet",
        ),
        (
            "for clients only",
            issue(|leaf| leaf.usages = vec![ExtendedKeyUsagePurpose::ClientAuth]),
            "this side of a TLS",
        ),
        (
            "for servers only",
            issue(|leaf| leaf.usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
            "this side of a TLS",
        ),
        ("that may sign", issue(|leaf| leaf.is_ca = true), "malformed: CaUsedAsEndEntity"),
        (
            "of another identity",
            issue(|leaf| leaf.names = vec![uri(OTHER)]),
            "certificate is for spiffe://cluster.local/ns/shop/sa/web",
        ),
        ("of two identities", issue(|leaf| leaf.names = vec![uri(OWN), uri(OTHER)]), "more than one URI"),
        ("of nobody", issue(|leaf| leaf.names.clear()), "no SPIFFE id"),
    ]
}

/// Certificates of which a part is missing, damaged, or somebody else's.
fn damaged() -> Vec<Row> {
    let (root, other) = (TestRoot::new(), TestRoot::new());
    let below = root.intermediate("below", |_| ());
    let good = || root.issue(&Leaf::new(OWN));
    vec![
        ("for another key", Material { key_pem: Leaf::new(OWN).key.serialize_pem(), ..good() }, "not for this key"),
        (
            "without a key",
            Material { key_pem: "hello".to_owned(), ..good() },
            "private key in it is missing or damaged",
        ),
        ("without a chain", Material { chain_pem: Vec::new(), ..good() }, "chain is empty"),
        ("that is garbage", Material { chain_pem: vec![GARBAGE.to_owned()], ..good() }, "malformed: BadDer"),
        (
            "that breaks off",
            Material { chain_pem: vec![good().chain_pem[0].replace("-----END", "----END")], ..good() },
            "certificate in it is damaged",
        ),
        ("without roots", Material { root_pem: Vec::new(), ..good() }, "no root certificate"),
        (
            "with roots of garbage",
            Material { root_pem: vec![GARBAGE.to_owned()], ..good() },
            "root certificate cannot be used",
        ),
        (
            "with another mesh's roots",
            Material { root_pem: vec![other.pem.clone()], ..good() },
            "not signed by a trusted root",
        ),
        (
            "without its authority",
            Material { root_pem: vec![root.pem.clone()], ..below.issue(&Leaf::new(OWN)) },
            "not signed by a trusted root",
        ),
    ]
}

#[test]
fn what_peers_would_refuse_is_not_taken_and_the_reason_said() {
    for (case, material, expected) in unfit().into_iter().chain(damaged()) {
        let reason = reason(&material);
        assert!(reason.contains(expected), "a certificate {case}: {reason}");
        let secret = material.key_pem.lines().nth(1).unwrap_or("no key");
        assert!(!reason.contains(secret), "a certificate {case}: the reason shows the key");
    }
}

#[test]
fn a_chain_through_authorities_is_taken() {
    let root = TestRoot::new();
    let below = root.intermediate("below", |_| ());
    let mut material = below.issue(&Leaf::new(OWN));
    material.chain_pem.push(below.pem.clone());
    material.root_pem = vec![TestRoot::new().pem, root.pem.clone()];
    let certificate = WorkloadCertificate::new(&id(OWN), &material, &Trust::default(), SystemTime::now())
        .expect("it leads to a root");
    assert_eq!(certificate.identity, id(OWN));
}

#[test]
fn a_certificate_is_outdated_once_a_root_that_came_with_it_has_left_the_bundle() {
    let (own, other, third) = (TestRoot::new(), TestRoot::new(), TestRoot::new());
    let mut material = own.issue(&Leaf::new(OWN));
    material.root_pem.push(other.pem.clone());
    let certificate = WorkloadCertificate::new(&id(OWN), &material, &Trust::default(), SystemTime::now()).unwrap();
    for (bundle, expected) in [
        (vec![&own, &other], true),
        (vec![&third, &other, &own], true),
        (vec![&other], false),
        (vec![&own], false),
        (vec![&third], false),
    ] {
        let bundle: Vec<String> = bundle.into_iter().map(|root| root.pem.clone()).collect();
        assert_eq!(certificate.own_roots_are_in(&bundle), expected, "{bundle:?}");
    }
    let both = [own.pem.clone(), other.pem.clone()];
    assert_eq!(certificate.trusted_pem(), both);
    let more = certificate.with_extra_roots(std::slice::from_ref(&third.pem)).expect("one more is trusted");
    assert_eq!(more.trusted_pem(), [both.as_slice(), std::slice::from_ref(&third.pem)].concat());
}
