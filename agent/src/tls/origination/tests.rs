//! Servers that a rule trusts, and those that it does not.

use std::path::Path;

use rcgen::KeyPair;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::test_server::acceptor_with;
use super::*;
use crate::tls::test_mesh::{Leaf, TestRoot, dns, uri};
use crate::tls::workload_certificate::Material;

const WITHIN: Duration = Duration::from_secs(10);

/// A server's side of a connection, with a certificate of these names; `clients` must have one below that root.
fn serve(
    root: &TestRoot,
    names: &[&str],
    clients: Option<&TestRoot>,
    version: &'static rustls::SupportedProtocolVersion,
) -> DuplexStream {
    let mut leaf = Leaf::new("spiffe://td/ns/n/sa/s");
    leaf.names = names.iter().map(|name| if name.contains(':') { uri(name) } else { dns(name) }).collect();
    serve_material(root.issue(&leaf), clients, version)
}

/// As [`serve`], with a certificate of a number, for `a.example`, and more certificates of its chain.
fn serve_leaf(issuer: &TestRoot, more: &str, serial: u64) -> DuplexStream {
    let leaf = Leaf { names: vec![dns("a.example")], serial: Some(serial), ..Leaf::new("spiffe://td/ns/n/sa/s") };
    let mut material = issuer.issue(&leaf);
    material.chain_pem.extend(pem::certificate_blocks(more));
    serve_material(material, None, &TLS13)
}

fn serve_material(
    material: Material,
    clients: Option<&TestRoot>,
    version: &'static rustls::SupportedProtocolVersion,
) -> DuplexStream {
    let acceptor = acceptor_with(&material, clients, version);
    let (client, server) = tokio::io::duplex(1 << 16);
    tokio::spawn(async move {
        let Ok(mut stream) = acceptor.accept(server).await else { return };
        let name = stream.get_ref().1.server_name().unwrap_or("-").to_owned();
        let alpn =
            stream.get_ref().1.alpn_protocol().map_or("-".into(), |alpn| String::from_utf8_lossy(alpn).into_owned());
        let _ = stream.write_all(format!("{name} {alpn}").as_bytes()).await;
        let _ = stream.shutdown().await;
    });
    client
}

/// What a server says that it was asked for: the name and the protocol; or why there is no connection.
async fn outcome(
    origination: &Origination,
    settings: &UpstreamTls,
    name: &str,
    is_http2: bool,
    server: DuplexStream,
) -> String {
    let settings = Arc::new(settings.clone());
    match origination.connect(&settings, &name.into(), is_http2, server, WITHIN).await {
        Ok(mut stream) => {
            let mut said = String::new();
            match stream.read_to_string(&mut said).await {
                Ok(_) => said,
                Err(error) => format!("refused by the server: {}", error.kind()),
            }
        }
        Err(error) => error.to_string(),
    }
}

fn file(folder: &Path, name: &str, content: &str) -> Box<str> {
    let path = folder.join(name);
    fs::write(&path, content).expect("a folder of the test");
    path.display().to_string().into()
}

#[tokio::test]
async fn a_server_is_who_the_rule_says_or_there_is_no_connection() {
    let (root, other) = (TestRoot::new(), TestRoot::new());
    let folder = tempfile::tempdir().expect("a folder");
    let ca = file(folder.path(), "ca.pem", &root.pem);
    let simple = UpstreamTls { mode: TlsMode::Simple, ca_certificates: ca, ..UpstreamTls::default() };
    let listing = |names: &[&str]| UpstreamTls {
        subject_alt_names: names.iter().map(|name| Box::from(*name)).collect(),
        ..simple.clone()
    };
    let skipping =
        UpstreamTls { skips_verification: true, ..UpstreamTls { mode: TlsMode::Simple, ..Default::default() } };
    let refused = "certificate of the TLS server is refused: ";
    /// What is tried, settings of the rule, who issues the server's certificate, its names, the name asked for, what comes out.
    type Row<'a> = (&'a str, UpstreamTls, &'a TestRoot, &'a [&'a str], &'a str, &'a str);
    let cases: [Row<'_>; 9] = [
        ("the name that is asked for", simple.clone(), &root, &["a.example"], "a.example", "a.example -"),
        ("a wildcard", simple.clone(), &root, &["*.b.example"], "a.b.example", "a.b.example -"),
        ("another root", simple.clone(), &other, &["a.example"], "a.example", refused),
        ("another name", simple.clone(), &root, &["b.example"], "a.example", refused),
        ("a name that is listed", listing(&["x", "b.example"]), &root, &["b.example"], "a.example", "a.example -"),
        ("a URI that is listed", listing(&["spiffe://x/y"]), &root, &["spiffe://x/y"], "a.example", "a.example -"),
        (
            "the name asked for where others are listed",
            listing(&["b.example"]),
            &root,
            &["a.example"],
            "a.example",
            refused,
        ),
        ("none that is verified", skipping, &other, &["b.example"], "a.example", "a.example -"),
        ("an address, which is not sent", listing(&["a.example"]), &root, &["a.example"], "192.0.2.1", "- -"),
    ];
    for version in [&TLS12, &TLS13] {
        for (what, settings, issuer, names, asked_for, expected) in &cases {
            let origination = Origination::new(folder.path());
            let found = outcome(&origination, settings, asked_for, false, serve(issuer, names, None, version)).await;
            assert!(found.starts_with(expected) || found == *expected, "{what}: {found} instead of {expected}");
        }
    }
    let found = outcome(
        &Origination::new(folder.path()),
        &simple,
        "a.example",
        true,
        serve(&root, &["a.example"], None, &TLS13),
    )
    .await;
    assert_eq!(found, "a.example h2");
    let found =
        outcome(&Origination::new(folder.path()), &simple, "a b", false, serve(&root, &["a.example"], None, &TLS13))
            .await;
    assert_eq!(found, "\"a b\" is no name that a TLS server can have");
}

#[tokio::test]
async fn a_revoked_server_is_refused_and_so_is_one_of_an_authority_without_a_list() {
    let (root, other) = (TestRoot::new(), TestRoot::with_key(KeyPair::generate().expect("a key")));
    let below = root.intermediate("below", |_| {});
    let folder = tempfile::tempdir().expect("a folder");
    let simple = UpstreamTls {
        mode: TlsMode::Simple,
        ca_certificates: file(folder.path(), "ca.pem", &root.pem),
        ..UpstreamTls::default()
    };
    let list = |name: &str, text: &str| UpstreamTls { ca_crl: file(folder.path(), name, text), ..simple.clone() };
    let both = root.revocation_list(&[]) + &below.revocation_list(&[7]);
    for (what, settings, issuer, serial, expected) in [
        ("no list", simple.clone(), &root, 7, "a.example -"),
        ("another number", list("none", &root.revocation_list(&[])), &root, 7, "a.example -"),
        ("its number", list("its", &root.revocation_list(&[7])), &root, 7, "refused: Revoked"),
        (
            "below, without a list",
            list("root", &root.revocation_list(&[])),
            &below,
            7,
            "refused: UnknownRevocationStatus",
        ),
        ("below, its number", list("both", &both), &below, 7, "refused: Revoked"),
        ("below, another number", list("both", &both), &below, 8, "a.example -"),
        ("no list at all", list("empty", &other.pem), &root, 8, "caCrl "),
    ] {
        let chain = if std::ptr::eq(issuer, &below) { &below.pem[..] } else { "" };
        let server = serve_leaf(issuer, chain, serial);
        let found = outcome(&Origination::new(folder.path()), &settings, "a.example", false, server).await;
        assert!(found.contains(expected), "{what}: {found} instead of {expected}");
    }
}

#[tokio::test]
async fn a_client_shows_the_certificate_of_the_rule_and_files_count_once_they_are_there() {
    let root = TestRoot::new();
    let folder = tempfile::tempdir().expect("a folder");
    let own = root.issue(&Leaf::new("spiffe://td/ns/n/sa/client"));
    let ca_certificates = file(folder.path(), "ca.pem", &root.pem);
    let simple = UpstreamTls { mode: TlsMode::Simple, ca_certificates, ..UpstreamTls::default() };
    let server = || serve(&root, &["a.example"], Some(&root), &TLS13);
    let found = outcome(&Origination::new(folder.path()), &simple, "a.example", false, server()).await;
    assert!(found.starts_with("refused by the server: "), "{found}");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let mutual = UpstreamTls {
        mode: TlsMode::Mutual,
        client_certificate: path("client.pem").into(),
        private_key: path("client.key").into(),
        ..simple
    };
    let missing = outcome(&Origination::new(folder.path()), &mutual, "a.example", false, server()).await;
    let expected = format!("TLS settings cannot be used: clientCertificate {}: ", path("client.pem"));
    assert!(missing.starts_with(&expected), "{missing}");
    file(folder.path(), "client.pem", &own.chain_pem.concat());
    file(folder.path(), "client.key", "nothing");
    let broken = Known::of(&mutual, folder.path(), None);
    let expected = format!("privateKey {}: private key in it is missing or damaged", path("client.key"));
    assert_eq!(broken.configs.as_ref().err().map(|error| &**error), Some(&*expected));
    file(folder.path(), "client.key", &own.key_pem);
    assert!(Known::of(&mutual, folder.path(), Some(broken)).configs.is_ok(), "the file has changed");
    assert_eq!(outcome(&Origination::new(folder.path()), &mutual, "a.example", false, server()).await, "a.example -");
    // A key that lies elsewhere is another's, by whatever path it is named.
    let (elsewhere, other) = (tempfile::tempdir().expect("a folder"), folder.path().join("sub"));
    fs::create_dir(&other).expect("a folder of the test");
    let key = file(elsewhere.path(), "client.key", &own.key_pem);
    std::os::unix::fs::symlink(&*key, other.join("link.key")).expect("a folder of the test");
    let up = format!(
        "{}/../{}/client.key",
        elsewhere.path().display(),
        elsewhere.path().file_name().and_then(|name| name.to_str()).expect("a name")
    );
    for path in [key.to_string(), other.join("link.key").display().to_string(), up] {
        let foreign = UpstreamTls { private_key: path.as_str().into(), ..mutual.clone() };
        let refused = Known::of(&foreign, folder.path(), None).configs.expect_err("it is another's");
        assert!(refused.starts_with(&format!("privateKey {path}: it is not in ")), "{refused}");
    }
    file(&other, "client.key", &own.key_pem);
    let below = UpstreamTls { private_key: other.join("client.key").display().to_string().into(), ..mutual.clone() };
    assert!(Known::of(&below, folder.path(), None).configs.is_ok(), "a folder below");
    for (path, why) in [("/dev/zero", "it is no file"), ("/proc/self/root", "it is no file")] {
        let endless = UpstreamTls { ca_certificates: path.into(), ..mutual.clone() };
        let refused = Known::of(&endless, folder.path(), None).configs.expect_err("it cannot be read");
        assert_eq!(&*refused, format!("caCertificates {path}: {why}"));
    }
}
