//! Whether the certificates of two pods would do for a connection between them. Direct connections show none; but who has none that counts
//! has no identity in the mesh.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use futures_util::FutureExt as _;
use parking_lot::Mutex;

use crate::model::identity::Identity;
use crate::proxy::pod::PodProxy;
use crate::tls::vouching::vouch;

/// How long an answer holds, unless a certificate expires or what is trusted changes before.
const HOLDS_FOR: Duration = Duration::from_secs(5);
/// Answers that are remembered before those are forgotten that no longer hold.
const SWEEP_AT: usize = 4096;

/// Answers, by whom they are about.
#[derive(Debug, Default)]
pub(super) struct Vouchers(Mutex<HashMap<Question, Answer>>);

/// Client, server, and whom the client takes for the server.
type Question = (Identity, Identity, Vec<Identity>);

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

#[derive(Debug, Clone, Copy)]
struct Answer {
    worth: Worth,
    /// `None`: it does not hold any more.
    asked: Option<Instant>,
    /// When the first of the two certificates does.
    expires: SystemTime,
}

impl Answer {
    fn holds(&self) -> bool {
        self.asked.is_some_and(|asked| asked.elapsed() < HOLDS_FOR) && !self.has_expired()
    }

    fn has_expired(&self) -> bool {
        self.worth == Worth::Accepted && SystemTime::now() >= self.expires
    }
}

impl Vouchers {
    /// What is trusted has changed.
    pub(super) fn forget(&self) {
        self.0.lock().values_mut().for_each(|answer| answer.asked = None);
    }

    /// Whether the server is one of `expected`, and both would accept the other.
    pub(super) fn ask(&self, source: &PodProxy, server: &PodProxy, expected: &[Identity]) -> Worth {
        let question = (source.identity(), server.identity(), expected.to_vec());
        let last = self.0.lock().get(&question).copied();
        if let Some(answer) = last.filter(Answer::holds) {
            return answer.worth;
        }
        let asked = Some(Instant::now());
        let (mut worth, expires) = examine(source, server, &question);
        // One that was there and is not any more has expired, or does not count by what is trusted now. One that was not there yet is not
        // known to be refused.
        let counts_no_more = |last: Answer| last.has_expired() || last.asked.is_none() || last.worth == Worth::Refused;
        if worth == Worth::Unknown && last.is_some_and(counts_no_more) {
            worth = Worth::Refused;
        }
        let mut answers = self.0.lock();
        if answers.len() >= SWEEP_AT {
            answers.retain(|_, answer| answer.holds());
        }
        answers.insert(question, Answer { worth, asked, expires });
        worth
    }
}

/// What the certificates are worth now, and until when.
fn examine(source: &PodProxy, server: &PodProxy, (own, theirs, expected): &Question) -> (Worth, SystemTime) {
    let (proxy, now) = (&source.proxy, SystemTime::now());
    // One that is not here is not waited for: everything else waits meanwhile.
    let get = |identity| proxy.certificates.get(identity).now_or_never().and_then(Result::ok);
    let (Some(own), Some(theirs)) = (get(own), get(theirs)) else { return (Worth::Unknown, now) };
    match vouch(&own, &theirs, expected, &proxy.trusted()) {
        Ok((client, server)) => (Worth::Accepted, client.expires.min(server.expires)),
        Err(why) => {
            tracing::debug!(server = server.pod.spec.name, %why, "no direct connections");
            (Worth::Refused, now)
        }
    }
}
