//! The last good configuration on disk, so that an agent that starts without its control plane serves at once.
//!
//! One file of frames, each the changes of one moment: a part of the mesh without the policies of the rest would allow
//! what they forbid, so a frame counts whole or not at all, and only after all before it (its checksums build on theirs).
//! The last frame may be incomplete, as a crash leaves it; with any other doubt the file is ignored. A change costs its
//! own size; now and then, when most of the file has been overtaken, it is written anew.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use xxhash_rust::xxh64::xxh64;

use super::held::Incoming;
use super::records::{self, ORDER, Record, Records};
use crate::resources::ResourceType;

#[cfg(test)]
mod tests;

/// Begins every file; its last two bytes are the version of the form.
const MAGIC: &[u8; 8] = b"weirlg02";
/// Length and its check.
const HEADER_BYTES: usize = 12;
const CHECKSUM_BYTES: usize = 8;
/// A file is written anew when it is twice as large as what counts of it, and this much more.
const SLACK_BYTES: u64 = 4 * 1024 * 1024;

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
    /// In the order in which they must be taken in.
    pub resources: Vec<(ResourceType, Incoming)>,
    pub written: Option<SystemTime>,
}

/// The file of a state directory.
#[must_use]
pub(super) fn file_in(state_dir: &Path) -> PathBuf {
    state_dir.join("last-good").join("mesh")
}

/// The file, as one process writes it.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    /// The file that grows; none before the first frame.
    open: Option<Open>,
    /// Nothing can be added any more without leaving something out.
    closed: bool,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// Whole frames end here.
    length: u64,
    /// Of the last frame; the next one's builds on it.
    checksum: u64,
    /// The length of a file with only what counts, as far as known.
    needed: u64,
}

impl Journal {
    /// Reads the file, to go on where it ends; `None` where there is none.
    ///
    /// # Errors
    /// When the file cannot be trusted. The journal then begins a new one.
    pub(super) fn load(path: PathBuf) -> (Self, Result<Option<Loaded>, LastGoodError>) {
        match load(&path) {
            Ok(Some((loaded, open))) => (Self { path, closed: open.is_none(), open }, Ok(Some(loaded))),
            Ok(None) => (Self { path, open: None, closed: false }, Ok(None)),
            Err(error) => (Self { path, open: None, closed: false }, Err(error)),
        }
    }

    /// Writes changes, all or none: a reader finds the state before or after. Without a file so far they are all there is.
    ///
    /// # Errors
    /// When the directory cannot be made or the disk is full; the file is as it was.
    pub(super) fn append(&mut self, records: &Records) -> io::Result<()> {
        if self.closed {
            return Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "the file is not written any more"));
        }
        let Some(open) = &mut self.open else { return self.write_anew(records) };
        let (frame, checksum) = frame(records, open.checksum);
        let written = open.file.write_all_at(&frame, open.length).and_then(|()| open.file.sync_data());
        if let Err(error) = written {
            // What could be written of a frame on a full disk only takes space.
            let _ = open.file.set_len(open.length);
            return Err(error);
        }
        open.length += frame.len() as u64;
        open.checksum = checksum;
        if open.length > 2 * open.needed + SLACK_BYTES {
            self.compact()?;
        }
        Ok(())
    }

    /// The file as another process has left it, which wrote to it meanwhile; changes go on from there.
    pub(super) fn reopened(self) -> Self {
        match load(&self.path) {
            Ok(Some((_, open))) => Self { closed: open.is_none(), open, ..self },
            Ok(None) if self.open.is_none() => self,
            // Changes alone would not be all there is.
            Ok(None) | Err(_) => Self { open: None, closed: true, ..self },
        }
    }

    /// Ends the file's use: what it says is no longer what is held.
    pub(super) fn discard(&mut self) {
        (self.open, self.closed) = (None, true);
        let _ = fs::remove_file(&self.path);
    }

    fn compact(&mut self) -> io::Result<()> {
        let Ok(Some((loaded, _))) = load(&self.path) else { return Ok(()) };
        let mut records = Records::default();
        for (kind, incoming) in &loaded.resources {
            records.held(*kind, incoming, incoming.flaw.as_deref());
        }
        self.write_anew(&records)
    }

    fn write_anew(&mut self, records: &Records) -> io::Result<()> {
        let folder = self.path.parent().ok_or_else(|| io::Error::other("a file needs a folder"))?;
        fs::create_dir_all(folder)?;
        let fresh = self.path.with_extension("new");
        let written = create(&fresh, records).and_then(|open| fs::rename(&fresh, &self.path).map(|()| open));
        if written.is_err() {
            let _ = fs::remove_file(&fresh);
        }
        self.open = Some(written?);
        File::open(folder)?.sync_all()
    }
}

fn create(path: &Path, records: &Records) -> io::Result<Open> {
    let file = File::create(path)?;
    let (frame, checksum) = frame(records, 0);
    file.write_all_at(MAGIC, 0)?;
    file.write_all_at(&frame, MAGIC.len() as u64)?;
    file.sync_all()?;
    let length = (MAGIC.len() + frame.len()) as u64;
    Ok(Open { file, length, checksum, needed: length })
}

/// A frame after one with the checksum `before`: length, its check, changes, checksum.
fn frame(records: &Records, before: u64) -> (Vec<u8>, u64) {
    let body = records.as_bytes();
    let length = (body.len() as u64).to_le_bytes();
    let checksum = xxh64(body, before);
    let mut frame = Vec::with_capacity(HEADER_BYTES + body.len() + CHECKSUM_BYTES);
    frame.extend_from_slice(&length);
    frame.extend_from_slice(&check_of(length, before));
    frame.extend_from_slice(body);
    frame.extend_from_slice(&checksum.to_le_bytes());
    (frame, checksum)
}

fn check_of(length: [u8; 8], before: u64) -> [u8; 4] {
    let [first, second, third, fourth, ..] = xxh64(&length, !before).to_le_bytes();
    [first, second, third, fourth]
}

/// A frame's changes, its checksum and what follows it.
type Frame<'a> = (&'a [u8], u64, &'a [u8]);

/// The next whole frame; `None` where the file breaks off before its end.
fn next_frame(rest: &[u8], before: u64) -> Result<Option<Frame<'_>>, LastGoodError> {
    let Some((header, after)) = rest.split_first_chunk::<HEADER_BYTES>() else { return Ok(None) };
    let (length, check) = header.split_first_chunk::<8>().expect("a header begins with a length");
    if check != check_of(*length, before) {
        // Zeros are what a lost machine leaves of a write that never reached the disk.
        return if rest.iter().all(|byte| *byte == 0) { Ok(None) } else { Err(LastGoodError::Damaged) };
    }
    let split = usize::try_from(u64::from_le_bytes(*length)).ok().and_then(|length| after.split_at_checked(length));
    let Some((body, after)) = split else { return Ok(None) };
    let Some((checksum, after)) = after.split_first_chunk::<CHECKSUM_BYTES>() else { return Ok(None) };
    let checksum = u64::from_le_bytes(*checksum);
    match (xxh64(body, before) == checksum, after.is_empty()) {
        (true, _) => Ok(Some((body, checksum, after))),
        (false, true) => Ok(None),
        (false, false) => Err(LastGoodError::Damaged),
    }
}

fn load(path: &Path) -> Result<Option<(Loaded, Option<Open>)>, LastGoodError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(LastGoodError::Read(error)),
    };
    let written = fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    let mut rest = bytes.strip_prefix(MAGIC).ok_or(LastGoodError::Version)?;
    let (mut contents, mut checksum, mut frames) = (Contents::default(), 0, 0);
    while let Some((body, sum, after)) = next_frame(rest, checksum)? {
        records::read(body, |record| contents.take(record)).ok_or(LastGoodError::Damaged)?;
        (rest, checksum, frames) = (after, sum, frames + 1);
    }
    if frames == 0 {
        return Err(LastGoodError::Damaged);
    }
    let length = (bytes.len() - rest.len()) as u64;
    let needed = contents.bytes();
    let open = File::options().write(true).open(path).map(|file| Open { file, length, checksum, needed });
    let resources = contents.0.into_iter().map(|((place, _), incoming)| (ORDER[place], incoming)).collect();
    Ok(Some((Loaded { resources, written }, open.ok())))
}

/// What the frames come to: resources by the place of their type, and by name.
#[derive(Default)]
struct Contents(BTreeMap<(usize, Arc<str>), Incoming>);

impl Contents {
    fn take(&mut self, record: Record) {
        let place = |kind| ORDER.iter().position(|of_order| *of_order == kind).expect("every type is in the order");
        match record {
            Record::Held(kind, incoming) => drop(self.0.insert((place(kind), incoming.name.clone()), incoming)),
            Record::Gone(kind, name) => drop(self.0.remove(&(place(kind), name))),
        }
    }

    /// About as many as they take on disk.
    fn bytes(&self) -> u64 {
        self.0.values().map(|incoming| (incoming.name.len() + incoming.body.len() + 64) as u64).sum()
    }
}
