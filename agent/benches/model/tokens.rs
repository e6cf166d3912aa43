//! What a token of a request costs: verified, and known already.

use std::hint::black_box;
use std::time::{Duration, Instant};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use weir::api::jwt::{KeySet, Token, TokenDigest, base64url};

use crate::figures::Figures;
use crate::timings::{median, micros};

const SAMPLES: usize = 500;
const CLAIMS: &str = r#"{"iss":"https://issuer.example.com","sub":"user-17","aud":["orders","billing"],"iat":1000,"exp":9000000000,"groups":["staff","ops","readers"],"email":"user-17@example.com","realm":{"role":"member"}}"#;
/// The digest of a token, by which one that was verified before is found.
const DIGEST_BOUND_US: f64 = 5.0;

pub(crate) fn measure(figures: &mut Figures) {
    let random = SystemRandom::new();
    let rsa = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).expect("a key");
    // RSAPublicKey of PKCS #1: a sequence of modulus, with a zero before it, and exponent.
    let der = rsa.public_key().as_ref();
    let (n, e) = (base64url(&der[9..9 + 256]), base64url(&der[9 + 256 + 2..]));
    let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
    let point = ec.public_key().as_ref();
    let (x, y) = (base64url(&point[1..33]), base64url(&point[33..]));
    let ed = Ed25519KeyPair::generate().expect("a key");
    let ed_x = base64url(ed.public_key().as_ref());
    let [by_rsa, by_ec, by_ed] = ["RS256", "ES256", "EdDSA"].map(message);
    let mut signature = vec![0; rsa.public_modulus_len()];
    rsa.sign(&RSA_PKCS1_SHA256, &random, by_rsa.as_bytes(), &mut signature).expect("it signs");
    let ec_signature = ec.sign(&random, by_ec.as_bytes()).expect("it signs");
    let rows = [
        ("RS256", format!(r#"{{"kty":"RSA","n":"{n}","e":"{e}"}}"#), token(&by_rsa, &signature)),
        ("ES256", format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}"}}"#), token(&by_ec, ec_signature.as_ref())),
        (
            "EdDSA",
            format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{ed_x}"}}"#),
            token(&by_ed, ed.sign(by_ed.as_bytes()).as_ref()),
        ),
    ];
    for (name, key, token) in &rows {
        let keys = KeySet::read(key.as_bytes()).expect("it is a key");
        let verify = || {
            let token = Token::parse(token).expect("it is a token");
            let claims = token.claims().expect("it has claims");
            keys.verify(token, claims).expect("it is signed")
        };
        figures.shown(
            format!("token of {} bytes verified, {name}, median", token.len()),
            timed(verify).map(micros),
            "µs",
        );
    }
    let token = &rows[0].2;
    let what = format!("digest of a token of {} bytes, by which a verified one is found, median", token.len());
    figures.bounded(what, timed(|| TokenDigest::of(token)).map(micros), "µs", DIGEST_BOUND_US);
}

fn message(algorithm: &str) -> String {
    let header = format!(r#"{{"alg":"{algorithm}","typ":"JWT"}}"#);
    format!("{}.{}", base64url(header.as_bytes()), base64url(CLAIMS.as_bytes()))
}

fn token(message: &str, signature: &[u8]) -> String {
    format!("{message}.{}", base64url(signature))
}

fn timed<T>(act: impl Fn() -> T) -> Option<Duration> {
    let sample = |_| {
        let started = Instant::now();
        black_box(act());
        started.elapsed()
    };
    let mut times: Vec<Duration> = (0..SAMPLES).map(sample).collect();
    median(&mut times)
}
