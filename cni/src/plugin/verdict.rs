//! May the pod's first process run? Pure: from what the agent said, or did not say, to the call's outcome.
//!
//! A pod that must be in the mesh never starts outside it. A pod of which nobody here knows that it must does start when
//! no agent answers: a mesh must not keep a node from working, and the agent enrols such a pod once it is back.

use weir_cni::section::Section;
use weir_cni::wire::{Answer, Request};

use super::agent::Silence;
use super::error::{CniError, Code};

/// What is known of a pod without the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Membership {
    /// Its namespace was in the mesh when an agent last looked.
    Must,
    /// Nothing: not for the mesh, or labelled by itself, or newer than the last look.
    Unknown,
}

/// # Errors
/// When the sandbox must fail; the text is for the pod's events.
pub(crate) fn of(
    said: Result<Answer, Silence>,
    request: &Request,
    section: &Section,
    membership: Membership,
) -> Result<(), CniError> {
    let silence = match said {
        Ok(Answer::Enrolled | Answer::NotForTheMesh | Answer::Released) => return Ok(()),
        Ok(Answer::Failed { reason }) => return Err(refused(request, &reason)),
        // It was asked until the limit, and this is no way to end that.
        Ok(Answer::Unknown { reason }) => Silence::Unknown { waited: std::time::Duration::ZERO, reason },
        Err(silence) => silence,
    };
    match membership {
        Membership::Unknown => Ok(()),
        Membership::Must => Err(unanswered(&silence, request, section)),
    }
}

/// The agent's refusal.
pub(crate) fn refused(request: &Request, reason: &str) -> CniError {
    let message = format!("pod {}/{} could not join the mesh: {reason}", request.namespace, request.name);
    let details = "the kubelet tries again; the log of this node's Weir agent says more";
    CniError::new(Code::NotEnrolled, message, details)
}

fn unanswered(silence: &Silence, request: &Request, section: &Section) -> CniError {
    let (namespace, name) = (&request.namespace, &request.name);
    let (message, details) = match silence {
        Silence::NoAgent { waited, last } => (
            format!(
                "pod {namespace}/{name} must join the mesh before it starts, and no Weir agent answered within {} s at {}: {last}",
                waited.as_secs(),
                section.socket.display(),
            ),
            format!(
                "the kubelet tries again; see that the Weir agent's pod runs on this node, or take namespace {namespace} out of the mesh"
            ),
        ),
        Silence::Unknown { waited, reason } => (
            format!(
                "pod {namespace}/{name} must join the mesh before it starts, and this node's Weir agent did not know the pod within {} s: {reason}",
                waited.as_secs(),
            ),
            "the kubelet tries again; see whether the Weir agent reaches the Kubernetes API (its log says so)"
                .to_owned(),
        ),
    };
    CniError::new(Code::TryAgainLater, message, details)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use weir_cni::wire::Command;

    use super::*;

    #[test]
    fn only_what_must_be_in_the_mesh_and_is_not_fails() {
        let request = Request {
            command: Command::Add,
            container: "c".into(),
            netns: "/run/netns/a".into(),
            interface: "eth0".into(),
            namespace: "shop".into(),
            name: "web".into(),
            uid: "u".into(),
            addresses: Vec::new(),
        };
        let waited = Duration::from_secs(15);
        let nobody = || Err(Silence::NoAgent { waited, last: "refused".into() });
        let unknown = || Err(Silence::Unknown { waited, reason: "no API".into() });
        let failed = || Ok(Answer::Failed { reason: "no file descriptors".into() });
        use Membership::{Must, Unknown};
        for (said, membership, expected) in [
            (Ok(Answer::Enrolled), Must, None),
            (Ok(Answer::Enrolled), Unknown, None),
            (Ok(Answer::NotForTheMesh), Must, None),
            (Ok(Answer::NotForTheMesh), Unknown, None),
            (failed(), Must, Some((Code::NotEnrolled, "no file descriptors"))),
            (failed(), Unknown, Some((Code::NotEnrolled, "pod shop/web"))),
            (nobody(), Must, Some((Code::TryAgainLater, "/run/weir/cni.sock: refused"))),
            (nobody(), Unknown, None),
            (unknown(), Must, Some((Code::TryAgainLater, "did not know the pod within 15 s: no API"))),
            (unknown(), Unknown, None),
        ] {
            let verdict = of(said.clone(), &request, &Section::default(), membership);
            match (verdict, expected) {
                (Ok(()), None) => {}
                (Err(error), Some((code, text))) => {
                    assert!(error.code == code && error.message.contains(text), "{said:?}: {error:?}");
                }
                (verdict, _) => panic!("{said:?}, {membership:?}: {verdict:?}"),
            }
        }
    }
}
