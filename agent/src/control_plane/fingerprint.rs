//! Detects that a file or folder changed, by polling: that works on every file system and through the symbolic links of a
//! mounted ConfigMap.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// The least pause between two fingerprints.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// The pause is at least this many times as long as a fingerprint takes: a folder of very many files is read less often.
const POLL_PAUSE_FACTOR: u32 = 20;
/// Two writes within one tick of the file system's clock look alike, so what was written this recently is read again.
const CLOCK_TICK: Duration = Duration::from_millis(20);

/// The metadata of files. Equal fingerprints mean equal content.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fingerprint {
    files: Vec<(PathBuf, FileMark)>,
    /// True if it must differ from a later one even if nothing was written since.
    unsettled: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct FileMark {
    modified: Option<SystemTime>,
    changed: (i64, i64),
    size: u64,
    inode: u64,
}

/// The fingerprint of a file, or of the files of a folder; and how long to wait before the next one.
pub(super) fn fingerprint(path: &Path) -> (Fingerprint, Duration) {
    let started = Instant::now();
    let mut files = marks(path).unwrap_or_default();
    files.sort_by(|(one, _), (other, _)| one.cmp(other));
    let newest = files.iter().filter_map(|(_, mark)| mark.modified).max();
    let age = newest.and_then(|newest| SystemTime::now().duration_since(newest).ok());
    let fingerprint = Fingerprint { files, unsettled: age.is_some_and(|age| age < CLOCK_TICK) };
    (fingerprint, POLL_INTERVAL.max(started.elapsed() * POLL_PAUSE_FACTOR))
}

/// Empty where there is no such path: that too is a state that can change.
fn marks(path: &Path) -> io::Result<Vec<(PathBuf, FileMark)>> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_dir() {
        return Ok(vec![(path.to_owned(), mark(&metadata))]);
    }
    let entries = fs::read_dir(path)?.filter_map(|entry| {
        let path = entry.ok()?.path();
        // Through links, as the loader reads them.
        let metadata = fs::metadata(&path).ok()?;
        Some((path, mark(&metadata)))
    });
    Ok(entries.collect())
}

fn mark(metadata: &Metadata) -> FileMark {
    FileMark {
        modified: metadata.modified().ok(),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
        size: metadata.len(),
        inode: metadata.ino(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_change_a_folder_shows() {
        let home = tempfile::tempdir().expect("a folder");
        let folder = home.path().join("objects");
        let file = folder.join("a.yaml");
        let mut last = fingerprint(&folder).0;
        let mut changed = |what: &str| {
            let now = fingerprint(&folder).0;
            assert_ne!(now, last, "{what}");
            last = now;
        };
        fs::create_dir(&folder).expect("made");
        fs::write(&file, "one").expect("written");
        changed("a file comes");
        fs::write(&file, "three").expect("written");
        changed("its size");
        fs::write(home.path().join("new"), "seven").expect("written");
        fs::rename(home.path().join("new"), &file).expect("renamed");
        changed("another file takes its name");
        fs::remove_file(&file).expect("removed");
        changed("it goes");
    }

    #[test]
    fn a_file_that_was_just_written_is_looked_at_again() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let fresh = fingerprint(file.path()).0;
        assert!(fresh.unsettled);
        let old = SystemTime::now() - Duration::from_secs(5);
        file.as_file().set_modified(old).expect("its time can be set");
        assert!(!fingerprint(file.path()).0.unsettled);
    }
}
