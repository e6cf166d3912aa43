//! Kubernetes, Istio and a recent containerd, built from Go modules that are pinned by version, and the definitions of custom
//! resources and sample tokens that come in such. Go checks every module against its database of sums, downloads what it lacks, and keeps
//! both that and what it compiled: an interrupted build goes on where it was.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use crate::{golang, stamp, step};

const KUBERNETES: &str = "v1.36.3";
/// The version of Kubernetes's own libraries that goes with it.
const LIBRARIES: &str = "v0.36.3";
const PROGRAMS: &[&str] =
    &["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "kubectl"];
/// Without its version a server calls itself v0.0.0, and clients take it for an old one.
const KUBERNETES_FLAGS: &str = "-s -w -X k8s.io/component-base/version.gitVersion=v1.36.3 \
    -X k8s.io/client-go/pkg/version.gitVersion=v1.36.3 -X k8s.io/component-base/version.gitMajor=1 \
    -X k8s.io/component-base/version.gitMinor=36 -X k8s.io/component-base/version.gitTreeState=clean";

const ISTIO: &str = "v0.0.0-20260827124520-eed52ebb66ad";
/// What `cargo xtask test k8s` has. A conformance suite brings the definitions of its own version.
const GATEWAY_API: &str = "v1.6.3";
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

/// Makes the programs of Kubernetes be in `bin`. Its libraries are replaced by their own published versions: it names them
/// only by their place in its repository.
pub(super) fn kubernetes(folder: &Path) -> Result<()> {
    let what = format!("building Kubernetes {KUBERNETES} from Go modules (7 minutes on 2 cores the first time)");
    let versions = format!("{KUBERNETES} {LIBRARIES} {}\n", PROGRAMS.join(" "));
    stamp::once(folder, "kubernetes", &versions, &what, || {
        let own = fs::read_to_string(source("k8s.io/kubernetes", KUBERNETES)?.join("go.mod"))?;
        let replaced = own.lines().filter_map(|line| line.trim().split_once(" => ./staging/").map(|(name, _)| name));
        let replaced: String = replaced.map(|name| format!("replace {name} => {name} {LIBRARIES}\n")).collect();
        ensure!(!replaced.is_empty(), "Kubernetes {KUBERNETES} names no library of its own");
        let packages: Vec<_> =
            PROGRAMS.iter().map(|name| format!("k8s.io/kubernetes/cmd/{name}@{KUBERNETES}")).collect();
        build(&folder.join("k8s"), &replaced, &packages, &[], KUBERNETES_FLAGS, &folder.join("bin"))
    })
}

/// Makes istiod and istioctl be in `bin`.
pub(super) fn istio(folder: &Path) -> Result<()> {
    let what = format!("building istiod and istioctl {ISTIO} from Go modules (8 minutes on 2 cores the first time)");
    let versions = format!("{ISTIO} {} {}\n", FOR_ISTIO.join(" "), ISTIO_PROGRAMS.join(" "));
    stamp::once(folder, "istio", &versions, &what, || {
        let packages: Vec<_> = ISTIO_PROGRAMS.iter().map(|path| format!("istio.io/istio/{path}@{ISTIO}")).collect();
        build(&folder.join("istio"), "", &packages, FOR_ISTIO, "-s -w", &folder.join("bin"))
    })
}

/// Makes a recent containerd be in `containerd/bin`: apart from the others, as Debian's is what nodes run unless a test
/// wants this one.
pub(super) fn containerd(folder: &Path) -> Result<()> {
    let what = format!("building containerd {CONTAINERD} from Go modules (5 minutes on 2 cores the first time)");
    let versions = format!("{CONTAINERD} {}\n", CONTAINERD_PROGRAMS.join(" "));
    stamp::once(folder, "containerd", &versions, &what, || {
        let package = |name: &&str| format!("github.com/containerd/containerd/v2/cmd/{name}@{CONTAINERD}");
        let packages: Vec<_> = CONTAINERD_PROGRAMS.iter().map(package).collect();
        let module = folder.join("containerd");
        build(&module, "", &packages, &[], "-s -w", &module.join("bin"))
    })
}

/// Makes definitions of custom resources, Istio's and the Gateway API's, be in `crds`, which kubectl applies as a whole.
pub(super) fn definitions(folder: &Path) -> Result<()> {
    let versions = format!("{ISTIO} {GATEWAY_API}\n");
    stamp::once(folder, "definitions", &versions, "copying definitions of custom resources", || {
        let istio = source("istio.io/istio", ISTIO)?.join("manifests/charts/base/files/crd-all.gen.yaml");
        let gateway = source("sigs.k8s.io/gateway-api", GATEWAY_API)?.join("config/crd/standard");
        // Go's copies may not be written to, and a copied mode would say the same of ours.
        let copy = "set -e; rm -rf crds; mkdir crds; cp --no-preserve=mode \"$1\" crds/istio.yaml
                    cp --no-preserve=mode \"$2\"/*.yaml crds; rm -f crds/kustom*";
        let mut shell = Command::new("sh");
        step::output(shell.current_dir(folder).args(["-c", copy, "sh"]).arg(istio).arg(gateway)).map(drop)
    })
}

/// Makes the keys and tokens of Istio's task about JWT be in `jwt`: those that its documentation has users try.
pub(super) fn tokens(folder: &Path) -> Result<()> {
    stamp::once(folder, "tokens", &format!("{ISTIO}\n"), "copying Istio's sample tokens", || {
        let samples = source("istio.io/istio", ISTIO)?.join("security/tools/jwt/samples");
        let copy = "set -e; rm -rf jwt; mkdir jwt
                    cp --no-preserve=mode \"$1\"/jwks.json \"$1\"/demo.jwt \"$1\"/groups-scope.jwt jwt";
        let mut shell = Command::new("sh");
        step::output(shell.current_dir(folder).args(["-c", copy, "sh"]).arg(samples)).map(drop)
    })
}

/// Where Go keeps the source of a module; downloads it if it must.
fn source(module: &str, version: &str) -> Result<PathBuf> {
    golang::source(&mut go(&std::env::temp_dir())?, &format!("{module}@{version}"))
}

/// Builds programs, named with their version, in a module of our own that needs them and some modules `besides`.
fn build(module: &Path, replaced: &str, programs: &[String], besides: &[&str], flags: &str, into: &Path) -> Result<()> {
    fs::create_dir_all(module)?;
    fs::create_dir_all(into)?;
    let name = module.file_name().unwrap_or_default().display();
    fs::write(module.join("go.mod"), format!("module weir.test/{name}\n\ngo {LANGUAGE}\n\n{replaced}"))?;
    step::output(go(module)?.arg("get").args(programs).args(besides))?;
    let packages = programs.iter().filter_map(|program| program.split('@').next());
    step::output(go(module)?.args(["build", "-ldflags", flags, "-o"]).arg(into.join("")).args(packages)).map(drop)
}

fn go(directory: &Path) -> Result<Command> {
    let mut command = golang::command(directory)?;
    // These modules are made here: Go may write down what they need.
    command.env("GOFLAGS", "-mod=mod");
    Ok(command)
}
