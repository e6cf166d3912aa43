//! The node's directories of CNI configurations and plugins: which configuration is in force, and files replaced as a
//! whole. Knows nothing of what is in a file.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::conflist::Form;
use crate::whole_file;

/// Longest configuration that is read, in bytes; longer ones are no CNI configurations.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// How the names of our unfinished files begin. Container runtimes read none of them.
const UNFINISHED: &str = ".weir-cni-";

/// A file of a directory, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) text: String,
}

/// The configurations of a directory in the order in which container runtimes take them; the first one counts. Those that
/// cannot be read are left out.
///
/// # Errors
/// When the directory cannot be read; one that is missing is empty.
pub(super) fn configurations(directory: &Path) -> io::Result<Vec<Entry>> {
    let mut entries = files(directory)?;
    entries.retain(|entry| Form::of(&entry.name).is_some());
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

/// All text files of a directory, whatever their names.
///
/// # Errors
/// As [`configurations`].
pub(super) fn files(directory: &Path) -> io::Result<Vec<Entry>> {
    let listed = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed?,
    };
    let entry = |path: PathBuf| {
        let name = path.file_name()?.to_str()?.to_owned();
        let metadata = fs::metadata(&path).ok()?;
        let is_text = metadata.is_file() && metadata.len() <= MAX_FILE_BYTES;
        Some(Entry { name, text: is_text.then(|| fs::read_to_string(&path).ok()).flatten()? })
    };
    Ok(listed.filter_map(|listed| entry(listed.ok()?.path())).collect())
}

/// Replaces a file as a whole, through a link if it is one: whoever reads it meanwhile has the old one or the new one.
/// It keeps its mode, if it was there.
///
/// # Errors
/// When its directory cannot be written.
pub(super) fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mode = mode_of(&path, mode);
    let new = unfinished(&path)?;
    whole_file::replace(&path, &new, mode, &[content]).map(drop)
}

/// The mode of a file, for another that takes its place.
pub(super) fn mode_of(path: &Path, otherwise: u32) -> u32 {
    fs::metadata(path).map_or(otherwise, |metadata| metadata.permissions().mode() & 0o7777)
}

/// Removes a file; one that is not there is fine.
///
/// # Errors
/// When its directory cannot be written.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes what an agent that died while writing left behind.
///
/// # Errors
/// When the directory cannot be written.
pub(super) fn remove_unfinished(directory: &Path) -> io::Result<()> {
    let listed = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        listed => listed?,
    };
    for entry in listed {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(UNFINISHED)) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// A name beside a file that nobody else writes to, also not another agent with the same process id.
fn unfinished(path: &Path) -> io::Result<PathBuf> {
    let directory = path.parent().ok_or_else(|| io::Error::other("a file has a directory"))?;
    let instant = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    Ok(directory.join(format!("{UNFINISHED}{}-{instant}.new", std::process::id())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_come_in_the_order_of_their_names() {
        let dir = tempfile::tempdir().expect("a directory");
        for name in ["20-b.conflist", "10-a.conf", "10-a.conf.bak", "30-c.json", "nothing", ".weir-cni-1-2.new"] {
            fs::write(dir.path().join(name), name).expect("written");
        }
        fs::create_dir(dir.path().join("05-directory.conf")).expect("made");
        fs::write(dir.path().join("06-binary.conf"), [0xff, 0xfe]).expect("written");
        let names = configurations(dir.path()).expect("it is there").into_iter().map(|entry| entry.name);
        assert_eq!(names.collect::<Vec<_>>(), ["10-a.conf", "20-b.conflist", "30-c.json"]);
        assert_eq!(configurations(&dir.path().join("missing")).expect("empty"), []);
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_and_keeps_its_mode() {
        let dir = tempfile::tempdir().expect("a directory");
        let (path, link) = (dir.path().join("a.conflist"), dir.path().join("link.conflist"));
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o7777;
        replace(&path, b"one", 0o600).expect("written");
        assert_eq!(mode(&path), 0o600);
        replace(&path, b"two", 0o644).expect("written");
        assert_eq!((mode(&path), fs::read(&path).expect("there").as_slice()), (0o600, b"two".as_slice()));
        std::os::unix::fs::symlink(&path, &link).expect("made");
        replace(&link, b"three", 0o644).expect("written");
        assert!(fs::symlink_metadata(&link).expect("there").is_symlink(), "a link stays one");
        assert_eq!(fs::read(&path).expect("there"), b"three");
        fs::write(dir.path().join(".weir-cni-1-2.new"), "half").expect("written");
        remove_unfinished(dir.path()).expect("removed");
        assert_eq!(fs::read_dir(dir.path()).expect("there").count(), 2);
    }
}
