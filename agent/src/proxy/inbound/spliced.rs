//! An inbound connection whose two sides are open, and whose bytes are moved as they come.

use std::sync::atomic::Ordering;

use bytes::BytesMut;
use tokio::io::AsyncWriteExt as _;

use super::client::Client;
use super::error::InboundError;
use crate::lifecycle::when_woken;
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
    /// What was read of both sides already, if anything was.
    pub(super) read: Option<Box<AlreadyRead>>,
}

/// What was read of both sides of a connection before its bytes are moved.
pub(super) struct AlreadyRead {
    pub(super) of_client: BytesMut,
    pub(super) of_application: BytesMut,
}

impl Spliced {
    /// Moves bytes until the connection ends, somebody wants it to end, policy forbids it, its pod dies or the drain is over. Then
    /// the record is complete.
    pub(super) async fn run(self, pod_proxy: &PodProxy) {
        let Self { mut record, tracked, mut client, mut application, read } = self;
        let bytes = record.bytes();
        let splicing = async {
            if let Some(read) = read {
                let AlreadyRead { of_client, of_application } = *read;
                client.write_all(&of_application).await.map_err(SpliceError::Downstream)?;
                bytes.to_source.fetch_add(of_application.len() as u64, Ordering::Relaxed);
                application.write_all(&of_client).await.map_err(SpliceError::Upstream)?;
                bytes.to_destination.fetch_add(of_client.len() as u64, Ordering::Relaxed);
            }
            client.splice(application, bytes, &pod_proxy.budget).await
        };
        let stopped = when_woken(async {
            tokio::select! {
                () = record.end_wanted() => InboundError::LatePlaintext,
                () = tracked.revoked.cancelled() => InboundError::Revoked,
                () = pod_proxy.pod.dead.cancelled() => InboundError::PodGone,
                () = pod_proxy.proxy.drain.closing() => InboundError::DrainEnded,
            }
        });
        let outcome = tokio::select! {
            biased;
            result = splicing => result.map_err(InboundError::from),
            error = stopped => Err(error),
        };
        if let Err(error) = outcome {
            record.fail(error.flag(), &error);
        }
    }
}
