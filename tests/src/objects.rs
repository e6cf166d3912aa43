//! The mesh as users write it: Istio objects as YAML in a folder, and short ways to write those that tests need often.

use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The folder of objects that a control plane or an agent reads. Each object is a file.
#[derive(Debug)]
pub struct ObjectFolder {
    folder: PathBuf,
}

impl ObjectFolder {
    /// Makes the folder.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn create(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        Ok(Self { folder: folder.to_owned() })
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Writes a file of the folder at once: no reader ever sees half of it.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn put(&self, name: &str, yaml: &str) -> Result<()> {
        let new = self.folder.with_extension("new");
        fs::write(&new, yaml)?;
        Ok(fs::rename(&new, self.file(name))?)
    }

    /// Removes a file of the folder.
    ///
    /// # Errors
    /// If there is none.
    pub fn remove(&self, name: &str) -> Result<()> {
        Ok(fs::remove_file(self.file(name))?)
    }

    /// Writes a file that goes again when the guard is dropped.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn put_for_now(&self, name: &str, yaml: &str) -> Result<ForNow<'_>> {
        self.put(name, yaml)?;
        Ok(ForNow { folder: self, name: name.to_owned() })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.yaml"))
    }
}

/// An object of one test; dropping it removes the object.
#[derive(Debug)]
pub struct ForNow<'a> {
    folder: &'a ObjectFolder,
    name: String,
}

impl Drop for ForNow<'_> {
    fn drop(&mut self) {
        // Gone already if the test removed it itself.
        let _ = self.folder.remove(&self.name);
    }
}

/// A workload of the mesh on one of its nodes.
#[derive(Debug, Clone, Copy)]
pub struct WorkloadEntry<'a> {
    pub name: &'a str,
    pub namespace: &'a str,
    pub service_account: &'a str,
    pub node: &'a str,
    /// The first is the one Istio knows; a second one goes into an annotation of ours.
    pub addresses: &'a [IpAddr],
    pub labels: &'a [(&'a str, &'a str)],
    /// Reached by HBONE; otherwise by plain TCP.
    pub hbone: bool,
}

impl WorkloadEntry<'_> {
    #[must_use]
    pub fn yaml(&self) -> String {
        let Self { name, namespace, service_account, node, addresses, labels, hbone } = self;
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let redirection = if *hbone { "\n    ambient.istio.io/redirection: enabled" } else { "" };
        let mut yaml = format!(
            "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata:\n  name: {name}\n  namespace: {namespace}\n  \
             annotations:{redirection}\n    weir.dev/addresses: \"{}\"\n  labels:\n    kubernetes.io/hostname: {node}\n",
            addresses.join(",")
        );
        for (key, value) in *labels {
            let _ = writeln!(yaml, "    {key}: {value}");
        }
        let first = addresses.first().map_or("", String::as_str);
        let _ = write!(yaml, "spec:\n  address: \"{first}\"\n  serviceAccount: {service_account}\n");
        yaml
    }
}

/// A service whose endpoints are the workloads with a label.
#[derive(Debug, Clone, Copy)]
pub struct ServiceEntry<'a> {
    pub name: &'a str,
    pub namespace: &'a str,
    pub addresses: &'a [IpAddr],
    /// Service port and the port its endpoints serve it on.
    pub ports: &'a [(u16, u16)],
    pub selector: (&'a str, &'a str),
}

impl ServiceEntry<'_> {
    /// The host name of the service.
    #[must_use]
    pub fn host(&self) -> String {
        format!("{}.{}.svc.cluster.local", self.name, self.namespace)
    }

    #[must_use]
    pub fn yaml(&self) -> String {
        let Self { name, namespace, addresses, ports, selector: (key, value) } = self;
        let addresses: Vec<String> = addresses.iter().map(|address| format!("\"{address}\"")).collect();
        let mut yaml = format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata:\n  name: {name}\n  namespace: {namespace}\n\
             spec:\n  hosts: [\"{}\"]\n  addresses: [{}]\n  resolution: STATIC\n  location: MESH_INTERNAL\n  \
             workloadSelector:\n    labels:\n      {key}: {value}\n  ports:\n",
            self.host(),
            addresses.join(", ")
        );
        for (port, target) in *ports {
            let _ = writeln!(yaml, "  - {{number: {port}, name: tcp-{port}, protocol: TCP, targetPort: {target}}}");
        }
        yaml
    }
}

/// An AuthorizationPolicy for the workloads with a label, with its rules as YAML flow (`[{from: …}]`).
#[must_use]
pub fn authorization_policy(name: &str, namespace: &str, app: &str, action: &str, rules: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata:\n  name: {name}\n  namespace: {namespace}\n\
         spec:\n  selector:\n    matchLabels:\n      app: {app}\n  action: {action}\n  rules: {rules}\n"
    )
}

/// A PeerAuthentication for the workloads with a label, or for the whole namespace.
#[must_use]
pub fn peer_authentication(name: &str, namespace: &str, app: Option<&str>, mode: &str) -> String {
    let selector = app.map_or(String::new(), |app| format!("  selector:\n    matchLabels:\n      app: {app}\n"));
    format!(
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata:\n  name: {name}\n  namespace: {namespace}\n\
         spec:\n{selector}  mtls:\n    mode: {mode}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_says_where_it_runs_and_both_its_addresses() {
        let yaml = WorkloadEntry {
            name: "web-1",
            namespace: "demo",
            service_account: "web",
            node: "n1",
            addresses: &["10.77.1.10".parse().unwrap(), "fd77::1:10".parse().unwrap()],
            labels: &[("app", "web")],
            hbone: true,
        }
        .yaml();
        for line in [
            "    ambient.istio.io/redirection: enabled\n",
            "    weir.dev/addresses: \"10.77.1.10,fd77::1:10\"\n",
            "    kubernetes.io/hostname: n1\n    app: web\n",
            "  address: \"10.77.1.10\"\n  serviceAccount: web\n",
        ] {
            assert!(yaml.contains(line), "{line:?} in\n{yaml}");
        }
    }

    #[test]
    fn files_come_and_go_whole() {
        let home = tempfile::tempdir().unwrap();
        let objects = ObjectFolder::create(&home.path().join("objects")).unwrap();
        let file = objects.path().join("policy.yaml");
        let policy = objects.put_for_now("policy", "kind: X\n").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "kind: X\n");
        drop(policy);
        assert!(!file.exists());
    }
}
