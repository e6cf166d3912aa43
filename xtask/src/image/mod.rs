//! `cargo xtask image`: the image that the DaemonSet runs, as an archive for `ctr images import` and its kin. Needs no
//! container engine. What makes archives ([`archive`], [`layer`], [`libraries`]) knows nothing of Weir: tests make their
//! own images with it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::{step, workspace};

pub(crate) mod archive;
mod contents;
pub(crate) mod layer;
pub(crate) mod libraries;
pub(crate) mod programs;
mod sbom;

use archive::Packed;
use programs::Profile;

/// What may go over the network to every node.
const MOST_COMPRESSED_BYTES: usize = 25 << 20;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The archive to write; the bill of materials is written beside it. target/image/weir.tar if not given.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The image's name: what a pod's `image` says.
    #[arg(long, value_name = "REF", default_value = "weir:dev")]
    name: String,
    /// With how much effort the programs are built.
    #[arg(long, value_enum, default_value_t = Profile::Dist)]
    profile: Profile,
    /// Pack the same programs a second time and compare the digests. Whether a second build gives the same programs
    /// is not checked by it.
    #[arg(long)]
    check_reproducible: bool,
}

/// Builds the programs and packs the image.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let out = arguments.out.clone().unwrap_or_else(default_path);
    let packed = weir(&out, &arguments.name, arguments.profile)?;
    println!("{}: {} {}", out.display(), arguments.name, packed.digest);
    println!("{} compressed, {} unpacked", megabytes(packed.compressed_bytes), megabytes(packed.unpacked_bytes));
    if arguments.check_reproducible {
        let again = out.with_extension("again.tar");
        let second = weir(&again, &arguments.name, arguments.profile)?;
        std::fs::remove_file(&again)?;
        std::fs::remove_file(sbom_beside(&again))?;
        ensure!(packed == second, "packed again, it is {} instead of {}", second.digest, packed.digest);
        println!("packed again from the same programs: the same digest, {}", second.digest);
    }
    ensure!(
        packed.compressed_bytes <= MOST_COMPRESSED_BYTES,
        "the image is {} compressed; {} are allowed",
        megabytes(packed.compressed_bytes),
        megabytes(MOST_COMPRESSED_BYTES)
    );
    Ok(())
}

/// Where the archive is if nothing else is said.
pub(crate) fn default_path() -> PathBuf {
    workspace::target().join("image/weir.tar")
}

/// Builds Weir's programs and writes its image and, beside it, the bill of materials.
pub(crate) fn weir(out: &Path, name: &str, profile: Profile) -> Result<Packed> {
    let programs = programs::build(profile)?;
    step::announced(&format!("packing {name}"), || {
        let seconds = seconds_of_sources()?;
        let contents = contents::of(name, &programs, seconds)?;
        let packed = contents.image.write(out, seconds)?;
        std::fs::write(sbom_beside(out), &contents.sbom).context("writing the bill of materials")?;
        Ok(packed)
    })
}

fn sbom_beside(archive: &Path) -> PathBuf {
    archive.with_extension("spdx.json")
}

/// Every time in the image: what SOURCE_DATE_EPOCH says, in seconds since 1970, or 1970 itself.
fn seconds_of_sources() -> Result<u64> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(seconds) => {
            seconds.parse().with_context(|| format!("SOURCE_DATE_EPOCH is {seconds:?}, not a number of seconds"))
        }
        Err(_) => Ok(0),
    }
}

fn megabytes(bytes: usize) -> String {
    let tenths = (bytes * 10).div_ceil(1 << 20);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}
