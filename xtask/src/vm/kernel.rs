//! A stock kernel of Debian: which one, and its files, kept in `~/.cache/weir/kernels`. What is there is used as it is;
//! remove a line's folder to have its newest kernel fetched again, which `kernel.sh` does.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{step, workspace};

/// A line of kernels: 6.12 is all of 6.12.1, 6.12.2, …
pub(super) type Line = (u32, u32);

/// Reads a line.
pub(super) fn line(text: &str) -> Result<Line> {
    let (major, minor) = text.split_once('.').context("a line of kernels is written like 6.12")?;
    Ok((major.parse()?, minor.parse()?))
}

/// Fetches the newest kernel of a line.
const FETCH: &str = include_str!("kernel.sh");

/// The files of one kernel.
#[derive(Debug)]
pub(super) struct Kernel {
    /// As `uname -r` says it.
    pub(super) release: String,
    /// Has `vmlinuz`, and in `modules` uncompressed modules; by name in the order to load them.
    pub(super) folder: PathBuf,
}

/// The kernel that is kept for a line, or the newest of Debian's, which is kept from then on.
///
/// # Errors
/// If there is none, or it cannot be fetched.
pub(super) fn find((major, minor): Line) -> Result<Kernel> {
    let cache = workspace::cache().join("kernels");
    let name = format!("{major}.{minor}");
    let folder = cache.join(&name);
    if !folder.exists() {
        fs::create_dir_all(&cache)?;
        step::output(Command::new("bash").args(["-c", FETCH, "kernel.sh", &name]).current_dir(&cache))?;
    }
    let release = fs::read_to_string(folder.join("release")).context("the kept kernel has no name")?;
    Ok(Kernel { release, folder })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_a_line_is_found_among_all_packages() {
        let names = "linux-image-6.1-cloud-amd64\nlinux-image-6.1.0-9-cloud-amd64\nlinux-image-6.1.0-56-cloud-amd64\n\
                     linux-image-6.1.0-56-cloud-amd64-unsigned\nlinux-image-6.1.0-0.deb11.52-cloud-amd64\n\
                     linux-image-6.12.117+deb12-cloud-amd64\nlinux-image-unsigned-7.2.12+deb13-cloud-amd64\n\
                     linux-image-7.2.12+deb13-cloud-amd64\nlinux-binary-7.2.12+deb13-cloud-amd64\n\
                     linux-modules-7.2.12+deb13-cloud-amd64\n";
        for (line, release) in [
            ("6.1", "6.1.0-56-cloud-amd64"),
            ("6.12", "6.12.117+deb12-cloud-amd64"),
            ("7.2", "7.2.12+deb13-cloud-amd64"),
            ("5.10", ""),
        ] {
            let mut newest = Command::new("bash");
            newest.args(["-c", &format!("{FETCH}\nnewest {line} <<<\"$NAMES\""), "kernel.sh"]).env("NAMES", names);
            assert_eq!(step::output(&mut newest).unwrap().trim(), release, "{line}");
        }
    }

    #[test]
    fn lines_compare_as_versions() {
        assert!(line("5.4").unwrap() < line("5.15").unwrap() && line("5.15").unwrap() < line("6.1").unwrap());
        assert!(line("6").is_err() && line("6.x").is_err());
    }
}
