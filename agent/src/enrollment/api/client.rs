//! The client of the enrolment API, for the commands.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use anyhow::Context;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

use crate::proto::enrollment as wire;

/// The description of a pod to enrol. The agent checks it.
#[derive(Debug, Clone, Default)]
pub struct NewPod {
    pub uid: String,
    pub name: String,
    pub namespace: String,
    pub service_account: String,
    /// Path of its network namespace.
    pub netns: String,
    /// Path of its cgroup; the enrolment ends with it.
    pub cgroup: Option<String>,
    /// Those of its network namespace where none is given.
    pub addresses: Vec<IpAddr>,
    pub labels: BTreeMap<String, String>,
    /// Ports that its probes and hooks name.
    pub probe_ports: Vec<u16>,
    /// The text of its `resolv.conf`; names are looked up as the agent does where it is empty.
    pub resolv_conf: String,
}

/// An enrolled pod as the agent lists it.
#[derive(Debug, Clone)]
pub struct ListedPod {
    pub uid: String,
    pub name: String,
    pub namespace: String,
    pub addresses: Vec<String>,
    /// The mesh has a workload for it.
    pub known_to_mesh: bool,
    pub connections_open: u64,
}

/// A connection to the enrolment API of a running agent.
#[derive(Debug)]
pub struct EnrollmentClient(wire::enrollment_client::EnrollmentClient<Channel>);

impl EnrollmentClient {
    /// Connects to the socket at a path.
    ///
    /// # Errors
    /// When no agent answers there.
    pub async fn connect(path: &Path) -> anyhow::Result<Self> {
        let socket = path.to_owned();
        let channel = Endpoint::from_static("http://agent.invalid")
            .connect_with_connector(tower::service_fn(move |_| {
                let socket = socket.clone();
                async move { UnixStream::connect(socket).await.map(TokioIo::new) }
            }))
            .await
            .with_context(|| format!("no agent answers at {} (is `weir agent` running?)", path.display()))?;
        Ok(Self(wire::enrollment_client::EnrollmentClient::new(channel)))
    }

    /// Enrols a pod, and returns the addresses that it is enrolled with.
    ///
    /// # Errors
    /// When the agent refuses; the message names the field.
    pub async fn enroll(&mut self, pod: NewPod) -> anyhow::Result<Vec<String>> {
        let pod = wire::Pod {
            uid: pod.uid,
            name: pod.name,
            namespace: pod.namespace,
            service_account: pod.service_account,
            netns: pod.netns,
            cgroup: pod.cgroup.unwrap_or_default(),
            addresses: pod.addresses.iter().map(ToString::to_string).collect(),
            labels: pod.labels.into_iter().collect(),
            probe_ports: pod.probe_ports.into_iter().map(u32::from).collect(),
            resolv_conf: pod.resolv_conf,
        };
        let answer = self.0.enroll(wire::EnrollRequest { pod: Some(pod) }).await.map_err(refusal)?;
        Ok(answer.into_inner().addresses)
    }

    /// Ends a pod's enrolment.
    ///
    /// # Errors
    /// When there is no such pod.
    pub async fn unenroll(&mut self, uid: &str) -> anyhow::Result<()> {
        self.0.unenroll(wire::UnenrollRequest { uid: uid.to_owned() }).await.map_err(refusal)?;
        Ok(())
    }

    /// The enrolled pods.
    ///
    /// # Errors
    /// When the agent does not answer.
    pub async fn list(&mut self) -> anyhow::Result<Vec<ListedPod>> {
        let listed = self.0.list(wire::ListRequest {}).await.map_err(refusal)?.into_inner();
        let read = |listed: wire::EnrolledPod| {
            let pod = listed.pod.unwrap_or_default();
            ListedPod {
                uid: pod.uid,
                name: pod.name,
                namespace: pod.namespace,
                addresses: pod.addresses,
                known_to_mesh: listed.known_to_mesh,
                connections_open: listed.connections_open,
            }
        };
        Ok(listed.pods.into_iter().map(read).collect())
    }
}

/// The agent's message, without gRPC around it.
fn refusal(status: tonic::Status) -> anyhow::Error {
    anyhow::anyhow!("{}", status.message())
}
