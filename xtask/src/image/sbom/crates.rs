//! Which crates are linked into a program, as cargo resolves them for this machine.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use crate::{step, workspace};

/// The kernel programs are a file inside of Weir, built from a package of their own for a target of their own.
const EMBEDDED: &[(&str, &str, &str)] = &[("weir", "weir-ebpf", "bpfel-unknown-none")];

/// A crate, with the licence that it declares.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Crate {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) licence: String,
}

/// The crates that are linked into a package's program. What only runs during the build is not among them.
pub(super) fn of(package: &str) -> Result<BTreeSet<Crate>> {
    let mut crates = tree(package, None)?;
    for (_, inner, target) in EMBEDDED.iter().filter(|(outer, ..)| *outer == package) {
        crates.extend(tree(inner, Some(target))?);
    }
    Ok(crates)
}

/// What a package is linked from, for a target or for this machine.
fn tree(package: &str, target: Option<&str>) -> Result<BTreeSet<Crate>> {
    let mut tree = workspace::cargo();
    tree.args(["tree", "--locked", "--package", package, "--edges", "normal,no-proc-macro"]);
    tree.args(["--prefix", "none", "--format", "{p}|{l}"]);
    if let Some(target) = target {
        tree.args(["--target", target]);
    }
    Ok(parse(&step::output(&mut tree)?))
}

/// Reads `cargo tree`'s lines, such as `rustls v0.23.46|Apache-2.0 OR ISC OR MIT (*)`.
fn parse(tree: &str) -> BTreeSet<Crate> {
    let lines = tree.lines().filter_map(|line| {
        let (package, licence) = line.trim_end_matches(" (*)").split_once('|')?;
        let mut words = package.split(' ');
        let (name, version) = (words.next()?.to_owned(), words.next()?.trim_start_matches('v').to_owned());
        // Before SPDX, a slash meant "or".
        let licence = match licence.split('/').map(str::trim).collect::<Vec<_>>().join(" OR ") {
            none if none.is_empty() => "NOASSERTION".to_owned(),
            some => some,
        };
        Some(Crate { name, version, licence })
    });
    lines.collect()
}

/// The checksums that Cargo.lock holds, by name and version.
pub(super) fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let value = |package: &str, key: &str| {
        let line = package.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "))?;
        Some(line.trim_matches('"').to_owned())
    };
    let packages = lock.split("[[package]]").filter_map(|package| {
        Some(((value(package, "name")?, value(package, "version")?), value(package, "checksum")?))
    });
    packages.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_read_once_per_crate_with_licences_as_expressions() {
        let crates = parse(
            "weir v0.1.0 (/x/agent)|Apache-2.0\nlog v0.4.1|MIT/Apache-2.0\nlog v0.4.1|MIT/Apache-2.0 (*)\nx v1.0.0|\n",
        );
        let lines: Vec<String> =
            crates.iter().map(|Crate { name, version, licence }| format!("{name} {version} {licence}")).collect();
        assert_eq!(lines, ["log 0.4.1 MIT OR Apache-2.0", "weir 0.1.0 Apache-2.0", "x 1.0.0 NOASSERTION"]);
    }

    #[test]
    fn only_what_a_registry_gave_has_a_checksum() {
        let lock = "[[package]]\nname = \"weir\"\nversion = \"0.1.0\"\n\n[[package]]\nname = \"log\"\nversion = \"0.4.1\"\n\
                    source = \"registry\"\nchecksum = \"abc\"\n";
        let expected = BTreeMap::from([(("log".to_owned(), "0.4.1".to_owned()), "abc".to_owned())]);
        assert_eq!(checksums(lock), expected);
    }

    #[test]
    fn weir_is_linked_from_its_own_crates_and_its_kernel_programs() {
        let names: BTreeSet<String> = of("weir").unwrap().into_iter().map(|linked| linked.name).collect();
        for expected in ["weir", "weir-common", "weir-ebpf", "aya-ebpf", "rustls", "tokio"] {
            assert!(names.contains(expected), "{expected}");
        }
        for only_builds in ["protox", "aya-build", "clap_derive"] {
            assert!(!names.contains(only_builds), "{only_builds}");
        }
    }
}
