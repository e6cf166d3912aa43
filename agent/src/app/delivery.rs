//! Where this agent's mesh and certificates come from: a control plane over delta ADS, or files in this process.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::{http_objects, istiod, pod_labels, roots};
use crate::config::AgentConfig;
use crate::control_plane::authority::Authority;
use crate::control_plane::{FileSource, FileSourceOptions, translate};
use crate::lifecycle::{Ready, essential};
use crate::node_files::KEYS_DIR;
use crate::state::SharedMesh;
use crate::telemetry::metrics::Metrics;
use crate::tls::certificates::revocation::{RevocationFile, RevocationStatus};
use crate::tls::certificates::{CertificateEvent, CertificateOptions, CertificateSource, Certificates};
use crate::xds::{self, ConfigReceiver, XdsStatus};

/// The sources of the mesh and of certificates, started.
pub(super) struct Delivery {
    pub(super) certificates: Certificates,
    pub(super) revocation: RevocationStatus,
    pub(super) status: XdsStatus,
    /// Resolves once there is a mesh to serve.
    pub(super) synced: BoxFuture<'static, ()>,
}

pub(super) async fn start(
    config: &AgentConfig,
    mesh: &SharedMesh,
    metrics: &Arc<Metrics>,
    ready: &Ready,
    may_write_state: watch::Receiver<bool>,
) -> anyhow::Result<Delivery> {
    let status = XdsStatus::default();
    let settings = config.mesh_settings();
    let blocker = ready.block("configuration");
    let objects = http_objects::source(config, mesh, &status, metrics, ready).await?;
    if let Some(path) = &config.files.config {
        let source = FileSource::open(FileSourceOptions {
            path: path.clone(),
            translate: translate::Options {
                cluster_id: config.node.cluster_id.clone(),
                network: config.node.network.clone(),
                ..translate::Options::default()
            },
            state_dir: config.directories.state_dir.clone(),
        })
        .await
        .context("--config")?;
        let receiver = ConfigReceiver::new(mesh.clone(), status.clone(), settings);
        status.set_objects_source({
            let (receiver, dir) = (receiver.clone(), config.proxy.destination_tls_dir.clone());
            move || receiver.objects(&dir)
        });
        metrics.register_fields_without_effect({
            let receiver = receiver.clone();
            move || receiver.fields_without_effect()
        });
        report_file_problems(&source, status.clone(), metrics.clone());
        apply_file_snapshots(source, receiver, metrics.clone());
        drop(blocker);
    } else {
        let options = istiod::xds_options(config, settings, metrics, may_write_state)?;
        tokio::spawn(xds::run(options, mesh.clone(), status.clone(), blocker, objects));
        pod_labels::start(config, mesh, &status, metrics, ready).await;
    }
    let authority = config.files.ca_dir.as_deref().map(Authority::open).transpose().context("--ca-dir")?;
    let source = certificate_source(config, authority.as_ref())?;
    let certificates = Certificates::start(source, certificate_options(config, metrics));
    roots::follow(config, authority.as_ref(), &certificates, mesh);
    istiod::retry_with_stream(config, &certificates, &status);
    let revocation = config.files.crl.clone().map(|path| follow_revocation(path, &certificates));
    let waiting = status.clone();
    let synced = Box::pin(async move { waiting.first_sync().await });
    Ok(Delivery { certificates, revocation: revocation.unwrap_or_default(), status, synced })
}

/// Reads the objects again whenever a file changes, and applies what the control plane's own code makes of them.
fn apply_file_snapshots(source: FileSource, receiver: ConfigReceiver, metrics: Arc<Metrics>) {
    let mut snapshots = source.subscribe();
    tokio::spawn(async move {
        let Err(error) = source.run().await;
        tracing::error!(%error, "the objects are no longer followed");
    });
    tokio::spawn(async move {
        loop {
            let snapshot = snapshots.borrow_and_update().clone();
            receiver.apply_snapshot(&snapshot.resources);
            metrics.config_accepted(SystemTime::now());
            if snapshots.changed().await.is_err() {
                return;
            }
        }
    });
}

/// Counts each problem of the files once, and keeps the list of those that are there now in the status.
fn report_file_problems(source: &FileSource, status: XdsStatus, metrics: Arc<Metrics>) {
    let mut problems = source.problems();
    tokio::spawn(async move {
        let mut known = BTreeSet::new();
        loop {
            let now = problems.borrow_and_update().clone();
            for problem in now.iter().filter(|problem| !known.contains(*problem)) {
                metrics.config_rejected(problem.kind());
            }
            status.set_problems(now.iter().map(ToString::to_string));
            known = now.iter().cloned().collect();
            if problems.changed().await.is_err() {
                return;
            }
        }
    });
}

/// Revocation lists count from before the first peer connects.
fn follow_revocation(path: PathBuf, certificates: &Certificates) -> RevocationStatus {
    let file = RevocationFile::open(path, certificates);
    let status = file.status();
    tokio::spawn(essential("follow revocation lists", file.follow(certificates.clone())));
    status
}

fn certificate_source(config: &AgentConfig, authority: Option<&Authority>) -> anyhow::Result<CertificateSource> {
    if let Some(authority) = authority {
        return Ok(CertificateSource::Issuer(authority.issuer()));
    }
    if let Some(dir) = &config.files.certificates_dir {
        return Ok(CertificateSource::Files(dir.clone()));
    }
    istiod::certificate_source(config)
}

fn certificate_options(config: &AgentConfig, metrics: &Arc<Metrics>) -> CertificateOptions {
    let metrics = metrics.clone();
    CertificateOptions {
        lifetime: Duration::from_secs(config.istiod.certificate_seconds.max(1)),
        keys_dir: Some(keys_dir(&config.directories.run_dir)),
        observer: Some(Arc::new(move |event: &CertificateEvent| {
            metrics.certificate_requested(matches!(event, CertificateEvent::Obtained { .. }));
        })),
        ..CertificateOptions::default()
    }
}

fn keys_dir(run_dir: &Path) -> PathBuf {
    run_dir.join(KEYS_DIR)
}
