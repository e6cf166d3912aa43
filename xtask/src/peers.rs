//! Programs in Go that tests have as the other side of Weir: net/http as server and client (`tests/peers/go`), gRPC's
//! interoperability server and client, h2spec, Istio's sample of an external authorizer, and Envoy's rate limit server. They are
//! built from modules that go.mod and go.sum pin, and stay in the user's cache.

use std::path::PathBuf;

use anyhow::Result;

use crate::golang::{self, Pinned};
use crate::workspace;

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
    ("h2spec", "github.com/summerwind/h2spec/cmd/h2spec"),
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
    let what =
        "building Go's net/http, gRPC's interoperability programs and h2spec (one minute on 2 cores the first time)";
    let peers = Pinned { module: MODULE, programs: PROGRAMS, how: golang::PROGRAM, stamp: "built", what };
    let what = "building Envoy's rate limit server (one minute on 2 cores the first time)";
    let (module, programs, stamp) = (LIMITS_MODULE, LIMITS_PROGRAMS, "built-limits");
    let limits = Pinned { module, programs, how: golang::PROGRAM, stamp, what };
    let folder = folder();
    [peers, limits].iter().try_for_each(|pinned| pinned.build(&folder, &folder, |_| Ok(())))
}

/// As [`build`]; what went wrong is said, and what it costs.
pub(crate) fn build_if_possible() {
    if let Err(error) = build() {
        println!("── tests that need Go's or gRPC's own programs, or Envoy's rate limit server, will fail: {error:#}");
    }
}
