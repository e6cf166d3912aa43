//! JSON Web Tokens (RFC 7519) in the compact serialization of JWS (RFC 7515): a token is taken apart (`token`), its claims are
//! read and checked (`claims`), and its signature is verified with the keys of its issuer (`key_set`, `key`).
//!
//! Pure: keys and time are parameters. A key is never taken from the token itself (`jwk`, `jku`, `x5u`, `x5c`), and a key serves
//! the one family of algorithms that it is of: what a token says of its algorithm is never enough.

mod base64url;
mod claims;
mod digest;
mod error;
mod json;
mod key;
mod key_set;
#[cfg(test)]
mod tests;
mod token;

pub use base64url::encode as base64url;
pub use claims::{TokenClaims, VerifiedToken};
pub use digest::TokenDigest;
pub use error::JwtError;
pub use key_set::{KeySet, KeySetError};
pub use token::Token;
