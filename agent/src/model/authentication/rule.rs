//! What one issuer's tokens must be, where requests carry them, and what an application learns of them
//! (`istio.security.v1beta1.JWTRule`).

use std::sync::Arc;
use std::time::Duration;

use super::places::TokenPlaces;
use crate::model::authorization::{ClaimValue, Claims};

/// An item of `jwtRules`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtRule {
    /// `iss` of its tokens.
    pub issuer: Arc<str>,
    /// Of which a token must name one; empty: any token counts.
    pub audiences: Vec<Arc<str>>,
    pub keys: KeySource,
    pub places: TokenPlaces,
    /// The field, in lower case, that has the payload of an accepted token as it was encoded.
    pub payload_header: Option<Arc<str>>,
    pub claim_headers: Vec<ClaimHeader>,
    /// The application gets the token, too.
    pub forwards_token: bool,
    /// How long a request waits for keys that are not known yet.
    pub timeout: Duration,
    /// Claims whose texts are lists of words, besides `scope` and `permission`.
    pub space_delimited: Vec<Arc<str>>,
}

/// Where an issuer's keys come from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeySource {
    /// `jwks`: a JWK Set (RFC 7517) in the object itself.
    Inline(Arc<str>),
    /// `jwksUri`: the URL of one.
    Url(Arc<str>),
    /// The URL of a configuration that names the URL of one (OpenID Connect Discovery 1.0 §4).
    Discovery(Arc<str>),
}

impl KeySource {
    /// The URL that is asked first; `None` where nobody is asked.
    #[must_use]
    pub fn url(&self) -> Option<&Arc<str>> {
        match self {
            Self::Inline(_) => None,
            Self::Url(url) | Self::Discovery(url) => Some(url),
        }
    }
}

/// An item of `outputClaimToHeaders`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimHeader {
    /// In lower case.
    pub name: Arc<str>,
    /// The names that lead to the claim, which dots separate in the object.
    pub claim: Vec<Arc<str>>,
}

impl ClaimHeader {
    /// The value of the field for these claims: texts, whole numbers and booleans have one. A text that no field can hold has none:
    /// what is signed may still hold the end of a line.
    #[must_use]
    pub fn value(&self, claims: &Claims) -> Option<Vec<u8>> {
        let value = match claims.at(self.claim.iter().map(|name| &**name))? {
            ClaimValue::Text(text) => text.as_bytes().to_vec(),
            ClaimValue::Integer(number) => number.to_string().into_bytes(),
            ClaimValue::Bool(flag) => flag.to_string().into_bytes(),
            ClaimValue::List(_) | ClaimValue::Map(_) | ClaimValue::Other => return None,
        };
        let can_stand_in_a_field = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f);
        let is_framed = value.first() == Some(&b' ') || value.last() == Some(&b' ');
        (value.iter().all(can_stand_in_a_field) && !is_framed).then_some(value)
    }
}

impl JwtRule {
    /// The claims as policies read them: of those that the rule names, a text is the list of its words. `None` where they are the
    /// same.
    #[must_use]
    pub fn split_claims(&self, claims: &Claims) -> Option<Claims> {
        let mut split = None;
        for name in &self.space_delimited {
            let Some(ClaimValue::Text(text)) = claims.0.get(name) else { continue };
            let words = text.split(' ').filter(|word| !word.is_empty());
            let words = words.map(|word| ClaimValue::Text(word.into())).collect();
            split.get_or_insert_with(|| claims.clone()).0.insert(name.clone(), ClaimValue::List(words));
        }
        split
    }

    /// The fields, in lower case, that only the agent writes: what a client sends under these names proves nothing.
    pub fn written_headers(&self) -> impl Iterator<Item = &Arc<str>> {
        self.payload_header.iter().chain(self.claim_headers.iter().map(|header| &header.name))
    }
}
