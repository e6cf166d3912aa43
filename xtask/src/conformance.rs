//! `cargo xtask test conformance`: runs the Gateway API's own conformance suite for meshes, as it is, against Weir on two real
//! nodes. The suite in each of its versions, the application that its pods run (Istio's echo) and a name server (CoreDNS) are built from
//! pinned Go modules.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::json;

use crate::count::Count;
use crate::golang::{self, Pinned};
use crate::image::oci::Image;
use crate::k8s::{self, Prepared};
use crate::tree::Tree;
use crate::{step, workspace};

/// Versions of the suite. Each has a module of its own, and is for clusters with the definitions of the same version.
const SUITES: [&str; 2] = ["1.6.3", "1.7.0"];
const ECHO: Pinned<'_> = Pinned {
    module: "tests/conformance/echo",
    programs: &[
        ("server", "istio.io/istio/pkg/test/echo/cmd/server"),
        ("client", "istio.io/istio/pkg/test/echo/cmd/client"),
    ],
    how: golang::PROGRAM,
    stamp: "conformance-echo",
    what: "building Istio's echo from Go modules (a minute on 2 cores the first time)",
};
const DNS: Pinned<'_> = Pinned {
    module: "tests/conformance/dns",
    programs: &[("coredns", "github.com/coredns/coredns")],
    how: golang::PROGRAM,
    stamp: "conformance-dns",
    what: "building CoreDNS from Go modules (two minutes on 2 cores the first time)",
};
/// The suite's program.
const PROGRAM: &str = "gateway-api-conformance";
/// What the suite applies: it says which image its pods run.
const MANIFESTS: &str = "mesh/manifests.yaml";
/// Definitions of custom resources of the standard channel, in the module of the Gateway API.
const DEFINITIONS: &str = "config/crd/standard";
/// The certificate and the key that Istio's image of the echo has, and where in it.
const CERTIFICATE: [(&str, &str); 2] = [("cert-chain.pem", "/cert.crt"), ("key.pem", "/cert.key")];

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Run one of the suite's tests alone, such as `MeshHTTPRouteWeight`, to look into it.
    only: Option<String>,
    /// Which version of the suite. 1.7.0 needs Go 1.27, which is fetched where it is not installed.
    #[arg(long, value_name = "VERSION", value_parser = SUITES, default_value = SUITES[0])]
    suite: String,
    /// Where the suite writes its report, with all that it printed beside it. target/conformance/report-VERSION.yaml if not given.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Keep the cluster up until Enter if a test fails, to look at it.
    #[arg(long)]
    keep: bool,
    /// Only build and fetch what is needed.
    #[arg(long)]
    prepare: bool,
}

/// Prepares everything and runs the suite.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let start = Instant::now();
    let Prepared { parts, .. } = k8s::prepare()?;
    let folder = parts.join("conformance");
    let suite = build_suite(&arguments.suite, &parts, &folder)?;
    build_pods(&parts, &folder)?;
    let image = pack(&suite, &folder)?;
    if arguments.prepare {
        println!("── parts are in {}, the image is {}", parts.display(), image.display());
        return Ok(());
    }
    let usual = || workspace::target().join(format!("conformance/report-{}.yaml", arguments.suite));
    let report = std::path::absolute(arguments.report.clone().unwrap_or_else(usual))?;
    fs::create_dir_all(report.parent().context("a report is in a folder")?)?;
    let mut run = k8s::tests(&parts, "conformance");
    run.arg("--suite").arg(&suite).arg("--image").arg(image).arg("--report").arg(&report);
    run.args(arguments.keep.then_some("--keep")).args(arguments.only.iter().flat_map(|only| ["--only", only]));
    let mut count = Count::default();
    let what = format!("the Gateway API's conformance suite {}", arguments.suite);
    let ran = step::watched(&what, &mut run, |line| count.add(line))?;
    println!("── everything: took {:.0} s", start.elapsed().as_secs_f64());
    ensure!(ran && count.failed == 0, "not all tests of the suite passed");
    Ok(())
}

/// Makes a version of the suite be there, with its manifests and the definitions of its version. Returns its folder.
fn build_suite(version: &str, parts: &Path, folder: &Path) -> Result<PathBuf> {
    let own = folder.join(format!("suite-{version}"));
    fs::create_dir_all(&own)?;
    let suite = Pinned {
        module: &format!("tests/conformance/suite-{version}"),
        programs: &[(PROGRAM, ".")],
        how: golang::TEST,
        stamp: &format!("conformance-suite-{version}"),
        what: "building the Gateway API's conformance suite from Go modules (one to three minutes on 2 cores the first time)",
    };
    suite.build(parts, &own, |module| {
        let source = |name| golang::source(&mut golang::command(module)?, name);
        copy(&source("sigs.k8s.io/gateway-api/conformance")?.join(MANIFESTS), &own.join("manifests.yaml"))?;
        let (all, definitions) = (source("sigs.k8s.io/gateway-api")?.join(DEFINITIONS), own.join("definitions"));
        fs::create_dir_all(&definitions)?;
        for file in workspace::files_below(&all, ".", &["yaml"])? {
            copy(&all.join(&file), &definitions.join(file))?;
        }
        Ok(())
    })?;
    Ok(own)
}

/// Makes the programs of the suite's pods be there, and the name server.
fn build_pods(parts: &Path, folder: &Path) -> Result<()> {
    ECHO.build(parts, folder, |module| {
        let istio = golang::source(&mut golang::command(module)?, "istio.io/istio")?.join("tests/testdata/certs/dns");
        CERTIFICATE.iter().try_for_each(|(file, _)| copy(&istio.join(file), &folder.join(file)))
    })?;
    DNS.build(parts, &parts.join("bin"), |_| Ok(()))
}

/// Packs the image under the name that the suite asks for; the archive.
fn pack(suite: &Path, folder: &Path) -> Result<PathBuf> {
    let manifests = fs::read_to_string(suite.join("manifests.yaml")).context("reading what the suite applies")?;
    let name = image_of(&manifests)?;
    let target = workspace::target().join("conformance");
    fs::create_dir_all(&target)?;
    let archive = target.join("echo.tar");
    step::announced(&format!("packing {name}"), || {
        let root = Tree::new(target.join("echo.root"))?;
        for (program, _) in ECHO.programs {
            root.file(&format!("/bin/{program}"), &folder.join(program))?;
        }
        for (file, path) in CERTIFICATE {
            root.file(path, &folder.join(file))?;
        }
        root.directory("/tmp", 0o1777)?;
        Image { name, entrypoint: "/bin/server", path: "/bin", labels: json!({}) }.pack(&root, &archive, 0)?;
        Ok(fs::remove_dir_all(root.folder())?)
    })?;
    Ok(archive)
}

/// The one image that all pods of a manifest run.
fn image_of(manifests: &str) -> Result<&str> {
    let images = || manifests.lines().filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix("image: "));
    let name = images().next().context("the suite's manifests name no image")?.trim();
    ensure!(images().all(|image| image.trim() == name), "the suite's manifests name several images");
    Ok(name)
}

/// Copies a file of Go's, which may not be written to, and neither may a copy with its mode.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let content = fs::read(from).with_context(|| format!("reading {}", from.display()))?;
    fs::write(to, content).with_context(|| format!("writing {}", to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_is_the_one_that_all_pods_run() {
        let pods = |images: &[&str]| {
            let each = |image: &&str| format!("      containers:\n      - name: echo\n        image: {image}\n");
            images.iter().map(each).collect::<String>()
        };
        for (images, expected) in [
            (&["r.test/echo:v1", "r.test/echo:v1"][..], Some("r.test/echo:v1")),
            (&["r.test/echo:v1", "r.test/echo:v2"], None),
            (&[], None),
        ] {
            assert_eq!(image_of(&pods(images)).ok(), expected, "{images:?}");
        }
    }
}
