//! The administrator's hand: kubectl against a cluster's API server, and what tests ask of it most.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::control_plane::ControlPlane;
use super::parts::Parts;
use crate::place::Place;
use crate::program::{Output, Program};
use crate::wait;

/// Pause between two looks through kubectl: each is a process that takes a tenth of a second of a core.
const PAUSE: Duration = Duration::from_millis(100);

/// kubectl with an administrator's rights.
#[derive(Debug, Clone)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    /// Where manifests are written that are applied.
    folder: PathBuf,
    place: Place,
    applied: Arc<AtomicU32>,
}

impl Kubectl {
    #[must_use]
    pub fn new(control_plane: &ControlPlane, parts: &Parts) -> Self {
        let mut environment = parts.environment();
        // Not in the home of whoever runs the tests.
        environment.push(("KUBECACHEDIR".into(), control_plane.folder().join("kubectl").into()));
        Self {
            program: parts.program("kubectl"),
            kubeconfig: control_plane.kubeconfig(),
            folder: control_plane.folder().to_owned(),
            place: control_plane.room().place().clone().with_environment(environment),
            applied: Arc::default(),
        }
    }

    /// The command's first words: for a shell, or to run another way.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        vec![self.program.display().to_string(), format!("--kubeconfig={}", self.kubeconfig.display())]
    }

    /// Runs kubectl to its end, well or badly.
    ///
    /// # Errors
    /// If it takes longer.
    pub fn output<S: AsRef<str>>(&self, within: Duration, arguments: &[S]) -> Result<Output> {
        self.place.output_within(within, &self.command(arguments))
    }

    /// Runs kubectl, which must succeed within a minute; what it printed.
    ///
    /// # Errors
    /// With its words.
    pub fn run<S: AsRef<str>>(&self, arguments: &[S]) -> Result<String> {
        self.place.run_within(Duration::from_secs(60), &self.command(arguments))
    }

    /// Starts kubectl with something that goes on: logs that are followed, a port that is forwarded, a load.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn<S: AsRef<str>>(&self, arguments: &[S]) -> Result<Program> {
        self.place.spawn(&self.command(arguments))
    }

    /// Applies a manifest.
    ///
    /// # Errors
    /// With the API server's words.
    pub fn apply(&self, manifest: &str) -> Result<()> {
        let file = self.write(manifest)?;
        self.run(&["apply", "--filename", &file]).map(drop)
    }

    /// Creates many objects at once, none of which may be there.
    ///
    /// # Errors
    /// With the API server's words.
    pub fn create_many(&self, manifest: &str) -> Result<()> {
        let file = self.write(manifest)?;
        let output = self.output(Duration::from_secs(180), &["create", "--filename", &file])?;
        ensure!(output.success, "{}", output.summary());
        Ok(())
    }

    /// Deletes what a manifest names and waits until it is gone; fine if some of it is gone already.
    ///
    /// # Errors
    /// With the API server's words, or if it takes longer than a minute.
    pub fn delete(&self, manifest: &str) -> Result<()> {
        let file = self.write(manifest)?;
        self.run(&["delete", "--ignore-not-found", "--filename", &file]).map(drop)
    }

    /// Applies a file or a folder on disk, on the server's side: for definitions too large for an annotation.
    ///
    /// # Errors
    /// With the API server's words.
    pub fn apply_from(&self, path: &Path) -> Result<()> {
        let path = path.display().to_string();
        self.run(&["apply", "--server-side", "--force-conflicts", "--filename", &path]).map(drop)
    }

    /// Asks for objects as JSON: `get(&["pods", "-n", "x"])`.
    ///
    /// # Errors
    /// If there is no such thing.
    pub fn get<S: AsRef<str>>(&self, what: &[S]) -> Result<Value> {
        let mut arguments = vec!["get"];
        arguments.extend(what.iter().map(AsRef::as_ref));
        arguments.extend(["--output", "json"]);
        serde_json::from_str(&self.run(&arguments)?).context("kubectl printed no JSON")
    }

    /// Waits until a question has the answer that is wanted; looks ten times a second.
    ///
    /// # Errors
    /// The last reason why not.
    pub fn until<T>(&self, what: &str, within: Duration, mut look: impl FnMut(&Self) -> Result<T>) -> Result<T> {
        wait::until_every(PAUSE, what, within, || look(self))
    }

    /// Waits until all replicas of a workload are ready: `deployment/web`, `daemonset/weir`.
    ///
    /// # Errors
    /// If they are not in time; with what their pods say.
    pub fn rolled_out(&self, namespace: &str, workload: &str, within: Duration) -> Result<()> {
        let timeout = format!("--timeout={}s", within.as_secs());
        let words = ["rollout", "status", "--namespace", namespace, workload, &timeout];
        let output = self.output(within + Duration::from_secs(10), &words)?;
        if output.success {
            return Ok(());
        }
        let pods = self.run(&["get", "pods", "--namespace", namespace, "--output", "wide"]).unwrap_or_default();
        let events = self.run(&["events", "--namespace", namespace, "--types=Warning"]).unwrap_or_default();
        bail!("{workload} is not ready: {}\n{pods}\n{events}", output.summary())
    }

    /// Waits until every pod that a selector finds is ready, and there is one at least.
    ///
    /// # Errors
    /// If they are not in time.
    pub fn ready(&self, namespace: &str, selector: &str, within: Duration) -> Result<Vec<Pod>> {
        self.until(&format!("pods {selector} of {namespace} are ready"), within, |kubectl| {
            let pods = kubectl.pods(namespace, selector)?;
            ensure!(!pods.is_empty(), "there are none");
            let waiting = pods.iter().filter(|pod| !pod.ready).map(|pod| format!("{} is {}", pod.name, pod.phase));
            let waiting: Vec<_> = waiting.collect();
            ensure!(waiting.is_empty(), "{}", waiting.join(", "));
            Ok(pods)
        })
    }

    /// The pods that a selector finds, those being deleted left out.
    ///
    /// # Errors
    /// If the API server does not answer.
    pub fn pods(&self, namespace: &str, selector: &str) -> Result<Vec<Pod>> {
        let list = self.get(&["pods", "--namespace", namespace, "--selector", selector])?;
        let items = list["items"].as_array().context("a list has items")?;
        Ok(items.iter().filter(|item| item["metadata"]["deletionTimestamp"].is_null()).map(Pod::from).collect())
    }

    /// Runs a command in a pod's container; what it printed.
    ///
    /// # Errors
    /// If it fails; with its words.
    pub fn exec<S: AsRef<str>>(&self, namespace: &str, pod: &str, command: &[S]) -> Result<String> {
        let output = self.exec_output(Duration::from_secs(60), namespace, pod, command)?;
        ensure!(output.success, "in {namespace}/{pod}: {}", output.summary());
        Ok(output.stdout)
    }

    /// As [`Kubectl::exec`], well or badly, with a deadline of its own.
    ///
    /// # Errors
    /// If it takes longer.
    pub fn exec_output<S: AsRef<str>>(
        &self,
        within: Duration,
        namespace: &str,
        pod: &str,
        command: &[S],
    ) -> Result<Output> {
        let mut arguments = vec!["exec", "--namespace", namespace, pod, "--"];
        arguments.extend(command.iter().map(AsRef::as_ref));
        self.output(within, &arguments)
    }

    fn command<S: AsRef<str>>(&self, arguments: &[S]) -> Vec<String> {
        let arguments = arguments.iter().map(|argument| argument.as_ref().to_owned());
        self.words().into_iter().chain(arguments).collect()
    }

    fn write(&self, manifest: &str) -> Result<String> {
        let serial = self.applied.fetch_add(1, Ordering::Relaxed);
        let file = self.folder.join(format!("manifest-{serial}.yaml"));
        fs::write(&file, manifest).with_context(|| format!("writing {}", file.display()))?;
        Ok(file.display().to_string())
    }
}

/// What tests look at in a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    pub name: String,
    pub uid: String,
    pub node: String,
    /// Empty until it has one.
    pub address: String,
    pub phase: String,
    pub ready: bool,
    /// How often its containers were started again.
    pub restarts: u64,
}

impl From<&Value> for Pod {
    fn from(object: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let status = &object["status"];
        let conditions = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
        let containers = status["containerStatuses"].as_array().map(Vec::as_slice).unwrap_or_default();
        Self {
            name: text(&object["metadata"]["name"]),
            uid: text(&object["metadata"]["uid"]),
            node: text(&object["spec"]["nodeName"]),
            address: text(&status["podIP"]),
            phase: text(&status["phase"]),
            ready: conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True"),
            restarts: containers.iter().filter_map(|container| container["restartCount"].as_u64()).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_is_ready_when_its_condition_says_so_and_not_before_it_has_any() {
        let mut object = json!({"metadata": {"name": "a", "uid": "u"}, "spec": {}, "status": {"phase": "Pending"}});
        let pending = Pod::from(&object);
        assert!(!pending.ready && pending.address.is_empty() && pending.node.is_empty());
        object["status"]["conditions"] =
            json!([{"type": "Initialized", "status": "True"}, {"type": "Ready", "status": "False"}]);
        assert!(!Pod::from(&object).ready);
        object["status"]["conditions"][1]["status"] = json!("True");
        object["status"]["containerStatuses"] = json!([{"restartCount": 2}, {"restartCount": 1}]);
        let ready = Pod::from(&object);
        assert!(ready.ready);
        assert_eq!(ready.restarts, 3);
    }
}
