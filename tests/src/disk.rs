//! A disk of its own in the place of a folder, which can be made to stand still: a file system in a file whose writers, syncs and
//! renames wait in the kernel (fsfreeze(8)) until it goes on, as on a volume that has lost its server.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::mount::{MntFlags, umount2};

use crate::run::Run;
use crate::table::Skip;
use crate::wait;

/// Bytes of the disk.
const SIZE: u64 = 16 * 1024 * 1024;
/// Waits until its input ends, be it that the test was killed, and has the file system in `$0` go on.
const THAW_AT_THE_END: &str = "cat >/dev/null; fsfreeze --unfreeze \"$0\"";

/// A disk. Dropping it takes it away, files and all.
#[derive(Debug)]
pub struct Disk {
    folder: PathBuf,
}

/// A disk that stands still, until dropped.
#[derive(Debug)]
pub struct StandsStill {
    /// A process of its own, which goes on where the test is killed.
    thaw: Child,
}

impl Disk {
    /// Puts an empty disk in the place of a folder below the run's.
    ///
    /// # Errors
    /// [`Skip`] where this machine cannot make one; otherwise if it cannot be mounted.
    pub fn over(run: &Run, folder: &Path) -> Result<Self> {
        let image = run.bulk()?.join("disk");
        fs::File::create(&image)?.set_len(SIZE)?;
        let (image, place) = (image.display().to_string(), folder.display().to_string());
        let made = Command::new("mkfs.ext4").args(["-q", "-F", &image]).output();
        let made = made.map_err(|error| Skip(format!("mkfs.ext4: {error}")))?;
        ensure!(made.status.success(), "mkfs.ext4: {}", String::from_utf8_lossy(&made.stderr));
        let mounted = Command::new("mount").args(["-o", "loop", &image, &place]).output()?;
        if !mounted.status.success() {
            return Err(Skip(format!("mount -o loop: {}", String::from_utf8_lossy(&mounted.stderr).trim())).into());
        }
        Ok(Self { folder: folder.to_owned() })
    }

    /// Has it stand still until the guard is dropped, whatever becomes of this process.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn stands_still(&self) -> Result<StandsStill> {
        let place = self.folder.display().to_string();
        let mut thaw = Command::new("sh");
        // A group of its own: Ctrl-C ends this process first.
        thaw.args(["-c", THAW_AT_THE_END, &place]).stdin(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        let guard = StandsStill { thaw: thaw.spawn().context("running sh")? };
        let frozen = Command::new("fsfreeze").args(["--freeze", &place]).output().context("running fsfreeze")?;
        ensure!(frozen.status.success(), "fsfreeze: {}", String::from_utf8_lossy(&frozen.stderr));
        Ok(guard)
    }
}

impl Drop for StandsStill {
    fn drop(&mut self) {
        drop(self.thaw.stdin.take());
        let _ = self.thaw.wait();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Whoever wrote to it until a moment ago may not have closed it.
        let gone =
            wait::until("the disk is free", Duration::from_secs(5), || Ok(umount2(&self.folder, MntFlags::empty())?));
        if gone.is_err() {
            let _ = umount2(&self.folder, MntFlags::MNT_DETACH);
        }
    }
}
