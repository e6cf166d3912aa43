//! The directory of the built-in CA, and that agents can use what it gives.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::thread;

use rcgen::{CertificateParams, KeyPair};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use super::*;
use crate::model::identity::TrustDomain;
use crate::tls::certificates::{CertificateOptions, CertificateSource, Certificates};
use crate::tls::handshake::{TrustedDomains, accept, connect};
use crate::tls::provider::provider;

fn cart() -> Identity {
    Identity::new(TrustDomain::new(""), "shop", "cart")
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn make_readable(dir: &Path, mode: u32) {
    fs::set_permissions(dir.join(KEY), Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_root_is_made_once_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("new").join("ca");
    let first = Authority::open(&ca).unwrap();
    assert_eq!((mode(&ca), mode(&ca.join(KEY)), mode(&ca.join(CERTIFICATE))), (0o700, 0o600, 0o644));
    let files = || [CERTIFICATE, KEY].map(|name| fs::read_to_string(ca.join(name)).unwrap());
    let before = files();
    assert_eq!(Authority::open(&ca).unwrap().root_pem(), first.root_pem());
    assert_eq!(files(), before);
    assert_eq!(fs::read_dir(&ca).unwrap().count(), 2, "nothing else is left behind");
}

#[test]
fn processes_that_start_together_agree_on_one_root() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Authority::open(dir.path()).unwrap().root_pem().to_owned();
    let roots = thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(roots.iter().all(|root| *root == roots[0]));
}

#[test]
fn a_crash_between_key_and_certificate_is_made_good() {
    let dir = tempfile::tempdir().unwrap();
    Authority::open(dir.path()).unwrap();
    let key = fs::read_to_string(dir.path().join(KEY)).unwrap();
    fs::remove_file(dir.path().join(CERTIFICATE)).unwrap();
    Authority::open(dir.path()).unwrap();
    assert_eq!(fs::read_to_string(dir.path().join(KEY)).unwrap(), key);
}

#[test]
fn a_directory_that_is_wrong_is_refused_with_the_way_out() {
    type Change<'a> = &'a dyn Fn(&Path);
    let changes: [(Change<'_>, &str); 5] = [
        (&|dir| make_readable(dir, 0o644), "run `chmod 600 "),
        (&|dir| make_readable(dir, 0o602), "run `chmod 600 "),
        (&|dir| fs::remove_file(dir.join(KEY)).unwrap(), "put the key beside it"),
        (&|dir| fs::write(dir.join(KEY), KeyPair::generate().unwrap().serialize_pem()).unwrap(), "holds no usable CA"),
        (&|dir| fs::write(dir.join(CERTIFICATE), "").unwrap(), "holds no usable CA"),
    ];
    for (change, way_out) in changes {
        let dir = tempfile::tempdir().unwrap();
        Authority::open(dir.path()).unwrap();
        change(dir.path());
        let error = Authority::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains(way_out), "{way_out}: {error}");
    }
    let shared = tempfile::tempdir().unwrap();
    Authority::open(shared.path()).unwrap();
    make_readable(shared.path(), 0o440);
    Authority::open(shared.path()).expect("a group may read it: Kubernetes gives secrets so");
}

#[tokio::test]
async fn agents_with_one_authority_trust_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let certificates = |authority: &Authority| {
        Certificates::start(CertificateSource::Issuer(authority.issuer()), CertificateOptions::default())
    };
    let one = certificates(&Authority::open(dir.path()).unwrap());
    let other = certificates(&Authority::open(dir.path()).unwrap());
    let web = Identity::new(TrustDomain::new(""), "shop", "web");
    let (near, far) = (one.get(&web).await.unwrap(), other.get(&cart()).await.unwrap());
    let trusted = TrustedDomains(vec![TrustDomain::new("")]);
    let (client, server) = tokio::io::duplex(64 * 1024);
    let expected = [cart()];
    let (connected, accepted) =
        tokio::join!(connect(&near, client, &expected, &trusted), accept(&far, server, &trusted));
    assert_eq!((connected.unwrap().peer, accepted.unwrap().peer), (cart(), web));
}

#[tokio::test]
async fn an_intermediate_hands_out_its_own_certificate_and_the_roots_above() {
    let (above, below) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let root = Authority::open(above.path()).unwrap();
    let root_key = KeyPair::from_pem(&fs::read_to_string(above.path().join(KEY)).unwrap()).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_pem(root.root_pem(), root_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params: CertificateParams = root_params().unwrap();
    params.distinguished_name.push(DnType::CommonName, "intermediate");
    let intermediate = params.signed_by(&key, &issuer).unwrap().pem();
    fs::write(below.path().join(CERTIFICATE), &intermediate).unwrap();
    fs::write(below.path().join(ROOTS), root.root_pem()).unwrap();
    create_once(&below.path().join(KEY), &key.serialize_pem(), 0o600).unwrap();

    let authority = Authority::open(below.path()).unwrap();
    assert_eq!(authority.root_pem(), root.root_pem());
    let certificates =
        Certificates::start(CertificateSource::Issuer(authority.issuer()), CertificateOptions::default());
    certificates.get(&cart()).await.expect("its chain leads to the root");
    let chain = &certificates.status()[0].chain_pem;
    assert_eq!((chain.len(), &chain[1]), (2, &intermediate));
}

#[test]
fn the_server_s_certificate_is_good_for_its_names_alone() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::open(dir.path()).unwrap();
    let names = ["weir.example", "localhost", "10.0.0.1", "fd00::1"].map(str::to_owned);
    let (chain, key) = authority.server_certificate(&names).unwrap();
    let chain: Vec<_> = CertificateDer::pem_slice_iter(chain.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    rustls::sign::CertifiedKey::from_der(chain.clone(), key, &provider()).unwrap();

    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.root_pem().as_bytes()).unwrap()).unwrap();
    let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider()).build().unwrap();
    let good_for = |name: &str| {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        verifier.verify_server_cert(&chain[0], &chain[1..], &name, &[], UnixTime::now()).is_ok()
    };
    for name in &names {
        assert!(good_for(name), "{name}");
    }
    assert!(!good_for("istiod.istio-system.svc") && !good_for("10.0.0.2"));
    assert!(authority.server_certificate(&["zürich".to_owned()]).is_err());
}
