//! `cargo xtask audit`: what our dependencies may be. The same rules as in `deny.toml`, for those who have cargo-deny;
//! this check needs nothing but cargo, so it runs everywhere and always.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Result, ensure};

use crate::{step, workspace};

mod licence;

/// The only place a dependency may come from.
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Crates that must not be in the tree, with the reason.
const BANNED: &[(&str, &str)] = &[
    ("ring", "one crypto provider: aws-lc-rs"),
    ("openssl-sys", "one crypto provider: aws-lc-rs"),
    ("native-tls", "one TLS library: rustls"),
    ("openssl", "one TLS library: rustls"),
    ("serde_yaml", "no longer maintained; serde-saphyr reads YAML here"),
];

/// Crates whose types cross boundaries: two versions of one would not fit together.
const ONCE: &[&str] = &["aya", "bytes", "h2", "http", "hyper", "prost", "rustls", "tokio", "tonic"];

/// A crate of the tree.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    name: String,
    version: String,
    licence: String,
}

/// Checks sources, licences, bans and doubles.
pub(crate) fn run() -> Result<()> {
    step::announced("audit of dependencies", || {
        let mut tree = workspace::cargo();
        tree.args(["tree", "--workspace", "--locked", "--edges", "normal,build,dev", "--target", "all"]);
        tree.args(["--prefix", "none", "--format", "{p}|{l}"]);
        let packages = parse(&step::output(&mut tree)?);
        let mut faults = faults(&packages);
        faults.extend(foreign_sources(&fs::read_to_string(workspace::root().join("Cargo.lock"))?));
        faults.iter().for_each(|fault| println!("{fault}"));
        ensure!(faults.is_empty(), "{} faults in the dependencies", faults.len());
        println!("{} crates, all from crates.io and under allowed licences", packages.len());
        Ok(())
    })
}

/// Reads `cargo tree`'s lines, such as `rustls v0.23.46|Apache-2.0 OR ISC OR MIT (*)`.
fn parse(tree: &str) -> BTreeSet<Package> {
    let lines = tree.lines().filter_map(|line| {
        let (package, licence) = line.trim_end_matches(" (*)").split_once('|')?;
        let mut words = package.split(' ');
        let (name, version) = (words.next()?.to_owned(), words.next()?.trim_start_matches('v').to_owned());
        Some(Package { name, version, licence: licence.to_owned() })
    });
    lines.collect()
}

fn faults(packages: &BTreeSet<Package>) -> Vec<String> {
    let mut faults = Vec::new();
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for Package { name, version, licence } in packages {
        versions.entry(name).or_default().push(version);
        if !licence::is_allowed(licence) {
            faults.push(format!("{name} {version} is under {licence:?}, which is not on the list"));
        }
        if let Some((_, reason)) = BANNED.iter().find(|(banned, _)| banned == name) {
            faults.push(format!("{name} {version} is banned: {reason}"));
        }
    }
    for name in ONCE {
        if let Some([_, _, ..]) = versions.get(name).map(Vec::as_slice) {
            faults.push(format!("{name} is there more than once: {}", versions[name].join(", ")));
        }
    }
    faults
}

fn foreign_sources(lock: &str) -> Vec<String> {
    let sources = lock.lines().filter_map(|line| line.strip_prefix("source = "));
    let foreign = sources.filter(|source| source.trim_matches('"') != CRATES_IO);
    foreign.map(|source| format!("a dependency comes from {source}, not from crates.io")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_finds_what_it_forbids() {
        let tree = "weir v0.1.0 (/x/agent)|Apache-2.0\nring v0.17.14|Apache-2.0 AND ISC\nh2 v0.3.1|MIT\nh2 v0.4.20|MIT (*)\n\
                    secret v1.0.0|Proprietary\nh2 v0.4.20|MIT\n";
        let faults = faults(&parse(tree));
        assert_eq!(
            faults,
            [
                "ring 0.17.14 is banned: one crypto provider: aws-lc-rs",
                "secret 1.0.0 is under \"Proprietary\", which is not on the list",
                "h2 is there more than once: 0.3.1, 0.4.20",
            ]
        );
        assert_eq!(foreign_sources("source = \"registry+https://github.com/rust-lang/crates.io-index\"\n"), [""; 0]);
        assert_eq!(foreign_sources("source = \"git+https://x\"\n").len(), 1);
    }
}
