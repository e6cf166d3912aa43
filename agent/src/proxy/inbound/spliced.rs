//! An inbound connection whose two sides are open, and whose bytes are moved as they come.

use std::pin::pin;

use super::client::Client;
use super::error::InboundError;
use crate::lifecycle::when_woken;
use crate::proxy::already_read::AlreadyRead;
use crate::proxy::connector::ApplicationStream;
use crate::proxy::pod::PodProxy;
use crate::proxy::revocation::Tracked;
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

impl Spliced {
    /// Moves bytes until the connection ends, somebody wants it to end, policy forbids it, its pod dies or the drain is over. Then
    /// the record is complete.
    pub(super) async fn run(self, pod_proxy: &PodProxy) {
        let Self { mut record, tracked, mut client, mut application, read } = self;
        let bytes = record.bytes();
        let splicing = async {
            if let Some(read) = read {
                read.pass_on(&mut client, application.writer(), &bytes).await?;
            }
            client.splice(application, bytes, &pod_proxy.budget).await
        };
        let outcome = {
            let stopped = pin!(async {
                tokio::select! {
                    () = record.end_wanted() => InboundError::LatePlaintext,
                    () = tracked.revoked.cancelled() => InboundError::Revoked,
                    () = pod_proxy.pod.dead.cancelled() => InboundError::PodGone,
                    () = pod_proxy.proxy.drain.closing() => InboundError::DrainEnded,
                }
            });
            tokio::select! {
                biased;
                result = splicing => result.map_err(InboundError::from),
                error = when_woken(stopped) => Err(error),
            }
        };
        if let Err(error) = outcome {
            record.fail(error.flag(), &error);
        }
    }
}
