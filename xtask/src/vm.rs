//! `cargo xtask vm`: boots Debian's stock kernels in emulated machines and checks behaviours on each. Emulation needs no
//! virtualisation support and says what is right, never how fast it is. Nothing is installed or booted on this machine's
//! own disk, and the guests have no network.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Args;

use crate::count::Count;
use crate::{programs, setup, step, workspace};

mod guest;
mod kernel;
mod root;

use guest::{Errand, Outcome};
use kernel::Line;

/// Kernels that are tried unless others are named: the last before the oldest that Weir runs on, the long-term ones of
/// Debian's releases, and a recent one.
const USUAL: &[&str] = &["5.10", "6.1", "6.12", "7.2"];
/// Groups of behaviours, and three single ones, that use what kernels differ in. The others hold or fail alike everywhere,
/// and some of them have deadlines that an emulated machine misses.
const FILTERS: &[&str] =
    &["capture:", "faithful:", "wire:", "enrollment:", "last good", "no agent runs", "uninstalled"];

/// What the guests are made of, besides what the tests need anyway.
const NEEDS: &[(&str, &str)] = &[
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("busybox", "busybox-static"),
    ("xz", "xz-utils"),
    ("strip", "binutils"),
    ("cpio", "cpio"),
];

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Lines of kernels, such as 6.1; the newest of the line is taken.
    #[arg(default_values = USUAL)]
    kernels: Vec<Line>,
    /// Check the behaviours whose name contains this, in place of the usual ones.
    #[arg(long)]
    filter: Option<String>,
}

/// Boots each kernel and counts those on which all went well.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let start = Instant::now();
    if let Some(reason) = unable() {
        println!("SKIPPED: {reason}");
        Count { skipped: u32::try_from(arguments.kernels.len())?, ..Count::default() }.print();
        return Ok(());
    }
    setup::run()?;
    let missing = NEEDS.iter().filter(|(program, _)| setup::in_path(program).is_none());
    let packages: Vec<&str> = missing.map(|(_, package)| *package).collect();
    if !packages.is_empty() {
        setup::install_packages(&packages)?;
    }
    programs::build_for_real()?;
    let root = step::announced("root file system of the guests", || root::pack(&folder()?))?;
    let filters = arguments.filter.as_deref().map_or_else(|| FILTERS.to_vec(), |filter| vec![filter]);

    let mut lines = Vec::new();
    let mut count = Count::default();
    for &line in &arguments.kernels {
        let kernel = match step::announced(&format!("finding Linux {line}"), || kernel::find(line)) {
            Ok(kernel) => kernel,
            Err(error) => {
                count.skipped += 1;
                // apt goes on to name everything else that it did not get.
                let error = format!("{error:#}");
                lines.push(format!("SKIPPED  {line}: {}", error.lines().next().unwrap_or_default()));
                continue;
            }
        };
        let errand = if line.is_too_old() { Errand::Refusal } else { Errand::Behaviours(&filters) };
        let name = format!("Linux {}", kernel.release);
        match step::announced(&name, || guest::run(&kernel, &root, errand, &folder()?))? {
            Outcome::Well(what) => {
                count.passed += 1;
                lines.push(format!("ok       {}: {what}", kernel.release));
            }
            Outcome::Badly(what) => {
                count.failed += 1;
                lines.push(format!("FAILED   {}: {what}", kernel.release));
            }
        }
    }
    println!("── all kernels: took {:.0} s", start.elapsed().as_secs_f64());
    lines.iter().for_each(|line| println!("{line}"));
    count.print();
    ensure!(count.failed == 0, "not all kernels passed");
    Ok(())
}

/// Why this machine cannot do it, if it cannot.
fn unable() -> Option<&'static str> {
    if !cfg!(target_arch = "x86_64") {
        Some("the guests run this machine's programs, and only x86-64 kernels are known here")
    } else if setup::in_path("apt-get").is_none() || setup::in_path("dpkg-deb").is_none() {
        Some("kernels come from Debian, by apt-get and dpkg-deb, which are not here")
    } else {
        None
    }
}

/// Where the guests' root file system and consoles go.
fn folder() -> Result<PathBuf> {
    let folder = workspace::target().join("vm");
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}
