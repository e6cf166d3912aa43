//! Chains, keys, times and purposes: what a peer may show, and what becomes of it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, ExtendedKeyUsagePurpose, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    PKCS_ED25519, PKCS_RSA_SHA256, RsaKeySize, SanType,
};

use super::*;
use crate::tls::pem;
use crate::tls::revocation_lists::RevocationLists;
use crate::tls::test_mesh::{Leaf, TestRoot, dns, id, uri};

const PEER: &str = "spiffe://cluster.local/ns/shop/sa/cart";

/// What a mesh that trusts the root makes of a chain, leaf first.
fn judge(root: &TestRoot, chain: &[&str], now: SystemTime, usage: KeyUsage) -> Result<Identity, PeerRefused> {
    judge_with(root, chain, now, usage, &Trust::default())
}

fn judge_with(
    root: &TestRoot,
    chain: &[&str],
    now: SystemTime,
    usage: KeyUsage,
    trust: &Trust,
) -> Result<Identity, PeerRefused> {
    let chain: Vec<_> = chain.iter().map(|block| pem::certificate(block).unwrap()).collect();
    let mut roots = RootCertStore::empty();
    roots.add(pem::certificate(&root.pem).unwrap()).unwrap();
    let checks = PeerChecks {
        roots: Arc::new(roots),
        trusted: TrustedDomains(vec![TrustDomain::new("cluster.local")]),
        trust: trust.clone(),
        algorithms: crate::tls::provider::provider().signature_verification_algorithms,
    };
    let now = UnixTime::since_unix_epoch(now.duration_since(UNIX_EPOCH).unwrap());
    checks.check(&chain[0], &chain[1..], now, usage)
}

fn judge_now(root: &TestRoot, chain: &[&str]) -> Result<Identity, PeerRefused> {
    judge(root, chain, SystemTime::now(), KeyUsage::client_auth())
}

#[test]
fn a_chain_leads_to_the_root_or_nowhere() {
    let root = TestRoot::new();
    let first = root.intermediate("first", |_| ());
    let second = first.intermediate("second", |_| ());
    let stranger = TestRoot::new();
    let old = root.intermediate("old", |params| params.not_after = rcgen::date_time_ymd(2021, 1, 1));
    let no_ca = root.intermediate("no ca", |params| params.is_ca = IsCa::NoCa);
    let narrow = root.intermediate("narrow", |params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    let too_deep = narrow.intermediate("too deep", |_| ());
    let of = |authority: &TestRoot| authority.issue(&Leaf::new(PEER)).chain_pem.concat();
    let (by_root, by_first, by_second) = (of(&root), of(&first), of(&second));
    let (by_old, by_no_ca, by_too_deep) = (of(&old), of(&no_ca), of(&too_deep));
    let many: Vec<TestRoot> = (0..60).map(|_| root.intermediate("first", |_| ())).collect();
    let mut flood = vec![by_first.as_str()];
    flood.extend(many.iter().map(|one| one.pem.as_str()));
    let good = || Ok(id(PEER));
    let unknown = || Err(PeerRefused::UnknownIssuer);
    let rows: Vec<(&str, Vec<&str>, Result<Identity, PeerRefused>)> = vec![
        ("below the root", vec![&by_root], good()),
        ("below one authority", vec![&by_first, &first.pem], good()),
        ("below two", vec![&by_second, &second.pem, &first.pem], good()),
        ("in another order", vec![&by_second, &first.pem, &second.pem], good()),
        ("with the root", vec![&by_first, &first.pem, &root.pem], good()),
        ("with a stranger's certificate", vec![&by_first, &stranger.pem, &first.pem], good()),
        ("twice the same", vec![&by_first, &first.pem, &first.pem], good()),
        ("the authority left out", vec![&by_first], unknown()),
        ("the upper authority left out", vec![&by_second, &second.pem], unknown()),
        ("another authority", vec![&by_first, &second.pem], unknown()),
        ("an authority that is over", vec![&by_old, &old.pem], Err(PeerRefused::Expired)),
        (
            "an authority that is none",
            vec![&by_no_ca, &no_ca.pem],
            Err(PeerRefused::Malformed(webpki::Error::EndEntityUsedAsCa)),
        ),
        (
            "deeper than allowed",
            vec![&by_too_deep, &too_deep.pem, &narrow.pem],
            Err(PeerRefused::Malformed(webpki::Error::PathLenConstraintViolated)),
        ),
        ("an authority's own certificate", vec![&first.pem], {
            Err(PeerRefused::Malformed(webpki::Error::CaUsedAsEndEntity))
        }),
    ];
    for (case, chain, expected) in rows {
        assert_eq!(judge_now(&root, &chain), expected, "{case}");
    }
    judge_now(&root, &flood).expect_err("sixty authorities of one name are not all tried");
}

#[test]
fn a_revoked_certificate_is_refused_wherever_it_stands_in_the_chain() {
    let root = TestRoot::new();
    let first = root.intermediate("first", |params| params.serial_number = Some(50u64.into()));
    let other = root.intermediate("other", |_| ());
    // Has the name of `first`, and not its key.
    let forger = TestRoot::new().intermediate("first", |_| ());
    let leaf = |authority: &TestRoot, serial| {
        authority.issue(&Leaf { serial: Some(serial), ..Leaf::new(PEER) }).chain_pem.concat()
    };
    let (by_root, by_first) = (leaf(&root, 7), leaf(&first, 8));
    let by_first = [by_first.as_str(), &first.pem];
    let lists = |texts: &[String]| Revocation::Lists(RevocationLists::read(texts.concat().as_bytes()).unwrap());
    let (good, revoked) = (Ok(id(PEER)), Err(PeerRefused::Revoked));
    let unknown = Err(PeerRefused::RevocationUnknown);
    type Row<'a> = (&'a str, Revocation, &'a [&'a str], &'a Result<Identity, PeerRefused>);
    let rows: [Row<'_>; 11] = [
        ("no lists", Revocation::None, &[&by_root], &good),
        ("lists that cannot be read", Revocation::Unknown, &[&by_root], &unknown),
        ("another serial number", lists(&[root.revocation_list(&[8])]), &[&by_root], &good),
        ("its serial number", lists(&[root.revocation_list(&[3, 7])]), &[&by_root], &revoked),
        ("its serial number of another issuer", lists(&[root.revocation_list(&[8])]), &by_first, &good),
        ("its serial number of its issuer", lists(&[first.revocation_list(&[8])]), &by_first, &revoked),
        ("its issuer", lists(&[root.revocation_list(&[50])]), &by_first, &revoked),
        ("one of two lists", lists(&[first.revocation_list(&[]), root.revocation_list(&[50])]), &by_first, &revoked),
        ("an issuer with no list of its own", lists(&[other.revocation_list(&[8])]), &by_first, &good),
        ("a list that its issuer has not signed", lists(&[forger.revocation_list(&[8])]), &by_first, &unknown),
        ("and one that has", lists(&[root.revocation_list(&[50])]), &[&by_root], &good),
    ];
    for (case, revocation, chain, expected) in rows {
        let trust = Trust::default();
        trust.set_revocation(revocation);
        let now = SystemTime::now();
        assert_eq!(judge_with(&root, chain, now, KeyUsage::client_auth(), &trust), *expected, "{case}");
        // The list is overdue then, the certificates are still good.
        let later = now + Duration::from_secs(1800);
        assert_eq!(judge_with(&root, chain, later, KeyUsage::client_auth(), &trust), *expected, "{case}, overdue");
    }
}

#[test]
fn a_leaf_is_no_authority() {
    let root = TestRoot::new();
    let material = root.issue(&Leaf { is_ca: true, ..Leaf::new(PEER) });
    let refused = judge_now(&root, &[&material.chain_pem[0]]);
    assert_eq!(refused, Err(PeerRefused::Malformed(webpki::Error::CaUsedAsEndEntity)));
}

#[test]
fn keys_of_every_kind_that_peers_have_are_taken() {
    let rsa = || KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let of = |algorithm| KeyPair::generate_for(algorithm).unwrap();
    let roots = [
        ("P-256", of(&PKCS_ECDSA_P256_SHA256)),
        ("P-384", of(&PKCS_ECDSA_P384_SHA384)),
        ("Ed25519", of(&PKCS_ED25519)),
        ("RSA", rsa()),
    ];
    for (root_kind, root_key) in roots {
        let root = TestRoot::with_key(root_key);
        for (kind, key) in [
            ("P-256", of(&PKCS_ECDSA_P256_SHA256)),
            ("P-384", of(&PKCS_ECDSA_P384_SHA384)),
            ("Ed25519", of(&PKCS_ED25519)),
            ("RSA", rsa()),
        ] {
            let material = root.issue(&Leaf { key, ..Leaf::new(PEER) });
            assert_eq!(judge_now(&root, &[&material.chain_pem[0]]), Ok(id(PEER)), "{kind} below {root_kind}");
        }
    }
}

#[test]
fn a_certificate_counts_in_its_time_by_our_clock() {
    let root = TestRoot::new();
    let leaf = Leaf::new(PEER);
    let (begins, ends) = (leaf.not_before, leaf.not_after);
    let chain = root.issue(&leaf).chain_pem;
    let second = Duration::from_secs(1);
    // Certificates count in whole seconds: a second beside a bound is on its one side for certain.
    for (case, now, expected) in [
        ("long before", UNIX_EPOCH, Err(PeerRefused::Expired)),
        ("a little before", begins - second, Err(PeerRefused::Expired)),
        ("just begun", begins + second, Ok(id(PEER))),
        ("about to end", ends - second, Ok(id(PEER))),
        ("just ended", ends + second, Err(PeerRefused::Expired)),
        ("long after", ends + 1_000_000 * second, Err(PeerRefused::Expired)),
    ] {
        assert_eq!(judge(&root, &[&chain[0]], now, KeyUsage::client_auth()), expected, "{case}");
    }
}

#[test]
fn a_certificate_serves_the_side_it_was_made_for() {
    let root = TestRoot::new();
    let (client, server) = (ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth);
    for (usages, as_client, as_server) in [
        (vec![client.clone(), server.clone()], true, true),
        (vec![client], true, false),
        (vec![server], false, true),
        (vec![ExtendedKeyUsagePurpose::CodeSigning], false, false),
        (vec![ExtendedKeyUsagePurpose::Any], false, false),
        (vec![], true, true),
    ] {
        let case = format!("{usages:?}");
        let material = root.issue(&Leaf { usages, ..Leaf::new(PEER) });
        for (usage, good) in [(KeyUsage::client_auth(), as_client), (KeyUsage::server_auth(), as_server)] {
            let expected = if good { Ok(id(PEER)) } else { Err(PeerRefused::WrongPurpose) };
            let judged = judge(&root, &[&material.chain_pem[0]], SystemTime::now(), usage);
            assert_eq!(judged, expected, "{case} as {usage:?}");
        }
    }
}

#[test]
fn a_name_is_an_identity_or_nothing() {
    let root = TestRoot::new();
    let ip = SanType::IpAddress("10.0.0.1".parse().unwrap());
    let mail = SanType::Rfc822Name("a@b.example".try_into().unwrap());
    let long = format!("spiffe://cluster.local/ns/shop/sa/{}", "x".repeat(4000));
    for (case, names, good) in [
        ("other kinds of names beside it", vec![ip, mail, dns("*.shop"), uri(PEER)], true),
        ("capitals", vec![uri("SPIFFE://cluster.local/ns/shop/sa/cart")], false),
        ("a path too long", vec![uri("spiffe://cluster.local/ns/shop/sa/cart/x")], false),
        ("a path too short", vec![uri("spiffe://cluster.local/ns/shop")], false),
        ("no trust domain", vec![uri("spiffe:///ns/shop/sa/cart")], false),
        ("the same twice", vec![uri(PEER), uri(PEER)], false),
        ("an empty name", vec![uri("")], false),
        ("a prefix of another mesh", vec![uri("spiffe://cluster.local.evil/ns/shop/sa/cart")], false),
        ("a very long one", vec![uri(&long)], true),
    ] {
        let material = root.issue(&Leaf { names, ..Leaf::new(PEER) });
        assert_eq!(judge_now(&root, &[&material.chain_pem[0]]).is_ok(), good, "{case}");
    }
}
