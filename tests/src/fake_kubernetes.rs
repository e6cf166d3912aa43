//! A Kubernetes API server in small on the fabric, for agents that ask who is in the mesh; see `tests/app/kube_api.rs`.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::agent::binary;
use crate::place::Place;
use crate::program::Program;
use crate::world::{FABRIC, World};

/// Its port.
const PORT: u16 = 16_443;

/// A pod as somebody created it: no kubelet has said anything about it yet.
#[derive(Debug, Clone)]
pub struct PodObject<'a> {
    pub namespace: &'a str,
    pub name: &'a str,
    pub uid: &'a str,
    pub node: &'a str,
    pub service_account: &'a str,
    pub labels: &'a [(&'a str, &'a str)],
    /// Empty before the pod's network is there.
    pub addresses: &'a [IpAddr],
    pub host_network: bool,
}

/// The API server. Dropping it kills it.
#[derive(Debug)]
pub struct FakeKubernetes {
    place: Place,
    folder: PathBuf,
    kubeconfig: PathBuf,
    /// Kinds of custom resources, as the program takes them.
    definitions: Vec<String>,
    /// Nobody may write the status of custom resources.
    forbids_status: bool,
    program: Option<Program>,
}

impl FakeKubernetes {
    /// Starts one that knows of nothing.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start(world: &World) -> Result<Self> {
        let folder = world.run().folder().join("kubernetes");
        fs::create_dir_all(&folder)?;
        let kubeconfig = folder.join("kubeconfig");
        let server = format!("http://{FABRIC}:{PORT}");
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "fake",
            "clusters": [{"name": "fake", "cluster": {"server": server}}],
            "users": [{"name": "fake", "user": {}}],
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
        });
        fs::write(&kubeconfig, config.to_string())?;
        let (place, definitions) = (world.fabric.clone(), Vec::new());
        let mut kubernetes = Self { place, folder, kubeconfig, definitions, forbids_status: false, program: None };
        kubernetes.resume()?;
        Ok(kubernetes)
    }

    /// The flags of an agent that asks it.
    #[must_use]
    pub fn flags(&self) -> Vec<String> {
        vec![format!("--kubeconfig={}", self.kubeconfig.display()), "--enroll-from-kubernetes=on".to_owned()]
    }

    /// The flags of an agent that takes the objects about requests from it, and is told of its pods otherwise.
    #[must_use]
    pub fn flags_for_objects(&self) -> Vec<String> {
        let kubeconfig = format!("--kubeconfig={}", self.kubeconfig.display());
        vec![kubeconfig, "--enroll-from-kubernetes=off".to_owned(), "--objects=kubernetes".to_owned()]
    }

    /// Defines a kind of custom resource (`group/version/plural/Kind`), from its next start on.
    pub fn define(&mut self, kind: &str) {
        self.definitions.push(kind.to_owned());
    }

    /// Lets nobody write the status of custom resources, or lets everybody, from its next start on.
    pub fn forbid_status(&mut self, forbids: bool) {
        self.forbids_status = forbids;
    }

    /// Creates a custom resource of a kind that is defined, or changes it: then its status stays, and its generation is the next one.
    ///
    /// # Errors
    /// If it cannot be told.
    pub fn object(&self, api: &str, kind: &str, namespace: &str, name: &str, spec: &Value) -> Result<()> {
        let before = self.object_now(kind, namespace, name).unwrap_or_default();
        let generation = before["metadata"]["generation"].as_u64().unwrap_or_default();
        let generation = if before["spec"] == *spec { generation } else { generation + 1 };
        let metadata = json!({
            "name": name, "namespace": namespace, "uid": format!("{kind}-{namespace}-{name}"), "generation": generation,
            "creationTimestamp": "2026-01-31T12:00:00Z",
        });
        let mut object = json!({"apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec});
        if let Some(status) = before.get("status") {
            object["status"] = status.clone();
        }
        self.put(&format!("{kind}.{namespace}.{name}"), &object)
    }

    /// A custom resource as it is now.
    ///
    /// # Errors
    /// If there is none.
    pub fn object_now(&self, kind: &str, namespace: &str, name: &str) -> Result<Value> {
        Ok(serde_json::from_slice(&fs::read(self.folder.join(format!("{kind}.{namespace}.{name}.json")))?)?)
    }

    /// What became of writes to the status of custom resources since its last start: `status of PLURAL NAMESPACE/NAME: CODE` for each.
    #[must_use]
    pub fn status_writes(&self) -> Vec<String> {
        let printed = self.program.as_ref().map(Program::stdout).unwrap_or_default();
        printed.lines().filter(|line| line.starts_with("status of ")).map(str::to_owned).collect()
    }

    /// Deletes a custom resource.
    ///
    /// # Errors
    /// If there is none.
    pub fn remove_object(&self, kind: &str, namespace: &str, name: &str) -> Result<()> {
        Ok(fs::remove_file(self.folder.join(format!("{kind}.{namespace}.{name}.json")))?)
    }

    /// Ends it: from now on its port is closed.
    ///
    /// # Errors
    /// If it was away already.
    pub fn goes_away(&mut self) -> Result<()> {
        self.program.take().context("it is away already")?.stop(Duration::from_secs(5))?;
        Ok(())
    }

    /// Starts it again.
    ///
    /// # Errors
    /// If it does not listen in time.
    pub fn resume(&mut self) -> Result<()> {
        let program = binary("weir-test-app")?.display().to_string();
        let address = format!("{FABRIC}:{PORT}");
        let objects = format!("--objects={}", self.folder.display());
        let definitions = self.definitions.iter().map(|kind| format!("--defines={kind}"));
        let forbids = self.forbids_status.then(|| "--forbids-status".to_owned());
        let command: Vec<String> =
            [program, "kube-api".to_owned(), address, objects].into_iter().chain(definitions).chain(forbids).collect();
        let mut program = self.place.spawn(&command)?;
        program.listens_on(PORT)?;
        self.program = Some(program);
        Ok(())
    }

    /// Creates a namespace, or changes its labels.
    ///
    /// # Errors
    /// If it cannot be told.
    pub fn namespace(&self, name: &str, labels: &[(&str, &str)]) -> Result<()> {
        let labels: std::collections::BTreeMap<_, _> = labels.iter().copied().collect();
        let metadata = json!({"name": name, "uid": format!("namespace-{name}"), "labels": labels});
        self.put(&format!("namespace.{name}"), &json!({"kind": "Namespace", "apiVersion": "v1", "metadata": metadata}))
    }

    /// Creates a pod, or changes it.
    ///
    /// # Errors
    /// If it cannot be told.
    pub fn pod(&self, pod: &PodObject<'_>) -> Result<()> {
        let labels: std::collections::BTreeMap<_, _> = pod.labels.iter().copied().collect();
        let addresses: Vec<_> = pod.addresses.iter().map(|ip| json!({ "ip": ip })).collect();
        let object = json!({
            "kind": "Pod", "apiVersion": "v1",
            "metadata": {"namespace": pod.namespace, "name": pod.name, "uid": pod.uid, "labels": labels},
            "spec": {"nodeName": pod.node, "serviceAccountName": pod.service_account, "hostNetwork": pod.host_network},
            "status": {"phase": "Pending", "podIPs": addresses},
        });
        self.put(&format!("pod.{}.{}", pod.namespace, pod.name), &object)
    }

    /// Deletes a pod.
    ///
    /// # Errors
    /// If there is none.
    pub fn remove_pod(&self, namespace: &str, name: &str) -> Result<()> {
        Ok(fs::remove_file(self.folder.join(format!("pod.{namespace}.{name}.json")))?)
    }

    /// A pod as it is now.
    ///
    /// # Errors
    /// If there is none.
    pub fn pod_now(&self, namespace: &str, name: &str) -> Result<Value> {
        Ok(serde_json::from_slice(&fs::read(self.folder.join(format!("pod.{namespace}.{name}.json")))?)?)
    }

    fn put(&self, name: &str, object: &Value) -> Result<()> {
        let path = self.folder.join(format!("{name}.json"));
        let new = path.with_extension("new");
        fs::write(&new, object.to_string())?;
        Ok(fs::rename(&new, &path)?)
    }
}
