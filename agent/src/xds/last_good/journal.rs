//! The file of the last good configuration: read at the start, then appended to and compacted.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::frame::{LastGoodError, frame, next_frame};
use super::records::{self, ORDER, Record, Records};
use crate::resources::ResourceType;
use crate::whole_file;
use crate::xds::received::ReceivedResource;

/// The directory of the file, below the state directory.
pub const LAST_GOOD_DIR: &str = "last-good";
/// The file's name.
pub const LAST_GOOD_NAME: &str = "mesh";
/// Begins every file; its last two bytes are the version of the form.
const MAGIC: &[u8; 8] = b"weirlg02";
/// What it holds, any agent of the mesh is sent; no secret.
const FILE_MODE: u32 = 0o644;
/// A file is written anew when it is twice as large as what counts of it, and this much more.
const SLACK_BYTES: u64 = 4 * 1024 * 1024;

/// What was on disk.
#[derive(Debug)]
pub(in crate::xds) struct Loaded {
    /// In the order in which they must be applied.
    pub resources: Vec<(ResourceType, ReceivedResource)>,
    pub written: Option<SystemTime>,
}

/// The file of a state directory.
#[must_use]
pub(in crate::xds) fn file_in(state_dir: &Path) -> PathBuf {
    state_dir.join(LAST_GOOD_DIR).join(LAST_GOOD_NAME)
}

/// The file, as one process writes it.
#[derive(Debug)]
pub(in crate::xds) struct Journal {
    path: PathBuf,
    /// The file that grows; none before the first frame.
    open: Option<Open>,
    /// Nothing can be appended any more: the file lacks changes that were made meanwhile.
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
    pub(in crate::xds) fn load(path: PathBuf) -> (Self, Result<Option<Loaded>, LastGoodError>) {
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
    pub(in crate::xds) fn append(&mut self, records: &Records) -> io::Result<()> {
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
    pub(in crate::xds) fn reopened(self) -> Self {
        match load(&self.path) {
            Ok(Some((_, open))) => Self { closed: open.is_none(), open, ..self },
            Ok(None) if self.open.is_none() => self,
            // Changes alone would not be all there is.
            Ok(None) | Err(_) => Self { open: None, closed: true, ..self },
        }
    }

    /// Removes the file, which is no longer what is in force, and writes it no more.
    pub(in crate::xds) fn discard(&mut self) {
        (self.open, self.closed) = (None, true);
        let _ = fs::remove_file(&self.path);
    }

    /// Where whole frames end.
    #[cfg(test)]
    pub(super) fn length(&self) -> Option<u64> {
        self.open.as_ref().map(|open| open.length)
    }

    fn compact(&mut self) -> io::Result<()> {
        let Ok(Some((loaded, _))) = load(&self.path) else { return Ok(()) };
        let mut records = Records::default();
        for (kind, received) in loaded.resources {
            records.push(&Record::Stored(kind, received));
        }
        self.write_anew(&records)
    }

    fn write_anew(&mut self, records: &Records) -> io::Result<()> {
        let folder = self.path.parent().ok_or_else(|| io::Error::other("a file needs a folder"))?;
        fs::create_dir_all(folder)?;
        let fresh = self.path.with_extension("new");
        let (frame, checksum) = frame(records, 0);
        let file = whole_file::replace(&self.path, &fresh, FILE_MODE, &[MAGIC, &frame])?;
        let length = (MAGIC.len() + frame.len()) as u64;
        self.open = Some(Open { file, length, checksum, needed: length });
        File::open(folder)?.sync_all()
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
        records::read(body, |record| contents.apply(record)).ok_or(LastGoodError::Damaged)?;
        (rest, checksum, frames) = (after, sum, frames + 1);
    }
    if frames == 0 {
        return Err(LastGoodError::Damaged);
    }
    let length = (bytes.len() - rest.len()) as u64;
    let needed = contents.bytes();
    let open = File::options().write(true).open(path).map(|file| Open { file, length, checksum, needed });
    let resources = contents.0.into_iter().map(|((place, _), received)| (ORDER[place], received)).collect();
    Ok(Some((Loaded { resources, written }, open.ok())))
}

/// The resources after all frames, by the place of their type, and by name.
#[derive(Default)]
struct Contents(BTreeMap<(usize, Arc<str>), ReceivedResource>);

impl Contents {
    fn apply(&mut self, record: Record) {
        let place = |kind| ORDER.iter().position(|of_order| *of_order == kind).expect("every type is in the order");
        match record {
            Record::Stored(kind, received) => drop(self.0.insert((place(kind), received.name.clone()), received)),
            Record::Removed(kind, name) => drop(self.0.remove(&(place(kind), name))),
        }
    }

    /// About as many as they take on disk.
    fn bytes(&self) -> u64 {
        self.0.values().map(|received| (received.name.len() + received.body.len() + 64) as u64).sum()
    }
}
