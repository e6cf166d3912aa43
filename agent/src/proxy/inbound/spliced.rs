//! An inbound connection whose two sides are open, and whose bytes are moved as they come.

use std::sync::atomic::Ordering;

use bytes::BytesMut;

use super::client::Client;
use super::error::InboundError;
use crate::proxy::connector::ApplicationStream;
use crate::proxy::pod::PodProxy;
use crate::proxy::revocation::Tracked;
use crate::proxy::splice::SpliceError;
use crate::telemetry::record::ConnectionRecord;

/// See the module.
pub(super) struct Spliced {
    pub(super) record: ConnectionRecord,
    pub(super) tracked: Tracked,
    pub(super) client: Client,
    pub(super) application: ApplicationStream,
    /// What was read of the client already.
    pub(super) received: BytesMut,
}

impl Spliced {
    /// Moves bytes until the connection ends, somebody wants it to end, policy forbids it, its pod dies or the drain is over. Then
    /// the record is complete.
    pub(super) async fn run(self, pod_proxy: &PodProxy) {
        let Self { mut record, tracked, client, mut application, received } = self;
        let bytes = record.bytes();
        let splicing = async {
            if !received.is_empty() {
                application.write_all(&received).await.map_err(SpliceError::Upstream)?;
                bytes.to_destination.fetch_add(received.len() as u64, Ordering::Relaxed);
                drop(received);
            }
            client.splice(application, bytes, &pod_proxy.budget).await
        };
        let outcome = tokio::select! {
            biased;
            result = splicing => result.map_err(InboundError::from),
            () = record.end_wanted() => Err(InboundError::LatePlaintext),
            () = tracked.revoked.cancelled() => Err(InboundError::Revoked),
            () = pod_proxy.pod.dead.cancelled() => Err(InboundError::PodGone),
            () = pod_proxy.proxy.drain.closing() => Err(InboundError::DrainEnded),
        };
        if let Err(error) = outcome {
            record.fail(error.flag(), &error);
        }
    }
}
