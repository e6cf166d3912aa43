//! Whether the certificates of two pods would do for a connection between them. Direct connections show none; but who has none that counts
//! has no identity in the mesh.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::FutureExt as _;
use parking_lot::Mutex;

use crate::model::identity::Identity;
use crate::proxy::pod::PodProxy;
use crate::tls::WorkloadCertificate;
use crate::tls::vouching::vouch;

/// How long an answer holds, unless a certificate expires or what is trusted changes before.
const HOLDS_FOR: Duration = Duration::from_secs(5);
/// How long an answer is remembered, with the certificates that it is about, after nobody has asked any more.
const KEPT_FOR: Duration = Duration::from_secs(30);

/// Answers, by whom they are about: client and server.
#[derive(Debug, Default)]
pub(super) struct Vouchers(Mutex<HashMap<(Identity, Identity), Answer>>);

/// What certificates are worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Worth {
    /// Each would accept the other.
    Accepted,
    /// One would refuse the other.
    Refused,
    /// One of them is not here.
    Unknown,
}

#[derive(Debug, Clone)]
struct Answer {
    worth: Worth,
    asked: Instant,
    /// What is trusted has changed since.
    is_outdated: bool,
    /// The certificates, where each accepts the other: connections rest on them.
    accepted: Option<[Arc<WorkloadCertificate>; 2]>,
    /// When the first of the two expires.
    expires: SystemTime,
}

impl Answer {
    fn holds(&self) -> bool {
        !self.is_outdated && self.asked.elapsed() < HOLDS_FOR && !self.has_expired()
    }

    fn has_expired(&self) -> bool {
        self.worth == Worth::Accepted && SystemTime::now() >= self.expires
    }
}

impl Vouchers {
    /// What is trusted has changed.
    pub(super) fn forget(&self) {
        self.0.lock().values_mut().for_each(|answer| answer.is_outdated = true);
    }

    /// Forgets certificates that nobody asks about any more.
    pub(super) fn sweep(&self) {
        self.0.lock().retain(|_, answer| answer.asked.elapsed() < KEPT_FOR);
    }

    /// Whether both would accept the other.
    pub(super) fn ask(&self, source: &PodProxy, server: &PodProxy) -> Worth {
        let ends = (source.identity(), server.identity());
        let last = self.0.lock().get(&ends).cloned();
        if let Some(answer) = last.as_ref().filter(|answer| answer.holds()) {
            return answer.worth;
        }
        let answer = examine(source, &ends, last.as_ref());
        let worth = answer.worth;
        self.0.lock().insert(ends, answer);
        worth
    }
}

/// What the certificates are worth now. Where those do not count any more that did, the answer is no, even if there are others by now: the
/// connections that rest on them end, and the next ones begin once that was seen to.
fn examine(source: &PodProxy, (own, theirs): &(Identity, Identity), last: Option<&Answer>) -> Answer {
    let proxy = &source.proxy;
    let check = |[own, other]: &[Arc<WorkloadCertificate>; 2]| {
        let checked = vouch(own, other, std::slice::from_ref(theirs), &proxy.trusted());
        checked.inspect_err(|why| tracing::debug!(server = %theirs, %why, "no direct connections"))
    };
    let no =
        |worth| Answer { worth, asked: Instant::now(), is_outdated: false, accepted: None, expires: SystemTime::now() };
    if last.and_then(|last| last.accepted.as_ref()).is_some_and(|accepted| check(accepted).is_err()) {
        return no(Worth::Refused);
    }
    // One that is not here is not waited for: everything else waits meanwhile.
    let get = |identity| proxy.certificates.get(identity).now_or_never().and_then(Result::ok);
    let (Some(own), Some(theirs)) = (get(own), get(theirs)) else {
        // One that was refused stays so until there is another one.
        let was_refused = last.is_some_and(|last| last.worth == Worth::Refused);
        return no(if was_refused { Worth::Refused } else { Worth::Unknown });
    };
    let certificates = [own, theirs];
    match check(&certificates) {
        Ok((client, server)) => {
            let expires = client.expires.min(server.expires);
            Answer { worth: Worth::Accepted, accepted: Some(certificates), expires, ..no(Worth::Accepted) }
        }
        Err(_) => no(Worth::Refused),
    }
}
