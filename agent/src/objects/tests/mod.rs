//! How objects are read, as tables of behaviours. What the tables share is here.

mod files;
mod http_objects;
mod protobuf;
mod rejections;
mod request_authentication;
mod updates;

use std::path::Path;

use super::{Loaded, load};

/// Writes files into a folder and loads it.
fn load_files(folder: &Path, files: &[(&str, &str)]) -> Loaded {
    for (name, text) in files {
        std::fs::write(folder.join(name), text).expect("the folder is the test's own");
    }
    load(folder)
}

fn load_text(text: &str) -> Loaded {
    let folder = tempfile::tempdir().expect("a folder for the test");
    load_files(folder.path(), &[("objects.yaml", text)])
}

/// An object in one document.
fn object(kind: &str, metadata: &str, spec: &str) -> String {
    let group = match kind {
        "ServiceEntry" | "WorkloadEntry" => "networking.istio.io/v1",
        "MeshConfig" => "mesh.istio.io/v1alpha1",
        _ => "security.istio.io/v1",
    };
    format!("---\napiVersion: {group}\nkind: {kind}\nmetadata: {{name: o, namespace: n{metadata}}}\nspec: {{{spec}}}\n")
}
