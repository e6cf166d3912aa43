//! What a token is remembered by.

use aws_lc_rs::digest::{SHA256, digest};

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
