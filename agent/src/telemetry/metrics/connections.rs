//! Counting connections: those of applications, and the sockets, handshakes and HBONE connections beneath them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::custom_counters::CustomConnections;
use super::labels::TrafficLabels;
use super::live::{Counters, OpenConnection};
use super::registry::{Metrics, OpenGuard};
use crate::limits::Limit;
use crate::model::telemetry::Facts;
use crate::model::telemetry::setting::MetricsSetting;
use crate::telemetry::connection::{LiveConnection, ResponseFlag};
use crate::telemetry::ends::{ConnectionEnds, Reporter};

/// Which of the proxy's two sockets of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The connection that was accepted.
    Downstream,
    /// The connection that was opened.
    Upstream,
}

impl Side {
    /// The value of the metrics' `side` label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Downstream => "downstream",
            Self::Upstream => "upstream",
        }
    }
}

/// What came of asking an external authorizer about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AuthorizerResult {
    Allowed,
    Denied,
    /// It said nothing of use, and the request was refused for that.
    Failed,
    /// It said nothing of use, and the request went on.
    FailedOpen,
}

impl AuthorizerResult {
    /// The value of the metrics' `result` label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Failed => "error",
            Self::FailedOpen => "failed_open",
        }
    }
}

impl Metrics {
    /// The connections that are open now, in no order.
    #[must_use]
    pub fn live_connections(&self) -> Vec<LiveConnection> {
        self.live.snapshot()
    }

    /// Lists a connection as open. It counts as opened once its ends are settled.
    /// `age`: for how long it is open already.
    pub(in crate::telemetry) fn opened(&self, ends: ConnectionEnds, age: Duration) -> (Arc<OpenConnection>, OpenGuard) {
        let guard = self.socket_opened(ends.reporter);
        let connection = Arc::new(OpenConnection::new(ends, age));
        self.live.insert(&connection);
        (connection, guard)
    }

    /// Counts a connection as opened with these ends, or with those known at first; the first call decides. `custom` gives the
    /// series of its pod where labels are changed for that.
    pub(in crate::telemetry) fn settled(
        &self,
        connection: &OpenConnection,
        ends: Option<ConnectionEnds>,
        custom: impl FnOnce(&ConnectionEnds) -> Option<CustomConnections>,
    ) {
        connection.settle(ends, |ends| {
            if let Some(custom) = custom(ends) {
                custom.count_opened();
                return Some(Counters::Custom(Box::new(custom)));
            }
            let series = self.traffic.series(TrafficLabels::new(ends, ResponseFlag::None));
            series.opened.fetch_add(1, Ordering::Relaxed);
            Some(Counters::Standard(series))
        });
    }

    /// The series of connections of a pod with these ends, where objects change what is counted of them; `places` are those for
    /// series that the pod may have.
    pub(in crate::telemetry) fn custom_connections(
        &self,
        setting: &MetricsSetting,
        places: &Limit,
        of: (&ConnectionEnds, ResponseFlag),
        facts: &impl Facts,
    ) -> CustomConnections {
        CustomConnections::find(&self.requests.custom, setting, places, of, facts)
    }

    /// Says that a connection carries requests. As in Istio it then has no metrics of its own: they would count the bytes of its
    /// requests twice.
    pub(in crate::telemetry) fn settled_for_requests(&self, connection: &OpenConnection, ends: Option<ConnectionEnds>) {
        connection.settle(ends, |_| None);
    }

    /// Counts the end of a connection whose ends are settled; every connection that was opened is closed once, failed or not.
    /// `custom` gives the series of its pod under a flag where labels are changed for that.
    pub(in crate::telemetry) fn closed(
        &self,
        connection: &Arc<OpenConnection>,
        failure: Option<ResponseFlag>,
        custom: impl FnOnce(&ConnectionEnds, ResponseFlag) -> Option<CustomConnections>,
    ) {
        self.live.remove(connection);
        if connection.carries_requests() {
            return;
        }
        connection.count_bytes();
        let Some(flag) = failure else {
            connection.count_closed();
            return;
        };
        let series = self.traffic.series(TrafficLabels::new(connection.ends(), flag));
        match custom(connection.ends(), flag) {
            Some(custom) => custom.count_closed(),
            None => {
                series.closed.fetch_add(1, Ordering::Relaxed);
            }
        }
        series.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Lists a connection no more that another agent goes on with.
    pub(in crate::telemetry) fn handed_over(&self, connection: &Arc<OpenConnection>) {
        self.live.remove(connection);
        connection.count_bytes();
    }

    /// Counts a connection that failed before its ends were known.
    pub(in crate::telemetry) fn refused(&self, reporter: Reporter, flag: ResponseFlag) {
        let labels = TrafficLabels::unknown(reporter, flag);
        self.traffic.series(labels).failed.fetch_add(1, Ordering::Relaxed);
    }

    /// A TLS handshake with a peer failed. The reason is one of a fixed set, such as `PeerRefused::label`.
    pub fn handshake_failed(&self, side: Side, reason: &'static str) {
        self.counted.handshake_failures.get_or_create(&[("side", side.label()), ("reason", reason)]).inc();
    }

    /// The peer of an open HBONE connection would no longer be accepted, for one of the reasons of a handshake's failure.
    pub fn peer_distrusted(&self, side: Side, reason: &'static str) {
        self.counted.peers_distrusted.get_or_create(&[("side", side.label()), ("reason", reason)]).inc();
    }

    /// Counts an HBONE connection as open until the guard is dropped.
    #[must_use]
    pub fn hbone_connection_opened(&self, side: Side) -> OpenGuard {
        OpenGuard::new(self.counted.hbone_connections_open.get_or_create_owned(&[("side", side.label())]))
    }

    /// Counts a link between two pods of this node as open until the guard is dropped.
    #[must_use]
    pub fn same_node_link_opened(&self) -> OpenGuard {
        OpenGuard::new(self.counted.same_node_links_open.clone())
    }

    /// A live connection was closed because policy no longer allows it.
    pub fn policy_closed_connection(&self) {
        self.counted.policy_closed_connections.inc();
    }

    /// A request was denied at its destination, or ended there because policy no longer allows it.
    pub(in crate::telemetry) fn request_denied(&self) {
        self.counted.request_denials.inc();
    }

    /// An AUDIT policy matches a request, or a connection without any.
    pub fn audited(&self) {
        self.counted.audited.inc();
    }

    /// An external authorizer was asked about a request.
    pub fn external_authorization(&self, result: AuthorizerResult) {
        self.counted.external_authorizations.get_or_create(&[("result", result.label())]).inc();
    }

    /// A connection was allowed that a dry-run policy would have denied.
    pub fn dry_run_denied(&self) {
        self.counted.dry_run_denials.inc();
    }

    /// accept(2) failed.
    pub fn accept_failed(&self) {
        self.counted.accept_errors.inc();
    }

    pub(super) fn begin_connections_at_zero(&self) {
        for reporter in [Reporter::Source, Reporter::Destination] {
            drop(self.counted.sockets_open.get_or_create(&[("reporter", reporter.label())]));
        }
    }

    fn socket_opened(&self, reporter: Reporter) -> OpenGuard {
        OpenGuard::new(self.counted.sockets_open.get_or_create_owned(&[("reporter", reporter.label())]))
    }
}
