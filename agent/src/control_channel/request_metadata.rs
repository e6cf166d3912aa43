//! What requests to a control plane or CA carry beside their messages: the agent's bearer token, from a file that the kubelet
//! renews, and the headers that an operator adds, as a gateway on the way may need.

use std::io;
use std::path::{Path, PathBuf};

use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap};

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

/// Headers to send with every request. Their values may be secrets: they are never logged.
#[derive(Debug, Clone, Default)]
pub struct ControlHeaders(Vec<(AsciiMetadataKey, AsciiMetadataValue)>);

/// A header that cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("header {0:?} or its value cannot be sent")]
pub struct InvalidHeader(String);

impl ControlHeaders {
    /// Headers of these names and values.
    ///
    /// # Errors
    /// The first pair that is not a valid header.
    pub fn new(pairs: &[(String, String)]) -> Result<Self, InvalidHeader> {
        let header = |(name, value): &(String, String)| {
            let invalid = || InvalidHeader(name.clone());
            let key: AsciiMetadataKey = name.to_ascii_lowercase().parse().map_err(|_| invalid())?;
            let mut value: AsciiMetadataValue = value.parse().map_err(|_| invalid())?;
            value.set_sensitive(true);
            Ok((key, value))
        };
        pairs.iter().map(header).collect::<Result<_, _>>().map(Self)
    }

    /// Adds them to a request.
    pub fn add_to(&self, metadata: &mut MetadataMap) {
        for (name, value) in &self.0 {
            metadata.insert(name.clone(), value.clone());
        }
    }
}
