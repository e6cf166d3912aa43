//! Nothing of a cluster outlives it, however it ends, and nothing of the machine is changed by one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use weir_tests::cluster::mode::Mode;
use weir_tests::cluster::pods::{Namespace, app};
use weir_tests::cluster::{Cluster, Settings};
use weir_tests::cluster::{NODES, parts};
use weir_tests::{run, wait};

use crate::harness::{Case, Check, usual};

pub(crate) const LONG: &[Case] = &[
    Case {
        name: "teardown: nothing is left of a cluster, and nothing of the machine is changed",
        check: Check::Alone(in_order),
    },
    Case {
        name: "teardown: a killed run dies at once, and the next start clears what is left",
        check: Check::Alone(killed),
    },
];

/// Settings that a kubelet writes on a machine of its own, and rules and links that a cluster needs.
fn machine() -> Result<Vec<String>> {
    let settings =
        ["vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys"];
    let mut seen = Vec::new();
    for setting in settings {
        let path = Path::new("/proc/sys").join(setting);
        seen.push(format!("{setting} = {}", fs::read_to_string(&path)?.trim()));
    }
    for (program, arguments) in [("ip", &["-oneline", "link"][..]), ("ip", &["route"]), ("nft", &["list", "tables"])] {
        let output = Command::new(program).args(arguments).output().with_context(|| format!("running {program}"))?;
        // Links of other tests on the machine may come and go; a cluster's have names of its own.
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let ours = ["bridge0", "cni0", "to-na", "10.25", "kube"];
        seen.extend(text.lines().filter(|line| ours.iter().any(|word| line.contains(word))).map(str::to_owned));
    }
    for path in ["/etc/cni", "/opt/cni", "/var/lib/kubelet", "/var/lib/containerd", "/usr/libexec/kubernetes"] {
        seen.push(format!("{path}: {}", Path::new(path).exists()));
    }
    Ok(seen)
}

/// What carries a run's name: folders, mounts, cgroups of every hierarchy.
fn remains(name: &str) -> Vec<String> {
    let folders = ["/run/weir-tests", "/var/tmp/weir-tests"].map(|folder| Path::new(folder).join(name));
    let mut found: Vec<String> =
        folders.iter().filter(|folder| folder.exists()).map(|folder| folder.display().to_string()).collect();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    found.extend(mounts.lines().filter(|line| line.contains(name)).map(str::to_owned));
    found.extend(cgroups(Path::new("/sys/fs/cgroup"), name, 5).iter().map(|path| path.display().to_string()));
    found
}

fn cgroups(below: &Path, name: &str, depth: u32) -> Vec<PathBuf> {
    let entries = fs::read_dir(below).into_iter().flatten().flatten();
    let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    directories
        .flat_map(|entry| {
            let path = entry.path();
            if entry.file_name().to_string_lossy() == name {
                return vec![path];
            }
            if depth == 0 { Vec::new() } else { cgroups(&path, name, depth - 1) }
        })
        .collect()
}

fn in_order(mode: Mode) -> Result<()> {
    let before = machine()?;
    let cluster = Cluster::start(Settings { istiod: false, ..usual(mode)? })?;
    let name = cluster.run().name().to_owned();
    let namespace = Namespace::create(&cluster.kubectl, "remains", &[])?;
    for node in NODES {
        namespace.apply(&app(&format!("server-{node}"), Some(node), &["serve", "echo:7001"]))?;
    }
    for node in NODES {
        namespace.ready(&format!("server-{node}"))?;
    }
    drop(namespace);
    ensure!(!remains(&name).is_empty(), "nothing of a running cluster is found by its name");
    drop(cluster);
    let left = remains(&name);
    ensure!(left.is_empty(), "left over: {left:#?}");
    let after = machine()?;
    ensure!(before == after, "the machine was changed:\n{before:#?}\n{after:#?}");
    Ok(())
}

fn killed(mode: Mode) -> Result<()> {
    let mut up = Command::new(parts::this_program()?);
    up.args(["up", "--without-istiod", "--mode", &mode.to_string()]);
    let mut up = up.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let id = up.id();
    let output = up.stdout.take().expect("it is piped");
    let ready = std::io::BufRead::lines(std::io::BufReader::new(output)).map_while(Result::ok);
    let said: Vec<String> = ready.take_while(|line| !line.starts_with("ready")).collect();
    let logs = said.iter().find_map(|line| line.strip_prefix("logs:")).map(|path| PathBuf::from(path.trim()));
    kill(Pid::from_raw(id.cast_signed()), Signal::SIGKILL)?;
    up.wait()?;
    let logs = logs.with_context(|| format!("it did not come up: {said:?}"))?;
    let name = logs.parent().and_then(Path::file_name).context("logs are in the run's folder")?;
    let name = name.to_string_lossy().into_owned();
    let cgroup = weir_tests::cgroup::root()?.join(&name);
    wait::until("no process of the killed run is left", Duration::from_secs(10), || {
        // Gone already if somebody else on this machine starts a run at this moment: every start clears up.
        let Ok(events) = fs::read_to_string(cgroup.join("cgroup.events")) else { return Ok(()) };
        ensure!(events.contains("populated 0"), "some are");
        Ok(())
    })?;
    run::take_down_leftovers()?;
    let left = remains(&name);
    ensure!(left.is_empty(), "left over: {left:#?}");
    Ok(())
}
