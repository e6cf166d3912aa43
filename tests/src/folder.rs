//! Folders, as tests count what is in them.

use std::fs;
use std::path::Path;

use anyhow::Result;

/// How many files are below a folder; none, if there is no such folder.
///
/// # Errors
/// If an entry goes while it is looked at.
pub fn files_below(folder: &Path) -> Result<u64> {
    let mut files = 0;
    let Ok(entries) = fs::read_dir(folder) else { return Ok(0) };
    for entry in entries {
        let entry = entry?;
        files += if entry.file_type()?.is_dir() { files_below(&entry.path())? } else { 1 };
    }
    Ok(files)
}
