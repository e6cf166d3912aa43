//! From a file or folder to objects. Never panics, whatever the files hold; what cannot be used is a [`Problem`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::kind::Kind;
use super::metadata::ObjectKey;
use super::problem::{Origin, Problem};
use super::{Body, Objects, RejectedPolicy, Stored, read, unreadable, yaml};

/// Bytes one file may have.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;
/// Documents all files together may have.
const MAX_DOCUMENTS: usize = 100_000;

/// What files said.
#[derive(Debug, Default)]
pub struct Loaded {
    /// What is valid, and for each policy that is not, the refusal that stands for it.
    pub objects: Objects,
    pub problems: Vec<Problem>,
    /// What was accepted but does not do all its author may think.
    pub notices: Vec<Problem>,
    /// Objects that are defined, but not validly and unambiguously.
    pub(super) invalid: BTreeSet<ObjectKey>,
    /// Files and folders that could not be read, in whole or in part.
    pub(super) unreadable: BTreeSet<PathBuf>,
    defined: BTreeMap<ObjectKey, Origin>,
    documents: usize,
}

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
        if !hidden && matches!(extension, "yaml" | "yml" | "json") && entry.is_file() {
            found.push(entry);
        }
    }
    found.sort();
    Ok(found)
}

impl Loaded {
    fn cannot_read(&mut self, path: &Path, reason: String) {
        let file = path.to_owned();
        self.unreadable.insert(file.clone());
        self.problems.push(Problem { file, document: 0, line: None, object: None, field: String::new(), reason });
    }

    fn read_file(&mut self, file: &Path) {
        match text_of(file) {
            Ok(text) => self.read_text(file, &text),
            Err(reason) => self.cannot_read(file, reason),
        }
    }

    fn read_text(&mut self, file: &Path, text: &str) {
        for document in yaml::documents(text) {
            self.documents += 1;
            if self.documents > MAX_DOCUMENTS {
                self.cannot_read(file, format!("too many documents: at most {MAX_DOCUMENTS} are read"));
                return;
            }
            let origin = Origin { file: file.to_owned(), document: document.number, item: 0 };
            match yaml::parse(document.text) {
                Ok(node) => read::document(self, &node, &origin, document.first_line),
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
                    if let Some((key, metadata)) = unreadable::policy_in(document.text, document.number) {
                        let reason = "its document is not valid YAML".to_owned();
                        let body = Body::Rejected(RejectedPolicy { selector: BTreeMap::new(), reason });
                        self.add(key, Stored { metadata, origin, body });
                    }
                }
            }
        }
    }

    /// Notes that a file defines something that cannot be told: nothing that came from it may be taken for removed.
    pub(super) fn lose_track_of(&mut self, file: &Path) {
        self.unreadable.insert(file.to_owned());
    }

    /// Takes in an object that is well-formed, or a refusal that stands for a policy.
    pub(super) fn add(&mut self, key: ObjectKey, stored: Stored) {
        if self.is_defined_again(&key, &stored.origin) {
            if key.kind.is_policy() {
                self.refuse_both(&key, &stored);
            }
            return;
        }
        self.objects.entries.insert(key, stored);
    }

    /// Notes an object that is not valid.
    pub(super) fn add_invalid(&mut self, key: ObjectKey, origin: &Origin) {
        self.is_defined_again(&key, origin);
        self.invalid.insert(key);
    }

    fn is_defined_again(&mut self, key: &ObjectKey, origin: &Origin) -> bool {
        let Some(first) = self.defined.get(key) else {
            self.defined.insert(key.clone(), origin.clone());
            return false;
        };
        let reason =
            format!("is also defined in {} (document {}): remove one of the two", first.file.display(), first.document);
        self.problems.push(Problem {
            file: origin.file.clone(),
            document: origin.document,
            line: None,
            object: Some(key.to_string()),
            field: String::new(),
            reason,
        });
        self.invalid.insert(key.clone());
        true
    }

    /// Which of two policies of one name is meant is unknown: a refusal as wide as both takes their place.
    fn refuse_both(&mut self, key: &ObjectKey, second: &Stored) {
        let selector = |stored: &Stored| match &stored.body {
            Body::AuthorizationPolicy(policy) => match &policy.target {
                super::PolicyTarget::Selector(labels) => labels.clone(),
                _ => BTreeMap::new(),
            },
            Body::PeerAuthentication(policy) => policy.selector.clone(),
            Body::Rejected(policy) => policy.selector.clone(),
            _ => BTreeMap::new(),
        };
        let second_selector = selector(second);
        let Some(first) = self.objects.entries.get_mut(key) else { return };
        let same = selector(first) == second_selector;
        let selector = if same { second_selector } else { BTreeMap::new() };
        first.body = Body::Rejected(RejectedPolicy { selector, reason: "it is defined twice".to_owned() });
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
    String::from_utf8(bytes).map_err(|_| "is not UTF-8 text".to_owned())
}

impl Kind {
    /// The key of an object; there is one MeshConfig whatever its name.
    pub(super) fn key(self, namespace: &str, name: &str) -> ObjectKey {
        if self == Self::MeshConfig {
            return ObjectKey { kind: self, namespace: String::new(), name: "mesh".to_owned() };
        }
        ObjectKey { kind: self, namespace: namespace.to_owned(), name: name.to_owned() }
    }
}
