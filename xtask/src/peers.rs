//! Programs in Go that tests have as the other side of Weir: net/http as server and client (`tests/peers/go`), gRPC's
//! interoperability server and client, Istio's sample of an external authorizer, and Envoy's rate limit server. They are built from
//! modules that go.mod and go.sum pin, and stay in the user's cache.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::{golang, stamp, step, workspace};

/// The variable by which programs of the tests are told where they are. They look in the same cache without it.
pub(crate) const VARIABLE: &str = "WEIR_PEERS";

/// Where the module is.
const MODULE: &str = "tests/peers/go";
/// Where the rate limit server's is: it pins other versions of what both use.
const LIMITS_MODULE: &str = "tests/peers/ratelimit";
/// What each program is called, and its package.
const LIMITS_PROGRAMS: &[(&str, &str)] = &[("ratelimit", "github.com/envoyproxy/ratelimit/src/service_cmd")];
const PROGRAMS: &[(&str, &str)] = &[
    ("web", "."),
    ("grpc-interop-client", "google.golang.org/grpc/interop/client"),
    ("grpc-interop-server", "google.golang.org/grpc/interop/server"),
    ("extauthz", "istio.io/istio/samples/extauthz/cmd/extauthz"),
];

/// Where the programs are.
pub(crate) fn folder() -> PathBuf {
    std::env::var_os(VARIABLE).map_or_else(|| workspace::cache().join("peers"), PathBuf::from)
}

/// Makes them be there.
///
/// # Errors
/// If Go or a module cannot be had.
fn build() -> Result<()> {
    let what = "building Go's net/http and gRPC's interoperability programs (one minute on 2 cores the first time)";
    build_module(MODULE, "built", PROGRAMS, what)?;
    let what = "building Envoy's rate limit server (one minute on 2 cores the first time)";
    build_module(LIMITS_MODULE, "built-limits", LIMITS_PROGRAMS, what)
}

fn build_module(module: &str, name: &str, programs: &[(&str, &str)], what: &str) -> Result<()> {
    let (folder, module) = (folder(), workspace::root().join(module));
    let sources = workspace::files_below(&module, ".", &["go", "mod", "sum"])?;
    let read = |file: &PathBuf| fs::read_to_string(module.join(file)).with_context(|| format!("reading {file:?}"));
    let sources: String = sources.iter().map(read).collect::<Result<_>>()?;
    stamp::once(&folder, name, &sources, what, || {
        for (name, package) in programs {
            let mut go = golang::command(&module)?;
            go.env("CGO_ENABLED", "0").args(["build", "-trimpath", "-ldflags", "-s -w", "-o"]);
            step::output(go.arg(folder.join(name)).arg(package))?;
        }
        Ok(())
    })
}

/// As [`build`]; what went wrong is said, and what it costs.
pub(crate) fn build_if_possible() {
    if let Err(error) = build() {
        println!("── tests that need Go's or gRPC's own programs, or Envoy's rate limit server, will fail: {error:#}");
    }
}
