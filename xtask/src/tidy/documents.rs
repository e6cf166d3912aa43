//! Documents that speak of code: the paths they name exist, and so do the settings and the commands.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result};

use crate::workspace;

/// Documents whose paths are checked.
const WITH_PATHS: &[&str] = &["ARCHITECTURE.md", "CONTRIBUTING.md", "README.md", "docs/input.md"];
/// Documents, and folders of such, whose `cargo xtask …` must be commands.
const WITH_COMMANDS: &[&str] = &["ARCHITECTURE.md", "CONTRIBUTING.md", "README.md", "docs"];
/// Documents whose environment variables must be settings of the agent.
const WITH_SETTINGS: &[&str] = &[
    "deploy/base/daemonset.yaml",
    "README.md",
    "deploy/istiod/kustomization.yaml",
    "deploy/standalone/kustomization.yaml",
    "deploy/standalone/control-plane.yaml",
    "deploy/ipv6/kustomization.yaml",
];
/// Files that define settings, and directories of such.
const SETTINGS: &[&str] = &["agent/src/config", "agent/src/control_plane/config.rs"];
/// Directories that a path in a document begins with.
const ROOTS: &[&str] =
    &["agent/", "cni/", "common/", "ebpf/", "fuzz/", "proto/", "tests/", "xtask/", ".ci/", ".cargo/"];

/// Faults of all documents; `commands` are those that there are.
pub(super) fn faults(commands: &[String]) -> Result<Vec<String>> {
    let root = workspace::root();
    let read = |name: &str| fs::read_to_string(root.join(name)).with_context(|| format!("reading {name}"));
    let mut faults = Vec::new();
    for document in WITH_PATHS {
        let text = read(document)?;
        let missing = paths(&text).into_iter().filter(|path| !root.join(path).exists());
        faults.extend(missing.map(|path| format!("{document}: there is no {path}")));
    }
    for document in WITH_COMMANDS {
        let folder = root.join(document);
        let files = match folder.is_dir() {
            true => fs::read_dir(&folder)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?,
            false => vec![folder],
        };
        for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "md")) {
            let text = fs::read_to_string(file)?;
            let unknown = commands_in(&text).into_iter().filter(|name| !commands.iter().any(|command| command == name));
            faults.extend(unknown.map(|name| format!("{}: there is no cargo xtask {name}", file.display())));
        }
    }
    let mut definitions = String::new();
    for path in SETTINGS {
        match root.join(path).is_dir() {
            true => workspace::rust_files(&[path])?
                .iter()
                .try_for_each(|file| fs::read_to_string(root.join(file)).map(|text| definitions += &text))?,
            false => definitions += &read(path)?,
        }
    }
    let settings: BTreeSet<&str> =
        definitions.split("env = \"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    for document in WITH_SETTINGS {
        let text = read(document)?;
        let unknown = own_variables(&text).into_iter().filter(|name| !settings.contains(name));
        faults.extend(unknown.map(|name| format!("{document}: {name} is no setting of {SETTINGS:?}")));
    }
    Ok(faults)
}

/// The paths of this workspace in backticks, with `{a,b}` written out.
fn paths(text: &str) -> Vec<String> {
    let quoted = text.split('`').skip(1).step_by(2);
    let ours =
        quoted.filter(|word| ROOTS.iter().any(|root| word.starts_with(root)) && !word.contains([' ', '*', '<', '…']));
    ours.flat_map(expanded).collect()
}

fn expanded(path: &str) -> Vec<String> {
    let Some((before, rest)) = path.split_once('{') else { return vec![path.to_owned()] };
    let Some((choices, after)) = rest.split_once('}') else { return vec![path.to_owned()] };
    choices.split(',').map(|choice| format!("{before}{}{after}", choice.trim())).collect()
}

/// The words that follow `cargo xtask`.
fn commands_in(text: &str) -> BTreeSet<&str> {
    let rest = text.split("cargo xtask ").skip(1);
    let ends = |letter: char| !letter.is_ascii_alphanumeric() && letter != '-';
    rest.filter_map(|rest| rest.split(ends).next()).filter(|word| !word.is_empty()).collect()
}

/// The words that look like settings of ours.
fn own_variables(text: &str) -> BTreeSet<&str> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words.filter(|word| word.starts_with("WEIR_") && word.len() > "WEIR_".len()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_found_in_backticks() {
        let text =
            "`ebpf/src/connect.rs` then `agent/src/proxy/{outbound,inbound}.rs`, not `cargo xtask` or agent/src/x.rs";
        let expected = ["ebpf/src/connect.rs", "agent/src/proxy/outbound.rs", "agent/src/proxy/inbound.rs"];
        assert_eq!(paths(text), expected);
    }

    #[test]
    fn commands_are_found_after_the_name_that_they_have_in_common() {
        let text = "`cargo xtask ci`, `cargo xtask test k8s --keep` and `cargo xtask …`; cargo xtask fuzz.";
        assert_eq!(commands_in(text).into_iter().collect::<Vec<_>>(), ["ci", "fuzz", "test"]);
    }

    #[test]
    fn settings_are_found_anywhere() {
        let found = own_variables("name: WEIR_BPF_DIR, set WEIR_LOG=x and WEIR_");
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["WEIR_BPF_DIR", "WEIR_LOG"]);
    }
}
