//! JSON Web Tokens (RFC 7519) in the compact serialization of JWS (RFC 7515), with the keys of JWK Sets (RFC 7517).
//!
//! A token is taken apart, its claims are read and checked, and its signature is verified with the keys of its issuer:
//!
//! - `token`: the three parts of a token, within bounds of size;
//! - `json`: its header and payload, within bounds of depth and number;
//! - `base64url`: the encoding of both, in its one canonical form;
//! - `claims`: what every token of an issuer must meet, and the proof that one was verified;
//! - `key`: a key, and the algorithms that it verifies with (RFC 7518 §3, RFC 8037);
//! - `key_set`: the keys of an issuer, and which of them may have signed a token;
//! - `error`: why a token is not accepted, in Envoy's words.
//!
//! Pure: keys and time are parameters. A key is never taken from the token itself (`jwk`, `jku`, `x5u`, `x5c`), and a key serves
//! the one family of algorithms that it is of: what a token says of its algorithm is never enough. What two parsers could read
//! in two ways is refused: members that are there twice, encodings with padding or with bits left over, more than three parts.
//! `none` is no algorithm, and a header that must be understood (`crit`) is not.
//!
//! Bounds, each a constant where it is kept:
//!
//! - a token has 64 KiB at most;
//! - objects and lists lie 32 deep in each other at most, and have 4,096 members each;
//! - a set has 100 keys at most, of which each that may have signed a token is tried.
//!
//! What a token costs: one signature of one key is verified for it, as a rule; keys with another name than the token gives are not
//! tried. A token that is known to be verified costs its SHA-256, which it is found by, and a second look at its times and audience:
//! those change while the signature does not.
//!
//! Where tokens are in a request, and which issuers count for a pod, is [`crate::model::authentication`]'s; where keys come from is
//! known above.

mod base64url;
mod claims;
mod error;
mod json;
mod key;
mod key_set;
#[cfg(test)]
mod tests;
mod token;

pub use base64url::encode as base64url;
pub use claims::{TokenClaims, VerifiedToken};
pub use error::JwtError;
pub use key_set::{KeySet, KeySetError};
pub use token::{Token, TokenDigest};
