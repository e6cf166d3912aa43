//! Wycheproof's vectors of JSON Web Signatures, which unit tests judge: from its Go module, pinned by version and sum, in the user's
//! cache.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::{golang, stamp, step, workspace};

/// The variable by which tests are told where they are. They look in the same cache without it.
pub(crate) const VARIABLE: &str = "WEIR_WYCHEPROOF";

const MODULE: &str = "github.com/c2sp/wycheproof";
const VERSION: &str = "v0.0.0-20260902155932-3fa63dd0344a";
/// Go's sum of the module's content, as in a go.sum.
const SUM: &str = "h1:pNbL2nztRsWfW/ispAwsvcDFxs9Id38uIsR2/Up5G2c=";
const FILE: &str = "testvectors_v1/json_web_signature_test.json";

/// Makes the vectors be there.
///
/// # Errors
/// If Go or the module cannot be had, or the module is another one.
fn fetch() -> Result<()> {
    let folder = folder();
    let what = "fetching Wycheproof's vectors (10 MB, a Go module)";
    stamp::once(&folder, "fetched", &format!("{VERSION} {SUM} {FILE}\n"), what, || {
        let mut download = golang::command(&std::env::temp_dir())?;
        let said = step::output(download.args(["mod", "download", "-json", &format!("{MODULE}@{VERSION}")]))?;
        let said: serde_json::Value = serde_json::from_str(&said)?;
        ensure!(said["Sum"] == SUM, "{MODULE} {VERSION} has the sum {}, not {SUM}", said["Sum"]);
        let source = Path::new(said["Dir"].as_str().context("go did not say where the module is")?).join(FILE);
        let into = folder.join(source.file_name().context("a file has a name")?);
        let text = fs::read(&source).with_context(|| format!("reading {}", source.display()))?;
        fs::write(&into, text).with_context(|| format!("writing {}", into.display()))
    })
}

/// Where they are.
pub(crate) fn folder() -> PathBuf {
    std::env::var_os(VARIABLE).map_or_else(|| workspace::cache().join("wycheproof"), PathBuf::from)
}

/// As [`fetch`]; what went wrong is said, and what it costs.
pub(crate) fn fetch_if_possible() {
    if let Err(error) = fetch() {
        println!("── unit tests that judge Wycheproof's vectors will fail: {error:#}");
    }
}
