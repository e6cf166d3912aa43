//! One layer of an image: the files, directories and links of a root file system, and the tar archive they become. The
//! same content gives the same bytes, in whatever order it was added, on whichever machine, at whatever time.
//! It reads files of this machine only when it is packed, and never looks at their owners, times and modes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tar::{Builder, EntryType, Header};

/// The mode of a program: everybody reads and runs it.
pub(crate) const PROGRAM: u32 = 0o755;
/// The mode of a file: everybody reads it.
pub(crate) const FILE: u32 = 0o644;

/// What is at a path of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    Directory {
        mode: u32,
    },
    /// A file with these bytes.
    Bytes {
        content: Vec<u8>,
        mode: u32,
    },
    /// A file with the bytes of a file of this machine.
    File {
        from: PathBuf,
        mode: u32,
    },
    Link {
        target: String,
    },
}

/// The content of a layer, by path.
#[derive(Debug, Clone, Default)]
pub(crate) struct Layer {
    entries: BTreeMap<String, Entry>,
}

impl Layer {
    /// An empty layer.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a directory. `path` is absolute; the directories above it come with it.
    pub(crate) fn directory(&mut self, path: &str, mode: u32) -> &mut Self {
        self.insert(path, Entry::Directory { mode })
    }

    /// Adds a file with this content.
    pub(crate) fn bytes(&mut self, path: &str, content: impl Into<Vec<u8>>, mode: u32) -> &mut Self {
        self.insert(path, Entry::Bytes { content: content.into(), mode })
    }

    /// Adds a file of this machine, read when the layer is packed. Links to it are followed.
    pub(crate) fn file(&mut self, path: &str, from: impl Into<PathBuf>, mode: u32) -> &mut Self {
        self.insert(path, Entry::File { from: from.into(), mode })
    }

    /// Adds a symbolic link.
    pub(crate) fn link(&mut self, path: &str, target: impl Into<String>) -> &mut Self {
        self.insert(path, Entry::Link { target: target.into() })
    }

    fn insert(&mut self, path: &str, entry: Entry) -> &mut Self {
        let path = path.trim_matches('/');
        for above in Path::new(path).ancestors().skip(1).filter_map(Path::to_str).filter(|above| !above.is_empty()) {
            self.entries.entry(above.to_owned()).or_insert(Entry::Directory { mode: PROGRAM });
        }
        self.entries.insert(path.to_owned(), entry);
        self
    }

    /// The layer as an uncompressed tar archive. Every time in it is `seconds` since 1970, every owner is root.
    pub(crate) fn pack(&self, seconds: u64) -> Result<Vec<u8>> {
        let mut archive = Builder::new(Vec::new());
        for (path, entry) in &self.entries {
            append(&mut archive, path, entry, seconds).with_context(|| format!("packing /{path}"))?;
        }
        Ok(archive.into_inner()?)
    }
}

fn append(archive: &mut Builder<Vec<u8>>, path: &str, entry: &Entry, seconds: u64) -> Result<()> {
    match entry {
        Entry::Directory { mode } => {
            // With a slash at its end, as tar itself writes directories.
            let mut header = header(EntryType::Directory, *mode, seconds);
            archive.append_data(&mut header, format!("{path}/"), &[][..])?;
        }
        Entry::Bytes { content, mode } => file(archive, path, content, *mode, seconds)?,
        Entry::File { from, mode } => {
            let content = fs::read(from).with_context(|| format!("reading {}", from.display()))?;
            file(archive, path, &content, *mode, seconds)?;
        }
        Entry::Link { target } => {
            ensure!(!target.is_empty(), "the link leads nowhere");
            archive.append_link(&mut header(EntryType::Symlink, 0o777, seconds), path, target)?;
        }
    }
    Ok(())
}

/// Adds a file to a tar archive.
pub(super) fn file(archive: &mut Builder<Vec<u8>>, path: &str, content: &[u8], mode: u32, seconds: u64) -> Result<()> {
    let mut header = header(EntryType::Regular, mode, seconds);
    header.set_size(content.len() as u64);
    archive.append_data(&mut header, path, content)?;
    Ok(())
}

fn header(kind: EntryType, mode: u32, seconds: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_mtime(seconds);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every entry of a layer: its path, mode and kind.
    fn listed(tar: &[u8]) -> Vec<(String, u32, EntryType)> {
        let mut archive = tar::Archive::new(tar);
        let entries = archive.entries().unwrap().map(|entry| {
            let entry = entry.unwrap();
            let header = entry.header();
            assert_eq!((header.uid().unwrap(), header.gid().unwrap(), header.mtime().unwrap()), (0, 0, 7));
            (entry.path().unwrap().display().to_string(), header.mode().unwrap(), header.entry_type())
        });
        entries.collect()
    }

    #[test]
    fn what_is_above_a_file_comes_before_it_and_order_does_not_matter() {
        let mut one = Layer::new();
        one.bytes("/usr/bin/weir", "program", PROGRAM).directory("/tmp", 0o1777).link("/usr/bin/w", "weir");
        let mut other = Layer::new();
        other.link("usr/bin/w", "weir").bytes("/usr/bin/weir", "program", PROGRAM).directory("tmp/", 0o1777);
        let packed = one.pack(7).unwrap();
        assert_eq!(packed, other.pack(7).unwrap());
        assert_eq!(
            listed(&packed),
            [
                ("tmp/".to_owned(), 0o1777, EntryType::Directory),
                ("usr/".to_owned(), 0o755, EntryType::Directory),
                ("usr/bin/".to_owned(), 0o755, EntryType::Directory),
                ("usr/bin/w".to_owned(), 0o777, EntryType::Symlink),
                ("usr/bin/weir".to_owned(), 0o755, EntryType::Regular),
            ]
        );
    }

    #[test]
    fn a_file_of_the_machine_that_is_not_there_is_named() {
        let mut layer = Layer::new();
        layer.file("/usr/bin/weir", "/nowhere/weir", PROGRAM);
        let error = format!("{:#}", layer.pack(0).unwrap_err());
        assert!(error.starts_with("packing /usr/bin/weir: reading /nowhere/weir"), "{error}");
    }
}
