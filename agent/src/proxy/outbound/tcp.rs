//! An outbound connection from accept to its end, as bytes: no protocol above TCP is looked at.

use std::os::fd::AsFd;
use std::sync::Arc;

use tokio::net::TcpStream;

use super::candidate::Candidate;
use super::error::OutboundError;
use super::upstream::{Outbound, UpstreamStream};
use crate::model::address::canonical;
use crate::model::resolve::{Transport, Unresolved, Upstream};
use crate::net::{self, reset_on_close};
use crate::proxy::budget::Budget;
use crate::proxy::pod::PodProxy;
use crate::proxy::splice;
use crate::telemetry::connection::{RefusedConnection, ResponseFlag};
use crate::telemetry::ends::{OutboundSource, Reporter};
use crate::telemetry::record::ConnectionRecord;

/// Serves one captured connection of a pod to its end.
pub(in crate::proxy) async fn serve(pod_proxy: Arc<PodProxy>, downstream: TcpStream, budget: Budget) {
    let PodProxy { proxy, pod, .. } = &*pod_proxy;
    let (Ok(source_addr), Ok(listener)) = (downstream.peer_addr(), downstream.local_addr()) else { return };
    let source_addr = canonical(source_addr);
    let Some(original_dst) = proxy.capture.original_dst(downstream.as_fd()) else {
        let (reporter, flag) = (Reporter::Source, ResponseFlag::Denied);
        let refused = RefusedConnection { reporter, source_addr, listener, flag };
        refused.record(&proxy.metrics, &"the agent's listener was dialled directly");
        return reset_on_close(&downstream);
    };
    let _open = pod.count_connection();
    // Best effort: a socket that is dead already shows it at the first read.
    let _ = net::tune(&socket2::SockRef::from(&downstream));
    let (source, resolved) = {
        let mesh = proxy.mesh.read();
        let workload = pod_proxy.source_workload(&mesh);
        let resolved = mesh.resolve(&workload, original_dst, rand::random);
        let identity = pod.identity(&mesh.settings().trust_domain);
        (OutboundSource { addr: source_addr, workload, identity }, resolved)
    };
    Outbound { pod_proxy: &pod_proxy, source, original_dst }.run(downstream, resolved, budget).await;
}

impl Outbound<'_> {
    async fn run(&self, downstream: TcpStream, resolved: Result<Upstream, Unresolved>, budget: Budget) {
        let metrics = &self.pod_proxy.proxy.metrics;
        let ends = self.ends(resolved.as_ref().ok());
        let (mut record, outcome);
        match resolved {
            Ok(upstream) => {
                let candidate = Candidate::of(self.pod_proxy, &upstream);
                let may_change = candidate.is_some()
                    || upstream.service.is_some()
                    || matches!(upstream.transport, Transport::ResolveHostname { .. });
                record = if may_change {
                    ConnectionRecord::open_provisional(metrics, ends)
                } else {
                    ConnectionRecord::open(metrics, ends)
                };
                outcome = self.forward(downstream, &upstream, candidate.as_ref(), &record, budget).await;
            }
            Err(unresolved) => {
                record = ConnectionRecord::open(metrics, ends);
                reset_on_close(&downstream);
                outcome = Err(unresolved.into());
            }
        }
        if let Err(error) = outcome {
            record.fail(error.flag(), &error);
        }
    }

    /// Opens the upstream and moves bytes until the connection ends, its pod dies or the drain is over.
    async fn forward(
        &self,
        downstream: TcpStream,
        upstream: &Upstream,
        candidate: Option<&Candidate>,
        record: &ConnectionRecord,
        mut budget: Budget,
    ) -> Result<(), OutboundError> {
        let opened = match self.connect_upstream(upstream, candidate, record).await {
            Ok(opened) => opened,
            Err(error) => {
                reset_on_close(&downstream);
                return Err(error);
            }
        };
        budget.is_not_pending();
        let splicing = async {
            match opened {
                UpstreamStream::Hbone(stream) => splice::outbound_hbone(downstream, stream, record.bytes()).await,
                UpstreamStream::Tcp(tcp) => splice::outbound_tcp(downstream, tcp, record.bytes()).await,
            }
        };
        let PodProxy { proxy, pod, .. } = &**self.pod_proxy;
        tokio::select! {
            result = splicing => Ok(result?),
            () = pod.dead.cancelled() => Err(OutboundError::PodGone),
            () = proxy.drain.closing() => Err(OutboundError::DrainEnded),
        }
    }
}
