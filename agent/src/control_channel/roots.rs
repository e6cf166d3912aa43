//! Where root certificates are read from: a file, a text, or the system's bundle. Read anew whenever they are needed.

use std::fs;
use std::io;
use std::path::PathBuf;

use crate::tls::pem;

/// A source of root certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootSource {
    /// A PEM file, which somebody may replace at any time.
    File(PathBuf),
    /// The PEM text itself.
    Text(String),
    /// What the system trusts.
    System,
}

impl RootSource {
    /// As a setting names it: a path, PEM text, or `SYSTEM`.
    #[must_use]
    pub fn new(setting: &str) -> Self {
        match setting.trim() {
            "SYSTEM" => Self::System,
            text if text.starts_with("-----BEGIN ") => Self::Text(text.to_owned()),
            path => Self::File(path.into()),
        }
    }

    /// The current certificates as PEM, one each.
    ///
    /// # Errors
    /// When there is no such file, or no certificate in it; the message names the source.
    pub fn read(&self) -> io::Result<Vec<String>> {
        let failed = |reason: &dyn std::fmt::Display| io::Error::other(format!("root certificate {self}: {reason}"));
        let text = match self {
            Self::File(path) => fs::read_to_string(path).map_err(|error| failed(&error))?,
            Self::Text(text) => text.clone(),
            Self::System => {
                let bundle = pem::system_bundle()
                    .ok_or_else(|| failed(&"this system has no bundle in a place that is known"))?;
                fs::read_to_string(bundle).map_err(|error| failed(&error))?
            }
        };
        let blocks = pem::certificate_blocks(&text);
        if blocks.is_empty() { Err(failed(&"no certificate in it")) } else { Ok(blocks) }
    }

    /// The current certificates that peers of the mesh are held to, as PEM, one each. None of the system's: those are meant
    /// for the channel to the CA.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_for_peers(&self) -> io::Result<Vec<String>> {
        if *self == Self::System { Ok(Vec::new()) } else { self.read() }
    }
}

impl std::fmt::Display for RootSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Text(_) => f.write_str("given as text"),
            Self::System => f.write_str("of the system"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_a_path_a_text_or_the_system() {
        let text = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
        assert_eq!(RootSource::new("SYSTEM"), RootSource::System);
        assert_eq!(RootSource::new("/root.pem"), RootSource::File("/root.pem".into()));
        assert_eq!(RootSource::new(text).read().unwrap(), [text]);
        let missing = RootSource::new("/nowhere/root.pem").read().unwrap_err().to_string();
        assert!(missing.starts_with("root certificate /nowhere/root.pem: "), "{missing}");
    }
}
