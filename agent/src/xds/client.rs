//! The connection to the control plane: kept up for ever, one delta stream at a time. What responses mean is `stream`'s
//! and `intake`'s to know.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use prost::Message as _;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Request, Status, Streaming};

use super::intake::Intake;
use super::node::NodeDescription;
use super::status::XdsStatus;
use super::stream::Outcome;
use crate::causes::with_causes;
use crate::control_channel::{self, ControlAddress, ControlHeaders, OwnServices, RootSource};
use crate::lifecycle::ReadyBlocker;
use crate::model::mesh::MeshSettings;
use crate::pauses::Pauses;
use crate::proto::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use crate::proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use crate::resources::{ObjectKind, ResourceType};
use crate::state::SharedMesh;
use crate::telemetry::metrics::{Metrics, XdsTermination};

/// The first answer holds the whole mesh.
const MAX_RESPONSE_BYTES: usize = 200 * 1024 * 1024;
/// How long readiness waits for a mesh configuration, and for policies as they are written, when everything else is
/// there: not every control plane has them.
const GRACE: Duration = Duration::from_secs(5);
/// First and longest pause before the next attempt to reach the control plane.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(15));
/// A stream that lasted so long was a good one: the next may follow at once.
const STEADY: Duration = Duration::from_secs(5);
/// Responses with more resources are decoded away from the threads that carry connections.
const LARGE_RESPONSE: usize = 256;

/// Where the mesh comes from, and who asks.
#[derive(Debug, Clone)]
pub struct XdsOptions {
    /// `https://host:port`; `http` for loopback only.
    pub address: String,
    /// Name to expect in the control plane's certificate; the host of the address unless set.
    pub server_name: Option<String>,
    /// The control plane's root certificates, reread for every connection.
    pub root_ca: RootSource,
    /// Services whose addresses are known where DNS is silent.
    pub services: OwnServices,
    /// Headers to send along.
    pub headers: ControlHeaders,
    /// Ask for the objects that users wrote as well.
    pub objects: bool,
    /// File with the bearer token, reread for every connection.
    pub token: PathBuf,
    pub node: NodeDescription,
    /// What counts where the mesh configuration is silent.
    pub settings: MeshSettings,
    /// Where the last good configuration is kept; `None` keeps none.
    pub state_dir: Option<PathBuf>,
    /// Whether the state directory is this process's to write to, or another agent's.
    pub may_save: watch::Receiver<bool>,
    pub metrics: Arc<Metrics>,
}

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum StreamError {
    #[error(transparent)]
    Address(#[from] control_channel::InvalidControlAddress),
    #[error("cannot read the token {path}")]
    Token { path: PathBuf, source: io::Error },
    #[error("{0} holds no usable token")]
    TokenForm(PathBuf),
    #[error("control plane: {code}: {message}")]
    Refused { code: tonic::Code, message: String, source: Option<Box<Status>> },
    #[error("control plane ended the stream")]
    Ended,
    #[error("decoding a response failed")]
    Decoder,
}

impl StreamError {
    /// True where a control plane may have stumbled over what was asked for.
    fn is_about_types(&self) -> bool {
        use tonic::Code;
        let Self::Refused { code, .. } = self else { return false };
        matches!(code, Code::InvalidArgument | Code::Unimplemented | Code::NotFound)
    }

    /// How long at least to leave a control plane alone that has too much to do.
    fn least_pause(&self) -> Duration {
        match self {
            Self::Refused { code: tonic::Code::ResourceExhausted, .. } => Duration::from_secs(1),
            _ => Duration::ZERO,
        }
    }
}

impl From<Status> for StreamError {
    fn from(status: Status) -> Self {
        Self::Refused { code: status.code(), message: status.message().to_owned(), source: Some(Box::new(status)) }
    }
}

/// Takes the mesh from the control plane; runs forever. `ready` is dropped at the first complete mesh, be it from disk.
pub async fn run(options: XdsOptions, mesh: SharedMesh, status: XdsStatus, ready: ReadyBlocker) {
    let intake = Intake::new(mesh, status.clone(), options.settings.clone());
    status.shows({
        let intake = intake.clone();
        move || intake.objects()
    });
    let journal = options.state_dir.as_deref().map(|dir| intake.load(super::last_good::file_in(dir)));
    let save = async {
        match journal {
            Some(journal) => intake.keep_saved(journal, &options.metrics, options.may_save.clone()).await,
            None => std::future::pending().await,
        }
    };
    let release = async {
        status.first_sync().await;
        drop(ready);
        std::future::pending::<()>().await;
    };
    tokio::join!(connect_forever(&options, &intake, &status), save, release);
}

async fn connect_forever(options: &XdsOptions, intake: &Intake, status: &XdsStatus) {
    status.source(&options.address);
    let mut pauses = Pauses::new(BACKOFF.0, BACKOFF.1);
    let mut objects = options.objects;
    loop {
        let started = Instant::now();
        let Err(error) = one_stream(options, intake, status, objects).await;
        options.metrics.xds_connection_ended(match &error {
            StreamError::Ended => XdsTermination::Complete,
            _ if status.report().connected => XdsTermination::Error,
            _ => XdsTermination::ConnectionError,
        });
        if status.report().connected && started.elapsed() >= STEADY {
            pauses.reset();
        }
        // A control plane that stumbles over types it does not know is asked without them the next time.
        let stumbled = objects && !status.report().connected && error.is_about_types();
        objects = options.objects && !stumbled;
        let pause = pauses.take().max(error.least_pause());
        let error = with_causes(&error);
        if status.disconnected(&error) {
            tracing::warn!(%error, address = options.address, "no configuration stream, retrying");
        } else {
            tracing::debug!(%error, ?pause, "still no configuration stream");
        }
        tokio::time::sleep(pause).await;
    }
}

/// Serves one stream until it ends, which is always an error.
async fn one_stream(
    options: &XdsOptions,
    intake: &Intake,
    status: &XdsStatus,
    objects: bool,
) -> Result<std::convert::Infallible, StreamError> {
    let (requests, outgoing) = mpsc::channel(2 * ResourceType::COUNT);
    for request in intake.open(options.node.to_wire(), objects) {
        // The channel is new and has room for a request of each type.
        let _ = requests.try_send(request);
    }
    let mut responses = start(options, outgoing).await?;
    let mut progress = Progress::new(objects);
    loop {
        let response = tokio::select! {
            response = responses.message() => response?.ok_or(StreamError::Ended)?,
            () = progress.grace_over(), if !status.is_synced() => {
                let missing = progress.missing();
                tracing::warn!(?missing, "the control plane does not send all that was asked for: it is done without");
                status.synced();
                continue;
            }
        };
        if !progress.answered_any() {
            status.connected();
            tracing::info!(address = options.address, "configuration stream is up");
        }
        options.metrics.xds_message(&response.type_url, response.encoded_len() as u64);
        let outcome = digest(intake, response).await?;
        log(&outcome);
        count(&options.metrics, &outcome);
        if progress.answered(outcome.kind) {
            status.synced();
        }
        requests.send(outcome.reply).await.map_err(|_| StreamError::Ended)?;
    }
}

async fn start(
    options: &XdsOptions,
    requests: mpsc::Receiver<DeltaDiscoveryRequest>,
) -> Result<Streaming<DeltaDiscoveryResponse>, StreamError> {
    let address = ControlAddress::new(&options.address, options.server_name.as_deref(), options.root_ca.clone())?;
    let channel = control_channel::channel(&address.with_services(options.services.clone()));
    let mut request = Request::new(ReceiverStream::new(requests));
    options.headers.add_to(request.metadata_mut());
    if let Some(token) = read_token(&options.token).await? {
        request.metadata_mut().insert("authorization", token);
    }
    if let Ok(cluster_id) = options.node.cluster_id.parse() {
        request.metadata_mut().insert("clusterid", cluster_id);
    }
    let mut client = AggregatedDiscoveryServiceClient::new(channel).max_decoding_message_size(MAX_RESPONSE_BYTES);
    Ok(client.delta_aggregated_resources(request).await?.into_inner())
}

/// The token as a header; none if there is no file, which a control plane may accept from this machine.
async fn read_token(path: &std::path::Path) -> Result<Option<MetadataValue<Ascii>>, StreamError> {
    let text = match tokio::fs::read_to_string(path).await {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(StreamError::Token { path: path.to_owned(), source }),
    };
    let form = || StreamError::TokenForm(path.to_owned());
    let mut header: MetadataValue<Ascii> = format!("Bearer {}", text.trim()).parse().map_err(|_| form())?;
    if text.trim().is_empty() {
        return Err(form());
    }
    header.set_sensitive(true);
    Ok(Some(header))
}

async fn digest(intake: &Intake, response: DeltaDiscoveryResponse) -> Result<Outcome, StreamError> {
    if response.resources.len() < LARGE_RESPONSE {
        // A panic costs this stream, as it does below: the next one is opened, and what is in force stays.
        let digested = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| intake.handle(response)));
        return digested.map_err(|_| StreamError::Decoder);
    }
    let intake = intake.clone();
    tokio::task::spawn_blocking(move || intake.handle(response)).await.map_err(|_| StreamError::Decoder)
}

fn log(outcome: &Outcome) {
    let kind = outcome.kind.map_or("unknown", ResourceType::label);
    for reason in &outcome.rejected {
        tracing::warn!(kind, %reason, "a resource was rejected");
    }
    tracing::debug!(kind, changed = outcome.changed, rejected = outcome.rejected.len(), "response taken in");
}

fn count(metrics: &Metrics, outcome: &Outcome) {
    let kind = outcome.kind.map_or("unknown", ResourceType::label);
    for _ in &outcome.rejected {
        metrics.config_rejected(kind);
    }
    metrics.xds_repeated(kind, outcome.repeats);
    if outcome.rejected.is_empty() {
        metrics.config_accepted(SystemTime::now());
    }
}

/// Which types a stream has delivered.
struct Progress {
    answered: [bool; ResourceType::COUNT],
    /// Types without which nothing is served at first; of those that follow the essential ones, not every control plane
    /// knows all.
    awaited: Vec<ResourceType>,
    /// Everything essential is there since.
    waiting_since: Option<Instant>,
}

impl Progress {
    const ESSENTIAL: [ResourceType; 2] = [ResourceType::Address, ResourceType::Authorization];

    fn new(objects: bool) -> Self {
        let policies = [ObjectKind::AuthorizationPolicy, ObjectKind::PeerAuthentication].map(ResourceType::Object);
        let policies = policies.into_iter().filter(|_| objects);
        let awaited = ResourceType::MESH.into_iter().chain(policies).collect();
        Self { answered: [false; ResourceType::COUNT], awaited, waiting_since: None }
    }

    fn answered_any(&self) -> bool {
        self.answered.contains(&true)
    }

    /// Notes a response; true once every type that is waited for has been answered.
    fn answered(&mut self, kind: Option<ResourceType>) -> bool {
        if let Some(kind) = kind {
            self.answered[kind.index()] = true;
        }
        if self.waiting_since.is_none() && Self::ESSENTIAL.into_iter().all(|kind| self.answered[kind.index()]) {
            self.waiting_since = Some(Instant::now());
        }
        self.missing().is_empty()
    }

    /// Types that are waited for.
    fn missing(&self) -> Vec<&'static str> {
        let missing = self.awaited.iter().filter(|kind| !self.answered[kind.index()]);
        missing.map(|kind| kind.label()).collect()
    }

    async fn grace_over(&self) {
        match self.waiting_since {
            Some(since) => tokio::time::sleep_until(since + GRACE).await,
            None => std::future::pending().await,
        }
    }
}
