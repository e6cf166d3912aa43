//! Definitions of custom resources: Istio's and the Gateway API's, copied out of the modules that have them.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::{go, stamp};

const ISTIO: &str = "manifests/charts/base/files/crd-all.gen.yaml";
const GATEWAY_API: &str = "config/crd/standard";

/// Makes them be in `crds`, a folder that kubectl applies as a whole.
pub(super) fn copy(folder: &Path) -> Result<()> {
    let versions = format!("{} {}\n", go::ISTIO, go::GATEWAY_API);
    stamp::once(folder, "definitions", &versions, "copying definitions of custom resources", || {
        let into = folder.join("crds");
        if into.exists() {
            fs::remove_dir_all(&into)?;
        }
        fs::create_dir_all(&into)?;
        let take = |from: &Path, name: &str| -> Result<()> {
            // Go's copies may not be written to, and a copied mode would say the same of ours.
            let text = fs::read(from).with_context(|| format!("reading {}", from.display()))?;
            Ok(fs::write(into.join(name), text)?)
        };
        take(&go::source("istio.io/istio", go::ISTIO)?.join(ISTIO), "istio.yaml")?;
        let gateway = go::source("sigs.k8s.io/gateway-api", go::GATEWAY_API)?.join(GATEWAY_API);
        for entry in fs::read_dir(&gateway).with_context(|| format!("reading {}", gateway.display()))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(".yaml") && !name.starts_with("kustom") {
                take(&entry.path(), &name)?;
            }
        }
        Ok(())
    })
}
