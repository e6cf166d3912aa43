//! The name server of a cluster beside the control plane: a real CoreDNS that follows the API, as the Service `kube-dns` of
//! `kube-system`, whose address kubelets write into their pods' resolver configuration.

use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::control_plane::ControlPlane;
use super::kubectl::Kubectl;
use super::network::{CLUSTER_DNS, CONTROL_PLANE};
use super::parts::Parts;
use crate::program::Program;
use crate::wait;

/// How long it may take from nothing until it knows all Services; a second or two on a quiet machine.
const STARTING: Duration = Duration::from_secs(60);
/// Pause between two questions whether it is ready: each is a process.
const PAUSE: Duration = Duration::from_millis(100);
/// Where it says whether it is ready.
const READINESS: &str = "127.0.0.1:18181";

/// CoreDNS, running. Dropping it ends it.
#[derive(Debug)]
pub struct ClusterDns {
    program: Program,
}

impl ClusterDns {
    /// Starts it, without waiting, and makes its Service.
    ///
    /// # Errors
    /// If it cannot be started, or with the API server's words.
    pub fn start(control_plane: &ControlPlane, kubectl: &Kubectl, parts: &Parts) -> Result<Self> {
        let coredns = parts.program("coredns");
        ensure!(coredns.exists(), "{} is not there: `cargo xtask test conformance` builds it", coredns.display());
        kubectl.apply(&service())?;
        let file = control_plane.folder().join("Corefile");
        fs::write(&file, configuration(&control_plane.kubeconfig().display().to_string()))?;
        let command = [coredns.display().to_string(), "-conf".to_owned(), file.display().to_string()];
        Ok(Self { program: control_plane.room().place().spawn(&command)? })
    }

    /// Waits until it knows what the API has.
    ///
    /// # Errors
    /// If it does not in time, or ended; with the end of its output.
    pub fn ready(&mut self, control_plane: &ControlPlane) -> Result<()> {
        let address = format!("http://{READINESS}/ready");
        let ask = ["curl", "--silent", "--show-error", "--fail", "--max-time", "5", &address];
        let ready = wait::until_every(PAUSE, "the cluster's name server is ready", STARTING, || {
            if !self.program.is_running() {
                return Ok(Err(anyhow::anyhow!("it ended:\n{}", self.program.tail())));
            }
            control_plane.room().place().run(&ask).map(|_| Ok(()))
        });
        ready?
    }
}

/// Names of the cluster come from the API; there are no others.
fn configuration(kubeconfig: &str) -> String {
    format!(
        "cluster.local {{
  bind {CONTROL_PLANE}
  errors
  ready {READINESS}
  kubernetes {{
    kubeconfig {kubeconfig} c
  }}
}}
. {{
  bind {CONTROL_PLANE}
  template ANY ANY {{
    rcode NXDOMAIN
  }}
}}
"
    )
}

/// It is no pod here, so its Service has no selector and its endpoint is written by hand.
fn service() -> String {
    format!(
        "apiVersion: v1
kind: Service
metadata: {{name: kube-dns, namespace: kube-system, labels: {{k8s-app: kube-dns}}}}
spec:
  clusterIP: {CLUSTER_DNS}
  ports:
    - {{name: dns, port: 53, protocol: UDP}}
    - {{name: dns-tcp, port: 53, protocol: TCP}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: kube-dns-1, namespace: kube-system, labels: {{kubernetes.io/service-name: kube-dns}}}}
addressType: IPv4
endpoints: [{{addresses: [{CONTROL_PLANE}], conditions: {{ready: true}}}}]
ports:
  - {{name: dns, port: 53, protocol: UDP}}
  - {{name: dns-tcp, port: 53, protocol: TCP}}
"
    )
}
