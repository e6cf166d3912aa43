//! Whether what the clients have seen may be, given what has happened meanwhile.

use anyhow::{Result, ensure};
use weir_tests::http_mesh::VERSIONS;
use weir_tests::load::{Kill, Moment};

use super::changes::Changes;
use super::lives::Lives;
use super::load::{End, Lost, Open, Requests, Seen};

/// Within which time a client sees that its connection has ended, and within which time a drain's end ends all of them.
const NOTICED_WITHIN_MS: u64 = 1000;
const DRAIN_ENDS_WITHIN_MS: u64 = 3000;
/// The kinds of requests that there must have been.
const KINDS: [&str; 9] =
    ["download", "upload", "spread", "pinned", "open", "never", "left download", "left upload", "stream"];

/// Sums over parts.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Figures {
    pub(super) begun: u64,
    /// Requests with an answer that was read, and those of them that a pod has answered.
    pub(super) answered: u64,
    pub(super) by_pods: u64,
    denied: u64,
    left: u64,
    /// Lost ones; those of them that were sent on a connection that a kill had ended; and those that the mesh has answered with an error.
    lost: u64,
    unnoticed: u64,
    errors: u64,
    bytes: u64,
    messages: u64,
    socket_messages: u64,
    sockets_ended: u64,
    slowest_ms: u64,
}

impl Figures {
    pub(super) fn add(&mut self, more: &Self) {
        self.begun += more.begun;
        self.answered += more.answered;
        self.by_pods += more.by_pods;
        self.denied += more.denied;
        self.left += more.left;
        self.lost += more.lost;
        self.unnoticed += more.unnoticed;
        self.errors += more.errors;
        self.bytes += more.bytes;
        self.messages += more.messages;
        self.socket_messages += more.socket_messages;
        self.sockets_ended += more.sockets_ended;
        self.slowest_ms = self.slowest_ms.max(more.slowest_ms);
    }

    pub(super) fn summary(&self) -> String {
        format!(
            "{} requests, {} answered (403 to {}), {} left by their client, {} lost, all under way at a kill but {} that were sent on a connection which one had ended ({} of all answered 5xx); {} \
             MiB compared, {} messages of gRPC, {} of WebSockets, {} of which ended by kills and drains; the slowest took {} ms",
            self.begun,
            self.answered,
            self.denied,
            self.left,
            self.lost,
            self.unnoticed,
            self.errors,
            self.bytes >> 20,
            self.messages,
            self.socket_messages,
            self.sockets_ended,
            self.slowest_ms
        )
    }
}

impl Seen {
    /// Checks all that the clients have seen; the figures of it.
    pub(super) fn judge(&self, changes: &Changes, lives: &Lives) -> Result<Figures> {
        let mut figures = Figures::default();
        for requests in [&self.client, &self.stranger] {
            judge_requests(requests, changes, lives)?;
            figures.add(&of_requests(requests, lives));
        }
        let client = &self.client.tally;
        let missing = KINDS.iter().find(|kind| client.by_kind.get(**kind).is_none_or(|count| *count == 0));
        ensure!(missing.is_none(), "no request of the kind {missing:?} was answered: {client:?}");
        let missing = VERSIONS.iter().find(|pod| !client.pods.contains_key(**pod));
        ensure!(missing.is_none(), "{missing:?} was never asked: {client:?}");
        ensure!(client.pods.contains_key("v4"), "the endpoint that comes and goes was never asked: {client:?}");
        let stranger = &self.stranger.tally;
        let others = stranger.statuses.keys().any(|status| *status != 403);
        ensure!(stranger.by_kind["never"] > 0 && !others, "the stranger: {stranger:?}");
        for sockets in &self.sockets {
            ensure!(sockets.wrong.is_empty(), "WebSockets: {:?}", sockets.wrong);
            let unexplained: Vec<&End> = sockets.ends.iter().filter(|end| !end.is_explained(lives)).collect();
            ensure!(unexplained.is_empty(), "WebSockets ended without a reason: {unexplained:?}; {lives:?}");
            ensure!(sockets.tally.messages > 0, "no message came back: {sockets:?}");
            figures.socket_messages += sockets.tally.messages;
            figures.sockets_ended += sockets.ends.len() as u64;
            figures.bytes += sockets.tally.bytes;
        }
        Ok(figures)
    }
}

fn judge_requests(requests: &Requests, changes: &Changes, lives: &Lives) -> Result<()> {
    let Requests { tally, open, lost, wrong } = requests;
    ensure!(wrong.is_empty(), "{} wrong answers, first {:?}", wrong.len(), &wrong[..wrong.len().min(5)]);
    let unexplained: Vec<&Lost> = lost.iter().filter(|lost| !lost.is_explained(lives)).collect();
    ensure!(
        unexplained.is_empty(),
        "{} requests were lost without a reason, first {:#?}; kills {:?}, drains {:?}",
        unexplained.len(),
        &unexplained[..unexplained.len().min(5)],
        lives.kills,
        lives.drained
    );
    for (version, route) in &tally.routes {
        // The first end and the last begin are of two requests, but each of them must be within.
        let [first, last] = [route.first_end, route.last_begin];
        let is_within =
            changes.routes.may_decide(*version, 0, first) && changes.routes.may_decide(*version, last, Moment::MAX);
        ensure!(
            is_within && route.answers > 0,
            "version {version} of the route decided when it was not in force: {route:?}"
        );
    }
    let wrongly: Vec<&Open> = open.iter().filter(|open| !open.is_explained(changes)).collect();
    ensure!(wrongly.is_empty(), "policies that were not in force decided: {wrongly:?}");
    let of = |status| open.iter().any(|open| open.status == status);
    ensure!(open.is_empty() || of(200) && of(403), "of what is allowed at times, all had one answer");
    Ok(())
}

fn of_requests(Requests { tally, lost, .. }: &Requests, lives: &Lives) -> Figures {
    let left = ["left download", "left upload"].iter().filter_map(|kind| tally.by_kind.get(*kind));
    Figures {
        begun: tally.begun,
        answered: tally.statuses.values().sum(),
        by_pods: tally.pods.values().sum(),
        denied: tally.statuses.get(&403).copied().unwrap_or_default(),
        left: left.sum(),
        lost: lost.len() as u64,
        unnoticed: lost.iter().filter(|lost| !lost.was_under_way(lives)).count() as u64,
        errors: lost.iter().filter(|lost| lost.status.is_some()).count() as u64,
        bytes: tally.bytes,
        messages: tally.messages,
        slowest_ms: tally.slowest_ms,
        ..Figures::default()
    }
}

impl Lost {
    /// It was under way at a kill; or its connection was open at one, and its client had not seen yet that it had ended.
    fn is_explained(&self, lives: &Lives) -> bool {
        self.was_under_way(lives) || self.was_unnoticed(lives)
    }

    fn was_under_way(&self, lives: &Lives) -> bool {
        lives.kills.iter().any(|kill| self.begun <= kill.after && self.ended >= kill.before)
    }

    fn was_unnoticed(&self, lives: &Lives) -> bool {
        let Some(opened) = self.opened else { return false };
        let at =
            |kill: &Kill| opened <= kill.after && (kill.after..kill.after + NOTICED_WITHIN_MS).contains(&self.begun);
        lives.kills.iter().any(at)
    }
}

impl End {
    /// It was open, or about to be, at a kill or at the end of a drain.
    fn is_explained(&self, lives: &Lives) -> bool {
        let at = |from: Moment, until: Moment| self.begun <= until && self.ended >= from;
        let by_kill =
            lives.kills.iter().any(|kill| at(kill.before, kill.after) && self.ended <= kill.after + NOTICED_WITHIN_MS);
        let by_drain = lives
            .drained
            .iter()
            .any(|drained| at(drained.saturating_sub(100), *drained) && self.ended <= drained + DRAIN_ENDS_WITHIN_MS);
        by_kill || by_drain
    }
}

impl Open {
    /// A version of the policy that may have decided says so.
    fn is_explained(&self, changes: &Changes) -> bool {
        let mut allowed = changes.policies.deciding(self.begun, self.ended).map(|version| version % 2 == self.open);
        allowed.any(|allowed| self.status == if allowed { 200 } else { 403 })
    }
}
