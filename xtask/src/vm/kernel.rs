//! A stock kernel of Debian: which one, and its files, kept in `~/.cache/weir/kernels`. What is there is used as it is;
//! remove a line's folder to have its newest kernel fetched again, which `kernel.sh` does.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::str::FromStr;

use anyhow::{Context, Result};

use crate::{step, workspace};

/// The oldest line that Weir runs on.
const OLDEST: Line = Line(5, 15);

/// Fetches the newest kernel of a line.
const FETCH: &str = include_str!("kernel.sh");

/// A line of kernels: 6.12 is all of 6.12.1, 6.12.2, …
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Line(u32, u32);

impl Line {
    /// True if Weir must refuse to run on it.
    pub(super) fn is_too_old(self) -> bool {
        self < OLDEST
    }
}

impl FromStr for Line {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = |text: &str| text.parse().map_err(|_| "a line of kernels is written like 6.12");
        let (major, minor) = text.split_once('.').ok_or("a line of kernels is written like 6.12")?;
        Ok(Self(parse(major)?, parse(minor)?))
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// The files of one kernel.
#[derive(Debug)]
pub(super) struct Kernel {
    /// As `uname -r` says it.
    pub(super) release: String,
    pub(super) image: PathBuf,
    /// Uncompressed modules; by name in the order to load them.
    pub(super) modules: PathBuf,
}

/// The kernel that is kept for a line, or the newest of Debian's, which is kept from then on.
///
/// # Errors
/// If there is none, or it cannot be fetched.
pub(super) fn find(line: Line) -> Result<Kernel> {
    let cache = workspace::cache().join("kernels");
    let folder = cache.join(line.to_string());
    if !folder.exists() {
        fs::create_dir_all(&cache)?;
        step::output(Command::new("bash").args(["-c", FETCH, "kernel.sh", &line.to_string()]).current_dir(&cache))?;
    }
    let release = fs::read_to_string(folder.join("release")).context("the kept kernel has no name")?;
    Ok(Kernel { release, image: folder.join("vmlinuz"), modules: folder.join("modules") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_a_line_is_found_among_all_packages() {
        let names = [
            "linux-image-6.1-cloud-amd64",
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-56-cloud-amd64",
            "linux-image-6.1.0-56-cloud-amd64-unsigned",
            "linux-image-6.1.0-0.deb11.52-cloud-amd64",
            "linux-image-6.12.117+deb12-cloud-amd64",
            "linux-image-unsigned-7.2.12+deb13-cloud-amd64",
            "linux-image-7.2.12+deb13-cloud-amd64",
            "linux-binary-7.2.12+deb13-cloud-amd64",
            "linux-modules-7.2.12+deb13-cloud-amd64",
        ];
        for (line, release) in [
            ("6.1", "6.1.0-56-cloud-amd64"),
            ("6.12", "6.12.117+deb12-cloud-amd64"),
            ("7.2", "7.2.12+deb13-cloud-amd64"),
            ("5.10", ""),
        ] {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("names"), names.join("\n")).unwrap();
            let mut newest = Command::new("bash");
            newest.current_dir(folder.path()).args(["-c", &format!("{FETCH}\nnewest {line} <names"), "kernel.sh"]);
            assert_eq!(step::output(&mut newest).unwrap().trim(), release, "{line}");
        }
    }

    #[test]
    fn lines_compare_as_versions() {
        let line = |text: &str| text.parse::<Line>().unwrap();
        assert!(line("5.10").is_too_old() && line("5.4").is_too_old());
        assert!(!line("5.15").is_too_old() && !line("6.1").is_too_old());
        assert!("6".parse::<Line>().is_err() && "6.x".parse::<Line>().is_err());
    }
}
