//! The keys of an issuer: a JWK Set (RFC 7517 §5).

use super::claims::{TokenClaims, VerifiedToken};
use super::error::JwtError;
use super::json;
use super::key::Key;
use super::token::Token;
use crate::model::authorization::{ClaimValue, Claims};

/// Of one issuer, at most: each may be tried for each token.
const KEYS_MAX: usize = 100;

/// The keys of an issuer that verify signatures.
#[derive(Debug, Clone)]
pub struct KeySet(Vec<Key>);

/// Why a JWK Set cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    #[error("not a JSON object with a list of keys")]
    NoKeySet,
    #[error("more than {KEYS_MAX} keys")]
    TooManyKeys,
    #[error("none of its keys verifies signatures with an algorithm that is known")]
    NoUsableKey,
}

impl KeySet {
    /// Reads a JWK Set, or a single key. Keys that are of no use here are left out.
    ///
    /// # Errors
    /// For a text that is none, or has no key that is of use.
    pub fn read(text: &[u8]) -> Result<Self, KeySetError> {
        let object = Claims(json::object(text).ok_or(KeySetError::NoKeySet)?);
        let keys: Vec<Key> = match object.0.get("keys") {
            Some(ClaimValue::List(keys)) if keys.len() > KEYS_MAX => return Err(KeySetError::TooManyKeys),
            Some(ClaimValue::List(keys)) => {
                let members = keys.iter().filter_map(|key| match key {
                    ClaimValue::Map(members) => Some(Claims(members.clone())),
                    _ => None,
                });
                members.filter_map(|jwk| Key::read(&jwk)).collect()
            }
            Some(_) => return Err(KeySetError::NoKeySet),
            None if object.0.contains_key("kty") => Key::read(&object).into_iter().collect(),
            None => return Err(KeySetError::NoKeySet),
        };
        if keys.is_empty() { Err(KeySetError::NoUsableKey) } else { Ok(Self(keys)) }
    }

    /// How many keys there are.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "no set is empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The same set without secrets, which count only where they are in an object: what anybody may fetch is no secret.
    ///
    /// # Errors
    /// When there are only secrets.
    pub fn without_secrets(mut self) -> Result<Self, KeySetError> {
        self.0.retain(|key| !key.is_secret());
        if self.0.is_empty() { Err(KeySetError::NoUsableKey) } else { Ok(self) }
    }

    /// Verifies that the issuer of these keys signed a token, whose claims are given. Whether the claims are those of the issuer, and
    /// count now, is [`TokenClaims::check`]'s.
    ///
    /// # Errors
    /// When no key of this set signed it.
    pub fn verify(&self, token: Token<'_>, claims: TokenClaims) -> Result<VerifiedToken, JwtError> {
        self.verify_signature(&token)?;
        Ok(VerifiedToken::new(claims, token.payload))
    }

    /// Whether there is a key that may have signed a token.
    #[must_use]
    pub fn has_key_for(&self, token: &Token<'_>) -> bool {
        self.candidates(token).next().is_some()
    }

    fn candidates(&self, token: &Token<'_>) -> impl Iterator<Item = &Key> {
        let is_named = move |key: &&Key| match (&token.key_id, &key.id) {
            (Some(wanted), Some(id)) => wanted == id,
            _ => true,
        };
        self.0.iter().filter(is_named).filter(|key| key.is_for(token.algorithm))
    }

    /// Verifies a signature. Keys with another name than the token gives are not tried.
    pub(super) fn verify_signature(&self, token: &Token<'_>) -> Result<(), JwtError> {
        let mut candidates = self.candidates(token).peekable();
        if candidates.peek().is_none() {
            return Err(JwtError::NoMatchingKey);
        }
        let message = token.signed.as_bytes();
        let is_signed = candidates.any(|key| key.verifies(token.algorithm, message, &token.signature));
        if is_signed { Ok(()) } else { Err(JwtError::Signature) }
    }
}
