//! `weir-runc-pod` stands before runc on nodes where cgroup2 has no controllers and the kubelet therefore names no
//! cgroups: it puts each container where a kubelet would, at `/kubepods/pod<uid>/<container>`, and leaves resource limits
//! out. It finds the real runc as `runc` in the folder that it is called from, and does nothing else.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use serde_json::Value;

/// What containerd's kubelet plugin writes into a bundle: the uid of the pod.
const POD_UID: &str = "io.kubernetes.cri.sandbox-uid";
const PODS: &str = "/sys/fs/cgroup/kubepods";

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let says = |word: &str| arguments.iter().any(|argument| argument == word);
    let called = std::env::args().next().context("called without a name")?;
    let runc = Path::new(&called).with_file_name("runc");
    let container = arguments.last().map_or("", String::as_str);
    if says("create") {
        let bundle = arguments.iter().skip_while(|argument| *argument != "--bundle").nth(1);
        rewrite(&Path::new(bundle.context("create without a bundle")?).join("config.json"), container)?;
    }
    if says("update") {
        // Only limits are updated.
        return Ok(ExitCode::SUCCESS);
    }
    if says("delete") {
        let pods = pods_of(container);
        let status = Command::new(&runc).args(&arguments).status().context("running runc")?;
        // Only the last container's deletion finds the pod's directory empty.
        pods.iter().for_each(|pod| drop(fs::remove_dir(pod)));
        return Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from));
    }
    Err(Command::new(&runc).args(&arguments).exec()).context("running runc")
}

fn rewrite(file: &Path, container: &str) -> Result<()> {
    let text = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    let mut spec: Value = serde_json::from_slice(&text).context("reading the container's description")?;
    let uid = spec["annotations"][POD_UID].as_str().map(str::to_owned);
    let linux = spec["linux"].as_object_mut().context("a container without a linux part")?;
    if let Some(resources) = linux.get_mut("resources").and_then(Value::as_object_mut) {
        resources.retain(|kind, _| kind == "devices");
    }
    if let Some(uid) = uid {
        linux.insert("cgroupsPath".to_owned(), format!("/kubepods/pod{uid}/{container}").into());
    }
    fs::write(file, serde_json::to_vec(&spec)?).with_context(|| format!("writing {}", file.display()))
}

/// The directories of the pods that have the container.
fn pods_of(container: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(PODS) else { return Vec::new() };
    entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|pod| pod.join(container).is_dir()).collect()
}
