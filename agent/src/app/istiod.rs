//! What the agent needs of istiod: the settings of the ADS stream and of the certificate requests, and what ties the one to the
//! other.

use std::sync::Arc;

use anyhow::Context;
use tokio::sync::watch;

use super::settings;
use crate::config::{AgentConfig, Environment, ObjectsFrom};
use crate::control_channel::{self, ControlAddress, ControlHeaders, GrpcIssuer, OwnServices, RootSource};
use crate::model::mesh::MeshSettings;
use crate::resources::WantedObjects;
use crate::telemetry::metrics::Metrics;
use crate::tls::certificates::{CertificateSource, Certificates};
use crate::xds::{ConnectionState, XdsOptions, XdsStatus};

/// The settings with what the environment adds to them. Variables of a ztunnel chart that have no effect here are logged.
pub(super) fn with_environment(config: AgentConfig) -> AgentConfig {
    let config = config.with_environment(Environment::read());
    let without_meaning = &config.istiod.environment.without_meaning;
    if !without_meaning.is_empty() {
        tracing::info!(variables = without_meaning.join(" "), "these settings of ztunnel have no effect here");
    }
    config
}

pub(super) fn xds_options(
    config: &AgentConfig,
    mesh_settings: MeshSettings,
    metrics: &Arc<Metrics>,
    may_write_state: watch::Receiver<bool>,
) -> anyhow::Result<XdsOptions> {
    Ok(XdsOptions {
        address: config.istiod.xds_address.clone().unwrap_or_default(),
        server_name: config.istiod.xds_server_name.clone(),
        root_ca: RootSource::new(&config.istiod.xds_root_ca.to_string_lossy()),
        services: services(config),
        headers: ControlHeaders::new(&config.istiod.environment.xds_headers).context("XDS_HEADER_")?,
        objects: match config.istiod.objects {
            ObjectsFrom::Xds => WantedObjects::All,
            ObjectsFrom::Kubernetes => WantedObjects::WithoutHttp,
            ObjectsFrom::Off => WantedObjects::None,
        },
        token: config.istiod.auth_token.clone(),
        node: settings::node_description(config),
        settings: mesh_settings,
        state_dir: Some(config.directories.state_dir.clone()),
        destination_tls_dir: config.proxy.destination_tls_dir.clone(),
        may_save: may_write_state,
        metrics: metrics.clone(),
    })
}

pub(super) fn certificate_source(config: &AgentConfig) -> anyhow::Result<CertificateSource> {
    let address = config.istiod.ca_address.as_deref().or(config.istiod.xds_address.as_deref()).unwrap_or_default();
    let server_name = config.istiod.ca_server_name.as_deref().or(config.istiod.xds_server_name.as_deref());
    let address = ControlAddress::new(address, server_name, RootSource::new(&config.ca_root()))
        .context(if config.istiod.ca_address.is_some() { "--ca-address" } else { "--xds-address" })?;
    let channel = control_channel::channel(&address.with_services(services(config)));
    let headers = ControlHeaders::new(&config.istiod.environment.ca_headers).context("CA_HEADER_")?;
    let issuer = GrpcIssuer::new(channel, Some(config.istiod.auth_token.clone()), config.node.cluster_id.clone());
    Ok(CertificateSource::Issuer(Arc::new(issuer.with_headers(headers))))
}

/// Has certificates that could not be obtained requested again once the control plane is reachable, where that issues them.
pub(super) fn retry_with_stream(config: &AgentConfig, certificates: &Certificates, status: &XdsStatus) {
    let is_issuer_another = config.istiod.ca_address.is_some();
    if is_issuer_another || config.files.ca_dir.is_some() || config.files.certificates_dir.is_some() {
        return;
    }
    // Where the stream cannot reach the server, requests for certificates cannot either.
    let (certificates, mut connection) = (certificates.clone(), status.connection());
    tokio::spawn(async move {
        while connection.changed().await.is_ok() {
            match &*connection.borrow_and_update() {
                ConnectionState::Untried => {}
                ConnectionState::Up => certificates.retry(),
                ConnectionState::Down(reason) => certificates.set_ca_unavailable(reason),
            }
        }
    });
}

fn services(config: &AgentConfig) -> OwnServices {
    OwnServices::new(&config.node.pod_namespace, &config.istiod.environment.service_hosts)
}
