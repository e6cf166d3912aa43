//! All subjects of a run, up at the same time: those that are not measured wait for connections and do nothing.

use anyhow::{Context, Result, ensure};

use crate::arguments::Bench;
use crate::case::Case;
use crate::subject::{self, DIRECT_SAME_NODE, NO_LOG, NO_LOG_SAME_NODE, NO_TOKENS, SAME_NODE, Subject, UNROUTED, Way};
use crate::testbed::Testbed;
use crate::weir::{Logs, Weir};
use crate::{envoy, haproxy, peer, relay};

/// The subjects and what they stand on. Fields are in the order in which they must go.
pub(crate) struct Lineup {
    pub(crate) subjects: Vec<Subject>,
    weirs: Vec<Weir>,
    _plain: Testbed,
}

impl Lineup {
    /// Brings up what was asked for, as far as these cases need it, and waits until every subject's server answers.
    pub(crate) fn start(bench: &Bench, cases: &[Case]) -> Result<Self> {
        let plain = Testbed::set_up("bench")?;
        let mut subjects = vec![subject::direct(&plain)];
        if bench.wants("relay") {
            subjects.push(relay::start(&plain)?);
        }
        let weirs = start_builds(bench, cases, &mut subjects)?;
        if bench.wants("envoy") {
            match &bench.envoy {
                Some(binary) => subjects.push(envoy::start(&plain, binary)?),
                None => ensure!(bench.subjects.is_empty(), "the subject envoy needs --envoy"),
            }
        }
        if bench.wants("haproxy") && haproxy::is_installed() {
            subjects.push(haproxy::start(&plain)?);
        }
        for peer in bench.peers.iter().filter(|peer| bench.wants(&peer.name)) {
            subjects.push(peer::start(peer)?);
        }
        if subjects.iter().any(|subject| subject.baseline == DIRECT_SAME_NODE) {
            subjects.push(subject::direct_same_node(&plain));
        }
        for name in &bench.subjects {
            ensure!(subjects.iter().any(|subject| subject.name == *name), "there is no subject {name}");
        }
        let lineup = Self { subjects, weirs, _plain: plain };
        for subject in &lineup.subjects {
            subject.answers().with_context(|| lineup.logs())?;
        }
        for weir in &lineup.weirs {
            weir.carries().with_context(|| weir.logs())?;
        }
        Ok(lineup)
    }

    /// The builds of Weir past which traffic has gone since they came up, in words.
    pub(crate) fn bypassed(&self, cases: &[Case]) -> Result<Vec<String>> {
        let mut bypassed = Vec::new();
        for weir in &self.weirs {
            if weir.carried()? <= 1.0 {
                bypassed.push(format!("the agent saw no connection of the whole run:\n{}", weir.logs()));
            }
            // More is asked than that the server answers.
            if cases.iter().any(|case| case.load.way() != Way::Connections) && weir.requests()? <= 1.0 {
                bypassed.push("the agents counted no request: HTTP was carried as any bytes".to_owned());
            }
        }
        Ok(bypassed)
    }

    fn logs(&self) -> String {
        self.weirs.iter().map(Weir::logs).collect()
    }
}

/// Each build of Weir on a testbed of its own, with the subjects that are wanted of it.
fn start_builds(bench: &Bench, cases: &[Case], subjects: &mut Vec<Subject>) -> Result<Vec<Weir>> {
    let are_judged = cases.iter().any(|case| matches!(case.load.way(), Way::Decided | Way::Judged));
    // Named subjects have to be there, whether a case of this lineup takes them or not.
    let is_routed = |case: &Case| matches!(case.load.way(), Way::Routed | Way::Calls);
    let are_routed = !bench.subjects.is_empty() || cases.iter().any(is_routed);
    let mut weirs = Vec::new();
    for (name, binary) in bench.builds() {
        let [same_node, unrouted, no_tokens] = [SAME_NODE, UNROUTED, NO_TOKENS].map(|end| format!("{name}{end}"));
        if [name, &same_node, &unrouted, &no_tokens].iter().any(|subject| bench.wants(subject)) {
            let weir = Weir::start(binary, are_judged, Logs::All)?;
            subjects.extend(bench.wants(name).then(|| weir.across(name)));
            subjects.extend(bench.wants(&unrouted).then(|| weir.unrouted(&unrouted)));
            subjects.extend(bench.wants(&no_tokens).then(|| weir.without_tokens(&no_tokens)).flatten());
            subjects.extend(bench.wants(&same_node).then(|| weir.same_node(&same_node)));
            weirs.push(weir);
        }
        let [across, same_node] = [NO_LOG, NO_LOG_SAME_NODE].map(|end| format!("{name}{end}"));
        if are_routed && [&across, &same_node].into_iter().any(|subject| bench.wants(subject)) {
            let weir = Weir::start(binary, false, Logs::NoAccess)?;
            let both = weir.for_requests(&across, &same_node);
            subjects.extend(both.into_iter().filter(|subject| bench.wants(&subject.name)));
            weirs.push(weir);
        }
    }
    Ok(weirs)
}
