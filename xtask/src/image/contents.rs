//! What Weir's image holds: the programs, what they need to be loaded, a name for the user, and the list of it all.
//! No shell, no package manager, no certificates: Weir trusts only what it is told to.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::Result;

use super::archive::Image;
use super::layer::{FILE, Layer};
use super::libraries;
use super::programs::Program;
use super::sbom;

/// The list of everything that is in the image, inside of it.
const SBOM: &str = "/usr/share/sbom/weir.spdx.json";

/// Weir's image and its bill of materials.
pub(super) struct Contents {
    pub(super) image: Image,
    pub(super) sbom: String,
}

/// Puts the image together. Times in it are `seconds` since 1970.
pub(super) fn of(name: &str, programs: &[Program], seconds: u64) -> Result<Contents> {
    let mut layer = Layer::new();
    let mut libraries: BTreeSet<PathBuf> = BTreeSet::new();
    for program in programs {
        libraries.extend(libraries::add_program(&mut layer, program.path, &program.from)?);
    }
    layer.bytes("/etc/passwd", "root:x:0:0:root:/:/sbin/nologin\n", FILE);
    layer.bytes("/etc/group", "root:x:0:\n", FILE);
    layer.directory("/tmp", 0o1777);
    let sbom = sbom::document(name, programs, &libraries, seconds)?;
    layer.bytes(SBOM, sbom.as_bytes(), FILE);
    let image = Image {
        name: name.to_owned(),
        layer,
        entrypoint: vec!["/usr/local/bin/weir".to_owned()],
        environment: vec!["PATH=/usr/local/bin".to_owned()],
        labels: vec![
            ("org.opencontainers.image.title".to_owned(), "weir".to_owned()),
            ("org.opencontainers.image.licenses".to_owned(), env!("CARGO_PKG_LICENSE").to_owned()),
            ("org.opencontainers.image.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ],
    };
    Ok(Contents { image, sbom })
}
