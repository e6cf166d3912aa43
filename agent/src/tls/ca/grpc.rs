//! A CA over gRPC: istiod, or `weir control-plane`. It asks on behalf of a workload and passes on what it gets.

use std::path::PathBuf;
use std::time::Duration;

use prost_types::value::Kind;
use prost_types::{Struct, Value};
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;

use super::{IssueError, Issuer, Signing};
use crate::model::identity::Identity;
use crate::proto::istio::v1::auth::IstioCertificateRequest;
use crate::proto::istio::v1::auth::istio_certificate_service_client::IstioCertificateServiceClient;

/// istiod grants a node certificates of others only under this name.
const IMPERSONATED_IDENTITY: &str = "ImpersonatedIdentity";

/// Asks a CA over gRPC. Who this node is, is proven by the token.
#[derive(Debug, Clone)]
pub struct GrpcIssuer {
    channel: Channel,
    token: Option<PathBuf>,
    cluster_id: String,
}

impl GrpcIssuer {
    /// `token` is reread for every request, as the kubelet renews it. Without one, no credential is sent: only a CA
    /// that knows nodes by other means will answer. The channel must be one that may carry the token: TLS.
    #[must_use]
    pub fn new(channel: Channel, token: Option<PathBuf>, cluster_id: String) -> Self {
        Self { channel, token, cluster_id }
    }

    async fn bearer(&self) -> Result<Option<AsciiMetadataValue>, IssueError> {
        let Some(path) = &self.token else { return Ok(None) };
        let token =
            tokio::fs::read_to_string(path).await.map_err(|source| IssueError::Token { path: path.clone(), source })?;
        let unprintable = || IssueError::TokenText { path: path.clone() };
        let token = token.trim();
        if token.is_empty() {
            return Err(unprintable());
        }
        let mut value: AsciiMetadataValue = format!("Bearer {token}").parse().map_err(|_| unprintable())?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    async fn request(&self, csr_pem: &str, identity: &Identity, lifetime: Duration) -> Result<Vec<String>, IssueError> {
        let impersonated = Value { kind: Some(Kind::StringValue(identity.to_string())) };
        let mut request = tonic::Request::new(IstioCertificateRequest {
            csr: csr_pem.to_owned(),
            validity_duration: i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX),
            metadata: Some(Struct { fields: [(IMPERSONATED_IDENTITY.to_owned(), impersonated)].into() }),
        });
        if let Some(bearer) = self.bearer().await? {
            request.metadata_mut().insert("authorization", bearer);
        }
        let cluster_id = self.cluster_id.parse().map_err(|_| IssueError::ClusterId(self.cluster_id.clone()))?;
        request.metadata_mut().insert("clusterid", cluster_id);
        let mut client = IstioCertificateServiceClient::new(self.channel.clone());
        match client.create_certificate(request).await {
            Ok(response) => Ok(response.into_inner().cert_chain),
            Err(status) => Err(IssueError::Rpc { code: status.code(), message: status.message().to_owned() }),
        }
    }
}

impl Issuer for GrpcIssuer {
    fn sign<'a>(&'a self, csr_pem: &'a str, identity: &'a Identity, lifetime: Duration) -> Signing<'a> {
        Box::pin(self.request(csr_pem, identity, lifetime))
    }
}
