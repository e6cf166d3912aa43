//! The real parts of a cluster, where `cargo xtask test k8s` puts them: Kubernetes and Istio built from Go modules,
//! containerd and its companions unpacked from Debian's packages. Nothing of them is installed.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::mode::Containerd;

/// Names the folder of the parts; without it they are looked for in the user's cache.
pub const VARIABLE: &str = "WEIR_K8S";

/// The folder of the parts.
#[derive(Debug, Clone)]
pub struct Parts(PathBuf);

impl Parts {
    /// Finds the folder.
    ///
    /// # Errors
    /// If a part is missing; names it and what makes it.
    pub fn find() -> Result<Self> {
        let parts = Self(folder().context("no folder for a cache is known: set HOME")?);
        let programs = ["kube-apiserver", "kubelet", "kubectl", "pilot-discovery"].map(|name| parts.program(name));
        let unpacked = ["usr/bin/containerd", "usr/bin/etcd", "usr/sbin/runc", "usr/lib/cni/bridge"];
        for path in programs.into_iter().chain(unpacked.map(|path| parts.debian(path))) {
            ensure!(path.exists(), "{} is not there: `cargo xtask test k8s` builds or fetches it", path.display());
        }
        Ok(parts)
    }

    /// A program built from a Go module.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.0.join("bin").join(name)
    }

    /// A program of a containerd.
    ///
    /// # Errors
    /// If it is not there; says what makes it.
    pub fn containerd(&self, which: Containerd, name: &str) -> Result<PathBuf> {
        let path = match which {
            Containerd::Debian => self.debian("usr/bin").join(name),
            Containerd::Recent => self.0.join("containerd/bin").join(name),
        };
        ensure!(path.exists(), "{} is not there: `cargo xtask test k8s` builds or fetches it", path.display());
        Ok(path)
    }

    /// A file of Debian's packages, by its path without the first slash.
    #[must_use]
    pub fn debian(&self, path: &str) -> PathBuf {
        self.0.join("root").join(path)
    }

    /// A program of Prometheus.
    #[must_use]
    pub fn prometheus(&self, name: &str) -> PathBuf {
        self.0.join("prometheus/usr/bin").join(name)
    }

    /// Definitions of custom resources: Istio's, and the Gateway API's.
    #[must_use]
    pub fn definitions(&self) -> PathBuf {
        self.0.join("crds")
    }

    /// A file of Istio's task about JWT: `jwks.json`, or a token of the issuer whose keys these are.
    ///
    /// # Errors
    /// If it is not there; says what makes it.
    pub fn token(&self, name: &str) -> Result<String> {
        let path = self.0.join("jwt").join(name);
        let read = fs::read_to_string(&path).map(|text| text.trim().to_owned());
        read.with_context(|| format!("{} is not there: `cargo xtask test k8s` copies it", path.display()))
    }

    /// What programs need in their environment to find one another and their libraries.
    #[must_use]
    pub fn environment(&self) -> Vec<(OsString, OsString)> {
        let root = self.0.join("root");
        let usual = std::env::var_os("PATH").unwrap_or_default();
        let ours = [self.0.join("bin"), root.join("usr/sbin"), root.join("usr/bin"), root.join("bin")];
        let usual_too = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from);
        let all = ours.into_iter().chain(std::env::split_paths(&usual)).chain(usual_too);
        let path = std::env::join_paths(all).unwrap_or(usual);
        let libraries = root.join("usr/lib/x86_64-linux-gnu");
        vec![
            ("PATH".into(), path),
            ("XTABLES_LIBDIR".into(), libraries.join("xtables").into()),
            ("LD_LIBRARY_PATH".into(), libraries.into()),
        ]
    }
}

pub(crate) fn folder() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = || variable("XDG_CACHE_HOME").or_else(|| std::env::home_dir().map(|home| home.join(".cache")));
    variable(VARIABLE).or_else(|| cache().map(|cache| cache.join("weir/k8s")))
}

/// The program that runs. If it was built anew meanwhile, the new one is at its path.
///
/// # Errors
/// If it has no path.
pub fn this_program() -> Result<PathBuf> {
    let path = std::env::current_exe().context("finding the running program")?;
    let replaced = path.to_str().and_then(|path| path.strip_suffix(" (deleted)")).map(PathBuf::from);
    Ok(replaced.unwrap_or(path))
}

/// Where programs of the tests are: beside the one that runs.
///
/// # Errors
/// If the running program has no path.
pub fn beside(name: &str) -> Result<PathBuf> {
    Ok(this_program()?.parent().unwrap_or(Path::new("/")).join(name))
}
