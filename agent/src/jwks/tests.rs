//! Providers that answer well, badly, elsewhere and not at all.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::runtime::Handle;

use super::fetch::{FetchOptions, Fetcher};
use super::key_sets::{KeySets, KeySetsOptions};
use super::provider::describe;
use crate::model::authentication::{JwtRule, KeySource, TokenPlaces};
use crate::telemetry::metrics::Metrics;
use crate::tls::origination::test_server::acceptor;
use crate::tls::test_mesh::TestRoot;

const KEYS: &str =
    r#"{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "one", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
const OTHER_KEYS: &str =
    r#"{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "two", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

/// A server that gives an answer for each path, and 404 for others.
#[derive(Clone)]
struct Server {
    address: SocketAddr,
    answers: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Server {
    async fn start() -> Self {
        let (server, listener) = Self::bind().await;
        let answering = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answering.clone().answer(stream));
            }
        });
        server
    }

    /// One that speaks TLS, with a certificate below a root for a name.
    async fn start_tls(root: &TestRoot, name: &str) -> Self {
        let (server, listener) = Self::bind().await;
        let (answering, acceptor) = (server.clone(), acceptor(root, name));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // Who does not trust it leaves.
                let Ok(stream) = acceptor.accept(stream).await else { continue };
                tokio::spawn(answering.clone().answer(stream));
            }
        });
        server
    }

    async fn bind() -> (Self, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        (Self { address: listener.local_addr().unwrap(), answers: Arc::default() }, listener)
    }

    async fn answer(self, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") && stream.read_buf(&mut head).await.is_ok_and(|count| count > 0) {}
        let head = String::from_utf8_lossy(&head).into_owned();
        let answer = self.answers.lock().get(head.split(' ').nth(1).unwrap_or_default()).cloned();
        let answer = answer.unwrap_or_else(|| "HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n".to_owned());
        let _ = stream.write_all(answer.as_bytes()).await;
    }

    fn answers(&self, path: &str, answer: &str) {
        self.answers.lock().insert(path.to_owned(), answer.to_owned());
    }

    fn has(&self, path: &str, body: &str) {
        self.answers(path, &format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
    }

    fn url(&self, path: &str) -> Arc<str> {
        format!("http://{}{path}", self.address).into()
    }
}

fn options() -> FetchOptions {
    FetchOptions { allowed: vec!["127.0.0.0/8".parse().unwrap()], roots: None }
}

fn key_sets(refresh: Duration) -> KeySets {
    KeySets::new(KeySetsOptions { fetch: options(), refresh }, Metrics::new(), Handle::current())
}

#[tokio::test]
async fn a_provider_is_asked_where_it_may_be_and_believed_where_it_makes_sense() {
    let server = Server::start().await;
    server.has("/keys", KEYS);
    server.has("/secret", r#"{"keys": [{"kty": "oct", "k": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}]}"#);
    server.has("/text", "no keys");
    server.has("/large", &format!("{KEYS}{}", " ".repeat(1024 * 1024)));
    server.has("/config", &format!(r#"{{"issuer": "i", "jwks_uri": "{}"}}"#, server.url("/keys")));
    server.has("/inner", r#"{"jwks_uri": "http://169.254.169.254/latest"}"#);
    server.has("/empty", "{}");
    server.answers(
        "/moved",
        &format!("HTTP/1.1 302 F\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n", server.url("/keys")),
    );
    server.answers("/short", "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{}");
    let url = |path: &str| KeySource::Url(server.url(path));
    let discovery = |path: &str| KeySource::Discovery(server.url(path));
    let foreign = |url: &str| KeySource::Url(url.into());
    let local = format!("http://localhost:{}/keys", server.address.port());
    let (anywhere, nowhere) = (Fetcher::new(options()), Fetcher::new(FetchOptions::default()));
    for (name, fetcher, source, expected) in [
        ("keys", &anywhere, url("/keys"), ""),
        ("keys by discovery", &anywhere, discovery("/config"), ""),
        ("secrets", &anywhere, url("/secret"), "the keys cannot be used"),
        ("no keys", &anywhere, url("/text"), "the keys cannot be used"),
        ("too much", &anywhere, url("/large"), "longer than 1 MiB"),
        ("too little", &anywhere, url("/short"), "breaks off"),
        ("somewhere else", &anywhere, url("/moved"), "302"),
        ("nothing", &anywhere, url("/none"), "404"),
        ("a configuration without keys", &anywhere, discovery("/empty"), "no jwks_uri"),
        ("a configuration that leads inside", &anywhere, discovery("/inner"), "is private and not asked"),
        ("metadata of a cloud", &anywhere, foreign("http://169.254.169.254/"), "is private and not asked"),
        ("the node itself", &nowhere, url("/keys"), "is private and not asked"),
        ("the node by its name", &nowhere, foreign(&local), "is private and not asked"),
        ("the node in other words", &nowhere, foreign("http://[::ffff:127.0.0.1]/"), "is private and not asked"),
        ("another scheme", &anywhere, foreign("file:///etc/passwd"), "no URL of http or https"),
        ("a user", &anywhere, foreign("http://a@127.0.0.1/"), "no URL of http or https"),
    ] {
        let found = fetcher.fetch(&source).await.map(|fetched| fetched.keys.len()).map_err(|error| error.to_string());
        match found {
            Ok(keys) => assert_eq!((keys, expected), (1, ""), "{name}"),
            Err(error) => assert!(!expected.is_empty() && error.contains(expected), "{name}: {error}"),
        }
    }
}

#[tokio::test]
async fn a_provider_over_https_is_believed_where_its_certificate_is() {
    let (own, other) = (TestRoot::new(), TestRoot::new());
    let (server, elsewhere) = (Server::start_tls(&own, "localhost").await, Server::start_tls(&own, "elsewhere").await);
    let https = |server: &Server, path: &str| format!("https://localhost:{}{path}", server.address.port());
    for server in [&server, &elsewhere] {
        server.has("/keys", KEYS);
        server.has("/config", &format!(r#"{{"jwks_uri": "{}"}}"#, https(server, "/keys")));
    }
    let plain = Server::start().await;
    plain.has("/keys", KEYS);
    server.has("/plain", &format!(r#"{{"jwks_uri": "{}"}}"#, plain.url("/keys")));
    let folder = tempfile::tempdir().unwrap();
    let trusting = |name: &str, pem: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, pem).unwrap();
        Fetcher::new(FetchOptions { roots: Some(path), ..options() })
    };
    let (trusts_own, trusts_other) = (trusting("own.pem", &own.pem), trusting("other.pem", &other.pem));
    let both = trusting("both.pem", &format!("{}{}", other.pem, own.pem));
    let (no_pem, system) = (trusting("none.pem", "nothing"), Fetcher::new(options()));
    let by_address = format!("https://{}/keys", server.address);
    let refused = "certificate of the TLS server is refused";
    for (name, fetcher, url, expected) in [
        ("a root of --jwks-roots", &trusts_own, https(&server, "/keys"), ""),
        ("one of several", &both, https(&server, "/keys"), ""),
        ("another root", &trusts_other, https(&server, "/keys"), refused),
        ("the roots of the system", &system, https(&server, "/keys"), refused),
        ("a certificate for another name", &trusts_own, https(&elsewhere, "/keys"), refused),
        ("a certificate for a name, asked by address", &trusts_own, by_address, refused),
        ("a file without roots", &no_pem, https(&server, "/keys"), "cannot be used"),
    ] {
        let found = fetcher.fetch(&KeySource::Url(url.into())).await;
        let found = found.map(|fetched| fetched.keys.len()).map_err(|error| error.to_string());
        match found {
            Ok(keys) => assert_eq!((keys, expected), (1, ""), "{name}"),
            Err(error) => assert!(!expected.is_empty() && error.contains(expected), "{name}: {error}"),
        }
    }
    let discovery = |server: &Server| KeySource::Discovery(https(server, "/config").into());
    assert!(trusts_own.fetch(&discovery(&server)).await.is_ok(), "by discovery");
    assert!(trusts_own.fetch(&discovery(&elsewhere)).await.is_err(), "by discovery, from another");
    let to_plain = trusts_own.fetch(&KeySource::Discovery(https(&server, "/plain").into())).await;
    let error = to_plain.expect_err("whoever is between would choose the keys").to_string();
    assert!(error.contains("comes over https") && error.contains(&*plain.url("/keys")), "{error}");
}

#[tokio::test]
async fn keys_are_followed_and_kept_while_the_provider_is_wrong() {
    let server = Server::start().await;
    server.has("/keys", KEYS);
    let key_sets = key_sets(Duration::from_millis(20));
    let source = KeySource::Url(server.url("/keys"));
    let keys = key_sets.of(&source);
    assert!(Arc::ptr_eq(&keys, &key_sets.of(&source)), "rules with one source share its keys");
    let first = keys.first(Duration::from_secs(5)).await.expect("it answers");
    let until = async |what: &str, is: &dyn Fn() -> bool| {
        let asked = async {
            while !is() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), asked).await.expect(what);
    };
    let is_wrong = || key_sets.states()[0].last_error.is_some();
    server.has("/keys", "wrong");
    until("it is noticed", &is_wrong).await;
    assert!(Arc::ptr_eq(&first, &keys.now().expect("they are kept")));
    server.has("/keys", KEYS);
    until("it is right again", &|| !is_wrong()).await;
    assert!(Arc::ptr_eq(&first, &keys.now().expect("they are there")), "the same keys are no others");
    server.has("/keys", OTHER_KEYS);
    until("others come", &|| keys.now().is_some_and(|now| !Arc::ptr_eq(&first, &now))).await;
    assert!(keys.newer(&first, Duration::ZERO).await.is_some(), "others are there already");
    drop(keys);
    assert_eq!(key_sets.states(), [], "nobody needs them any more");
}

#[tokio::test]
async fn people_are_told_how_it_is_with_keys() {
    let server = Server::start().await;
    server.has("/keys", KEYS);
    let key_sets = key_sets(Duration::from_secs(1000));
    let rule = |source: KeySource| JwtRule {
        issuer: "i".into(),
        audiences: Vec::new(),
        keys: source,
        places: TokenPlaces::default(),
        payload_header: None,
        claim_headers: Vec::new(),
        forwards_token: false,
        timeout: Duration::ZERO,
        space_delimited: Vec::new(),
    };
    let (good, bad) = (rule(KeySource::Url(server.url("/keys"))), rule(KeySource::Url(server.url("/none"))));
    let in_use = [&good, &bad].map(|rule| key_sets.of(&rule.keys));
    for keys in &in_use {
        keys.first(Duration::from_secs(5)).await;
    }
    let other = rule(KeySource::Url("http://other/".into()));
    let told = [&good, &bad, &other, &rule(KeySource::Inline(KEYS.into()))]
        .map(|rule| describe(rule, &key_sets.states(), SystemTime::now()));
    let [first, second] = ["/keys", "/none"].map(|path| server.url(path));
    assert_eq!(
        told,
        [
            Some(format!("keys of i from {first}: 1, fetched 0 s ago")),
            Some(format!(
                "keys of i from {second}: none: answered 404 Not Found, which is not 200 (redirects are not followed)"
            )),
            Some("keys of i from http://other/: no pod of this node needs them".to_owned()),
            None,
        ]
    );
}
