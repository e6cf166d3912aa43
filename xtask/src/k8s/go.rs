//! Kubernetes, Istio and a recent containerd, built from Go modules that are pinned by version. Go checks every module against its database of
//! sums, downloads what it lacks, and keeps both that and what it compiled: an interrupted build goes on where it was.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::stamp;
use crate::{setup, step};

const KUBERNETES: &str = "v1.36.3";
/// The version of Kubernetes's own libraries that goes with it.
const LIBRARIES: &str = "v0.36.3";
const PROGRAMS: &[&str] =
    &["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "kubectl"];

pub(super) const ISTIO: &str = "v0.0.0-20260827124520-eed52ebb66ad";
pub(super) const GATEWAY_API: &str = "v1.6.0";
/// Modules for which Istio names versions that are on no proxy, and those that stand in for them.
const FOR_ISTIO: &[&str] = &[
    "istio.io/api@v1.31.1",
    "istio.io/client-go@v1.31.1",
    "github.com/envoyproxy/go-control-plane/envoy@v1.40.0",
    "github.com/envoyproxy/go-control-plane/contrib@v1.36.1-0.20260729145720-a2d8c7492908",
];
const ISTIO_PROGRAMS: &[&str] = &["pilot/cmd/pilot-discovery", "istioctl/cmd/istioctl"];
/// The one that offers NRI, which Debian's is too old for.
const CONTAINERD: &str = "v2.4.2";
const CONTAINERD_PROGRAMS: &[&str] = &["containerd", "containerd-shim-runc-v2", "ctr"];
/// The language version that the modules ask for; a Go since 1.21 fetches the tools for it by itself.
const LANGUAGE: &str = "1.26.0";
/// How many compiled packages lie between two words about it.
const STRIDE: usize = 200;

/// Makes the programs of Kubernetes be in `bin`.
pub(super) fn kubernetes(folder: &Path) -> Result<()> {
    let what = format!("building Kubernetes {KUBERNETES} from Go modules (7 minutes on 2 cores the first time)");
    let versions = format!("{KUBERNETES} {LIBRARIES} {}\n", PROGRAMS.join(" "));
    stamp::once(folder, "kubernetes", &versions, &what, || {
        let module = folder.join("k8s");
        fs::create_dir_all(&module)?;
        fs::write(module.join("go.mod"), kubernetes_module(&module)?)?;
        let imports: String = PROGRAMS.iter().map(|name| format!("\t_ \"k8s.io/kubernetes/cmd/{name}\"\n")).collect();
        fs::write(module.join("tools.go"), format!("//go:build tools\n\npackage tools\n\nimport (\n{imports})\n"))?;
        step::output(go(&module)?.args(["mod", "tidy"]))?;
        let packages: Vec<_> = PROGRAMS.iter().map(|name| format!("k8s.io/kubernetes/cmd/{name}")).collect();
        build(&module, &folder.join("bin"), &kubernetes_flags(), &packages)
    })
}

/// Makes istiod and istioctl be in `bin`.
pub(super) fn istio(folder: &Path) -> Result<()> {
    let what = format!("building istiod and istioctl {ISTIO} from Go modules (8 minutes on 2 cores the first time)");
    let versions = format!("{ISTIO} {} {}\n", FOR_ISTIO.join(" "), ISTIO_PROGRAMS.join(" "));
    stamp::once(folder, "istio", &versions, &what, || {
        let module = folder.join("istio");
        fs::create_dir_all(&module)?;
        fs::write(module.join("go.mod"), format!("module weir.test/istio\n\ngo {LANGUAGE}\n"))?;
        let packages: Vec<_> = ISTIO_PROGRAMS.iter().map(|path| format!("istio.io/istio/{path}")).collect();
        let mut get = go(&module)?;
        get.arg("get").args(packages.iter().map(|package| format!("{package}@{ISTIO}"))).args(FOR_ISTIO);
        step::output(&mut get)?;
        build(&module, &folder.join("bin"), "-s -w", &packages)
    })
}

/// Makes a recent containerd be in `containerd/bin`: apart from the others, as Debian's is what nodes run unless a test
/// wants this one.
pub(super) fn containerd(folder: &Path) -> Result<()> {
    let what = format!("building containerd {CONTAINERD} from Go modules (5 minutes on 2 cores the first time)");
    let versions = format!("{CONTAINERD} {}\n", CONTAINERD_PROGRAMS.join(" "));
    stamp::once(folder, "containerd", &versions, &what, || {
        let module = folder.join("containerd");
        fs::create_dir_all(&module)?;
        fs::write(module.join("go.mod"), format!("module weir.test/containerd\n\ngo {LANGUAGE}\n"))?;
        let packages: Vec<_> =
            CONTAINERD_PROGRAMS.iter().map(|name| format!("github.com/containerd/containerd/v2/cmd/{name}")).collect();
        let mut get = go(&module)?;
        get.arg("get").args(packages.iter().map(|package| format!("{package}@{CONTAINERD}")));
        step::output(&mut get)?;
        build(&module, &module.join("bin"), "-s -w", &packages)
    })
}

/// Where Go keeps the source of a module; downloads it if it must.
pub(super) fn source(module: &str, version: &str) -> Result<PathBuf> {
    let mut download = go(&std::env::temp_dir())?;
    let said = step::output(download.args(["mod", "download", "-json", &format!("{module}@{version}")]))?;
    let line = said.lines().find_map(|line| line.trim().strip_prefix("\"Dir\": \""));
    let directory = line.and_then(|rest| rest.split('"').next());
    Ok(directory.with_context(|| format!("go did not say where {module} is"))?.into())
}

/// A module that needs Kubernetes: its libraries are replaced by their own published versions, which it names itself only
/// by their place in its repository.
fn kubernetes_module(module: &Path) -> Result<String> {
    let own = fs::read_to_string(source("k8s.io/kubernetes", KUBERNETES)?.join("go.mod"))
        .with_context(|| format!("reading Kubernetes's go.mod for {}", module.display()))?;
    let replaced = own.lines().filter_map(|line| line.trim().split_once(" => ./staging/").map(|(name, _)| name));
    let replaced: String = replaced.map(|name| format!("\t{name} => {name} {LIBRARIES}\n")).collect();
    ensure!(!replaced.is_empty(), "Kubernetes {KUBERNETES} names no library of its own");
    Ok(format!(
        "module weir.test/k8s\n\ngo {LANGUAGE}\n\nrequire k8s.io/kubernetes {KUBERNETES}\n\nreplace (\n{replaced})\n"
    ))
}

/// Without its version a server calls itself v0.0.0, and clients take it for an old one.
fn kubernetes_flags() -> String {
    let mut flags = "-s -w".to_owned();
    let parts: Vec<&str> = KUBERNETES.trim_start_matches('v').split('.').collect();
    for (package, name, value) in [
        ("k8s.io/component-base", "gitVersion", KUBERNETES),
        ("k8s.io/client-go/pkg", "gitVersion", KUBERNETES),
        ("k8s.io/component-base", "gitMajor", parts[0]),
        ("k8s.io/component-base", "gitMinor", parts[1]),
        ("k8s.io/component-base", "gitTreeState", "clean"),
    ] {
        flags += &format!(" -X {package}/version.{name}={value}");
    }
    flags
}

/// Builds programs and tells how far it is: Go names each package that it compiles.
fn build(module: &Path, into: &Path, flags: &str, packages: &[String]) -> Result<()> {
    fs::create_dir_all(into)?;
    let mut command = go(module)?;
    command.args(["build", "-v", "-ldflags", flags, "-o"]).arg(into.join("")).args(packages);
    let mut child = command.stderr(Stdio::piped()).spawn().context("running go build")?;
    let mut last = Vec::new();
    for (number, line) in (1..).zip(BufReader::new(child.stderr.take().expect("it is piped")).lines()) {
        let line = line?;
        if number % STRIDE == 0 {
            println!("   {number} packages compiled, now {line}");
        }
        last.push(line);
    }
    let status = child.wait()?;
    ensure!(status.success(), "go build: {status}\n{}", last[last.len().saturating_sub(20)..].join("\n"));
    Ok(())
}

fn go(directory: &Path) -> Result<Command> {
    let usual = Path::new("/usr/local/go/bin/go");
    let Some(program) = setup::in_path("go").or_else(|| usual.exists().then(|| usual.to_owned())) else {
        bail!(
            "Go is missing: Kubernetes and Istio are built with it. Install 1.26 or later (https://go.dev/dl, or any \
             since 1.21: it fetches the newer one by itself)"
        );
    };
    let mut command = Command::new(program);
    command.current_dir(directory).env("GOFLAGS", "-mod=mod");
    Ok(command)
}
