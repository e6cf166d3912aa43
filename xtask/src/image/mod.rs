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

use crate::tree::Tree;
use crate::{programs, step, workspace};

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
    /// With how much effort the programs are built: `dist` is what is shipped, smallest, fastest and slow to build;
    /// `release` is what tests run.
    #[arg(long, value_parser = ["dist", "release"], default_value = "dist")]
    profile: String,
}

/// Builds the programs and packs the image.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let out = arguments.out.clone().unwrap_or_else(|| workspace::target().join("image/weir.tar"));
    let packed = weir(&out, &arguments.name, &arguments.profile)?;
    println!("{}: {} {}", out.display(), arguments.name, packed.digest);
    println!("{} bytes compressed, {} unpacked", packed.compressed_bytes, packed.unpacked_bytes);
    ensure!(packed.compressed_bytes <= MOST_COMPRESSED_BYTES, "at most {MOST_COMPRESSED_BYTES} compressed are allowed");
    Ok(())
}

/// Builds Weir's programs and writes its image and, beside it, the bill of materials.
pub(crate) fn weir(out: &Path, name: &str, profile: &str) -> Result<Packed> {
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
    let seconds = std::env::var("SOURCE_DATE_EPOCH").unwrap_or_else(|_| "0".to_owned());
    seconds.parse().with_context(|| format!("SOURCE_DATE_EPOCH is {seconds:?}, not a number of seconds"))
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
        for listed in ["\"weir\"", "\"weir-cni\"", "pkg:cargo/rustls@", "pkg:deb/debian/libc6@"] {
            assert!(sbom.contains(listed), "{listed}");
        }
    }
}
