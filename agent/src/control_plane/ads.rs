//! The delta discovery service: one task per agent's stream. What is sent when is `agent_stream`'s to know.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::agent_stream::{AgentStream, Requested};
use super::auth::Tokens;
use super::counters::Counters;
use super::snapshot::Snapshot;
use crate::proto::envoy::service::discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryService;
use crate::proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};

type Answer = Result<DeltaDiscoveryResponse, Status>;

/// Serves snapshots to agents.
#[derive(Debug)]
pub(super) struct Ads {
    pub(super) tokens: Tokens,
    pub(super) snapshots: watch::Receiver<Arc<Snapshot>>,
    pub(super) counters: Arc<Counters>,
    /// Ends every stream, so that the server can stop.
    pub(super) stop: CancellationToken,
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Ads {
    type DeltaAggregatedResourcesStream = ReceiverStream<Answer>;

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let node = self.tokens.authenticate(request.metadata())?;
        let (answers, outgoing) = mpsc::channel(4);
        let (snapshots, counters, stop) = (self.snapshots.clone(), self.counters.clone(), self.stop.clone());
        tokio::spawn(async move {
            let _connected = counters.connected();
            tracing::info!(%node, "agent connected");
            let serving = serve(&node, request.into_inner(), &answers, snapshots, &counters);
            tokio::select! {
                ended = serving => match ended {
                    Ok(()) => tracing::info!(%node, "agent disconnected"),
                    Err(status) => tracing::info!(%node, reason = status.message(), "agent disconnected"),
                },
                () = stop.cancelled() => {
                    // An agent that reads nothing more is gone with the connection.
                    let _ = answers.try_send(Err(Status::unavailable("the control plane stops")));
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }
}

/// Answers one agent until it goes.
async fn serve(
    node: &str,
    mut requests: Streaming<DeltaDiscoveryRequest>,
    answers: &mpsc::Sender<Answer>,
    mut snapshots: watch::Receiver<Arc<Snapshot>>,
    counters: &Counters,
) -> Result<(), Status> {
    let mut stream = AgentStream::default();
    loop {
        tokio::select! {
            request = requests.message() => match request? {
                Some(request) => note(node, &stream.request(&request), counters),
                None => return Ok(()),
            },
            changed = snapshots.changed() => if changed.is_err() {
                // The source is gone, which ends the process; until then agents keep what they have.
                return Ok(());
            },
        }
        let snapshot = snapshots.borrow_and_update().clone();
        for response in stream.responses(&snapshot) {
            counters.response(response.resources.len(), response.removed_resources.len());
            if answers.send(Ok(response)).await.is_err() {
                return Ok(());
            }
        }
    }
}

fn note(node: &str, requested: &Requested, counters: &Counters) {
    match requested {
        Requested::Refused(kind, reason) => {
            counters.refused();
            tracing::warn!(%node, %kind, %reason, "agent refused a part of what it was sent");
        }
        Requested::UnknownType(type_url) => tracing::debug!(%node, type_url, "a type that is not served here"),
        Requested::StaleNonce => tracing::debug!(%node, "an answer to no question"),
        Requested::Subscription | Requested::Acknowledged => {}
    }
}
