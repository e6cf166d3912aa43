//! Files that are replaced as a whole: a reader, and whoever comes after a crash, finds the old content or the new one.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// Replaces the file at `path` by one of this content and mode, whatever the umask, and returns it, open for writing. It is
/// written at `temporary`, a name on the same file system that no other writer uses at the same time, synced, and renamed.
///
/// # Errors
/// When the directory cannot be written to or the disk is full. The old file is then as it was, and nothing is left at
/// `temporary`.
pub(crate) fn replace(path: &Path, temporary: &Path, mode: u32, content: &[&[u8]]) -> io::Result<File> {
    let replaced = write(temporary, mode, content).and_then(|file| fs::rename(temporary, path).map(|()| file));
    if replaced.is_err() {
        // The part of a file that a full disk took only uses space.
        let _ = fs::remove_file(temporary);
    }
    replaced
}

fn write(temporary: &Path, mode: u32, content: &[&[u8]]) -> io::Result<File> {
    // What a process that died while writing left here may have another mode.
    match fs::remove_file(temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(temporary)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    for part in content {
        file.write_all(part)?;
    }
    // Without this, a power cut after the rename may leave an empty file in the place of the old one.
    file.sync_all()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_or_not_at_all() {
        let dir = tempfile::tempdir().expect("a directory");
        let (path, temporary) = (dir.path().join("a"), dir.path().join("a.new"));
        fs::write(&temporary, "left by a crash").expect("written");
        for (content, mode) in [(&[&b"one"[..], b" two"][..], 0o600), (&[&b"three"[..]], 0o666)] {
            replace(&path, &temporary, mode, content).expect("replaced");
            assert_eq!(fs::read(&path).expect("there"), content.concat());
            assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o7777, mode);
            assert!(!temporary.exists());
        }
        let nowhere = dir.path().join("missing/a");
        assert!(replace(&nowhere, &temporary, 0o600, &[b"four"]).is_err());
        assert!(!temporary.exists(), "nothing is left");
        assert_eq!(fs::read(&path).expect("there"), b"three");
    }
}
