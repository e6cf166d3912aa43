//! What `kubectl apply -k` makes of the folders in `deploy/`: each renders. Without a kubectl they cannot be checked, which
//! is said, and is a fault where `CI` is set.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{setup, workspace};

/// Faults of all folders with a kustomization.
pub(super) fn faults() -> Result<Vec<String>> {
    let (root, cached) = (workspace::root(), workspace::cache().join("k8s/bin/kubectl"));
    let Some(kubectl) = setup::in_path("kubectl").or_else(|| cached.is_file().then_some(cached)) else {
        let missing = "NOT CHECKED: deploy/ is not rendered, as there is no kubectl in PATH or ~/.cache/weir \
                       (`cargo xtask test k8s --prepare` builds one)";
        println!("{missing}");
        return Ok(workspace::is_ci().then(|| missing.to_owned()).into_iter().collect());
    };
    let files = workspace::files_below(&root, "deploy", &["yaml"])?;
    let mut faults = Vec::new();
    for file in files.into_iter().filter(|file| file.ends_with("kustomization.yaml")) {
        let folder: PathBuf = file.parent().context("a file is in a folder")?.to_owned();
        let rendered =
            Command::new(&kubectl).arg("kustomize").arg(root.join(&folder)).output().context("running kubectl")?;
        let (text, complaint) = (String::from_utf8_lossy(&rendered.stdout), String::from_utf8_lossy(&rendered.stderr));
        if !rendered.status.success() {
            faults.push(format!("{}: does not render: {}", folder.display(), complaint.trim()));
        }
        faults.extend(unknown_names(&text).into_iter().map(|name| {
            format!("{}: $({name}) is used above where it is set, so the kubelet does not fill it in", folder.display())
        }));
    }
    Ok(faults)
}

/// Variables of a container that another one uses before they are set.
pub(super) fn unknown_names(rendered: &str) -> Vec<&str> {
    let (mut known, mut unknown) = (BTreeSet::new(), Vec::new());
    for line in rendered.lines().map(str::trim) {
        if line == "env:" {
            known.clear();
        }
        known.extend(line.strip_prefix("- name: "));
        let used = line.split_once("$(").and_then(|(_, rest)| rest.split_once(')'));
        unknown.extend(used.map(|(name, _)| name).filter(|name| !known.contains(name)));
    }
    unknown
}
