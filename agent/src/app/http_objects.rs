//! Objects about requests from the Kubernetes API (`--objects kubernetes`), given to whoever receives those of the stream.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::settings;
use crate::config::{AgentConfig, ObjectsFrom};
use crate::kubernetes::{HttpObjects, MeshView, ObjectSink, connect};
use crate::lifecycle::Ready;
use crate::state::SharedMesh;
use crate::telemetry::metrics::Metrics;
use crate::xds::{ConfigReceiver, ObjectSource, XdsStatus};

/// How long readiness waits for the first answers. After that the agent serves with what it knows: a pod whose agent is never
/// ready is cut off, for want of routes that it may not need.
const FIRST_ANSWERS_GRACE: Duration = Duration::from_secs(5);

/// The source, if the settings ask for it.
///
/// # Errors
/// When there are no credentials for the API server.
pub(super) async fn source(
    config: &AgentConfig,
    mesh: &SharedMesh,
    status: &XdsStatus,
    metrics: &Arc<Metrics>,
    ready: &Ready,
) -> anyhow::Result<Option<ObjectSource>> {
    if config.istiod.objects != ObjectsFrom::Kubernetes {
        return Ok(None);
    }
    ensure!(
        config.files.config.is_none(),
        "--objects kubernetes (WEIR_OBJECTS): with --config the objects are those of its files; leave one of both out"
    );
    let client = connect(&settings::cluster_access(config)).await.context("--objects kubernetes (WEIR_OBJECTS)")?;
    let (metrics, blocker) = (metrics.clone(), ready.block("objects of Kubernetes"));
    let objects = HttpObjects::new(&metrics);
    status.add_object_faults({
        let objects = objects.clone();
        move || objects.faults()
    });
    let changes = mesh.watch();
    Ok(Some(Box::new(move |receiver: ConfigReceiver| {
        Box::pin(async move {
            let answered = objects.clone();
            let judging = receiver.clone();
            let mesh = MeshView { find_missing: Arc::new(move |name| judging.missing_references(name)), changes };
            let sink: ObjectSink = Arc::new(move |update| receiver.apply_objects(update, &metrics));
            let release = async move {
                if tokio::time::timeout(FIRST_ANSWERS_GRACE, answered.first_answers()).await.is_err() {
                    tracing::warn!("Kubernetes has not told all routes and destinations yet: serving with those known");
                }
                drop(blocker);
            };
            tokio::join!(objects.follow(client, sink, mesh), release);
        })
    })))
}
