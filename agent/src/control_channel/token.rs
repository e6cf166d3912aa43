//! The bearer token by which the agent proves itself: a file, which the kubelet renews.

use std::io;
use std::path::{Path, PathBuf};

use tonic::metadata::AsciiMetadataValue;

/// Why there is no token to send.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("cannot read the token {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("token {path} is empty or not printable")]
    Text { path: PathBuf },
}

impl TokenError {
    /// True if there is no such file: a control plane may accept an agent without a token, on the same machine.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// The token as the value of the `authorization` header (RFC 6750 §2.1), never shown in logs.
///
/// # Errors
/// When the file cannot be read, or holds no text that a header can carry.
pub async fn read_bearer_token(path: &Path) -> Result<AsciiMetadataValue, TokenError> {
    let text =
        tokio::fs::read_to_string(path).await.map_err(|source| TokenError::Read { path: path.to_owned(), source })?;
    let unusable = || TokenError::Text { path: path.to_owned() };
    let token = text.trim();
    if token.is_empty() {
        return Err(unusable());
    }
    let mut value: AsciiMetadataValue = format!("Bearer {token}").parse().map_err(|_| unusable())?;
    value.set_sensitive(true);
    Ok(value)
}
