//! The conversation: the plugin says one line of JSON, the agent answers with one. Either side may be of another release
//! than the other: what a side does not know it skips, what is missing has a default.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The longest line that either side takes, in bytes. A pod with every address and name at its limit needs a tenth.
pub const MAX_LINE_BYTES: usize = 16 * 1024;

/// What the container runtime wants to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Command {
    /// The sandbox has its network; nothing runs in it yet.
    Add,
    /// The sandbox goes.
    Del,
    /// Is the sandbox as `Add` left it?
    Check,
}

/// What the plugin says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    pub command: Command,
    /// The sandbox's id at the container runtime.
    pub container: String,
    /// The network namespace as the host sees it, such as `/var/run/netns/cni-…`; may be empty for `Del`.
    #[serde(default)]
    pub netns: String,
    /// The interface that the chain's first plugin made, such as `eth0`.
    #[serde(default)]
    pub interface: String,
    /// The pod's namespace, name and uid; the uid is empty where the container runtime does not tell it.
    pub namespace: String,
    pub name: String,
    #[serde(default)]
    pub uid: String,
    /// The sandbox's addresses, from the result of the plugins before.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
}

/// What the agent answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    /// Everything the pod does from now on is captured.
    Enrolled,
    /// The cluster says that the pod is not for the mesh.
    NotForTheMesh,
    /// The sandbox is let go (the only answer to `Del`).
    Released,
    /// The pod must be in the mesh and is not: the sandbox must fail.
    Failed { reason: String },
    /// The agent cannot tell what the pod is; it may be able to a little later.
    Unknown { reason: String },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_are_these() {
        let request = r#"{"command":"ADD","container":"c1","netns":"/var/run/netns/a","interface":"eth0","namespace":"shop","name":"web","uid":"u1","addresses":["10.0.0.1","fd00::1"]}"#;
        let parsed: Request = serde_json::from_str(request).expect("valid");
        assert_eq!(parsed.addresses.len(), 2);
        assert_eq!(serde_json::to_string(&parsed).expect("plain data"), request);
        for (answer, line) in [
            (Answer::Enrolled, r#"{"answer":"enrolled"}"#),
            (Answer::NotForTheMesh, r#"{"answer":"not-for-the-mesh"}"#),
            (Answer::Released, r#"{"answer":"released"}"#),
            (Answer::Failed { reason: "x".into() }, r#"{"answer":"failed","reason":"x"}"#),
            (Answer::Unknown { reason: "x".into() }, r#"{"answer":"unknown","reason":"x"}"#),
        ] {
            assert_eq!(serde_json::to_string(&answer).expect("plain data"), line);
            assert_eq!(serde_json::from_str::<Answer>(line).expect("valid"), answer);
        }
    }

    #[test]
    fn another_release_may_say_more_or_less() {
        let less = r#"{"command":"DEL","container":"c","namespace":"n","name":"p","colour":"red"}"#;
        let request: Request = serde_json::from_str(less).expect("enough");
        assert_eq!((request.netns.as_str(), request.uid.as_str(), request.addresses.len()), ("", "", 0));
        let more = r#"{"answer":"enrolled","since":"yesterday"}"#;
        assert_eq!(serde_json::from_str::<Answer>(more).expect("enough"), Answer::Enrolled);
    }
}
