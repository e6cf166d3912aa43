//! Headers that an operator adds to requests to a control plane, as a gateway on the way may need.

use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap};

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
