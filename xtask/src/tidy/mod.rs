//! `cargo xtask tidy`: what a compiler cannot check and text can show. One line per fault, with the rule's reason.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{step, workspace};

mod deploy;
mod documents;
mod files;
mod rules;
mod rust;
#[cfg(test)]
mod tests;
mod uses;

use rules::Rules;
use rust::Crate;

/// The agent's library: the only crate with layers.
const AGENT: &str = "agent/src/lib.rs";

/// Checks all rules; `commands` are xtask's own, which documents name.
pub(crate) fn run(commands: &[String]) -> Result<()> {
    step::announced("tidy", || {
        let root = workspace::root();
        let rules =
            serde_json::from_str(&fs::read_to_string(root.join("xtask/tidy.json"))?).context("xtask/tidy.json")?;
        let (figures, mut faults) = faults(&root, &crate_roots()?, &rules, commands)?;
        faults.extend(deploy::faults()?);
        faults.iter().for_each(|fault| println!("{fault}"));
        println!("agent/src without tests: {figures}");
        ensure!(faults.is_empty(), "{} faults", faults.len());
        Ok(())
    })
}

/// What is wrong with the code and the documents below a folder, and how large the agent's files are.
fn faults(root: &Path, crates: &[PathBuf], rules: &Rules, commands: &[String]) -> Result<(String, BTreeSet<String>)> {
    let mut faults = BTreeSet::new();
    let mut test_lines = BTreeMap::new();
    for crate_root in crates {
        let krate = Crate::read(root, crate_root)?;
        faults.extend(uses::circles(&krate));
        faults.extend(uses::upwards(&krate));
        if crate_root == Path::new(AGENT) {
            faults.extend(uses::layers(&krate, &fs::read_to_string(root.join(AGENT))?));
            faults.extend(uses::names_outside_their_places(&krate, rules));
        }
        test_lines.extend(krate.test_lines);
    }
    let mut sizes = Vec::new();
    let all = workspace::files_below(root, ".", &["rs"])?;
    for file in &all {
        let text = fs::read_to_string(root.join(file))?;
        // A file that no crate has as a module outside its tests is all tests.
        let tests = test_lines.get(file).copied();
        faults.extend(files::faults(file, &text, tests.unwrap_or_default(), rules));
        if let Some(tests) = tests.filter(|_| file.starts_with("agent/src")) {
            sizes.push(text.lines().count() - tests);
        }
    }
    let (figures, of_sizes) = files::sizes(sizes);
    faults.extend(of_sizes);
    faults.extend(documents::faults(root, &rules.documents, commands)?);
    Ok((figures, faults))
}

/// The root file of every crate, relative to the workspace.
fn crate_roots() -> Result<Vec<PathBuf>> {
    let mut roots = Vec::new();
    for manifest in ["Cargo.toml", "fuzz/Cargo.toml"] {
        let mut metadata = workspace::cargo();
        metadata.args(["metadata", "--no-deps", "--locked", "--format-version", "1", "--manifest-path", manifest]);
        let metadata: Value = serde_json::from_str(&step::output(&mut metadata)?)?;
        let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
        let targets = packages.iter().filter_map(|package| package["targets"].as_array()).flatten();
        for path in targets.filter_map(|target| target["src_path"].as_str()) {
            roots.push(Path::new(path).strip_prefix(workspace::root())?.to_owned());
        }
    }
    Ok(roots)
}
