//! `cargo xtask test k8s`: finds or builds the real parts of a Kubernetes cluster with istiod, makes the images, and runs
//! the table of behaviours on real pods of two real nodes. Parts stay in the user's cache; nothing is installed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Args;

use crate::count::Count;
use crate::{envoy, programs, setup, step, workspace};

mod debian;
mod go;
mod images;

/// The variable by which the tests are told where the parts are.
pub(crate) const PARTS: &str = "WEIR_K8S";
/// The variable by which the tests are told whose manifests they apply.
const PROJECT: &str = "WEIR_PROJECT";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Run only behaviours whose name contains each of these words, in upper or lower case.
    filter: Vec<String>,
    /// How nodes see cgroups: version 2 alone as distributions have it today, or version 1 beside it. Given twice, one
    /// after the other.
    #[arg(long, value_parser = ["v2", "hybrid"], default_value = "v2")]
    mode: Vec<String>,
    /// Run everything: half an hour and more for each mode; names of what takes minutes say so.
    #[arg(long)]
    long: bool,
    /// Keep the cluster of a failed behaviour up until Enter or Ctrl-C, to look at it.
    #[arg(long)]
    keep: bool,
    /// Only build and fetch what is needed, and say where it is.
    #[arg(long)]
    prepare: bool,
}

/// Prepares everything and runs the table.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let start = Instant::now();
    envoy::fetch_if_possible();
    let Prepared { parts, images } = prepare()?;
    println!("── parts are in {}, images in {}", parts.display(), images.display());
    if arguments.prepare {
        println!("── a cluster for trying things: {}", programs::release("weir-k8s-tests up").display());
        return Ok(());
    }
    let mut behaviours = tests(&parts, "run");
    behaviours.args(arguments.mode.iter().flat_map(|mode| ["--mode", mode])).args(&arguments.filter);
    behaviours.args(arguments.long.then_some("--long")).args(arguments.keep.then_some("--keep"));
    let mut count = Count::default();
    let ran = step::watched("behaviours on a real cluster", &mut behaviours, |line| count.add(line))?;
    println!("── everything: took {:.0} s", start.elapsed().as_secs_f64());
    count.print();
    ensure!(ran && count.failed == 0, "not all behaviours passed");
    ensure!(count.passed > 0, "no behaviour was checked");
    Ok(())
}

/// The folder of the parts, with Prometheus in it where it can be had.
pub(crate) fn prometheus_if_possible() -> PathBuf {
    let folder = workspace::cache().join("k8s");
    let fetched = std::fs::create_dir_all(&folder).map_err(Into::into).and_then(|()| debian::prometheus(&folder));
    if let Err(error) = fetched {
        println!("── there is no Prometheus, so nothing that needs one will run: {error:#}");
    }
    folder
}

/// What a cluster of tests is made of.
pub(crate) struct Prepared {
    /// The folder of the real parts.
    pub(crate) parts: PathBuf,
    /// The folder of the images that all nodes get.
    pub(crate) images: PathBuf,
}

/// Makes everything be there, Weir and the programs of the tests included.
///
/// # Errors
/// If something can be neither found, fetched nor built.
pub(crate) fn prepare() -> Result<Prepared> {
    setup::run()?;
    let parts = prepare_parts()?;
    programs::build_for_real()?;
    let images = images::make(&parts)?;
    Ok(Prepared { parts, images })
}

/// A command of the programs that make such a cluster and look at it, as root.
pub(crate) fn tests(parts: &Path, command: &str) -> Command {
    let mut tests = workspace::as_root("env");
    tests.arg(format!("{PARTS}={}", parts.display())).arg(format!("{PROJECT}={}", workspace::root().display()));
    tests.arg(format!("{}={}", envoy::VARIABLE, envoy::binary().display()));
    tests.arg(programs::release("weir-k8s-tests")).arg(command);
    tests
}

/// Makes all parts be there; takes nothing that is. Returns their folder.
fn prepare_parts() -> Result<PathBuf> {
    ensure!(cfg!(target_arch = "x86_64"), "the parts are known for 64-bit x86 only");
    let folder = workspace::cache().join("k8s");
    std::fs::create_dir_all(&folder)?;
    debian::root(&folder)?;
    debian::prometheus(&folder)?;
    go::kubernetes(&folder)?;
    go::istio(&folder)?;
    go::containerd(&folder)?;
    go::definitions(&folder)?;
    go::tokens(&folder)?;
    Ok(folder)
}
