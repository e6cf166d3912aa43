//! Authenticates nodes by bearer tokens, one per node, from a file or a folder that is reread when it changes. Tokens never
//! reach a log.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tonic::Status;
use tonic::metadata::MetadataMap;

use super::fingerprint::{Fingerprint, fingerprint};

/// Extension of a token file in a folder; its stem is the node.
const EXTENSION: &str = "token";

/// Why tokens cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NodeTokensError {
    #[error("cannot read the tokens in {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path}: line {line} is not of the form `<node> <token>`")]
    Line { path: PathBuf, line: usize },
    #[error("{path}: nodes {one} and {other} have the same token")]
    Shared { path: PathBuf, one: String, other: String },
}

/// The tokens of all nodes. Cheap to clone.
#[derive(Clone)]
pub(super) struct NodeTokens {
    path: PathBuf,
    current: Arc<Mutex<TokenFile>>,
}

/// The tokens as they were last read.
struct TokenFile {
    fingerprint: Fingerprint,
    by_node: BTreeMap<String, String>,
}

impl fmt::Debug for NodeTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeTokens").field("path", &self.path).finish_non_exhaustive()
    }
}

impl NodeTokens {
    /// Reads a file with a line `<node> <token>` per node (`#` begins a comment), or a folder of files `<node>.token`.
    ///
    /// # Errors
    /// If it cannot be read, or says something else.
    pub(super) fn open(path: &Path) -> Result<Self, NodeTokensError> {
        let (fingerprint, _) = fingerprint(path);
        let file = TokenFile { fingerprint, by_node: read(path)? };
        Ok(Self { path: path.to_owned(), current: Arc::new(Mutex::new(file)) })
    }

    /// The node that a request proves to come from.
    ///
    /// # Errors
    /// UNAUTHENTICATED, without saying what is wrong with the token.
    pub(super) fn authenticate(&self, metadata: &MetadataMap) -> Result<Arc<str>, Status> {
        let bearer = metadata.get("authorization").and_then(|value| value.to_str().ok());
        let token = bearer.and_then(|text| text.strip_prefix("Bearer ")).map(str::trim).unwrap_or_default();
        if token.is_empty() {
            return Err(Status::unauthenticated("a bearer token is needed"));
        }
        self.node_of(token).ok_or_else(|| Status::unauthenticated("the token is not known"))
    }

    fn node_of(&self, token: &str) -> Option<Arc<str>> {
        let mut file = self.current.lock();
        file.reread_if_changed(&self.path);
        let mut found = None;
        // All are compared, so that the time it takes says nothing about which one matches.
        for (node, expected) in &file.by_node {
            if constant_time_eq(expected.as_bytes(), token.as_bytes()) {
                found = Some(node.as_str().into());
            }
        }
        found
    }
}

impl TokenFile {
    /// If the new tokens cannot be read, the former ones stay in force: nodes must not be cut off by half a file.
    fn reread_if_changed(&mut self, path: &Path) {
        let (fingerprint, _) = fingerprint(path);
        if fingerprint == self.fingerprint {
            return;
        }
        match read(path) {
            Ok(by_node) => {
                self.by_node = by_node;
                tracing::info!(path = %path.display(), nodes = self.by_node.len(), "tokens reread");
            }
            Err(error) => tracing::warn!(%error, "the tokens read before stay in force"),
        }
        self.fingerprint = fingerprint;
    }
}

/// Compares in a time that depends on the lengths alone.
fn constant_time_eq(one: &[u8], other: &[u8]) -> bool {
    let difference = one.iter().zip(other).fold(0, |difference, (a, b)| std::hint::black_box(difference | (a ^ b)));
    one.len() == other.len() && difference == 0
}

fn read(path: &Path) -> Result<BTreeMap<String, String>, NodeTokensError> {
    let failed = |source| NodeTokensError::Read { path: path.to_owned(), source };
    let by_node = if fs::metadata(path).map_err(failed)?.is_dir() {
        read_folder(path).map_err(failed)?
    } else {
        read_lines(path, &fs::read_to_string(path).map_err(failed)?)?
    };
    let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
    for (node, token) in &by_node {
        if let Some(one) = owners.insert(token, node) {
            return Err(NodeTokensError::Shared { path: path.to_owned(), one: one.to_owned(), other: node.clone() });
        }
    }
    Ok(by_node)
}

fn read_folder(folder: &Path) -> io::Result<BTreeMap<String, String>> {
    let mut by_node = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != EXTENSION) {
            continue;
        }
        let Some(node) = path.file_stem().and_then(|stem| stem.to_str()) else { continue };
        let token = fs::read_to_string(&path)?.trim().to_owned();
        // A file that is just being written; an empty token would be none at all.
        if !token.is_empty() {
            by_node.insert(node.to_owned(), token);
        }
    }
    Ok(by_node)
}

fn read_lines(path: &Path, text: &str) -> Result<BTreeMap<String, String>, NodeTokensError> {
    let mut by_node = BTreeMap::new();
    for (i, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let malformed = || NodeTokensError::Line { path: path.to_owned(), line: i + 1 };
        let mut words = line.split_whitespace();
        let (Some(node), Some(token), None) = (words.next(), words.next(), words.next()) else {
            return Err(malformed());
        };
        if by_node.insert(node.to_owned(), token.to_owned()).is_some() {
            return Err(malformed());
        }
    }
    Ok(by_node)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(authorization: Option<&str>) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        if let Some(value) = authorization {
            metadata.insert("authorization", value.parse().unwrap());
        }
        metadata
    }

    fn node(tokens: &NodeTokens, authorization: &str) -> Option<String> {
        tokens.authenticate(&request(Some(authorization))).ok().map(|node| node.to_string())
    }

    #[test]
    fn a_token_says_which_node_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tokens");
        fs::write(&file, "# nodes\nn1 first\n\n  n2\tsecond \n").unwrap();
        let tokens = NodeTokens::open(&file).unwrap();
        for (authorization, expected) in [
            ("Bearer first", Some("n1")),
            ("Bearer second", Some("n2")),
            ("Bearer firs", None),
            ("Bearer first2", None),
            ("Bearer ", None),
            ("Basic first", None),
            ("first", None),
        ] {
            assert_eq!(node(&tokens, authorization).as_deref(), expected, "{authorization}");
        }
        assert_eq!(tokens.authenticate(&request(None)).unwrap_err().code(), tonic::Code::Unauthenticated);

        fs::write(&file, "n3 third\n").unwrap();
        assert_eq!(node(&tokens, "Bearer third").as_deref(), Some("n3"), "reread");
        assert_eq!(node(&tokens, "Bearer first"), None, "withdrawn");
        fs::write(&file, "n4 fourth too much\n").unwrap();
        assert_eq!(node(&tokens, "Bearer third").as_deref(), Some("n3"), "half a file changes nothing");
    }

    #[test]
    fn a_folder_has_a_file_per_node() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("n1.token"), "first\n").unwrap();
        fs::write(dir.path().join("n2.token"), "\n").unwrap();
        fs::write(dir.path().join("readme"), "second").unwrap();
        let tokens = NodeTokens::open(dir.path()).unwrap();
        assert_eq!(node(&tokens, "Bearer first").as_deref(), Some("n1"));
        assert_eq!(node(&tokens, "Bearer second"), None);
    }

    #[test]
    fn what_makes_no_sense_is_named_without_its_secret() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tokens");
        for (text, expected) in [
            ("n1 secret\nn2\n", "line 2 is not of the form `<node> <token>`"),
            ("n1 secret\nn1 secret2\n", "line 2 is not of the form `<node> <token>`"),
            ("n1 secret\nn2 secret\n", "nodes n1 and n2 have the same token"),
        ] {
            fs::write(&file, text).unwrap();
            let error = NodeTokens::open(&file).unwrap_err().to_string();
            assert!(error.ends_with(expected), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
        fs::write(&file, "n1 secret\n").unwrap();
        assert!(!format!("{:?}", NodeTokens::open(&file).unwrap()).contains("secret"));
    }
}
