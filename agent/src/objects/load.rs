//! From a file or folder to objects. Never panics, whatever the files hold; what cannot be used is a [`Problem`].

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::kind::Kind;
use super::loaded::Loaded;
use super::metadata::{Metadata, ObjectKey};
use super::read;
use super::reading::{Problem, SourceLocation, names, yaml};
use super::store::{Body, RejectedPolicy, Stored};

/// Bytes one file may have.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;
/// Documents all files together may have.
const MAX_DOCUMENTS: usize = 100_000;

/// Reads a file, or the `*.yaml`, `*.yml` and `*.json` files of a folder, in order of their names. Subfolders and names
/// that begin with a dot are left out.
#[must_use]
pub fn load(path: &Path) -> Loaded {
    let mut loaded = Loaded::default();
    match files(path) {
        Ok(files) => {
            for file in files {
                loaded.read_file(&file);
            }
        }
        Err(error) => loaded.cannot_read(path, format!("cannot be read: {error}")),
    }
    loaded
}

fn files(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?.path();
        let hidden = entry.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        let extension = entry.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        // What has no metadata, such as a link into nowhere, is reported as a file that cannot be read.
        let is_no_file = || fs::metadata(&entry).is_ok_and(|entry| !entry.is_file());
        if !hidden && matches!(extension, "yaml" | "yml" | "json") && !is_no_file() {
            found.push(entry);
        }
    }
    found.sort();
    Ok(found)
}

impl Loaded {
    fn read_file(&mut self, file: &Path) {
        match text_of(file) {
            Ok(text) => self.read_text(file, &text),
            Err(reason) => self.cannot_read(file, reason),
        }
    }

    /// Takes in the text of a file.
    pub fn read_text(&mut self, file: &Path, text: &str) {
        for document in yaml::documents(text) {
            self.documents += 1;
            if self.documents > MAX_DOCUMENTS {
                self.cannot_read(file, format!("too many documents: at most {MAX_DOCUMENTS} are read"));
                return;
            }
            let location = SourceLocation { file: file.to_owned(), document: document.number, item: 0 };
            match yaml::parse(document.text) {
                Ok(node) => read::document(self, &node, &location, document.first_line),
                Err((line, reason)) => {
                    self.unreadable.insert(file.to_owned());
                    self.problems.push(Problem {
                        file: file.to_owned(),
                        document: document.number,
                        line: Some(document.first_line + line - 1),
                        object: None,
                        field: String::new(),
                        reason: format!("not valid YAML: {reason}"),
                    });
                    if let Some((key, metadata)) = policy_in(document.text, document.number) {
                        let reason = "its document is not valid YAML".to_owned();
                        let body = Body::Rejected(RejectedPolicy { selector: BTreeMap::new(), reason });
                        self.add(key, Stored { metadata, location, body });
                    }
                }
            }
        }
    }
}

fn text_of(file: &Path) -> Result<String, String> {
    let opened = fs::File::open(file).map_err(|error| format!("cannot be read: {error}"))?;
    let mut bytes = Vec::new();
    // The limit holds while reading: a file's length may change, and a pipe has none.
    opened.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|error| format!("cannot be read: {error}"))?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_FILE_BYTES) {
        return Err(format!("is larger than {MAX_FILE_BYTES} bytes: split it"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
        format!("is not UTF-8 text from line {line} on: save it as UTF-8")
    })
}

/// The policy that a text which is not YAML seems to define, a guess that is only used to deny: a policy with a typing
/// error in it must not open what it was written to close. Its `kind` counts, and the first `name` and `namespace` after it or before it.
fn policy_in(text: &str, document: usize) -> Option<(ObjectKey, Metadata)> {
    let is_separator = |c: char| c.is_whitespace() || "\"'{}[],:".contains(c);
    let words: Vec<&str> = text.split(is_separator).filter(|word| !word.is_empty()).collect();
    let after = |name: &str| words.windows(2).find(|pair| pair[0] == name).map(|pair| pair[1].to_owned());
    let kind = words.windows(2).find_map(|pair| match pair {
        ["kind", "AuthorizationPolicy"] => Some(Kind::AuthorizationPolicy),
        ["kind", "PeerAuthentication"] => Some(Kind::PeerAuthentication),
        _ => None,
    })?;
    let namespace = after("namespace").unwrap_or_else(|| "default".to_owned());
    // No pod is in a namespace of a name that none has: there is nothing that it could deny.
    names::label(&namespace).ok()?;
    let metadata = Metadata {
        name: after("name").unwrap_or_else(|| format!("unnamed-{document}-0")),
        namespace,
        ..Metadata::default()
    };
    Some((kind.key(&metadata.namespace, &metadata.name), metadata))
}
