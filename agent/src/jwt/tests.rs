//! Tokens that must be refused, tokens that must not, and what Wycheproof says of 401 signatures.

use std::path::PathBuf;
use std::sync::Arc;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair};
use serde_json::{Value, json};

use super::{JwtError, KeySet, Token, base64url};
use crate::model::authorization::{ClaimValue, Claims};

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn parts(header: &str, payload: &str) -> String {
    format!("{}.{}", base64url(header.as_bytes()), base64url(payload.as_bytes()))
}

fn symmetric_key() -> Value {
    json!({"kty": "oct", "k": base64url(SECRET), "kid": "s"})
}

fn signed(header: &str, payload: &str) -> String {
    let message = parts(header, payload);
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), message.as_bytes());
    format!("{message}.{}", base64url(signature.as_ref()))
}

fn key_set(key: &Value) -> KeySet {
    KeySet::read(json!({"keys": [key]}).to_string().as_bytes()).unwrap()
}

fn verified(keys: &KeySet, token: &str) -> Result<(), JwtError> {
    keys.verify_signature(&Token::parse(token)?)
}

fn accepted(header: &str, payload: &str, audiences: &[&str]) -> Result<Claims, JwtError> {
    let text = signed(header, payload);
    let token = Token::parse(&text)?;
    let claims = token.claims()?;
    let audiences: Vec<_> = audiences.iter().map(|audience| Arc::from(*audience)).collect();
    claims.check("i", &audiences, 1000)?;
    let verified = key_set(&symmetric_key()).verify(token, claims)?;
    assert_eq!(verified.payload(), payload.as_bytes());
    Ok(verified.claims().clone())
}

#[test]
fn every_algorithm_verifies_what_it_signed_and_nothing_else() {
    let random = SystemRandom::new();
    let mut rows: Vec<(&str, Value, String, Vec<u8>)> = Vec::new();
    let rsa = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
    // RSAPublicKey of PKCS #1: a sequence of modulus, with a zero before it, and exponent.
    let der = rsa.public_key().as_ref();
    let (n, e) = (&der[9..9 + 256], &der[9 + 256 + 2..]);
    let rsa_key = json!({"kty": "RSA", "n": base64url(n), "e": base64url(e)});
    let encodings: [(&str, &'static dyn signature::RsaEncoding); 6] = [
        ("RS256", &signature::RSA_PKCS1_SHA256),
        ("RS384", &signature::RSA_PKCS1_SHA384),
        ("RS512", &signature::RSA_PKCS1_SHA512),
        ("PS256", &signature::RSA_PSS_SHA256),
        ("PS384", &signature::RSA_PSS_SHA384),
        ("PS512", &signature::RSA_PSS_SHA512),
    ];
    for (name, encoding) in encodings {
        let mut signature = vec![0; rsa.public_modulus_len()];
        rsa.sign(encoding, &random, message_of(name).as_bytes(), &mut signature).unwrap();
        rows.push((name, rsa_key.clone(), message_of(name), signature));
    }
    let curves = [
        ("ES256", "P-256", &signature::ECDSA_P256_SHA256_FIXED_SIGNING, 32),
        ("ES384", "P-384", &signature::ECDSA_P384_SHA384_FIXED_SIGNING, 48),
        ("ES512", "P-521", &signature::ECDSA_P521_SHA512_FIXED_SIGNING, 66),
    ];
    for (name, curve, algorithm, size) in curves {
        let pair = EcdsaKeyPair::generate(algorithm).unwrap();
        let point = pair.public_key().as_ref();
        let key = json!({
            "kty": "EC", "crv": curve, "x": base64url(&point[1..=size]), "y": base64url(&point[size + 1..]),
        });
        let signature = pair.sign(&random, message_of(name).as_bytes()).unwrap();
        rows.push((name, key, message_of(name), signature.as_ref().to_vec()));
    }
    let pair = Ed25519KeyPair::generate().unwrap();
    let key = json!({"kty": "OKP", "crv": "Ed25519", "x": base64url(pair.public_key().as_ref())});
    rows.push(("EdDSA", key, message_of("EdDSA"), pair.sign(message_of("EdDSA").as_bytes()).as_ref().to_vec()));
    for (name, algorithm) in [("HS256", hmac::HMAC_SHA256), ("HS384", hmac::HMAC_SHA384), ("HS512", hmac::HMAC_SHA512)]
    {
        let tag = hmac::sign(&hmac::Key::new(algorithm, SECRET), message_of(name).as_bytes());
        rows.push((name, symmetric_key(), message_of(name), tag.as_ref().to_vec()));
    }
    assert_eq!(rows.len(), 13);
    for (name, key, message, signature) in &rows {
        let token = format!("{message}.{}", base64url(signature));
        assert!(verified(&key_set(key), &token).is_ok(), "{name}");
        let mut forged = signature.clone();
        forged[3] ^= 1;
        let forged = format!("{message}.{}", base64url(&forged));
        assert_eq!(verified(&key_set(key), &forged), Err(JwtError::Signature), "{name}");
        // The signature of one algorithm is none of another, whatever the header says.
        for (other, other_key, other_message, _) in &rows {
            let confused = format!("{other_message}.{}", base64url(signature));
            let is_same = other == name;
            assert_eq!(verified(&key_set(other_key), &confused).is_ok(), is_same, "{name} as {other}");
        }
    }
}

fn message_of(algorithm: &str) -> String {
    parts(&json!({"alg": algorithm}).to_string(), "{}")
}

#[test]
fn what_attackers_send_is_refused() {
    let keys = key_set(&symmetric_key());
    let good = signed(r#"{"alg":"HS256"}"#, r#"{"iss":"i"}"#);
    assert!(verified(&keys, &good).is_ok());
    let nested =
        |depth: usize| signed(&format!(r#"{{"alg":"HS256","x":{}{}}}"#, "[".repeat(depth), "]".repeat(depth)), "{}");
    let unsigned = |header: &str| format!("{}.", parts(header, r#"{"iss":"i"}"#));
    let rows: Vec<(&str, String, JwtError)> = vec![
        ("no algorithm", unsigned(r#"{"alg":"none"}"#), JwtError::UnsupportedAlgorithm),
        ("in another case", unsigned(r#"{"alg":"nOnE"}"#), JwtError::UnsupportedAlgorithm),
        ("an algorithm in another case", signed(r#"{"alg":"hs256"}"#, "{}"), JwtError::UnsupportedAlgorithm),
        ("nothing for an algorithm", signed("{}", "{}"), JwtError::NoAlgorithm),
        ("a list for an algorithm", signed(r#"{"alg":["HS256"]}"#, "{}"), JwtError::NoAlgorithm),
        ("two algorithms", signed(r#"{"alg":"none","alg":"HS256"}"#, "{}"), JwtError::HeaderJson),
        ("no signature", good[..=good.rfind('.').unwrap()].to_owned(), JwtError::Signature),
        ("two parts", good[..good.rfind('.').unwrap()].to_owned(), JwtError::Form),
        ("four parts", format!("{good}.x"), JwtError::Form),
        ("padding", format!("{good}="), JwtError::SignatureEncoding),
        ("white space", format!("{good} "), JwtError::SignatureEncoding),
        ("a line end in the header", format!("\n{good}"), JwtError::HeaderEncoding),
        ("JSON serialization", json!({"payload": "e30", "signature": good}).to_string(), JwtError::HeaderEncoding),
        ("a key of its own", signed(r#"{"alg":"RS256","jwk":{"kty":"oct","k":"AA"}}"#, "{}"), JwtError::NoMatchingKey),
        ("the public key as a secret", signed(r#"{"alg":"ES256"}"#, "{}"), JwtError::NoMatchingKey),
        ("a key with another name", signed(r#"{"alg":"HS256","kid":"../../dev/null"}"#, "{}"), JwtError::NoMatchingKey),
        ("a name that is none", signed(r#"{"alg":"HS256","kid":1}"#, "{}"), JwtError::KeyId),
        ("what must be understood", signed(r#"{"alg":"HS256","crit":["exp"]}"#, "{}"), JwtError::CriticalHeader),
        ("a payload that is not encoded", signed(r#"{"alg":"HS256","b64":false}"#, "{}"), JwtError::CriticalHeader),
        ("a megabyte", signed(r#"{"alg":"HS256"}"#, &" ".repeat(1 << 20)), JwtError::Form),
        ("deep JSON", nested(20_000), JwtError::HeaderJson),
        ("JSON that is a little deep", nested(40), JwtError::HeaderJson),
        ("nothing", String::new(), JwtError::Form),
        ("dots", "..".to_owned(), JwtError::HeaderJson),
    ];
    for (name, token, expected) in rows {
        assert_eq!(verified(&keys, &token), Err(expected), "{name}");
    }
}

#[test]
fn claims_must_say_that_the_token_counts_here_and_now() {
    const HEADER: &str = r#"{"alg":"HS256","kid":"s","typ":"JWT"}"#;
    let many: Vec<String> = (0..5000).map(|number| format!("a{number}")).collect();
    let many = json!({"iss": "i", "aud": many}).to_string();
    /// A case, the claims, the audiences of the rule, and what they come to.
    type Row<'a> = (&'a str, &'a str, &'a [&'a str], Result<(), JwtError>);
    let rows: [Row<'_>; 18] = [
        ("no more than an issuer", r#"{"iss":"i"}"#, &[], Ok(())),
        ("another issuer", r#"{"iss":"j"}"#, &[], Err(JwtError::UnknownIssuer)),
        ("no issuer", "{}", &[], Err(JwtError::UnknownIssuer)),
        ("not expired", r#"{"iss":"i","exp":1001}"#, &[], Ok(())),
        ("clocks differ", r#"{"iss":"i","exp":940}"#, &[], Ok(())),
        ("expired", r#"{"iss":"i","exp":939}"#, &[], Err(JwtError::Expired)),
        ("a fraction of a second", r#"{"iss":"i","exp":939.5}"#, &[], Err(JwtError::Expired)),
        ("a text for a time", r#"{"iss":"i","exp":"2000"}"#, &[], Err(JwtError::PayloadJson)),
        ("not yet", r#"{"iss":"i","nbf":1061}"#, &[], Err(JwtError::NotYetValid)),
        ("just now", r#"{"iss":"i","nbf":1060}"#, &[], Ok(())),
        ("any audience", r#"{"iss":"i","aud":"x"}"#, &[], Ok(())),
        ("the audience", r#"{"iss":"i","aud":"x"}"#, &["y", "x"], Ok(())),
        ("one of several", r#"{"iss":"i","aud":["z","https://x/"]}"#, &["x"], Ok(())),
        ("another audience", r#"{"iss":"i","aud":["z"]}"#, &["x"], Err(JwtError::Audience)),
        ("no audience", r#"{"iss":"i"}"#, &["x"], Err(JwtError::Audience)),
        ("too many audiences", &many, &["a1"], Err(JwtError::PayloadJson)),
        ("an issuer named twice", r#"{"iss":"j","iss":"i"}"#, &[], Err(JwtError::PayloadJson)),
        ("no object", "[]", &[], Err(JwtError::PayloadJson)),
    ];
    for (name, payload, audiences, expected) in rows {
        assert_eq!(accepted(HEADER, payload, audiences).map(|_| ()), expected, "{name}");
    }
    let claims = accepted(HEADER, r#"{"iss":"i","a":{"b":[1,true,null,2.5]}}"#, &[]).unwrap();
    let list = [ClaimValue::Integer(1), ClaimValue::Bool(true), ClaimValue::Other, ClaimValue::Integer(2)];
    assert_eq!(claims.at(["a", "b"]), Some(&ClaimValue::List(list.to_vec())));
    assert_eq!((JwtError::Audience.status(), JwtError::Expired.status()), (403, 401));
}

#[test]
fn keys_that_are_of_no_use_are_left_out_and_a_set_without_any_is_refused() {
    let usable = |key: Value| KeySet::read(json!({"keys": [key]}).to_string().as_bytes()).is_ok();
    let ec = json!({"kty": "EC", "crv": "P-256", "x": base64url(&[1; 32]), "y": base64url(&[2; 32])});
    let with = |name: &str, value: Value| {
        let mut key = symmetric_key();
        key[name] = value;
        key
    };
    let rows = [
        ("a secret", symmetric_key(), true),
        ("for signatures", with("use", json!("sig")), true),
        ("for encryption", with("use", json!("enc")), false),
        ("to verify", with("key_ops", json!(["sign", "verify"])), true),
        ("to sign", with("key_ops", json!(["sign"])), false),
        ("of an algorithm", with("alg", json!("HS256")), true),
        ("of an unknown algorithm", with("alg", json!("HS1")), false),
        ("without a secret", with("k", json!("")), false),
        ("a point", ec.clone(), true),
        ("a point that is cut", json!({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}), false),
        ("an unknown curve", json!({"kty": "EC", "crv": "secp256k1", "x": ec["x"], "y": ec["y"]}), false),
        ("an unknown type", json!({"kty": "AKP"}), false),
    ];
    for (name, key, expected) in rows {
        assert_eq!(usable(key), expected, "{name}");
    }
    for text in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[]}"#, r#"{"keys":[1]}"#] {
        assert!(KeySet::read(text.as_bytes()).is_err(), "{text}");
    }
    assert!(KeySet::read(symmetric_key().to_string().as_bytes()).is_ok(), "a key alone is a set of one");
    let many = json!({"keys": vec![symmetric_key(); 101]}).to_string();
    assert!(KeySet::read(many.as_bytes()).is_err());
    let published =
        |keys: Value| KeySet::read(json!({ "keys": keys }).to_string().as_bytes()).unwrap().without_secrets();
    assert!(published(json!([symmetric_key()])).is_err(), "a secret that anybody may fetch is none");
    let token = signed(r#"{"alg":"HS256"}"#, "{}");
    assert_eq!(verified(&published(json!([symmetric_key(), ec])).unwrap(), &token), Err(JwtError::NoMatchingKey));
}

/// Where `cargo xtask setup` puts Wycheproof's vectors.
fn wycheproof() -> PathBuf {
    let folder = std::env::var_os("WEIR_WYCHEPROOF").map(PathBuf::from);
    let cache = || PathBuf::from(std::env::var_os("HOME").expect("a home")).join(".cache/weir/wycheproof");
    folder.unwrap_or_else(cache).join("json_web_signature_test.json")
}

#[test]
fn signatures_are_judged_as_wycheproof_says() {
    /// Vectors that are judged otherwise here, and why.
    const OTHERWISE: [(u64, &str); 8] = [
        (346, "said to be valid, but signed with PS384, and its key is for PS256 (RFC 7517 §4.4)"),
        (350, "the same"),
        (347, "said to be valid, but its key is for ES521, which is no algorithm (RFC 7518 §3.1 has ES512)"),
        (351, "the same"),
        (367, "said to be invalid for its padding, which it has not: it is the very token of 357, which is valid"),
        (370, "the same"),
        (372, "said to be valid, but has a character that base64url has not (RFC 7515 §2)"),
        (373, "the same"),
    ];
    let path = wycheproof();
    let text =
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}: run cargo xtask setup", path.display()));
    let vectors: Value = serde_json::from_slice(&text).unwrap();
    let mut wrong = Vec::new();
    let mut count = 0;
    for group in vectors["testGroups"].as_array().unwrap() {
        let key = if group["public"].is_object() { &group["public"] } else { &group["private"] };
        let keys = KeySet::read(json!({"keys": [key]}).to_string().as_bytes());
        for test in group["tests"].as_array().unwrap() {
            count += 1;
            let token = test["jws"].as_str().map_or_else(|| test["jws"].to_string(), str::to_owned);
            let is_valid = keys.as_ref().is_ok_and(|keys| verified(keys, &token).is_ok());
            let id = test["tcId"].as_u64().unwrap();
            let is_otherwise = OTHERWISE.iter().any(|(other, _)| *other == id);
            if is_valid != ((test["result"] == "valid") != is_otherwise) {
                wrong.push(format!("{id} {}: {}, found {is_valid}", test["comment"], test["result"]));
            }
        }
    }
    assert_eq!((count, wrong), (401, Vec::<String>::new()));
}
