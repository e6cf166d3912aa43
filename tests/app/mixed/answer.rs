//! What an answer was like, and whether it may be so.

use hyper::Response;
use hyper::body::Incoming;

use super::kind::Kind;

/// The pod to which the route leads that never changes.
const PINNED: &str = "v3";

/// What an answer that is right was like.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// None of a request that was left.
    pub(super) status: Option<u16>,
    pub(super) pod: Option<String>,
    /// The version of the route that decided.
    pub(super) route: Option<u64>,
    /// Bytes that were compared, of both ways.
    pub(super) bytes: u64,
    pub(super) messages: u64,
    /// Which of the two paths was asked for that a policy allows in turn.
    pub(super) parity: u64,
}

/// What is wrong with an answer.
#[derive(Debug)]
pub(super) enum Fault {
    /// There is none, or not the whole, or one of the mesh that says so.
    Lost { why: String, status: Option<u16> },
    /// It may not be.
    Wrong(String),
}

impl Fault {
    pub(super) fn lost(why: impl ToString) -> Self {
        Self::Lost { why: why.to_string(), status: None }
    }
}

impl From<hyper::Error> for Fault {
    fn from(error: hyper::Error) -> Self {
        Self::lost(format!("{:#}", anyhow::Error::new(error)))
    }
}

/// Checks the head of the answer to a request: who gave it, whether the route permits that, and whether it is this request's.
pub(super) fn head(kind: Kind, number: u64, response: &Response<Incoming>) -> Result<Seen, Fault> {
    let text = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
    let status = response.status().as_u16();
    let seen = Seen { status: Some(status), parity: number % 2, ..Seen::default() };
    let Some(pod) = text("x-pod") else {
        // The mesh has answered itself.
        return match (status, text("grpc-status")) {
            (403, None) if kind.is_ever_denied() => Ok(seen),
            (502..=504, _) | (200, Some("14")) => {
                let why = text("grpc-message").unwrap_or("the mesh says so").to_owned();
                Err(Fault::Lost { why, status: Some(status) })
            }
            (_, grpc_status) => Err(Fault::Wrong(format!("{status} of no pod, grpc-status {grpc_status:?}"))),
        };
    };
    let permits = text("x-permits").unwrap_or_default();
    let is_permitted = permits.split(' ').any(|permitted| permitted == pod);
    let is_own = text("x-number") == Some(&*number.to_string());
    let route = text("x-route").and_then(|route| route.parse().ok());
    if status != 200 || !kind.is_ever_allowed() {
        return Err(Fault::Wrong(format!("{status} of {pod}")));
    }
    if !is_permitted || kind == Kind::Pinned && pod != PINNED || route.is_none() {
        return Err(Fault::Wrong(format!("{pod} answered, route {route:?} permits {permits:?}")));
    }
    if !is_own {
        return Err(Fault::Wrong(format!("the answer to request {:?}", text("x-number"))));
    }
    Ok(Seen { pod: Some(pod.to_owned()), route, ..seen })
}
