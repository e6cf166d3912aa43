//! What `kubectl apply -k` makes of the folders in `deploy/`: each renders. Without a kubectl they cannot be checked, which
//! is said, and is a fault where `CI` is set.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::workspace;

/// Where the tests on a real cluster keep theirs, below the home directory.
const CACHED: &str = ".cache/weir/k8s/bin/kubectl";

/// Faults of all folders.
pub(super) fn faults() -> Result<Vec<String>> {
    let mut faults = Vec::new();
    let Some(kubectl) = kubectl() else {
        let missing = "NOT CHECKED: deploy/ is not rendered, as there is no kubectl in PATH or ~/.cache/weir \
                       (`cargo xtask test k8s --prepare` builds one)";
        println!("{missing}");
        faults.extend(workspace::is_ci().then(|| missing.to_owned()));
        return Ok(faults);
    };
    for folder in folders()? {
        let rendered = Command::new(&kubectl).arg("kustomize").arg(&folder).output().context("running kubectl")?;
        if !rendered.status.success() {
            let said = String::from_utf8_lossy(&rendered.stderr);
            faults.push(format!("{}: does not render: {}", folder.display(), said.trim()));
            continue;
        }
        let text = String::from_utf8_lossy(&rendered.stdout);
        faults.extend(unknown_names(&text).into_iter().map(|name| {
            format!("{}: $({name}) is used above where it is set, so the kubelet does not fill it in", folder.display())
        }));
    }
    Ok(faults)
}

/// Every folder with a kustomization.
fn folders() -> Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(workspace::root().join("deploy")).context("reading deploy")? {
        let path = entry?.path();
        if path.join("kustomization.yaml").exists() {
            folders.push(path);
        }
    }
    folders.sort();
    Ok(folders)
}

fn kubectl() -> Option<PathBuf> {
    let in_path = std::env::var_os("PATH").unwrap_or_default();
    let cached = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(CACHED));
    let named = std::env::split_paths(&in_path).map(|directory| directory.join("kubectl"));
    named.chain(cached).find(|path| path.is_file())
}

/// Variables of a container that another one uses before they are set.
fn unknown_names(rendered: &str) -> Vec<String> {
    let mut known = Vec::new();
    let mut unknown = Vec::new();
    for line in rendered.lines().map(str::trim) {
        if line == "env:" {
            known.clear();
        } else if let Some(name) = line.strip_prefix("- name: ") {
            known.push(name.to_owned());
        }
        if let Some((used, _)) = line.split_once("$(").and_then(|(_, rest)| rest.split_once(')'))
            && !known.iter().any(|name| name == used)
        {
            unknown.push(used.to_owned());
        }
    }
    unknown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_known_below_where_it_is_set() {
        let env = |lines: [&str; 4]| format!("env:\n{}\n", lines.join("\n"));
        let known = ["- name: NODE_NAME", "  value: n", "- name: AUTH_TOKEN", "  value: /t/$(NODE_NAME).token"];
        let [name, value, token, path] = known;
        assert_eq!(unknown_names(&env(known)), [""; 0]);
        assert_eq!(unknown_names(&env([token, path, name, value])), ["NODE_NAME"]);
    }
}
