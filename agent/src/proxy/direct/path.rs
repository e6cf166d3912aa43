//! [`DirectPath`]: the direct connections of the node while this agent serves it.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::counting::{Answer, Counting};
use super::decide::{self, Endpoint, may_go_on};
use super::lossy::Lossy;
use super::records::{Records, Why};
use super::table::{Key, Table};
use super::vouched::{Vouchers, Worth};
use crate::capture::NetnsCookie;
use crate::capture::direct::DirectMaps;
use crate::capture::noted::{EndState, Noted, Pair};
use crate::proxy::node::DirectSetting;
use crate::proxy::pod::PodProxy;
use crate::telemetry::metrics::Metrics;

/// How long a connect may take until its SYN leaves, and an accepted connection until the server's end is seen.
const BEGINS_WITHIN: Duration = Duration::from_secs(2);
/// How long a SYN may take to the other end of the node.
const ARRIVES_WITHIN: Duration = Duration::from_millis(500);
/// Connections that have ended, of which so many are told of in a row.
const READ_AT_ONCE: usize = 1024;
/// Index of the loopback interface of every namespace, to which connections that were cut off are bound.
const LOOPBACK: u32 = 1;

/// See the module.
#[derive(Debug)]
pub(super) struct DirectPath {
    pub(super) maps: DirectMaps,
    table: Table,
    pub(super) vouchers: Vouchers,
    records: Records,
    /// Whether connections may begin to be direct; else those end that there are.
    is_on: bool,
    /// Whether this agent serves the node still.
    serves: watch::Receiver<bool>,
    lossy: Lossy,
    /// Connections that other programs have noted, and of whose ends nobody would learn.
    orphans: Vec<Noted>,
    /// Connections whose client has closed while the server's end is not there: since when.
    unanswered: HashMap<u64, Instant>,
    pub(super) counting: Counting,
    /// Interfaces of pods' addresses, looked up since the last time that the connections were looked through.
    devices: HashMap<(NetnsCookie, IpAddr), u32>,
}

/// The pods of the node, by their namespaces: those that are served, and those that have left and have direct connections still.
pub(super) type Pods = HashMap<NetnsCookie, Arc<PodProxy>>;

impl DirectPath {
    /// `setting`: as it is for this kernel.
    pub(super) fn new(maps: DirectMaps, setting: DirectSetting, orphans: Vec<Noted>) -> Self {
        let (table, vouchers, records, lossy, unanswered) = Default::default();
        let (counting, devices) = Default::default();
        let DirectSetting { is_on, serves } = setting;
        Self { maps, table, vouchers, records, is_on, serves, lossy, orphans, unanswered, counting, devices }
    }

    /// Has connections begin to be direct for so long, if they may at all.
    pub(super) fn allow_for(&mut self, time: Duration) {
        if !self.is_on {
            return;
        }
        if let Err(error) = self.maps.allow_for(time) {
            tracing::error!(%error, "no further connection is direct");
        }
    }

    /// Whether there is nothing to do any more.
    pub(super) fn is_done(&self, seen: &HashSet<NetnsCookie>) -> bool {
        !self.is_on && seen.is_empty() && self.orphans.is_empty()
    }

    /// Lets connections of a pod to an address be direct from now on, if they may.
    pub(super) fn consider(&mut self, source: &Arc<PodProxy>, dialled: SocketAddr) {
        let key = (source.pod.netns.cookie(), dialled);
        if !self.table.has(&key) && !self.lossy.has(&key) {
            self.decide(key, source);
        }
    }

    /// Not once another agent serves, which has emptied the maps: nobody would take back what was permitted then.
    fn decide(&mut self, key: Key, source: &Arc<PodProxy>) {
        if !*self.serves.borrow() {
            return;
        }
        let route = decide::endpoints(source, key.1).filter(|endpoints| {
            endpoints.iter().all(|Endpoint { server, .. }| self.vouchers.ask(source, server) == Worth::Accepted)
        });
        let route = route.map(|endpoints| endpoints.iter().map(|endpoint| endpoint.pair).collect());
        self.table.set(&mut self.maps, key, route);
    }

    /// Decides again about everything: first about what may begin, then about what is open.
    pub(super) async fn reconsider(&mut self, pods: &Pods, metrics: &Metrics) {
        for key in self.table.keys() {
            match pods.get(&key.0) {
                Some(source) => self.decide(key, source),
                None => self.table.set(&mut self.maps, key, None),
            }
            tokio::task::yield_now().await;
        }
        self.vouchers.sweep();
        self.devices.clear();
        let mut answers: HashMap<Pair, Option<Why>> = HashMap::new();
        for noted in self.maps.connections() {
            let pair = noted.pair;
            let (Some(source), Some(server)) = (pods.get(&pair.source), pods.get(&pair.server)) else { continue };
            let why = match answers.get(&pair) {
                Some(why) => *why,
                None => {
                    let why = self.why_not(source, server, pair.endpoint);
                    answers.insert(pair, why);
                    why
                }
            };
            if let Some(why) = why {
                self.end(&noted, why, (source, server), metrics);
                tokio::task::yield_now().await;
            }
        }
    }

    /// Why a connection may not go on, if it may not.
    fn why_not(&self, source: &PodProxy, server: &PodProxy, endpoint: SocketAddr) -> Option<Why> {
        if source.pod.dead.is_cancelled() || server.pod.dead.is_cancelled() {
            return Some(Why::PodGone);
        }
        if !may_go_on(source, server, endpoint) {
            return Some(Why::Denied);
        }
        (self.vouchers.ask(source, server) == Worth::Refused).then_some(Why::Distrusted)
    }

    /// Ends a connection: the server's end first, so that the client sees what it would see of a server that resets.
    fn end(&mut self, noted: &Noted, why: Why, (source, server): (&PodProxy, &PodProxy), metrics: &Metrics) {
        let Some(client) = noted.client else { return };
        if !noted.is_told {
            self.records.open(noted, source, server);
            let is_over = |state| matches!(state, EndState::Closed | EndState::Failed);
            if why == Why::Denied && !is_over(noted.server_end.state) {
                metrics.policy_closed_connection();
            }
            self.records.ended_by_agent(noted, why);
        }
        self.end_sockets(noted, client, (source, server));
    }

    /// Ends what other programs have noted, of pods that are known by now.
    fn end_orphans(&mut self, pods: &Pods, metrics: &Metrics) {
        for noted in std::mem::take(&mut self.orphans) {
            match (pods.get(&noted.pair.source), pods.get(&noted.pair.server)) {
                (Some(source), Some(server)) => {
                    self.end(&noted, Why::Unwatched, (source, server), metrics);
                    self.records.complete(&noted);
                }
                _ => self.orphans.push(noted),
            }
        }
    }

    /// A pod has left or died: nothing begins any more to or from it.
    pub(super) fn pod_is_going(&mut self, pod: NetnsCookie) {
        self.table.remove_pod(&mut self.maps, pod);
    }

    /// Looks at what the kernel has noted: records begin, those of connections end of which the programs could not tell, and
    /// what was cut off is ended.
    pub(super) fn sweep(&mut self, pods: &Pods, metrics: &Metrics) -> HashSet<NetnsCookie> {
        self.devices.clear();
        self.end_orphans(pods, metrics);
        let connections = self.maps.connections();
        let mut seen = HashSet::new();
        let now = Instant::now();
        if !self.unanswered.is_empty() {
            let noted: HashSet<u64> = connections.iter().map(|noted| noted.key).collect();
            self.unanswered.retain(|key, _| noted.contains(key));
        }
        self.lossy.forget_old();
        for noted in &connections {
            self.note_loss(noted);
            seen.extend([noted.pair.source, noted.pair.server]);
            if noted.is_over() || self.came_to_nothing(noted, now) {
                self.end_handshake(noted, pods);
                if let Some(last) = self.maps.take(noted).filter(|last| !last.is_told) {
                    self.complete(&last, pods);
                }
                continue;
            }
            let (Some(source), Some(server)) = (pods.get(&noted.pair.source), pods.get(&noted.pair.server)) else {
                continue;
            };
            if source.pod.dead.is_cancelled() || server.pod.dead.is_cancelled() {
                self.end(noted, Why::PodGone, (source, server), metrics);
            } else if !self.is_on {
                self.end(noted, Why::SwitchedOff, (source, server), metrics);
            } else if noted.client_end.is_cut || noted.server_end.is_cut {
                self.end(noted, Why::CutOff, (source, server), metrics);
            } else if noted.server_end.state == EndState::Open && !noted.is_told {
                self.records.open(noted, source, server);
            }
        }
        seen
    }

    /// Asks what open connections have received so far.
    pub(super) fn begin_to_count(&mut self, pods: &Pods) {
        let open = self.maps.connections().into_iter().filter(|noted| self.records.has(noted)).collect();
        self.counting.begin(open, |cookie| {
            let pod = pods.get(&cookie)?.pod.clone();
            Some(move || pod.netns.received().unwrap_or_default())
        });
    }

    /// Has the records of open connections say what their ends in a pod have received so far.
    pub(super) fn note_received(&self, (pod, received): &Answer, connections: &[Noted]) {
        for noted in connections {
            let (Some(client), endpoint) = (noted.client, noted.pair.endpoint) else { continue };
            let of = |cookie, ends| received.get(&ends).filter(|_| cookie == *pod).copied().unwrap_or_default();
            let to_server = of(noted.pair.server, (endpoint, client));
            self.records.received(noted, (to_server, of(noted.pair.source, (client, endpoint))));
        }
    }

    /// Corrects how many connections the programs think that pods have.
    pub(super) fn correct_room(&mut self) {
        let connections = self.maps.connections();
        self.maps.correct_room(&connections);
    }

    /// Has further connections go by the agent where the network does not let one through, which may be made for port 15008 alone, or leads
    /// it elsewhere.
    fn note_loss(&mut self, noted: &Noted) {
        let is_lost = noted.client.is_some() && !noted.has_arrived && noted.age > ARRIVES_WITHIN;
        if is_lost && noted.client_end.state == EndState::None {
            self.leave_to_agent(noted, "it does not arrive");
        } else if noted.client_end.is_cut && !noted.has_arrived {
            self.leave_to_agent(noted, "it arrived elsewhere");
        }
    }

    /// Has further connections of the pod to the address go by the agent for a while.
    fn leave_to_agent(&mut self, noted: &Noted, why: &'static str) {
        let key = (noted.pair.source, noted.dialled);
        if self.lossy.note(key) {
            tracing::info!(
                dialled = %noted.dialled,
                endpoint = %noted.pair.endpoint,
                why,
                "a direct connection failed: further ones go by the agent for a while"
            );
        }
        self.table.set(&mut self.maps, key, None);
    }

    /// Whether a connect has failed before its SYN left, or the server's end is not to be expected any more.
    fn came_to_nothing(&mut self, noted: &Noted, now: Instant) -> bool {
        if noted.client.is_none() {
            return noted.age > BEGINS_WITHIN;
        }
        noted.is_unanswered() && self.unanswered.entry(noted.key).or_insert(now).elapsed() > BEGINS_WITHIN
    }

    /// Completes the records of connections that have ended. Returns whether there are more: a pod may open and close as many as it likes,
    /// and what else there is to do does not wait for all of them.
    pub(super) fn read_ended(&mut self, pods: &Pods) -> bool {
        let (ended, are_more) = self.maps.ended(READ_AT_ONCE);
        for noted in &ended {
            self.complete(noted, pods);
        }
        are_more
    }

    fn complete(&mut self, noted: &Noted, pods: &Pods) {
        self.note_loss(noted);
        match (pods.get(&noted.pair.source), pods.get(&noted.pair.server)) {
            (Some(source), Some(server)) => self.records.open(noted, source, server),
            _ => {
                let Pair { source, server, endpoint } = noted.pair;
                tracing::debug!(%source, %server, %endpoint, "a direct connection of a pod that is not known any more has ended");
            }
        }
        self.records.complete(noted);
        // The agent would have tried another endpoint of the service.
        if noted.client_end.state == EndState::Failed && noted.dialled != noted.pair.endpoint {
            self.leave_to_agent(noted, "the endpoint of the service did not accept it");
        }
    }

    /// Ends both sockets of a connection.
    fn end_sockets(&mut self, noted: &Noted, client: SocketAddr, (source, server): (&PodProxy, &PodProxy)) {
        let endpoint = noted.pair.endpoint;
        self.end_socket(server, endpoint, client);
        self.end_socket(source, client, endpoint);
    }

    /// Has the server's kernel wait no more for the rest of a handshake whose client is closed: nobody would learn of what somebody else
    /// makes of it.
    fn end_handshake(&mut self, noted: &Noted, pods: &Pods) {
        if noted.is_unanswered()
            && noted.has_arrived
            && let (Some(client), Some(server)) = (noted.client, pods.get(&noted.pair.server))
            && !server.pod.dead.is_cancelled()
        {
            self.end_socket(server, noted.pair.endpoint, client);
        }
    }

    fn end_socket(&mut self, pod: &PodProxy, local: SocketAddr, remote: SocketAddr) {
        let netns = &pod.pod.netns;
        let ended = match netns.end_socket(local, remote, &[LOOPBACK]) {
            // It may be bound to an interface. To find that takes long where the pod has very many addresses.
            Ok(false) => {
                let look_up = || netns.device_of(local.ip()).ok().flatten().unwrap_or_default();
                let device = *self.devices.entry((netns.cookie(), local.ip())).or_insert_with(look_up);
                netns.end_socket(local, remote, &[device])
            }
            ended => ended,
        };
        if let Err(error) = ended {
            tracing::error!(pod = pod.pod.spec.name, %local, %remote, %error, "a direct connection cannot be ended");
        }
    }

    /// Leaves everything to another agent.
    pub(super) fn stop(mut self) {
        if let Err(error) = self.maps.allow_for(Duration::ZERO) {
            tracing::warn!(%error, "connections begin to be direct for a moment still");
        }
        self.records.hand_over();
    }
}
