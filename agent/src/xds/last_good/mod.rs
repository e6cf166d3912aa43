//! The last good configuration on disk, so that an agent that starts without its control plane serves at once. One
//! file, written whole: a part of the mesh without the policies of the rest would allow what they forbid. Any doubt
//! about the file and it is ignored.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::{Buf, Bytes};
use xxhash_rust::xxh64::{Xxh64, xxh64};

use super::held::{HeldResource, Incoming};
use crate::resources::ResourceType;

/// Begins every file; its last two bytes are the version of the form.
const MAGIC: &[u8; 8] = b"weirlg01";
const CHECKSUM_BYTES: usize = 8;

/// The types, in the order in which they are written. The mesh configuration says what the root namespace is, which the
/// others may need.
const ORDER: [ResourceType; 3] = [ResourceType::MeshConfig, ResourceType::Authorization, ResourceType::Address];

/// Why there is no usable file.
#[derive(Debug, thiserror::Error)]
pub(super) enum LastGoodError {
    #[error("cannot read it")]
    Read(#[source] io::Error),
    #[error("it was written by another version")]
    Version,
    #[error("it is damaged")]
    Damaged,
}

/// What was on disk.
#[derive(Debug)]
pub(super) struct Loaded {
    pub resources: Vec<(ResourceType, Incoming)>,
    pub written: Option<SystemTime>,
}

/// One line of what is to be written: type, name, resource.
pub(super) type Entry = (ResourceType, Arc<str>, HeldResource);

/// The file of a state directory.
#[must_use]
pub(super) fn file_in(state_dir: &Path) -> PathBuf {
    state_dir.join("last-good").join("mesh")
}

/// Writes all that is held, at once: a reader finds either the old file or the new one. Entries are in the order of
/// their types.
///
/// # Errors
/// When the directory cannot be made or the disk is full; the old file is left as it was.
pub(super) fn save(path: &Path, entries: &[Entry]) -> io::Result<()> {
    let folder = path.parent().ok_or_else(|| io::Error::other("a file needs a folder"))?;
    fs::create_dir_all(folder)?;
    let fresh = path.with_extension("new");
    let written = write(&fresh, entries).and_then(|()| fs::rename(&fresh, path));
    if written.is_err() {
        // What could be written of a file on a full disk only takes space.
        let _ = fs::remove_file(&fresh);
    }
    written?;
    File::open(folder)?.sync_all()
}

fn write(path: &Path, entries: &[Entry]) -> io::Result<()> {
    let mut out = Hashing { inner: BufWriter::new(File::create(path)?), hash: Xxh64::new(0) };
    out.write_all(MAGIC)?;
    for (kind, name, resource) in entries {
        let place = ORDER.iter().position(|of_order| of_order == kind).expect("every type is in the order");
        out.write_all(&[u8::try_from(place).expect("there are three types")])?;
        write_field(&mut out, name.as_bytes())?;
        write_field(&mut out, resource.version.as_bytes())?;
        write_field(&mut out, resource.rejected.as_deref().unwrap_or_default().as_bytes())?;
        write_field(&mut out, &resource.body)?;
    }
    let checksum = out.hash.digest();
    out.inner.write_all(&checksum.to_le_bytes())?;
    out.inner.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

fn write_field(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(|_| io::Error::other("a resource of more than 4 GiB"))?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(bytes)
}

struct Hashing {
    inner: BufWriter<File>,
    hash: Xxh64,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Reads the file; `None` where there is none.
///
/// # Errors
/// When the file cannot be trusted as a whole.
pub(super) fn load(path: &Path) -> Result<Option<Loaded>, LastGoodError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(LastGoodError::Read(error)),
    };
    let written = fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    let (content, checksum) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or(LastGoodError::Damaged)?;
    let records = content.strip_prefix(MAGIC).ok_or(LastGoodError::Version)?;
    if xxh64(content, 0) != u64::from_le_bytes(*checksum) {
        return Err(LastGoodError::Damaged);
    }
    let resources = parse(records).ok_or(LastGoodError::Damaged)?;
    Ok(Some(Loaded { resources, written }))
}

fn parse(mut rest: &[u8]) -> Option<Vec<(ResourceType, Incoming)>> {
    let mut resources = Vec::new();
    while !rest.is_empty() {
        let kind = *ORDER.get(usize::from(rest.get_u8()))?;
        let name = text(&mut rest)?;
        let version = text(&mut rest)?;
        let flaw = Some(text(&mut rest)?).filter(|reason| !reason.is_empty());
        // A copy, so that a resource that is replaced later does not keep the whole file in memory.
        let body = Bytes::copy_from_slice(field(&mut rest)?);
        resources.push((kind, Incoming { name, version, body, flaw }));
    }
    Some(resources)
}

fn field<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let (field, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *rest = after;
    Some(field)
}

fn text(rest: &mut &[u8]) -> Option<Arc<str>> {
    std::str::from_utf8(field(rest)?).ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: ResourceType, name: &str, rejected: Option<&str>) -> Entry {
        let body = Bytes::copy_from_slice(format!("body of {name}").as_bytes());
        (kind, name.into(), HeldResource { version: "v1".into(), body, rejected: rejected.map(Into::into) })
    }

    #[test]
    fn what_is_saved_loads_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = file_in(dir.path());
        assert!(load(&path).unwrap().is_none(), "there is none before the first");
        let entries = [
            entry(ResourceType::MeshConfig, "", None),
            entry(ResourceType::Authorization, "n/bad", Some("why")),
            entry(ResourceType::Address, "n/host", None),
        ];
        save(&path, &entries[..1]).unwrap();
        save(&path, &entries).unwrap();
        let loaded = load(&path).unwrap().unwrap();
        assert!(loaded.written.is_some());
        assert_eq!(loaded.resources.len(), entries.len());
        for ((kind, incoming), (expected_kind, name, resource)) in loaded.resources.iter().zip(&entries) {
            assert_eq!((kind, &incoming.name, &incoming.version), (expected_kind, name, &resource.version));
            assert_eq!((&incoming.body, &incoming.flaw), (&resource.body, &resource.rejected));
        }
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing else is left behind");
    }

    #[test]
    fn any_damage_voids_the_whole_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = file_in(dir.path());
        save(&path, &[entry(ResourceType::Address, "a", None), entry(ResourceType::Address, "b", None)]).unwrap();
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            fs::write(&path, &bad).unwrap();
            assert!(load(&path).is_err(), "byte {at} of {}", good.len());
            fs::write(&path, &good[..at]).unwrap();
            assert!(load(&path).is_err(), "cut at {at} of {}", good.len());
        }
        let older = [b"weirlg00".as_slice(), &good[8..]].concat();
        fs::write(&path, older).unwrap();
        assert!(matches!(load(&path), Err(LastGoodError::Version)));
    }

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = file_in(dir.path());
        save(&path, &[entry(ResourceType::Address, "a", None)]).unwrap();
        // A folder where the new file would be written: no file system lets that pass, whoever asks.
        fs::create_dir(path.with_extension("new")).unwrap();
        assert!(save(&path, &[]).is_err());
        assert_eq!(load(&path).unwrap().unwrap().resources.len(), 1);
    }
}
