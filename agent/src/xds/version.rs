//! The version of a resource, as the control plane names it: an opaque text.

use std::fmt;
use std::sync::Arc;

/// An opaque version. istiod's are hashes in hexadecimal, which take no allocation here: an agent holds one per resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Version {
    /// A text that is exactly this number in lower-case hexadecimal.
    Hash(u64),
    Text(Arc<str>),
}

impl From<&str> for Version {
    fn from(text: &str) -> Self {
        let hash = u64::from_str_radix(text, 16).ok().filter(|hash| format!("{hash:x}") == text);
        hash.map_or_else(|| Self::Text(text.into()), Self::Hash)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hash(hash) => write!(f, "{hash:x}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_reads_back_as_it_came() {
        for text in
            ["", "0", "ef46db3751d8e999", "00ff", "EF", "+1f", "v1", "2026-11-21T10:00:00Z/7", "10000000000000000"]
        {
            assert_eq!(Version::from(text).to_string(), text);
        }
        assert_eq!(Version::from("ef46db3751d8e999"), Version::Hash(0xef46_db37_51d8_e999));
        assert_eq!(size_of::<Version>(), 16);
    }
}
