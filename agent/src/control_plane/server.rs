//! Runs the control plane: file source, CA, listener and both gRPC services.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

use super::authority::{Authority, AuthorityError};
use super::certificate_service::CertificateService;
use super::config::ControlPlaneConfig;
use super::counters::Counters;
use super::discovery::DiscoveryService;
use super::file_source::{FileSource, FileSourceError, FileSourceOptions};
use super::node_tokens::{NodeTokens, NodeTokensError};
use super::translate;
use crate::control_channel::listener::{self, ServerIdentity};
use crate::control_channel::{KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT};
use crate::proto::envoy::service::discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryServiceServer;
use crate::proto::istio::v1::auth::istio_certificate_service_server::IstioCertificateServiceServer;
use crate::tls::ca::SignError;
use crate::tls::server_auth::ServerConfigError;

/// How often the server's certificate is replaced; it is valid for a year.
const CERTIFICATE_RENEW_INTERVAL: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How long connections may take to end after the stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a control plane does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ControlPlaneError {
    #[error(transparent)]
    Source(#[from] FileSourceError),
    #[error(transparent)]
    Tokens(#[from] NodeTokensError),
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error("cannot make the server's certificate")]
    Certificate(#[source] SignError),
    #[error(transparent)]
    Tls(#[from] ServerConfigError),
    #[error("cannot listen on {address}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("serving failed")]
    Serve(#[source] tonic::transport::Error),
}

/// A control plane that listens, ready to serve.
#[derive(Debug)]
pub struct ControlPlane {
    source: FileSource,
    tokens: NodeTokens,
    authority: Authority,
    server_names: Vec<String>,
    listener: TcpListener,
    max_request_bytes: usize,
    counters: Arc<Counters>,
}

/// Runs a control plane until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot start, or serving fails.
pub async fn run(config: ControlPlaneConfig) -> anyhow::Result<()> {
    let mut terminated = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupted = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let control_plane = ControlPlane::open(config).await?;
    let stop = CancellationToken::new();
    let stopper = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminated.recv() => {}
            _ = interrupted.recv() => {}
        }
        tracing::info!("stopping");
        stopper.cancel();
    });
    control_plane.serve(stop).await?;
    Ok(())
}

impl ControlPlane {
    /// Loads the objects, opens (or makes) the CA and listens.
    ///
    /// # Errors
    /// See [`ControlPlaneError`].
    pub async fn open(config: ControlPlaneConfig) -> Result<Self, ControlPlaneError> {
        let translate =
            translate::Options { cluster_id: config.cluster_id, network: config.network, ..Default::default() };
        let source = FileSourceOptions { path: config.config, translate, state_dir: config.state_dir.clone() };
        let tokens = NodeTokens::open(&config.tokens)?;
        let authority = Authority::open(&config.state_dir)?;
        let source = FileSource::open(source).await?;
        let address = config.listen;
        let listener =
            TcpListener::bind(address).await.map_err(|source| ControlPlaneError::Listen { address, source })?;
        let (server_names, max_request_bytes) = (config.server_names, config.max_request_bytes);
        let counters = Arc::default();
        Ok(Self { source, tokens, authority, server_names, listener, max_request_bytes, counters })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the socket does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }

    /// Serves until `stop` is cancelled.
    ///
    /// # Errors
    /// When serving fails, or the files can no longer be read.
    pub async fn serve(self, stop: CancellationToken) -> Result<(), ControlPlaneError> {
        let (chain, key) = certificate(&self.authority, &self.server_names)?;
        let identity = Arc::new(ServerIdentity::new(&chain, &key)?);
        let snapshots = self.source.subscribe();
        let discovery = DiscoveryService {
            tokens: self.tokens.clone(),
            snapshots: snapshots.clone(),
            counters: self.counters.clone(),
            stop: stop.clone(),
        };
        let certificates = CertificateService {
            tokens: self.tokens,
            snapshots,
            authority: self.authority.clone(),
            counters: self.counters,
        };
        if let Ok(address) = self.listener.local_addr() {
            tracing::info!(%address, "control plane serves");
        }
        let serving = Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .add_service(
                AggregatedDiscoveryServiceServer::new(discovery)
                    .max_decoding_message_size(self.max_request_bytes)
                    .max_encoding_message_size(usize::MAX),
            )
            .add_service(IstioCertificateServiceServer::new(certificates))
            .serve_with_incoming_shutdown(
                listener::incoming(self.listener, identity.clone()),
                stop.clone().cancelled_owned(),
            );
        let stop_timeout = async {
            stop.cancelled().await;
            tokio::time::sleep(STOP_TIMEOUT).await;
        };
        tokio::select! {
            served = serving => served.map_err(ControlPlaneError::Serve),
            followed = self.source.run() => match followed {
                Ok(never) => match never {},
                Err(error) => Err(error.into()),
            },
            () = renew(&identity, &self.authority, &self.server_names) => Ok(()),
            () = stop_timeout => Ok(()),
        }
    }
}

fn certificate(authority: &Authority, names: &[String]) -> Result<(String, String), ControlPlaneError> {
    authority.server_certificate(names).map_err(ControlPlaneError::Certificate)
}

/// Replaces the server's certificate long before it expires; runs forever.
async fn renew(identity: &ServerIdentity, authority: &Authority, names: &[String]) {
    loop {
        tokio::time::sleep(CERTIFICATE_RENEW_INTERVAL).await;
        let renewed =
            certificate(authority, names).and_then(|(chain, key)| identity.renew(&chain, &key).map_err(Into::into));
        if let Err(error) = renewed {
            tracing::error!(%error, "the server's certificate could not be renewed");
        }
    }
}
