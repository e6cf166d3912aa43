//! What a token claims, what its claims must say to be accepted, and the proof that they were and that its issuer signed them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::JwtError;
use crate::model::authorization::{ClaimValue, Claims};

/// Clocks may differ by so many seconds; as Envoy has it.
const CLOCK_SKEW_SECONDS: i64 = 60;

/// The claims of a token that nobody has verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenClaims(Claims);

/// The claims of a token that was verified. Only [`super::KeySet::verify`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedToken {
    claims: TokenClaims,
    payload: Vec<u8>,
}

impl TokenClaims {
    pub(super) fn unverified(members: BTreeMap<Arc<str>, ClaimValue>) -> Self {
        Self(Claims(members))
    }

    /// `iss`: who claims to have signed it.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.0.text("iss")
    }

    /// Checks what every token of an issuer must meet, in Envoy's order: `iss`, `nbf` and `exp` at a time in seconds since 1970, and
    /// `aud` where there are `audiences`.
    ///
    /// # Errors
    /// The first that is not met, or cannot be read.
    pub fn check(&self, issuer: &str, audiences: &[Arc<str>], now: i64) -> Result<(), JwtError> {
        if self.issuer() != Some(issuer) {
            return Err(JwtError::UnknownIssuer);
        }
        if self.seconds("nbf")?.is_some_and(|from| from > now.saturating_add(CLOCK_SKEW_SECONDS)) {
            return Err(JwtError::NotYetValid);
        }
        if self.seconds("exp")?.is_some_and(|until| until < now.saturating_sub(CLOCK_SKEW_SECONDS)) {
            return Err(JwtError::Expired);
        }
        let is_wanted = |audience: &str| audiences.iter().any(|wanted| same_audience(wanted, audience));
        let is_for_us = match self.0.0.get("aud") {
            _ if audiences.is_empty() => true,
            Some(ClaimValue::Text(audience)) => is_wanted(audience),
            Some(ClaimValue::List(list)) => {
                list.iter().any(|one| matches!(one, ClaimValue::Text(audience) if is_wanted(audience)))
            }
            _ => false,
        };
        if is_for_us { Ok(()) } else { Err(JwtError::Audience) }
    }

    fn seconds(&self, name: &str) -> Result<Option<i64>, JwtError> {
        match self.0.0.get(name) {
            None => Ok(None),
            Some(ClaimValue::Integer(seconds)) => Ok(Some(*seconds)),
            Some(_) => Err(JwtError::PayloadJson),
        }
    }
}

impl VerifiedToken {
    pub(super) fn new(claims: TokenClaims, payload: Vec<u8>) -> Self {
        Self { claims, payload }
    }

    /// As far as it goes without the time: see [`TokenClaims::check`], which a token that is used again has to pass again.
    #[must_use]
    pub fn token_claims(&self) -> &TokenClaims {
        &self.claims
    }

    /// What policies are asked with.
    #[must_use]
    pub fn claims(&self) -> &Claims {
        &self.claims.0
    }

    /// The JSON that was signed.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }
}

/// As in Envoy, neither the scheme of a URL nor a slash at its end counts.
fn same_audience(one: &str, other: &str) -> bool {
    fn bare(text: &str) -> &str {
        let text = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
        text.strip_suffix('/').unwrap_or(text)
    }
    bare(one) == bare(other)
}
