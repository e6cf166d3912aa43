//! One discovery stream, from its first request to its end; and the settings of it.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use prost::Message as _;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status, Streaming};

use super::initial_sync::InitialSync;
use super::node::NodeDescription;
use super::receiver::ConfigReceiver;
use super::status::XdsStatus;
use super::stream::Processed;
use super::version_naming::VersionNaming;
use crate::control_channel::{
    self, ControlAddress, ControlHeaders, OwnServices, RootSource, TokenError, read_bearer_token,
};
use crate::model::mesh::MeshSettings;
use crate::proto::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use crate::proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use crate::resources::{ResourceType, WantedObjects};
use crate::telemetry::metrics::Metrics;

/// The largest response that is accepted: the first one holds the whole mesh.
const MAX_RESPONSE_BYTES: usize = 200 * 1024 * 1024;
/// Responses with at least this many resources are decoded on a blocking thread, away from those that carry connections.
const BLOCKING_DECODE_RESOURCES: usize = 256;
/// The least pause before a control plane is asked again that has too much to do.
const EXHAUSTED_PAUSE: Duration = Duration::from_secs(1);

/// The settings of the discovery stream.
#[derive(Debug, Clone)]
pub struct XdsOptions {
    /// `https://host:port`; `http` for loopback only.
    pub address: String,
    /// Name to expect in the control plane's certificate; the host of the address unless set.
    pub server_name: Option<String>,
    /// The control plane's root certificates, reread for every connection.
    pub root_ca: RootSource,
    /// Services whose addresses are known without DNS.
    pub services: OwnServices,
    /// Headers to send with the request.
    pub headers: ControlHeaders,
    /// Which users' objects to ask for as well.
    pub objects: WantedObjects,
    /// File with the bearer token, reread for every connection.
    pub token: PathBuf,
    pub node: NodeDescription,
    /// What counts where the mesh configuration says nothing.
    pub settings: MeshSettings,
    /// Where the last good configuration is kept; `None` keeps none.
    pub state_dir: Option<PathBuf>,
    /// Where certificates and keys lie that destinations may be shown.
    pub destination_tls_dir: PathBuf,
    /// Whether the state directory is this process's to write to, or another agent's.
    pub may_save: watch::Receiver<bool>,
    pub metrics: Arc<Metrics>,
}

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum StreamError {
    #[error(transparent)]
    Address(#[from] control_channel::InvalidControlAddress),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("control plane: {code}: {message}")]
    Refused { code: Code, message: String, source: Option<Box<Status>> },
    #[error("control plane ended the stream")]
    Ended,
    #[error("decoding a response failed")]
    Decoder,
}

impl StreamError {
    /// True where a control plane may have failed at a type that was asked for.
    pub(super) fn is_about_types(&self) -> bool {
        let Self::Refused { code, .. } = self else { return false };
        matches!(code, Code::InvalidArgument | Code::Unimplemented | Code::NotFound)
    }

    /// True where something was too much for the control plane. gRPC for Go ends a stream with RESOURCE_EXHAUSTED when a message
    /// is too large, tonic with OUT_OF_RANGE.
    pub(super) fn is_exhausted(&self) -> bool {
        matches!(self, Self::Refused { code: Code::ResourceExhausted | Code::OutOfRange, .. })
    }

    /// How long at least to wait before the next attempt.
    pub(super) fn min_pause(&self) -> Duration {
        if self.is_exhausted() { EXHAUSTED_PAUSE } else { Duration::ZERO }
    }
}

impl From<Status> for StreamError {
    fn from(status: Status) -> Self {
        Self::Refused { code: status.code(), message: status.message().to_owned(), source: Some(Box::new(status)) }
    }
}

/// Serves one stream until it ends, which is always an error. `objects` says which users' objects are asked for as well.
pub(super) async fn run(
    options: &XdsOptions,
    receiver: &ConfigReceiver,
    status: &XdsStatus,
    naming: &mut VersionNaming,
    objects: WantedObjects,
) -> Result<Infallible, StreamError> {
    let (requests, outgoing) = mpsc::channel(2 * ResourceType::COUNT);
    let mut subscriptions = receiver.subscriptions(options.node.to_wire(), objects);
    naming.open(&mut subscriptions);
    for request in subscriptions {
        // The channel is new and has room for a request of each type.
        let _ = requests.try_send(request);
    }
    let mut responses = open(options, outgoing).await?;
    let mut initial = InitialSync::new(objects);
    loop {
        let response = tokio::select! {
            response = responses.message() => response?.ok_or(StreamError::Ended)?,
            () = initial.grace_over(), if !status.is_synced() => {
                let missing = initial.missing();
                tracing::warn!(?missing, "the control plane has not answered these types: serving without");
                status.set_synced_without(missing);
                continue;
            }
        };
        if !initial.has_begun() {
            status.set_connected();
            tracing::info!(address = options.address, "configuration stream is up");
        }
        tracing::debug!(type_url = response.type_url, resources = response.resources.len(), "response arrives");
        options.metrics.xds_message(&response.type_url, response.encoded_len() as u64);
        let is_whole = ResourceType::from_type_url(&response.type_url).is_some_and(|kind| naming.answered(kind));
        let outcome = receive(receiver, response, is_whole).await?;
        log(&outcome);
        count(&options.metrics, &outcome);
        if let Some(kind) = outcome.kind {
            status.record_answer(kind);
        }
        if initial.record(outcome.kind) {
            status.set_synced();
        }
        if requests.send(outcome.reply).await.is_err() {
            // The stream is over, and says why behind what it sent before.
            while responses.message().await?.is_some() {}
            return Err(StreamError::Ended);
        }
    }
}

async fn open(
    options: &XdsOptions,
    requests: mpsc::Receiver<DeltaDiscoveryRequest>,
) -> Result<Streaming<DeltaDiscoveryResponse>, StreamError> {
    let address = ControlAddress::new(&options.address, options.server_name.as_deref(), options.root_ca.clone())?;
    let channel = control_channel::channel(&address.with_services(options.services.clone()));
    let mut request = Request::new(ReceiverStream::new(requests));
    options.headers.add_to(request.metadata_mut());
    match read_bearer_token(&options.token).await {
        Ok(token) => drop(request.metadata_mut().insert("authorization", token)),
        Err(error) if error.is_missing() => {}
        Err(error) => return Err(error.into()),
    }
    if let Ok(cluster_id) = options.node.cluster_id.parse() {
        request.metadata_mut().insert("clusterid", cluster_id);
    }
    let mut client = AggregatedDiscoveryServiceClient::new(channel).max_decoding_message_size(MAX_RESPONSE_BYTES);
    Ok(client.delta_aggregated_resources(request).await?.into_inner())
}

/// Decodes and applies a response; `is_whole`: it holds the whole of its type. A panic costs this stream: the next one is
/// opened, and what is in force stays.
async fn receive(
    receiver: &ConfigReceiver,
    response: DeltaDiscoveryResponse,
    is_whole: bool,
) -> Result<Processed, StreamError> {
    let few = response.resources.len() < BLOCKING_DECODE_RESOURCES;
    let receiver = receiver.clone();
    let handle = move || {
        if is_whole { receiver.handle_whole(response) } else { receiver.handle_response(response) }
    };
    if few {
        return catch_unwind(AssertUnwindSafe(handle)).map_err(|_| StreamError::Decoder);
    }
    tokio::task::spawn_blocking(handle).await.map_err(|_| StreamError::Decoder)
}

fn log(outcome: &Processed) {
    let kind = outcome.kind.map_or("unknown", ResourceType::label);
    for reason in &outcome.rejected {
        tracing::warn!(kind, %reason, "a resource was rejected");
    }
    tracing::debug!(kind, changed = outcome.changed, rejected = outcome.rejected.len(), "response received");
}

fn count(metrics: &Metrics, outcome: &Processed) {
    let kind = outcome.kind.map_or("unknown", ResourceType::label);
    for _ in &outcome.rejected {
        metrics.config_rejected(kind);
    }
    metrics.xds_repeated(kind, outcome.repeats);
    if outcome.rejected.is_empty() {
        metrics.config_accepted(SystemTime::now());
    }
}
