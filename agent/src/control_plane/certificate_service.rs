//! The certificate service: a node gets certificates for the identities of the workloads that are placed on it, and for
//! no others.

use std::sync::Arc;
use std::time::Duration;

use prost_types::Struct;
use prost_types::value::Kind;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use super::authority::Authority;
use super::counters::Counters;
use super::node_tokens::NodeTokens;
use super::snapshot::Snapshot;
use crate::control_channel::IMPERSONATED_IDENTITY;
use crate::model::identity::Identity;
use crate::proto::istio::v1::auth::istio_certificate_service_server::IstioCertificateService;
use crate::proto::istio::v1::auth::{IstioCertificateRequest, IstioCertificateResponse};

/// Signs workload certificates for nodes.
#[derive(Debug)]
pub(super) struct CertificateService {
    pub(super) tokens: NodeTokens,
    pub(super) snapshots: watch::Receiver<Arc<Snapshot>>,
    pub(super) authority: Authority,
    pub(super) counters: Arc<Counters>,
}

#[tonic::async_trait]
impl IstioCertificateService for CertificateService {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        let node = self.tokens.authenticate(request.metadata())?;
        let issued = self.issue(&node, &request.into_inner());
        self.counters.certificate(issued.is_ok());
        if let Err(status) = &issued {
            tracing::warn!(%node, reason = status.message(), "no certificate issued");
        }
        Ok(Response::new(IstioCertificateResponse { cert_chain: issued? }))
    }
}

impl CertificateService {
    fn issue(&self, node: &str, request: &IstioCertificateRequest) -> Result<Vec<String>, Status> {
        let identity = impersonated(request.metadata.as_ref())?;
        if !self.snapshots.borrow().is_placed(node, &identity) {
            return Err(Status::permission_denied(format!("no workload with identity {identity} is placed on {node}")));
        }
        let seconds = u64::try_from(request.validity_duration)
            .map_err(|_| Status::invalid_argument("validity_duration is negative"))?;
        let chain = self
            .authority
            .sign(&request.csr, &identity, Duration::from_secs(seconds))
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        tracing::info!(%node, %identity, "certificate issued");
        Ok(chain)
    }
}

fn impersonated(metadata: Option<&Struct>) -> Result<Identity, Status> {
    let value = metadata.and_then(|metadata| metadata.fields.get(IMPERSONATED_IDENTITY));
    let Some(Kind::StringValue(text)) = value.and_then(|value| value.kind.as_ref()) else {
        return Err(Status::invalid_argument(format!("metadata must name {IMPERSONATED_IDENTITY}")));
    };
    text.parse().map_err(|error| Status::invalid_argument(format!("{IMPERSONATED_IDENTITY}: {error}")))
}
