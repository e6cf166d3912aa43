//! The gRPC service: one task per agent's stream.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::stream::{DiscoveryStream, RequestKind};
use crate::control_plane::counters::Counters;
use crate::control_plane::node_tokens::NodeTokens;
use crate::control_plane::snapshot::Snapshot;
use crate::proto::envoy::service::discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryService;
use crate::proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};

type Answer = Result<DeltaDiscoveryResponse, Status>;

/// Serves snapshots to agents.
#[derive(Debug)]
pub(in crate::control_plane) struct DiscoveryService {
    pub(in crate::control_plane) tokens: NodeTokens,
    pub(in crate::control_plane) snapshots: watch::Receiver<Arc<Snapshot>>,
    pub(in crate::control_plane) counters: Arc<Counters>,
    /// Ends every stream, so that the server can stop.
    pub(in crate::control_plane) stop: CancellationToken,
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for DiscoveryService {
    type DeltaAggregatedResourcesStream = ReceiverStream<Answer>;

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let node = self.tokens.authenticate(request.metadata())?;
        let (answers, outgoing) = mpsc::channel(4);
        let (snapshots, counters, stop) = (self.snapshots.clone(), self.counters.clone(), self.stop.clone());
        tokio::spawn(async move {
            let _open = counters.open_stream();
            tracing::info!(%node, "agent connected");
            let serving = async {
                let ended = serve(&node, request.into_inner(), &answers, snapshots, &counters).await;
                let Err(status) = ended else { return tracing::info!(%node, "agent disconnected") };
                tracing::info!(%node, reason = status.message(), "agent disconnected");
                // It may be about a request of the agent's, which then learns what was wrong with it: behind the responses that
                // it has not read yet. A connection that is gone ends this wait.
                let _ = answers.send(Err(status)).await;
            };
            tokio::select! {
                () = serving => {}
                () = stop.cancelled() => {
                    // An agent that does not read it finds the connection closed.
                    let _ = answers.try_send(Err(Status::unavailable("the control plane stops")));
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }
}

/// Serves one agent until its stream ends.
async fn serve(
    node: &str,
    mut requests: Streaming<DeltaDiscoveryRequest>,
    answers: &mpsc::Sender<Answer>,
    mut snapshots: watch::Receiver<Arc<Snapshot>>,
    counters: &Counters,
) -> Result<(), Status> {
    let mut stream = DiscoveryStream::default();
    loop {
        tokio::select! {
            request = requests.message() => match request? {
                Some(request) => report(node, &stream.receive(&request), counters),
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

fn report(node: &str, request: &RequestKind, counters: &Counters) {
    match request {
        RequestKind::Nack(kind, reason) => {
            counters.nack();
            tracing::warn!(%node, %kind, %reason, "agent refused a part of what it was sent");
        }
        RequestKind::UnknownType(type_url) => tracing::debug!(%node, type_url, "a type that is not served here"),
        RequestKind::StaleNonce => tracing::debug!(%node, "an acknowledgement of a response that is not awaited"),
        RequestKind::Subscription | RequestKind::Ack => {}
    }
}
