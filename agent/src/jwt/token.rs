//! A token taken apart, of which nothing is verified yet; and what one is remembered by.

use aws_lc_rs::digest::{SHA256, digest};

use super::base64url;
use super::claims::TokenClaims;
use super::error::JwtError;
use super::json;
use super::key::Algorithm;
use crate::model::authorization::ClaimValue;

/// A token takes so many bytes at most.
const TOKEN_BYTES_MAX: usize = 64 << 10;

/// A token in the compact serialization (RFC 7515 §7.1).
#[derive(Debug)]
pub struct Token<'t> {
    pub(super) algorithm: Algorithm,
    /// The key that signed it, by the name that its issuer gave it.
    pub(super) key_id: Option<Box<str>>,
    /// Header and payload as they were sent, which the signature is over.
    pub(super) signed: &'t str,
    pub(super) signature: Vec<u8>,
    /// Decoded; of nobody until the signature is verified.
    pub(super) payload: Vec<u8>,
}

impl<'t> Token<'t> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// For a text that is none, or one whose algorithm or header is not supported. `none` is no algorithm.
    pub fn parse(text: &'t str) -> Result<Self, JwtError> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(JwtError::Form);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(JwtError::Form)?;
        let (header, payload) = signed.split_once('.').ok_or(JwtError::Form)?;
        if payload.contains('.') {
            return Err(JwtError::Form);
        }
        let header = base64url::decode(header).ok_or(JwtError::HeaderEncoding)?;
        let header = json::object(&header).ok_or(JwtError::HeaderJson)?;
        let algorithm = match header.get("alg") {
            Some(ClaimValue::Text(name)) => Algorithm::named(name).ok_or(JwtError::UnsupportedAlgorithm)?,
            _ => return Err(JwtError::NoAlgorithm),
        };
        let key_id = match header.get("kid") {
            None => None,
            Some(ClaimValue::Text(text)) => Some(Box::from(&**text)),
            Some(_) => return Err(JwtError::KeyId),
        };
        if header.contains_key("crit") || header.contains_key("b64") {
            return Err(JwtError::CriticalHeader);
        }
        let payload = base64url::decode(payload).ok_or(JwtError::PayloadEncoding)?;
        let signature = base64url::decode(signature).ok_or(JwtError::SignatureEncoding)?;
        Ok(Self { algorithm, key_id, signed, signature, payload })
    }

    /// What the token claims. It is not verified yet: it tells which issuer's keys to verify it with, and whether that is worth
    /// while.
    ///
    /// # Errors
    /// When the payload is no JSON object.
    pub fn claims(&self) -> Result<TokenClaims, JwtError> {
        json::object(&self.payload).map(TokenClaims::unverified).ok_or(JwtError::PayloadJson)
    }
}

/// The SHA-256 of a token as it was sent: whoever has it has not the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// The digest of a token.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let digest = digest(&SHA256, text.as_bytes());
        Self(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }

    /// As good as random, for whoever sorts tokens.
    #[must_use]
    pub fn first_byte(&self) -> u8 {
        self.0[0]
    }
}
