//! `cargo xtask vm`: boots Debian's stock kernels in emulated machines and checks behaviours on each. Emulation needs no
//! virtualisation support and says what is right, never how fast it is. Nothing is installed or booted on this machine's
//! own disk, and the guests have no network.

use anyhow::{Result, ensure};
use clap::Args;

use crate::count::Count;
use crate::{programs, setup, step, workspace};

mod guest;
mod kernel;
mod root;

use guest::Errand;
use kernel::Line;

/// Kernels that are tried unless others are named: the last before the oldest that Weir runs on, the long-term ones of
/// Debian's releases, and a recent one.
const USUAL: &[&str] = &["5.10", "6.1", "6.12", "7.2"];
/// The oldest line that Weir runs on.
const OLDEST: Line = (5, 15);
/// Groups of behaviours, and three single ones, that use what kernels differ in. The others hold or fail alike everywhere,
/// and some of them have deadlines that an emulated machine misses.
const FILTERS: &[&str] =
    &["capture:", "faithful:", "wire:", "enrollment:", "last good", "no agent runs", "uninstalled"];

/// What the guests are made of, besides what the tests need anyway.
const PROGRAMS: &[(&str, &str, &str)] = &[
    ("qemu-system-x86_64", "qemu-system-x86", "it emulates the machines"),
    ("busybox", "busybox-static", "the guests' shell"),
    ("xz", "xz-utils", "kernel modules are compressed"),
    ("strip", "binutils", "guests need no debug information"),
    ("cpio", "cpio", "it packs the guests' root file system"),
];

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Lines of kernels, such as 6.1; the newest of the line is taken.
    #[arg(default_values = USUAL, value_parser = kernel::line)]
    kernels: Vec<Line>,
    /// Check the behaviours whose name contains this, in place of the usual ones.
    #[arg(long)]
    filter: Option<String>,
}

/// Boots each kernel and counts those on which all went well.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    ensure!(cfg!(target_arch = "x86_64"), "guests run this machine's programs, and only x86-64 kernels are known here");
    setup::run()?;
    setup::programs(PROGRAMS)?;
    programs::build_for_real()?;
    let folder = workspace::target().join("vm");
    std::fs::create_dir_all(&folder)?;
    let root = step::announced("root file system of the guests", || root::pack(&folder))?;
    let filters = arguments.filter.as_deref().map_or_else(|| FILTERS.to_vec(), |filter| vec![filter]);
    let (mut lines, mut count) = (Vec::new(), Count::default());
    for &line in &arguments.kernels {
        let name = format!("Linux {}.{}", line.0, line.1);
        let kernel = match step::announced(&format!("finding {name}"), || kernel::find(line)) {
            Ok(kernel) => kernel,
            Err(error) => {
                count.skipped += 1;
                // apt goes on to name everything else that it did not get.
                lines.push(format!("SKIPPED  {name}: {}", format!("{error:#}").lines().next().unwrap_or_default()));
                continue;
            }
        };
        let errand = if line < OLDEST { Errand::Refusal } else { Errand::Behaviours(&filters) };
        match guest::run(&kernel, &root, errand, &folder)? {
            Ok(what) => {
                count.passed += 1;
                lines.push(format!("ok       {}: {what}", kernel.release));
            }
            Err(what) => {
                count.failed += 1;
                lines.push(format!("FAILED   {}: {what}", kernel.release));
            }
        }
    }
    lines.iter().for_each(|line| println!("{line}"));
    count.print();
    ensure!(count.failed == 0, "not all kernels passed");
    Ok(())
}
