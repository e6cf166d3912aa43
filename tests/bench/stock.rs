//! The kernel's own defaults where a machine may have others: they decide how fast bytes move, and results from two
//! machines could not be compared without them.

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use weir_tests::namespace;
use weir_tests::place::Place;

/// Settings below `/proc/sys` and what a stock kernel has there.
pub(crate) const STOCK: &[(&str, &str)] = &[
    ("net/ipv4/tcp_congestion_control", "cubic"),
    ("net/ipv4/tcp_rmem", "4096 131072 6291456"),
    ("net/ipv4/tcp_wmem", "4096 16384 4194304"),
];
/// The algorithms that every program of the machine may choose; a namespace can have no other as its default.
const ALLOWED: &str = "net/ipv4/tcp_allowed_congestion_control";

/// Gives places the stock settings.
pub(crate) fn apply<'a>(places: impl Iterator<Item = &'a Place>) -> Result<()> {
    let _while_it_is_set = AllowCubic::begin()?;
    for place in places {
        let write = || STOCK.iter().try_for_each(|(key, value)| write(key, value));
        namespace::enter(place.netns().as_fd(), write)?.with_context(|| format!("in {}", place.name()))?;
    }
    Ok(())
}

/// While it lives, cubic may be chosen. What was allowed before is so again afterwards.
struct AllowCubic {
    before: String,
}

impl AllowCubic {
    fn begin() -> Result<Self> {
        let before = fs::read_to_string(path(ALLOWED)).with_context(|| format!("reading {ALLOWED}"))?;
        if !before.split_whitespace().any(|name| name == "cubic") {
            write(ALLOWED, &format!("{} cubic", before.trim()))?;
        }
        Ok(Self { before })
    }
}

impl Drop for AllowCubic {
    fn drop(&mut self) {
        if let Err(error) = write(ALLOWED, self.before.trim()) {
            eprintln!("{error:#}");
        }
    }
}

fn write(key: &str, value: &str) -> Result<()> {
    fs::write(path(key), value).with_context(|| format!("setting {key} to {value}"))
}

fn path(key: &str) -> PathBuf {
    Path::new("/proc/sys").join(key)
}
