//! Plaintext connections whose other end is found to be a pod of the mesh that speaks HBONE: they were opened before the mesh said
//! so, and stay plaintext for as long as they last.

use std::time::{Duration, Instant};

use super::live::{OpenConnection, Plaintext, SHARDS};
use super::registry::Metrics;
use crate::model::mesh::Mesh;
use crate::telemetry::connection::LiveConnection;
use crate::telemetry::ends::{ConnectionEnds, Reporter};

/// An open plaintext connection whose other end speaks HBONE.
#[derive(Debug)]
pub struct LatePlaintext<'a> {
    connection: &'a OpenConnection,
    plaintext: &'a Plaintext,
    since: Instant,
}

impl LatePlaintext<'_> {
    /// For how long it has been known.
    #[must_use]
    pub fn known_for(&self) -> Duration {
        self.since.elapsed()
    }

    #[must_use]
    pub fn ends(&self) -> &ConnectionEnds {
        self.connection.ends()
    }

    #[must_use]
    pub fn snapshot(&self) -> LiveConnection {
        self.connection.snapshot()
    }

    /// Has the connection end.
    pub fn end(&self) {
        self.plaintext.end.notify_one();
    }
}

impl Metrics {
    /// Parts of the list of connections; each is looked at under a lock of its own.
    pub const PARTS: usize = SHARDS;

    /// Looks at the plaintext connections in one part of the list, and passes those on whose other end speaks HBONE.
    pub fn late_plaintext(&self, part: usize, mesh: &Mesh, mut visit: impl FnMut(&LatePlaintext<'_>)) {
        self.live.visit(part, |connection| {
            let Some(plaintext) = connection.plaintext.as_deref() else { return };
            // Each request goes to an endpoint of its own, by the transport that is known for it then.
            if connection.carries_requests() {
                return;
            }
            if is_late(connection.ends(), mesh) {
                let since = *plaintext.late_since.get_or_init(Instant::now);
                visit(&LatePlaintext { connection, plaintext, since });
            }
        });
    }

    /// How many there are now.
    pub fn set_late_plaintext(&self, connections: usize) {
        self.counted.late_plaintext.set(i64::try_from(connections).unwrap_or(i64::MAX));
    }

    /// So many of them are being ended.
    pub fn late_plaintext_ended(&self, connections: usize) {
        self.counted.late_plaintext_ended.inc_by(connections as u64);
    }
}

/// Whether the other end of a connection could be reached over HBONE, which is not a pod that calls itself.
fn is_late(ends: &ConnectionEnds, mesh: &Mesh) -> bool {
    let other = match ends.reporter {
        Reporter::Source => ends.endpoint.ip(),
        Reporter::Destination => ends.source_addr.ip(),
    };
    let is_itself = || ends.own_workload().is_some_and(|own| own.addresses.contains(&other));
    !ends.mutual_tls && mesh.speaks_hbone(other) && !is_itself()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::address::OriginalDst;
    use crate::model::mesh::MeshUpdate;
    use crate::model::workload::{TunnelProtocol, Workload};
    use crate::telemetry::fixture::{mesh, outbound_source};
    use crate::telemetry::record::ConnectionRecord;

    #[test]
    fn connections_to_pods_that_speak_hbone_by_now_are_found() {
        let (metrics, mut mesh) = (Metrics::new(), mesh());
        let open = |address: &str, mesh: &Mesh| {
            let (source, to) = (outbound_source(), OriginalDst(address.parse().expect("an address")));
            let upstream = mesh.resolve(&source.workload, to, || 0).ok();
            ConnectionRecord::open(&metrics, ConnectionEnds::outbound(source, to, upstream.as_ref()))
        };
        let to_pod = OriginalDst("10.0.0.2:9080".parse().expect("an address"));
        let ends = ConnectionEnds::outbound(outbound_source(), to_pod, None);
        let _of_requests = ConnectionRecord::open_for_requests(&metrics, ends);
        // Outside, over HBONE, to a plaintext workload, and to a pod that the mesh does not know yet.
        let open = ["192.0.2.1:443", "10.0.0.2:9080", "10.0.0.3:9080", "10.0.0.9:80"].map(|to| open(to, &mesh));
        let found = |mesh: &Mesh| {
            let mut found = Vec::new();
            for part in 0..Metrics::PARTS {
                metrics.late_plaintext(part, mesh, |late| found.push(late.ends().endpoint.to_string()));
            }
            found
        };
        assert_eq!(found(&mesh), Vec::<String>::new());
        let late = Workload {
            addresses: vec!["10.0.0.9".parse().expect("an address")],
            network: mesh.settings().network.clone(),
            protocol: TunnelProtocol::Hbone,
            ..Workload::new("late", "shop", "late")
        };
        mesh.apply(MeshUpdate::Workload(Box::new(late)));
        assert_eq!(found(&mesh), ["10.0.0.9:80"]);
        drop(open);
        assert_eq!(found(&mesh), Vec::<String>::new());
        assert_eq!(Arc::strong_count(&metrics), 2, "of the connection that carries requests");
    }
}
