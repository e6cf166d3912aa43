//! `cargo xtask tidy`: what a compiler cannot check and text can show. One line per fault, with the rule's reason.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{step, workspace};

mod circles;
mod deploy;
mod documents;
mod files;
mod reader;
mod rooms;
mod rust;

use rust::Crate;

/// Directories whose Rust files are ours.
const OURS: &[&str] = &["agent", "cni", "common", "ebpf", "fuzz", "tests", "xtask"];
/// The agent's library: the only crate with layers.
const AGENT: &str = "agent/src/lib.rs";

/// Faults by rule. A file that two crates have is told of once.
type Faults = BTreeMap<&'static str, BTreeSet<String>>;

/// Checks all rules; `commands` are xtask's own, which documents name.
pub(crate) fn run(commands: &[String]) -> Result<()> {
    step::announced("tidy", || {
        let mut faults = Faults::new();
        let mut test_lines = BTreeMap::new();
        for root in crate_roots()? {
            let krate = Crate::read(&workspace::root(), &root)?;
            test_lines.extend(krate.files().into_iter().map(|(file, lines)| (file.to_owned(), lines)));
            faults.entry("circles").or_default().extend(circles::circle_faults(&krate));
            faults.entry("upwards").or_default().extend(circles::upward_faults(&krate));
            faults.entry("sleeps").or_default().extend(files::sleep_faults(&krate));
            if root == Path::new(AGENT) {
                let lib = fs::read_to_string(workspace::root().join(AGENT))?;
                faults.entry("layers").or_default().extend(rooms::layer_faults(&krate, &rooms::Layers::parse(&lib)?));
                faults.entry("doors").or_default().extend(rooms::door_faults(&krate));
            }
        }
        let (files, of_files) = check_files(&test_lines)?;
        faults.extend(of_files);
        faults.entry("documents").or_default().extend(documents::faults(commands)?);
        faults.entry("deploy").or_default().extend(deploy::faults()?);
        let broken: usize = faults.values().map(BTreeSet::len).sum();
        for (rule, faults) in &faults {
            faults.iter().for_each(|fault| println!("{rule}: {fault}"));
        }
        ensure!(broken == 0, "{broken} faults");
        println!("{files} files are tidy");
        Ok(())
    })
}

/// Checks every file by itself, and the sizes of the agent's; how many there are. A file that no crate has as a module
/// outside its tests is all tests.
fn check_files(test_lines: &BTreeMap<PathBuf, usize>) -> Result<(usize, Faults)> {
    let (mut faults, mut sizes) = (BTreeSet::new(), Vec::new());
    let all = workspace::rust_files(OURS)?;
    for file in &all {
        let text = fs::read_to_string(workspace::root().join(file))?;
        let tests = test_lines.get(file).copied();
        faults.extend(files::faults(file, &text, tests.unwrap_or_default()));
        if let Some(tests) = tests.filter(|_| file.starts_with("agent/src")) {
            sizes.push((file.as_path(), text.lines().count() - tests));
        }
    }
    let (figures, wrong) = files::sizes(&sizes);
    println!("agent/src without tests: {figures}");
    Ok((all.len(), Faults::from([("files", faults), ("sizes", wrong.into_iter().collect())])))
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::Path;

    use super::rust::Crate;

    /// A crate of these files; those that declare modules are written for them.
    pub(super) fn crate_of(files: &[(&str, &str)]) -> Crate {
        let folder = tempfile::tempdir().unwrap();
        let mut texts: BTreeMap<String, String> = BTreeMap::from([("lib.rs".to_owned(), String::new())]);
        for (path, text) in files {
            texts.entry((*path).to_owned()).or_default().push_str(text);
            let mut path = Path::new(path).with_extension("");
            if path.ends_with("mod") {
                path.pop();
            }
            for at in path.ancestors().filter(|at| !at.as_os_str().is_empty()) {
                let above = at.parent().filter(|above| !above.as_os_str().is_empty());
                let above = above.map_or("lib.rs".to_owned(), |above| format!("{}/mod.rs", above.display()));
                let declared = format!(" pub mod {};", at.file_name().unwrap().display());
                let text = texts.entry(above).or_default();
                if !text.contains(&declared) {
                    text.push_str(&declared);
                }
            }
        }
        for (path, text) in texts {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Crate::read(folder.path(), Path::new("lib.rs")).unwrap()
    }
}
