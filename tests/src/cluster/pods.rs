//! What tests run in a cluster: pods of `weir-test-app`, Services before them, and a namespace that goes when its test is
//! over. Objects are JSON, which kubectl takes as it takes YAML.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::images::APP;
use super::kubectl::{Kubectl, Pod};

/// How long a pod may take to be ready; a second or two on a quiet machine.
const STARTING: Duration = Duration::from_secs(60);

/// A namespace of a test. Dropping it deletes it with all that is in it, without waiting for that.
#[derive(Debug)]
pub struct Namespace<'a> {
    pub kubectl: &'a Kubectl,
    pub name: String,
}

impl<'a> Namespace<'a> {
    /// Makes it, with labels.
    ///
    /// # Errors
    /// If there is one of that name, also one that is just going.
    pub fn create(kubectl: &'a Kubectl, name: &str, labels: &[(&str, &str)]) -> Result<Self> {
        let labels: serde_json::Map<String, Value> =
            labels.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        kubectl.apply(
            &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}).to_string(),
        )?;
        let made = Self { kubectl, name: name.to_owned() };
        // A pod that comes before its service account is refused.
        kubectl.until("the namespace has a service account", STARTING, |kubectl| {
            kubectl.run(&["get", "serviceaccount", "default", "--namespace", name])
        })?;
        Ok(made)
    }

    /// Where the API has its objects of a kind of the core, such as `pods`.
    #[must_use]
    pub fn collection(&self, kind: &str) -> String {
        format!("/api/v1/namespaces/{}/{kind}", self.name)
    }

    /// Sets a label of it, or takes it away: `key=value`, `key-`.
    ///
    /// # Errors
    /// With the API server's words.
    pub fn label(&self, label: &str) -> Result<()> {
        self.kubectl.run(&["label", "--overwrite", "namespace", &self.name, label]).map(drop)
    }

    /// Applies an object into it.
    ///
    /// # Errors
    /// With the API server's words.
    pub fn apply(&self, object: &Value) -> Result<()> {
        let mut object = object.clone();
        object["metadata"]["namespace"] = json!(self.name);
        self.kubectl.apply(&object.to_string())
    }

    /// Applies a pod and waits until it is ready.
    ///
    /// # Errors
    /// If it is not in time; with what its events say.
    pub fn start(&self, pod: &Value) -> Result<Pod> {
        self.apply(pod)?;
        self.ready(pod["metadata"]["name"].as_str().context("a pod has a name")?)
    }

    /// Waits until a pod, made by [`app`], is ready.
    ///
    /// # Errors
    /// If it is not in time; with what its events say.
    pub fn ready(&self, name: &str) -> Result<Pod> {
        let found = self.kubectl.ready(&self.name, &format!("app={name}"), STARTING);
        match found.map(|pods| pods.into_iter().next()) {
            Ok(Some(pod)) => Ok(pod),
            Ok(None) => bail!("there is no pod {name}"),
            Err(error) => {
                let events = self.kubectl.run(&["events", "--namespace", &self.name, "--types=Warning"]);
                Err(error.context(events.unwrap_or_default()))
            }
        }
    }

    /// Applies a Service and waits until kube-proxy can know of an endpoint; its address.
    ///
    /// # Errors
    /// If no pod stands behind it in time.
    pub fn service(&self, service: &Value) -> Result<String> {
        self.apply(service)?;
        let name = service["metadata"]["name"].as_str().context("a Service has a name")?;
        let selector = format!("kubernetes.io/service-name={name}");
        self.kubectl.until(&format!("Service {name} has endpoints"), STARTING, |kubectl| {
            let slices = kubectl.get(&["endpointslices", "--namespace", &self.name, "--selector", &selector])?;
            slices["items"][0]["endpoints"][0]["addresses"][0].as_str().map(str::to_owned).context("it has none")
        })?;
        let made = self.kubectl.get(&["service", name, "--namespace", &self.name])?;
        Ok(made["spec"]["clusterIP"].as_str().context("a Service has an address")?.to_owned())
    }

    /// Runs `weir-test-app` in a pod of it; the JSON of its last line.
    ///
    /// # Errors
    /// If it fails.
    pub fn ask<S: AsRef<str>>(&self, pod: &str, arguments: &[S]) -> Result<Value> {
        let mut command = vec!["weir-test-app"];
        command.extend(arguments.iter().map(AsRef::as_ref));
        last_line(&self.kubectl.exec(&self.name, pod, &command)?)
    }
}

impl Drop for Namespace<'_> {
    fn drop(&mut self) {
        let _ = self.kubectl.run(&["delete", "namespace", &self.name, "--wait=false"]);
    }
}

/// The JSON in the last line of what a program printed.
///
/// # Errors
/// If there is none.
pub fn last_line(printed: &str) -> Result<Value> {
    let line = printed.lines().last().context("it printed nothing")?;
    serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))
}

/// The status of a pod that runs, as a kubelet says it: ready or not.
#[must_use]
pub fn running(address: &str, ready: bool) -> Value {
    let ready = if ready { "True" } else { "False" };
    json!({
        "phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
        "conditions": [{"type": "Ready", "status": ready}, {"type": "ContainersReady", "status": ready}],
    })
}

/// A pod of `weir-test-app` with these arguments, on a node if one is named, ready once its first served port listens.
#[must_use]
pub fn app(name: &str, node: Option<&str>, arguments: &[&str]) -> Value {
    let mut container = json!({
        "name": "app",
        "image": APP,
        "imagePullPolicy": "IfNotPresent",
        "args": arguments,
    });
    let port = arguments.iter().find_map(|word| word.rsplit_once(':')?.1.parse::<u16>().ok());
    if let Some(port) = port.filter(|_| arguments.first() == Some(&"serve")) {
        container["readinessProbe"] = json!({"tcpSocket": {"port": port}, "periodSeconds": 1});
    }
    let mut spec = json!({
        "terminationGracePeriodSeconds": 1,
        // There is no name server in the cluster; asking for one is an event for each pod.
        "dnsPolicy": "Default",
        "containers": [container],
    });
    if let Some(node) = node {
        spec["nodeSelector"] = json!({"kubernetes.io/hostname": node});
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": spec})
}

/// A Service before the pods that [`app`] makes under a name; `kind` is its type, such as `ClusterIP`.
#[must_use]
pub fn service(name: &str, kind: &str, port: u16, target: u16) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"type": kind, "selector": {"app": name}, "ports": [{"name": "tcp", "port": port, "targetPort": target}]},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_that_serves_is_ready_once_its_first_port_listens() {
        for (arguments, expected) in [
            (&["serve", "echo:7001", "peer:7002"][..], json!(7001)),
            (&["serve", "--bind", "::", "echo:7001"], json!(7001)),
            (&["dial", "10.0.0.1:7001", "--stay"], Value::Null),
        ] {
            let pod = app("a", Some("na"), arguments);
            let container = &pod["spec"]["containers"][0];
            assert_eq!(container["readinessProbe"]["tcpSocket"]["port"], expected, "{arguments:?}");
        }
    }

    #[test]
    fn only_the_last_line_is_read() {
        assert_eq!(last_line("a warning\n{\"ok\":1}\n").unwrap(), json!({"ok": 1}));
        assert!(last_line("").is_err());
    }
}
