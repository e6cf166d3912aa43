//! An image as one archive that every container runtime imports: the layout of the Open Container Initiative in a tar
//! file, with one compressed layer. No container engine takes part, and the same content gives the same digest.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::layer::{self, Layer};

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// An image: its root file system, and how it is run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Image {
    /// What the runtime calls it after the import: registry, path and tag, as in a pod's `image`.
    pub(crate) name: String,
    pub(crate) layer: Layer,
    /// What is run, before a pod's `args`.
    pub(crate) entrypoint: Vec<String>,
    /// Variables, each as `NAME=value`.
    pub(crate) environment: Vec<String>,
    pub(crate) labels: Vec<(String, String)>,
}

/// An image that was packed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Packed {
    /// The archive, ready to be imported.
    pub(crate) archive: Vec<u8>,
    /// The digest of the manifest: what `image@digest` means.
    pub(crate) digest: String,
    /// The layer's size as it is sent over a network.
    pub(crate) compressed_bytes: usize,
    /// The layer's size on a node.
    pub(crate) unpacked_bytes: usize,
}

/// Something that others name by its digest.
struct Blob {
    digest: String,
    content: Vec<u8>,
}

impl Blob {
    fn new(content: Vec<u8>) -> Self {
        Self { digest: digest(&content), content }
    }

    fn descriptor(&self, media_type: &str) -> Value {
        json!({"mediaType": media_type, "digest": format!("sha256:{}", self.digest), "size": self.content.len()})
    }
}

impl Image {
    /// Packs it. Every time in it is `seconds` since 1970.
    pub(crate) fn pack(&self, seconds: u64) -> Result<Packed> {
        let unpacked = self.layer.pack(seconds)?;
        let layer = Blob::new(compress(&unpacked)?);
        let config = Blob::new(self.config(&digest(&unpacked)).to_string().into_bytes());
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config.descriptor(CONFIG),
            "layers": [layer.descriptor(LAYER)],
        });
        let manifest = Blob::new(manifest.to_string().into_bytes());
        let index = self.index(&manifest).to_string();

        let mut archive = tar::Builder::new(Vec::new());
        layer::file(&mut archive, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#, layer::FILE, seconds)?;
        layer::file(&mut archive, "index.json", index.as_bytes(), layer::FILE, seconds)?;
        for blob in [&manifest, &config, &layer] {
            layer::file(&mut archive, &format!("blobs/sha256/{}", blob.digest), &blob.content, layer::FILE, seconds)?;
        }
        Ok(Packed {
            archive: archive.into_inner()?,
            digest: format!("sha256:{}", manifest.digest),
            compressed_bytes: layer.content.len(),
            unpacked_bytes: unpacked.len(),
        })
    }

    /// Packs it into a file. The file is whole or not there: it takes its name last.
    pub(crate) fn write(&self, path: &Path, seconds: u64) -> Result<Packed> {
        let packed = self.pack(seconds)?;
        let directory = path.parent().with_context(|| format!("{} is not a file", path.display()))?;
        fs::create_dir_all(directory).with_context(|| format!("creating {}", directory.display()))?;
        let unfinished = path.with_extension("tar.unfinished");
        fs::write(&unfinished, &packed.archive).with_context(|| format!("writing {}", unfinished.display()))?;
        fs::rename(&unfinished, path).with_context(|| format!("writing {}", path.display()))?;
        Ok(packed)
    }

    fn config(&self, layer: &str) -> Value {
        let labels: serde_json::Map<String, Value> =
            self.labels.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        json!({
            "architecture": architecture(),
            "os": "linux",
            "config": {"Entrypoint": self.entrypoint, "Env": self.environment, "Labels": labels, "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer}")]},
        })
    }

    fn index(&self, manifest: &Blob) -> Value {
        let mut descriptor = manifest.descriptor(MANIFEST);
        descriptor["platform"] = json!({"architecture": architecture(), "os": "linux"});
        // The first is what containerd goes by, the second what everybody else does.
        let name = full_name(&self.name);
        let tag = name.rsplit_once(':').map_or("", |(_, tag)| tag);
        descriptor["annotations"] = json!({"io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag});
        json!({"schemaVersion": 2, "manifests": [descriptor]})
    }
}

/// The name with everything that may be left out of it, as the kubelet's runtime writes out a pod's `image` before it looks
/// for it: `weir` is `docker.io/library/weir:latest`.
fn full_name(name: &str) -> String {
    let is_registry = |first: &str| first.contains(['.', ':']) || first == "localhost";
    let name = match name.split_once('/') {
        None => format!("docker.io/library/{name}"),
        Some((first, _)) if is_registry(first) => name.to_owned(),
        Some(_) => format!("docker.io/{name}"),
    };
    let has_tag = name.rsplit('/').next().is_some_and(|last| last.contains(':'));
    if has_tag { name } else { format!("{name}:latest") }
}

/// This machine's architecture, in the words of images.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Compresses as gzip, with neither a name nor a time in its header.
fn compress(content: &[u8]) -> Result<Vec<u8>> {
    let mut output = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    output.write_all(content)?;
    Ok(output.finish()?)
}

/// The SHA-256 of something, in hexadecimal digits.
pub(crate) fn digest(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read;

    use super::*;

    fn image() -> Image {
        let mut layer = Layer::new();
        layer.bytes("/bin/weir", "program", layer::PROGRAM);
        Image {
            name: "registry.test/mesh/weir:1".to_owned(),
            layer,
            entrypoint: vec!["/bin/weir".to_owned()],
            environment: vec!["PATH=/bin".to_owned()],
            labels: vec![("org.opencontainers.image.title".to_owned(), "weir".to_owned())],
        }
    }

    fn files(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(archive);
        let files = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (entry.path().unwrap().display().to_string(), content)
        });
        files.collect()
    }

    #[test]
    fn everything_is_found_by_its_digest_from_the_index_on() {
        let packed = image().pack(0).unwrap();
        let files = files(&packed.archive);
        let read = |descriptor: &Value| {
            let name = descriptor["digest"].as_str().unwrap().replace("sha256:", "blobs/sha256/");
            assert_eq!(digest(&files[&name]), name.replace("blobs/sha256/", ""));
            assert_eq!(descriptor["size"], files[&name].len());
            files[&name].clone()
        };
        let index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
        let entry = &index["manifests"][0];
        assert_eq!(entry["annotations"]["io.containerd.image.name"], "registry.test/mesh/weir:1");
        assert_eq!(entry["annotations"]["org.opencontainers.image.ref.name"], "1");
        assert_eq!(entry["digest"], packed.digest);
        let manifest: Value = serde_json::from_slice(&read(entry)).unwrap();
        let config: Value = serde_json::from_slice(&read(&manifest["config"])).unwrap();
        assert_eq!(config["config"]["Entrypoint"], json!(["/bin/weir"]));
        let layer = read(&manifest["layers"][0]);
        assert_eq!(layer.len(), packed.compressed_bytes);
        assert_eq!(layer[4..8], [0; 4], "the time in gzip's header");
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(&layer[..]).read_to_end(&mut unpacked).unwrap();
        assert_eq!(unpacked.len(), packed.unpacked_bytes);
        assert_eq!(config["rootfs"]["diff_ids"], json!([format!("sha256:{}", digest(&unpacked))]));
    }

    #[test]
    fn names_are_written_out() {
        for (name, expected) in [
            ("weir", "docker.io/library/weir:latest"),
            ("weir:dev", "docker.io/library/weir:dev"),
            ("mesh/weir:1", "docker.io/mesh/weir:1"),
            ("localhost/weir:1", "localhost/weir:1"),
            ("registry.test/weir", "registry.test/weir:latest"),
            ("registry.test:5000/mesh/weir", "registry.test:5000/mesh/weir:latest"),
        ] {
            assert_eq!(full_name(name), expected);
        }
    }

    #[test]
    fn the_same_content_has_the_same_digest_and_other_content_another() {
        let (one, same) = (image().pack(0).unwrap(), image().pack(0).unwrap());
        assert_eq!(one, same);
        let mut other = image();
        other.layer.bytes("/bin/weir", "another", layer::PROGRAM);
        assert_ne!(other.pack(0).unwrap().digest, one.digest);
    }
}
