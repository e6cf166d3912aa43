//! Which versions a part was made from. A part that bears the stamp of what is wanted is not made again.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::step;

/// Makes a part unless it is there: `versions` is everything that decides what it is, `makes` says what is about to happen
/// and for how long. A part that was interrupted has no stamp.
pub(crate) fn once(
    folder: &Path,
    part: &str,
    versions: &str,
    makes: &str,
    make: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let stamp = folder.join("stamps").join(part);
    if fs::read_to_string(&stamp).is_ok_and(|found| found == versions) {
        return Ok(());
    }
    fs::create_dir_all(folder.join("stamps"))?;
    if stamp.exists() {
        fs::remove_file(&stamp)?;
    }
    step::announced(makes, make)?;
    fs::write(&stamp, versions).with_context(|| format!("writing {}", stamp.display()))
}
