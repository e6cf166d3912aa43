//! An image as one archive that every container runtime imports: the layout of the Open Container Initiative in a tar
//! file, with one compressed layer. tar and gzip do the packing, without an engine, in a fixed order and with fixed owners
//! and times: the same content gives the same digest.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
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
        let layout = Tree::new(archive.with_extension("layout"))?;
        let (blobs, file) = (layout.folder().join("blobs/sha256"), layout.folder().join("blob"));
        fs::create_dir_all(&blobs)?;
        // Moves the file among those that are found by their digest; what others name it by.
        let blob = |media_type: &str| -> Result<Value> {
            let (digest, size) = (sha256(&file)?, fs::metadata(&file)?.len());
            fs::rename(&file, blobs.join(&digest))?;
            Ok(json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": size}))
        };

        tar(root.folder(), &file, seconds)?;
        let (unpacked_bytes, unpacked) = (fs::metadata(&file)?.len(), sha256(&file)?);
        step::output(Command::new("gzip").args(["--no-name", "--best"]).arg(&file))?;
        fs::rename(file.with_extension("gz"), &file)?;
        let layer = blob(LAYER)?;
        let platform = json!({"architecture": architecture(), "os": "linux"});
        let mut config = platform.clone();
        config["rootfs"] = json!({"type": "layers", "diff_ids": [format!("sha256:{unpacked}")]});
        config["config"] = json!({
            "Entrypoint": [self.entrypoint], "Env": [format!("PATH={}", self.path)], "Labels": self.labels, "WorkingDir": "/",
        });
        fs::write(&file, config.to_string())?;
        let config = blob(CONFIG)?;
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]});
        fs::write(&file, manifest.to_string())?;
        let mut manifest = blob(MANIFEST)?;
        manifest["platform"] = platform;
        // The first is what containerd goes by, the second what everybody else does.
        let name = full_name(self.name);
        let tag = name.rsplit_once(':').map_or("", |(_, tag)| tag);
        manifest["annotations"] = json!({"io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag});
        layout.text("/index.json", &json!({"schemaVersion": 2, "manifests": [manifest]}).to_string())?;
        layout.text("/oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#)?;

        let unfinished = archive.with_extension("unfinished");
        tar(layout.folder(), &unfinished, seconds)?;
        fs::rename(&unfinished, archive).with_context(|| format!("writing {}", archive.display()))?;
        fs::remove_dir_all(layout.folder())?;
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
    step::output(&mut tar).map(drop)
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

    /// Packs an image with this program, added in this order, and unpacks the archive; the folder has both.
    fn packed(program: &str, link_first: bool) -> (Packed, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let root = Tree::new(folder.path().join("root")).unwrap();
        let (link, text) = (|| root.link("/usr/bin/w", "weir"), || root.text("/usr/bin/weir", program));
        let added = if link_first { link().and_then(|()| text()) } else { text().and_then(|()| link()) };
        added.unwrap();
        root.directory("/tmp", 0o1777).unwrap();
        let labels = json!({"org.opencontainers.image.title": "weir"});
        let image = Image { name: "registry.test/mesh/weir:1", entrypoint: "/usr/bin/weir", path: "/usr/bin", labels };
        let archive = folder.path().join("weir.tar");
        let packed = image.pack(&root, &archive, 7).unwrap();
        shell(folder.path(), "tar --extract --file=weir.tar");
        (packed, folder)
    }

    fn shell(folder: &Path, text: &str) -> String {
        step::output(Command::new("sh").current_dir(folder).env("TZ", "UTC").args(["-c", text])).unwrap()
    }

    #[test]
    fn everything_is_found_by_its_digest_from_the_index_on() {
        let (packed, folder) = packed("program", false);
        let folder = folder.path();
        let json = |path: &Path| serde_json::from_slice::<Value>(&fs::read(path).unwrap()).unwrap();
        let found = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap().trim_start_matches("sha256:");
            let path = folder.join("blobs/sha256").join(digest);
            assert_eq!(
                (sha256(&path).unwrap().as_str(), &descriptor["size"]),
                (digest, &json!(path.metadata().unwrap().len()))
            );
            path
        };
        let index = json(&folder.join("index.json"));
        let entry = &index["manifests"][0];
        assert_eq!(entry["annotations"]["io.containerd.image.name"], "registry.test/mesh/weir:1");
        assert_eq!(entry["annotations"]["org.opencontainers.image.ref.name"], "1");
        assert_eq!(entry["digest"], packed.digest);
        let manifest = json(&found(entry));
        let config = json(&found(&manifest["config"]));
        assert_eq!(config["config"]["Entrypoint"], json!(["/usr/bin/weir"]));
        let layer = found(&manifest["layers"][0]);
        let compressed = fs::read(&layer).unwrap();
        assert_eq!((compressed.len() as u64, &compressed[4..8]), (packed.compressed_bytes, &[0; 4][..]), "gzip's time");
        shell(folder, &format!("gzip --decompress --stdout {} >layer", layer.display()));
        assert_eq!(folder.join("layer").metadata().unwrap().len(), packed.unpacked_bytes);
        assert_eq!(config["rootfs"]["diff_ids"], json!([format!("sha256:{}", sha256(&folder.join("layer")).unwrap())]));
        assert_eq!(
            shell(folder, "tar --list --verbose --file=layer | tr -s ' '"),
            "drwxrwxrwt 0/0 0 1970-01-01 00:00 tmp/\n\
             drwxr-xr-x 0/0 0 1970-01-01 00:00 usr/\n\
             drwxr-xr-x 0/0 0 1970-01-01 00:00 usr/bin/\n\
             lrwxrwxrwx 0/0 0 1970-01-01 00:00 usr/bin/w -> weir\n\
             -rw-r--r-- 0/0 7 1970-01-01 00:00 usr/bin/weir\n"
        );
    }

    #[test]
    fn the_same_content_has_the_same_digest_and_other_content_another() {
        let [(one, _), (same, _), (other, _)] = [("program", false), ("program", true), ("another", false)]
            .map(|(program, link_first)| packed(program, link_first));
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
