//! Issuers of tokens (JWT): each signs with a key of its own, by ES256 or RS256, and publishes it.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, anyhow};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};

/// A key with the name that its issuer gave it.
#[derive(Debug)]
pub struct SigningKey {
    id: String,
    pair: Pair,
}

#[derive(Debug)]
enum Pair {
    P256(EcdsaKeyPair),
    /// 2048 bits.
    Rsa(RsaKeyPair),
}

impl SigningKey {
    /// Makes one for ES256.
    ///
    /// # Errors
    /// If there is no randomness.
    pub fn make(id: &str) -> Result<Self> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|_| anyhow!("no key was made"))?;
        Ok(Self { id: id.to_owned(), pair: Pair::P256(pair) })
    }

    /// Makes one for RS256.
    ///
    /// # Errors
    /// If there is no randomness.
    pub fn make_rsa(id: &str) -> Result<Self> {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| anyhow!("no key was made"))?;
        Ok(Self { id: id.to_owned(), pair: Pair::Rsa(pair) })
    }

    /// What is published of it.
    #[must_use]
    pub fn public(&self) -> Value {
        match &self.pair {
            Pair::P256(pair) => {
                let point = pair.public_key().as_ref();
                let (x, y) = (base64url(&point[1..33]), base64url(&point[33..65]));
                json!({"kty": "EC", "crv": "P-256", "use": "sig", "kid": self.id, "x": x, "y": y})
            }
            Pair::Rsa(pair) => {
                // RSAPublicKey (RFC 8017 §A.1.1): a sequence of the modulus, with a zero before it, and the exponent.
                let der = pair.public_key().as_ref();
                let (n, e) = (base64url(&der[9..9 + 256]), base64url(&der[9 + 256 + 2..]));
                json!({"kty": "RSA", "use": "sig", "kid": self.id, "n": n, "e": e})
            }
        }
    }

    /// A token with these claims.
    ///
    /// # Errors
    /// If there is no randomness.
    pub fn sign(&self, claims: &Value) -> Result<String> {
        let algorithm = match &self.pair {
            Pair::P256(_) => "ES256",
            Pair::Rsa(_) => "RS256",
        };
        let header = json!({"alg": algorithm, "typ": "JWT", "kid": self.id});
        let text = [header, claims.clone()].map(|part| base64url(part.to_string().as_bytes())).join(".");
        let signature = self.signature(text.as_bytes()).map_err(|_| anyhow!("not signed"))?;
        Ok(format!("{text}.{}", base64url(&signature)))
    }

    fn signature(&self, text: &[u8]) -> Result<Vec<u8>, Unspecified> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::P256(pair) => pair.sign(&random, text).map(|signature| signature.as_ref().to_vec()),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, text, &mut signature).map(|()| signature)
            }
        }
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
