//! An image as one archive that every container runtime imports: the layout of the Open Container Initiative in a tar
//! file, with one compressed layer. tar and gzip do the packing, without an engine, in a fixed order and with fixed owners
//! and times: the same content gives the same digest.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::step;
use crate::tree::Tree;

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// How an image is called and run.
#[derive(Debug)]
pub(crate) struct Image<'a> {
    /// What the runtime calls it after the import: registry, path and tag, as in a pod's `image`.
    pub(crate) name: &'a str,
    /// What is run, before a pod's `args`.
    pub(crate) entrypoint: &'a str,
    /// The variable `PATH`.
    pub(crate) path: &'a str,
    pub(crate) labels: Value,
}

/// An image that was packed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Packed {
    /// The digest of the manifest: what `image@digest` means.
    pub(crate) digest: String,
    /// The layer's size as it is sent over a network.
    pub(crate) compressed_bytes: u64,
    /// The layer's size on a node.
    pub(crate) unpacked_bytes: u64,
}

impl Image<'_> {
    /// Packs a root file system into an archive, which is whole or not there. Every time in it is `seconds` since 1970.
    pub(crate) fn pack(&self, root: &Tree, archive: &Path, seconds: u64) -> Result<Packed> {
        let layout = archive.with_extension("layout");
        let blobs = layout.join("blobs/sha256");
        let _ = fs::remove_dir_all(&layout);
        fs::create_dir_all(&blobs).with_context(|| format!("making {}", blobs.display()))?;

        let unpacked = archive.with_extension("layer");
        tar(root.folder(), &unpacked, seconds)?;
        let compressed = layout.join("layer");
        let mut gzip = Command::new("gzip");
        gzip.args(["--no-name", "--best", "--stdout"]).arg(&unpacked).stdout(fs::File::create(&compressed)?);
        ensure!(gzip.status().context("running gzip")?.success(), "gzip cannot compress {}", unpacked.display());
        let (unpacked_bytes, layer_digest) = (fs::metadata(&unpacked)?.len(), sha256(&unpacked)?);
        fs::remove_file(&unpacked)?;

        let layer = blob(&blobs, &compressed, LAYER)?;
        let config = json!({
            "architecture": architecture(),
            "os": "linux",
            "config": {
                "Entrypoint": [self.entrypoint],
                "Env": [format!("PATH={}", self.path)],
                "Labels": self.labels,
                "WorkingDir": "/",
            },
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer_digest}")]},
        });
        let config = blob(&blobs, &written(&layout, &config)?, CONFIG)?;
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]});
        let mut manifest = blob(&blobs, &written(&layout, &manifest)?, MANIFEST)?;
        manifest["platform"] = json!({"architecture": architecture(), "os": "linux"});
        // The first is what containerd goes by, the second what everybody else does.
        let name = full_name(self.name);
        let tag = name.rsplit_once(':').map_or("", |(_, tag)| tag);
        manifest["annotations"] = json!({"io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag});
        fs::write(layout.join("index.json"), json!({"schemaVersion": 2, "manifests": [manifest]}).to_string())?;
        fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;

        let unfinished = archive.with_extension("unfinished");
        tar(&layout, &unfinished, seconds)?;
        fs::rename(&unfinished, archive).with_context(|| format!("writing {}", archive.display()))?;
        fs::remove_dir_all(&layout)?;
        let digest = manifest["digest"].as_str().context("a descriptor has a digest")?.to_owned();
        Ok(Packed { digest, compressed_bytes: layer["size"].as_u64().unwrap_or_default(), unpacked_bytes })
    }
}

/// Packs what a folder holds, not the folder itself.
fn tar(folder: &Path, archive: &Path, seconds: u64) -> Result<()> {
    let entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name()));
    let mut names = entries.collect::<std::io::Result<Vec<_>>>()?;
    names.sort();
    let mut tar = Command::new("tar");
    tar.args(["--create", "--format=gnu", "--sort=name", "--owner=0", "--group=0", "--numeric-owner"]);
    tar.arg(format!("--mtime=@{seconds}")).arg("--file").arg(archive).arg("--directory").arg(folder).args(names);
    step::output(tar.stdin(Stdio::null())).map(drop)
}

fn written(folder: &Path, value: &Value) -> Result<PathBuf> {
    let path = folder.join("blob");
    fs::write(&path, value.to_string())?;
    Ok(path)
}

/// Moves a file among those that are found by their digest; what others name it by.
fn blob(blobs: &Path, file: &Path, media_type: &str) -> Result<Value> {
    let (digest, size) = (sha256(file)?, fs::metadata(file)?.len());
    fs::rename(file, blobs.join(&digest))?;
    Ok(json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": size}))
}

/// The SHA-256 of a file, in hexadecimal digits.
pub(crate) fn sha256(file: &Path) -> Result<String> {
    let said = step::output(Command::new("sha256sum").arg("--binary").arg(file))?;
    Ok(said.trim_start_matches('\\').split(' ').next().unwrap_or_default().to_owned())
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Packs an image with this program, at this order of adding and unpacks the archive; the folder has both.
    fn packed(program: &str, link_first: bool) -> (Packed, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let root = Tree::new(folder.path().join("root")).unwrap();
        let link = || root.link("/usr/bin/w", "weir").unwrap();
        if link_first {
            link();
        }
        root.text("/usr/bin/weir", program).unwrap();
        root.directory("/tmp", 0o1777).unwrap();
        if !link_first {
            link();
        }
        let labels = json!({"org.opencontainers.image.title": "weir"});
        let image = Image { name: "registry.test/mesh/weir:1", entrypoint: "/usr/bin/weir", path: "/usr/bin", labels };
        let archive = folder.path().join("weir.tar");
        let packed = image.pack(&root, &archive, 7).unwrap();
        let mut unpack = Command::new("tar");
        step::output(unpack.arg("--extract").arg("--directory").arg(folder.path()).arg("--file").arg(&archive))
            .unwrap();
        (packed, folder)
    }

    #[test]
    fn everything_is_found_by_its_digest_from_the_index_on() {
        let (packed, folder) = packed("program", false);
        let json = |path: &Path| serde_json::from_slice::<Value>(&fs::read(path).unwrap()).unwrap();
        let found = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap().trim_start_matches("sha256:");
            let path = folder.path().join("blobs/sha256").join(digest);
            assert_eq!(sha256(&path).unwrap(), digest);
            assert_eq!(descriptor["size"], fs::metadata(&path).unwrap().len());
            path
        };
        let index = json(&folder.path().join("index.json"));
        let entry = &index["manifests"][0];
        assert_eq!(entry["annotations"]["io.containerd.image.name"], "registry.test/mesh/weir:1");
        assert_eq!(entry["annotations"]["org.opencontainers.image.ref.name"], "1");
        assert_eq!(entry["digest"], packed.digest);
        let manifest = json(&found(entry));
        let config = json(&found(&manifest["config"]));
        assert_eq!(config["config"]["Entrypoint"], json!(["/usr/bin/weir"]));
        let layer = found(&manifest["layers"][0]);
        let compressed = fs::read(&layer).unwrap();
        assert_eq!(compressed.len() as u64, packed.compressed_bytes);
        assert_eq!(compressed[4..8], [0; 4], "the time in gzip's header");
        let unpacked = folder.path().join("unpacked");
        let gunzip = Command::new("gzip").args(["-dc"]).arg(&layer).output().unwrap();
        fs::write(&unpacked, gunzip.stdout).unwrap();
        assert_eq!(fs::metadata(&unpacked).unwrap().len(), packed.unpacked_bytes);
        assert_eq!(config["rootfs"]["diff_ids"], json!([format!("sha256:{}", sha256(&unpacked).unwrap())]));
        let mut list = Command::new("tar");
        let listed =
            step::output(list.env("TZ", "UTC").args(["--list", "--verbose", "--file"]).arg(&unpacked)).unwrap();
        let listed: Vec<String> =
            listed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(
            listed,
            [
                "drwxrwxrwt 0/0 0 1970-01-01 00:00 tmp/",
                "drwxr-xr-x 0/0 0 1970-01-01 00:00 usr/",
                "drwxr-xr-x 0/0 0 1970-01-01 00:00 usr/bin/",
                "lrwxrwxrwx 0/0 0 1970-01-01 00:00 usr/bin/w -> weir",
                "-rw-r--r-- 0/0 7 1970-01-01 00:00 usr/bin/weir",
            ]
        );
    }

    #[test]
    fn the_same_content_has_the_same_digest_and_other_content_another() {
        let (one, _one) = packed("program", false);
        let (same, _same) = packed("program", true);
        let (other, _other) = packed("another", false);
        assert_eq!(one, same);
        assert_ne!(other.digest, one.digest);
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
}
