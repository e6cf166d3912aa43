//! `cargo xtask image`: the image that the DaemonSet runs, as an archive for `ctr images import` and its kin. Needs no
//! container engine.
//!
//! It holds the programs, what they need to be loaded, a name for the user, and the list of it all. No shell, no package
//! manager, no certificates: Weir trusts only what it is told to.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::json;

use crate::programs::{self, Profile};
use crate::tree::Tree;
use crate::{step, workspace};

pub(crate) mod oci;
mod sbom;

use oci::{Image, Packed};

/// The list of everything that is in the image, inside of it.
const SBOM: &str = "/usr/share/sbom/weir.spdx.json";
/// What may go over the network to every node.
const MOST_COMPRESSED_BYTES: u64 = 25 << 20;

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
    let out = arguments.out.clone().unwrap_or_else(|| workspace::target().join("image/weir.tar"));
    let packed = weir(&out, &arguments.name, arguments.profile)?;
    println!("{}: {} {}", out.display(), arguments.name, packed.digest);
    println!("{} compressed, {} unpacked", megabytes(packed.compressed_bytes), megabytes(packed.unpacked_bytes));
    if arguments.check_reproducible {
        let again = out.with_extension("again.tar");
        let second = weir(&again, &arguments.name, arguments.profile)?;
        fs::remove_file(&again)?;
        fs::remove_file(sbom_beside(&again))?;
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

/// Builds Weir's programs and writes its image and, beside it, the bill of materials.
pub(crate) fn weir(out: &Path, name: &str, profile: Profile) -> Result<Packed> {
    let [weir, plugin] = programs::build_for_image(profile)?;
    step::announced(&format!("packing {name}"), || pack(out, name, &weir, &plugin, seconds_of_sources()?))
}

/// Packs the image of these programs. Times in it are `seconds` since 1970.
fn pack(out: &Path, name: &str, weir: &Path, plugin: &Path, seconds: u64) -> Result<Packed> {
    let programs = [("weir", "/usr/local/bin/weir", weir), ("weir-cni", "/usr/local/bin/weir-cni", plugin)];
    let root = Tree::new(out.with_extension("root"))?;
    let mut libraries = BTreeSet::new();
    for (_, path, from) in programs {
        libraries.extend(root.program(path, from)?);
    }
    root.text("/etc/passwd", "root:x:0:0:root:/:/sbin/nologin\n")?;
    root.text("/etc/group", "root:x:0:\n")?;
    root.directory("/tmp", 0o1777)?;
    let sbom = sbom::document(name, &programs, &libraries, seconds)?;
    root.text(SBOM, &sbom)?;
    let labels = json!({
        "org.opencontainers.image.title": "weir",
        "org.opencontainers.image.licenses": env!("CARGO_PKG_LICENSE"),
        "org.opencontainers.image.version": env!("CARGO_PKG_VERSION"),
    });
    let image = Image { name, entrypoint: programs[0].1, path: "/usr/local/bin", labels };
    let packed = image.pack(&root, out, seconds)?;
    fs::write(sbom_beside(out), &sbom).context("writing the bill of materials")?;
    fs::remove_dir_all(root.folder())?;
    Ok(packed)
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

fn megabytes(bytes: u64) -> String {
    let tenths = (bytes * 10).div_ceil(1 << 20);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_programs_give_the_same_image_and_every_one_is_on_the_list() {
        let folder = tempfile::tempdir().unwrap();
        let (weir, plugin) = (Path::new("/bin/sh"), Path::new("/bin/true"));
        let packed =
            ["one.tar", "again.tar"].map(|name| pack(&folder.path().join(name), "weir:test", weir, plugin, 0).unwrap());
        assert_eq!(packed[0], packed[1]);
        let sbom = fs::read_to_string(folder.path().join("one.spdx.json")).unwrap();
        for listed in ["SPDXRef-program-weir", "SPDXRef-program-weir-cni", "SPDXRef-crate-rustls-", "libc.so.6"] {
            assert!(sbom.contains(listed), "{listed}");
        }
    }
}
