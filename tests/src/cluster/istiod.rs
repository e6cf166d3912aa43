//! A real, unmodified istiod beside the control plane, as the Service `istiod` of `istio-system`: ambient on, nothing of
//! Istio's on the nodes.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::control_plane::ControlPlane;
use super::kubectl::Kubectl;
use super::network::{CONTROL_PLANE, SECOND_ISTIOD};
use super::parts::Parts;
use crate::place::Place;
use crate::program::Program;
use crate::wait;

/// How long it may take from nothing until it is ready; a few seconds on a quiet machine.
const STARTING: Duration = Duration::from_secs(90);
/// Pause between two questions whether it is ready: each is a process.
const PAUSE: Duration = Duration::from_millis(100);
/// Where the first answers /ready and, to those who ask from where it runs, /debug.
const DEBUG_PORT: u16 = 18080;
const MESH: &str = "accessLogFile: /dev/stdout
trustDomain: cluster.local
rootNamespace: istio-system
defaultConfig:
  discoveryAddress: istiod.istio-system.svc:15012
  proxyMetadata: {ISTIO_META_ENABLE_HBONE: 'true'}
extensionProviders:
- name: sample-ext-authz-grpc
  envoyExtAuthzGrpc: {service: ext-authz.foo.svc.cluster.local, port: 9000}
- name: sample-ext-authz-http
  envoyExtAuthzHttp:
    service: ext-authz.foo.svc.cluster.local
    port: 8000
    includeRequestHeadersInCheck: [x-ext-authz]
";

/// istiod, running or stopped.
#[derive(Debug)]
pub struct Istiod {
    program: Option<Program>,
    name: String,
    address: String,
    debug_port: u16,
    place: Place,
    environment: Vec<(OsString, OsString)>,
    command: Vec<String>,
}

impl Istiod {
    /// Makes what it needs in the API: its namespace, the definitions of its objects, its Service. The namespace and the
    /// Service are there before any agent's pod, so the kubelet tells those pods istiod's address.
    ///
    /// # Errors
    /// With the API server's words.
    pub fn prepare(kubectl: &Kubectl, parts: &Parts) -> Result<()> {
        kubectl.apply(&service())?;
        kubectl.apply_from(&parts.definitions())
    }

    /// Starts it, without waiting.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(control_plane: &ControlPlane, parts: &Parts) -> Result<Self> {
        Self::at(CONTROL_PLANE, "istiod-1", 0, control_plane, parts, &[])
    }

    /// Starts another beside it, with these variables in its environment, which nobody is led to before
    /// [`Istiod::answers_for`], and waits until it is ready.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn start_second(control_plane: &ControlPlane, parts: &Parts, variables: &[(&str, &str)]) -> Result<Self> {
        let mut second = Self::at(SECOND_ISTIOD, "istiod-2", 1, control_plane, parts, variables)?;
        second.ready()?;
        Ok(second)
    }

    fn at(
        address: &str,
        name: &str,
        number: u16,
        control_plane: &ControlPlane,
        parts: &Parts,
        more: &[(&str, &str)],
    ) -> Result<Self> {
        let (folder, kubeconfig) = (control_plane.folder(), control_plane.kubeconfig());
        let mesh = folder.join("mesh.yaml");
        fs::write(&mesh, MESH)?;
        let variables = [
            ("POD_NAME", name),
            ("POD_NAMESPACE", "istio-system"),
            ("SERVICE_ACCOUNT", "istiod"),
            ("REVISION", "default"),
            ("CLUSTER_ID", "Kubernetes"),
            ("PILOT_ENABLE_AMBIENT", "true"),
            ("CA_TRUSTED_NODE_ACCOUNTS", "istio-system/ztunnel"),
            ("ENABLE_DEBUG_ON_HTTP", "true"),
        ];
        let mut environment = parts.environment();
        environment.extend(variables.iter().chain(more).map(|(name, value)| (name.into(), value.into())));
        let (at, debug_port) = (|port: u16| format!("{address}:{port}"), DEBUG_PORT + number);
        let command = vec![
            parts.program("pilot-discovery").display().to_string(),
            "discovery".to_owned(),
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--meshConfig={}", mesh.display()),
            "--networksConfig=".to_owned(),
            format!("--httpAddr=0.0.0.0:{debug_port}"),
            format!("--httpsAddr={}", at(15017)),
            format!("--grpcAddr={}", at(15010)),
            format!("--secureGRPCAddr={}", at(15012)),
            format!("--monitoringAddr={}", at(15014)),
            format!("--ctrlz_port={}", 9876 + number),
            "--clusterRegistriesNamespace=istio-system".to_owned(),
        ];
        let place = control_plane.room().place().clone();
        let (name, address) = (name.to_owned(), address.to_owned());
        let mut istiod = Self { program: None, name, address, debug_port, place, environment, command };
        istiod.resume()?;
        Ok(istiod)
    }

    /// Waits until it is ready.
    ///
    /// # Errors
    /// If it is not in time, or ended; with the end of its output.
    pub fn ready(&mut self) -> Result<()> {
        let address = format!("http://127.0.0.1:{}/ready", self.debug_port);
        let ask = ["curl", "--silent", "--show-error", "--fail", "--max-time", "5", &address];
        let (place, program) = (&self.place, &mut self.program);
        let ready = wait::until_every(PAUSE, "istiod is ready", STARTING, || {
            let program = program.as_mut().context("istiod was stopped")?;
            if !program.is_running() {
                return Ok(Err(anyhow::anyhow!("istiod ended:\n{}", program.tail())));
            }
            let answer = place.output(&ask)?;
            ensure!(answer.success, "{}", answer.summary());
            Ok(Ok(()))
        });
        ready?
    }

    /// Kills it, as a crash does.
    pub fn kill(&mut self) {
        self.program = None;
    }

    /// Starts it again after [`Istiod::kill`], without waiting; its authority is kept in the API.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn resume(&mut self) -> Result<()> {
        let place = self.place.clone().with_environment(self.environment.clone());
        self.program = Some(place.spawn(&self.command)?);
        Ok(())
    }

    /// Kills it if it runs, starts it and waits until it is ready.
    ///
    /// # Errors
    /// If it cannot be started, or is not ready in time.
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        self.resume()?;
        self.ready()
    }

    /// Sets a variable of its environment from its next start on, or takes it away.
    pub fn set(&mut self, variable: &str, value: Option<&OsStr>) {
        self.environment.retain(|(name, _)| name != variable);
        self.environment.extend(value.map(|value| (variable.into(), value.to_owned())));
    }

    /// Has the Service lead to it, or no longer, as Kubernetes does with a pod that is ready or gone.
    ///
    /// # Errors
    /// With the API server's words.
    pub fn answers_for(&self, kubectl: &Kubectl, does: bool) -> Result<()> {
        let slice = endpoint(&self.name, &self.address);
        if does { kubectl.apply(&slice) } else { kubectl.delete(&slice) }
    }

    /// Asks one of its debug pages, such as `/debug/syncz`.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn debug(&self, path: &str) -> Result<String> {
        let address = format!("http://127.0.0.1:{}{path}", self.debug_port);
        self.place.run(&["curl", "--silent", "--show-error", "--fail", "--max-time", "10", &address])
    }
}

/// istiod is no pod here, so its Service has no selector and its endpoints are written by hand.
fn service() -> String {
    let endpoint = endpoint("istiod-1", CONTROL_PLANE);
    format!(
        "apiVersion: v1
kind: Namespace
metadata: {{name: istio-system}}
---
apiVersion: v1
kind: Service
metadata: {{name: istiod, namespace: istio-system, labels: {{app: istiod}}}}
spec:
  ports:
    - {{name: grpc-xds, port: 15010}}
    - {{name: https-dns, port: 15012}}
    - {{name: http-monitoring, port: 15014}}
---
{endpoint}"
    )
}

fn endpoint(name: &str, address: &str) -> String {
    format!(
        "apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}, namespace: istio-system, labels: {{kubernetes.io/service-name: istiod}}}}
addressType: IPv4
endpoints: [{{addresses: [{address}], conditions: {{ready: true}}}}]
ports:
  - {{name: grpc-xds, port: 15010}}
  - {{name: https-dns, port: 15012}}
  - {{name: http-monitoring, port: 15014}}
"
    )
}
