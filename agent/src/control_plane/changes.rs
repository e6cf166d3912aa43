//! Notices that a file or folder of objects changed. Polls: that works on every file system and through the symbolic
//! links of a mounted ConfigMap.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// How often to look.
const INTERVAL: Duration = Duration::from_millis(200);
/// Looking may take this share of the time at most: a folder of very many files is looked at less often.
const MAX_SHARE: u32 = 20;
/// Two writes within one tick of the file system's clock look alike, so what was written this recently is looked at again.
const CLOCK_TICK: Duration = Duration::from_millis(20);

/// What files look like from outside. Equal fingerprints mean equal content.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fingerprint {
    files: Vec<(PathBuf, FileMark)>,
    /// Unequal to a later look even if nothing was written since.
    unsettled: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct FileMark {
    modified: Option<SystemTime>,
    changed: (i64, i64),
    size: u64,
    inode: u64,
}

/// Looks at a file, or at the files of a folder; and how long to wait before looking again.
pub(super) fn look(path: &Path) -> (Fingerprint, Duration) {
    let started = Instant::now();
    let mut files = marks(path).unwrap_or_default();
    files.sort_by(|(one, _), (other, _)| one.cmp(other));
    let newest = files.iter().filter_map(|(_, mark)| mark.modified).max();
    let age = newest.and_then(|newest| SystemTime::now().duration_since(newest).ok());
    let fingerprint = Fingerprint { files, unsettled: age.is_some_and(|age| age < CLOCK_TICK) };
    (fingerprint, INTERVAL.max(started.elapsed() * MAX_SHARE))
}

/// Nothing where there is nothing: that too is a state that can change.
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
        let mut last = look(&folder).0;
        let mut changed = |what: &str| {
            let now = look(&folder).0;
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
        let fresh = look(file.path()).0;
        assert!(fresh.unsettled);
        let old = SystemTime::now() - Duration::from_secs(5);
        file.as_file().set_modified(old).expect("its time can be set");
        assert!(!look(file.path()).0.unsettled);
    }
}
