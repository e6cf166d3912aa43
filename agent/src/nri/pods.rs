//! The answers to the container runtime about pods: the same as to the CNI plugin, within the time that the container runtime
//! gives.
//!
//! It gives two seconds unless configured otherwise, and asks about one pod at a time. Whoever takes longer is no plugin
//! any more, and pods start without having been asked about: so there is an answer in good time whatever happens.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use weir_cni::namespaces::MeshNamespaces;
use weir_cni::wire::{Answer, Command, Request};

use super::messages::{Event, PodSandbox};
use crate::cni::{self, Caller, Sandboxes};
use crate::pauses::Pauses;

/// Pauses between questions about a pod that is not known yet.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(250));
/// How soon it is noticed that another agent takes over.
const RELIEF_CHECK_INTERVAL: Duration = Duration::from_millis(20);
/// How long that one may take before it is asked again: before it has bound the socket, nobody answers there.
const SUCCESSOR_TIMEOUT: Duration = Duration::from_millis(250);

/// How long pods wait for an answer, if the container runtime waits so long.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Those of namespaces that are in the mesh. Then they are given up, and the kubelet tries again.
    pub in_mesh: Duration,
    /// All others. Then they start.
    pub others: Duration,
}

/// Answers about the pods of this node.
#[derive(Debug)]
pub struct Pods {
    /// Who decides.
    pub sandboxes: Arc<Sandboxes>,
    pub limits: Limits,
    /// Namespaces whose pods are nobody's business: they wait for nothing.
    pub exclude_namespaces: BTreeSet<String>,
    /// What is known of the mesh's namespaces while Kubernetes has not said.
    pub namespaces_file: PathBuf,
    /// Where the CNI plugin asks: the agent in charge, also when that is no longer this one.
    pub socket: PathBuf,
}

impl Pods {
    /// Does what an event asks for.
    ///
    /// # Errors
    /// Why the pod must not start.
    pub(super) async fn answer(&self, event: Event, pod: PodSandbox, timeout: Duration) -> Result<(), String> {
        // A pod without a network of its own is in no mesh; what is gone already needs not be let go.
        let Some(netns) = pod.netns() else { return Ok(()) };
        if self.exclude_namespaces.contains(&pod.namespace) {
            return Ok(());
        }
        let command = if event == Event::Run { Command::Add } else { Command::Del };
        let request = request(command, &pod, netns);
        let must_join = self.must_join(&pod.namespace);
        let limit = limit(if must_join { self.limits.in_mesh } else { self.limits.others }, timeout);
        let answer = self.ask_until_known(request, Instant::now() + limit).await;
        if event != Event::Run {
            // Whatever went wrong is in the log, and a sandbox must be able to go.
            return Ok(());
        }
        // It may have come to be in the mesh while we waited.
        verdict(answer, self.must_join(&pod.namespace), &pod)
    }

    async fn ask_until_known(&self, request: Request, deadline: Instant) -> Answer {
        let mut last = "no answer in time".to_owned();
        let mut pauses = Pauses::new(PAUSES.0, PAUSES.1);
        loop {
            match tokio::time::timeout_at(deadline, self.ask(request.clone())).await {
                Ok(Answer::Unknown { reason }) => last = reason,
                Ok(answer) => return answer,
                Err(_) => return Answer::Unknown { reason: last },
            }
            let next = Instant::now() + pauses.take();
            if next >= deadline {
                return Answer::Unknown { reason: last };
            }
            tokio::time::sleep_until(next).await;
        }
    }

    /// Asks whoever is in charge: this agent, or the one that takes over. Waiting for the end of that would hold it up: the
    /// container runtime takes no plugin in before the pods that it has asked about are answered.
    async fn ask(&self, request: Request) -> Answer {
        let unknown = |reason| Answer::Unknown { reason };
        if self.sandboxes.is_in_charge() {
            return tokio::select! {
                answer = self.sandboxes.clone().answer(Caller::Nri, request) => answer,
                () = self.relieved() => unknown("another agent takes over".to_owned()),
            };
        }
        match tokio::time::timeout(SUCCESSOR_TIMEOUT, cni::ask(&self.socket, &request)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => unknown(format!("the agent that takes over does not answer: {error}")),
            Err(_) => unknown("the agent that takes over does not answer yet".to_owned()),
        }
    }

    /// Resolves once pods do not come and go through this agent any more.
    async fn relieved(&self) {
        while self.sandboxes.is_in_charge() {
            tokio::time::sleep(RELIEF_CHECK_INTERVAL).await;
        }
    }

    fn must_join(&self, namespace: &str) -> bool {
        let known = self.sandboxes.mesh_namespaces();
        // A small file, read only until the list of namespaces from Kubernetes is complete.
        let known = known.or_else(|| Some(MeshNamespaces::read(&self.namespaces_file).ok()?.namespaces));
        known.is_some_and(|namespaces| namespaces.contains(namespace))
    }
}

fn request(command: Command, pod: &PodSandbox, netns: &str) -> Request {
    Request {
        command,
        container: pod.id.clone(),
        netns: netns.to_owned(),
        interface: String::new(),
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        uid: pod.uid.clone(),
        // One that cannot be read leaves it to the namespace itself to say.
        addresses: pod.ips.iter().map(|ip| ip.parse()).collect::<Result<_, _>>().unwrap_or_default(),
    }
}

/// How long an answer may be waited for: some of the time is the answer's own.
fn limit(wanted: Duration, timeout: Duration) -> Duration {
    wanted.min(timeout * 3 / 4)
}

/// May the pod start?
fn verdict(answer: Answer, must_join: bool, pod: &PodSandbox) -> Result<(), String> {
    let PodSandbox { namespace, name, .. } = pod;
    match answer {
        Answer::Enrolled | Answer::NotForTheMesh | Answer::Released => Ok(()),
        Answer::Failed { reason } => Err(format!("pod {namespace}/{name} could not join the mesh: {reason}")),
        Answer::Unknown { reason } if must_join => {
            Err(format!("pod {namespace}/{name} must join the mesh before it starts, and could not yet: {reason}"))
        }
        Answer::Unknown { .. } => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nri::messages::{LinuxNamespace, LinuxPodSandbox};

    fn pod(ips: &[&str]) -> PodSandbox {
        let namespace = LinuxNamespace { kind: "network".into(), path: "/var/run/netns/cni-1".into() };
        PodSandbox {
            id: "c".into(),
            name: "web".into(),
            uid: "u".into(),
            namespace: "shop".into(),
            linux: Some(LinuxPodSandbox { namespaces: vec![namespace] }),
            ips: ips.iter().map(|ip| (*ip).to_owned()).collect(),
        }
    }

    #[test]
    fn only_what_must_be_in_the_mesh_and_is_not_fails() {
        let failed = || Answer::Failed { reason: "no file descriptors".into() };
        let unknown = || Answer::Unknown { reason: "no API".into() };
        for (answer, must_join, expected) in [
            (Answer::Enrolled, true, None),
            (Answer::NotForTheMesh, true, None),
            (Answer::Released, true, None),
            (failed(), true, Some("pod shop/web could not join the mesh: no file descriptors")),
            (failed(), false, Some("pod shop/web could not join the mesh: no file descriptors")),
            (unknown(), true, Some("pod shop/web must join the mesh before it starts, and could not yet: no API")),
            (unknown(), false, None),
        ] {
            let error = verdict(answer.clone(), must_join, &pod(&[])).err();
            assert_eq!(error.as_deref(), expected, "{answer:?}, {must_join}");
        }
    }

    #[test]
    fn an_answer_is_there_before_the_container_runtime_gives_up() {
        for (wanted, timeout, expected) in [(15_000, 2000, 1500), (1000, 2000, 1000), (15_000, 500, 375), (0, 2000, 0)]
        {
            let [wanted, timeout, expected] = [wanted, timeout, expected].map(Duration::from_millis);
            assert_eq!(limit(wanted, timeout), expected, "{wanted:?} of {timeout:?}");
        }
    }

    #[test]
    fn what_is_asked_is_what_the_cni_plugin_would_ask() {
        for (ips, addresses) in
            [(&["10.0.0.1", "fd00::1"][..], &["10.0.0.1", "fd00::1"][..]), (&[], &[]), (&["10.0.0.1", "none"], &[])]
        {
            let asked = request(Command::Add, &pod(ips), "/var/run/netns/cni-1");
            let addresses: Vec<std::net::IpAddr> = addresses.iter().map(|ip| ip.parse().expect("one")).collect();
            assert_eq!(asked.addresses, addresses, "{ips:?}");
            assert_eq!((asked.namespace.as_str(), asked.name.as_str(), asked.uid.as_str()), ("shop", "web", "u"));
        }
    }
}
