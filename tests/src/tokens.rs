//! Issuers of tokens (JWT): each signs with a key of its own (ES256) and publishes it.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, anyhow};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};

/// A key with the name that its issuer gave it.
#[derive(Debug)]
pub struct SigningKey {
    id: String,
    pair: EcdsaKeyPair,
}

impl SigningKey {
    /// Makes one.
    ///
    /// # Errors
    /// If there is no randomness.
    pub fn make(id: &str) -> Result<Self> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|_| anyhow!("no key was made"))?;
        Ok(Self { id: id.to_owned(), pair })
    }

    /// What is published of it.
    #[must_use]
    pub fn public(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        let (x, y) = (base64url(&point[1..33]), base64url(&point[33..65]));
        json!({"kty": "EC", "crv": "P-256", "use": "sig", "kid": self.id, "x": x, "y": y})
    }

    /// A token with these claims.
    ///
    /// # Errors
    /// If there is no randomness.
    pub fn sign(&self, claims: &Value) -> Result<String> {
        let header = json!({"alg": "ES256", "typ": "JWT", "kid": self.id});
        let text = [header, claims.clone()].map(|part| base64url(part.to_string().as_bytes())).join(".");
        let signature = self.pair.sign(&SystemRandom::new(), text.as_bytes()).map_err(|_| anyhow!("not signed"))?;
        Ok(format!("{text}.{}", base64url(signature.as_ref())))
    }

    /// A token of an issuer for a subject, which is valid for an hour, with further claims.
    ///
    /// # Errors
    /// If there is no randomness.
    pub fn token(&self, issuer: &str, subject: &str, more: &Value) -> Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let mut claims = json!({"iss": issuer, "sub": subject, "iat": now, "exp": now + 3600});
        if let (Some(claims), Some(more)) = (claims.as_object_mut(), more.as_object()) {
            claims.extend(more.clone());
        }
        self.sign(&claims)
    }
}

/// A JWK Set of these keys.
#[must_use]
pub fn key_set(keys: &[&SigningKey]) -> String {
    json!({"keys": keys.iter().map(|key| key.public()).collect::<Vec<_>>()}).to_string()
}

/// Base64url without padding (RFC 4648 §5).
fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        let digits = (0..=chunk.len()).map(|digit| char::from(DIGITS[((bits >> (18 - 6 * digit)) & 63) as usize]));
        text.extend(digits);
    }
    text
}
