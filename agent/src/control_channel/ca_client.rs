//! Asks a CA over gRPC for certificates, on behalf of the workloads of this node: istiod, or `weir control-plane`.

use std::error::Error as _;
use std::path::PathBuf;
use std::time::Duration;

use prost_types::value::Kind;
use prost_types::{Struct, Value};
use tonic::Code;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;

use super::request_metadata::{ControlHeaders, TokenError, read_bearer_token};
use crate::causes::{append_causes, with_causes};
use crate::model::identity::Identity;
use crate::proto::istio::v1::auth::IstioCertificateRequest;
use crate::proto::istio::v1::auth::istio_certificate_service_client::IstioCertificateServiceClient;
use crate::tls::ca::{IssueError, Issuer, Signing};

/// The field of a certificate request's metadata in which a node names the identity that the certificate is for (istiod
/// reads it in `security/pkg/server/ca/server.go`).
pub const IMPERSONATED_IDENTITY: &str = "ImpersonatedIdentity";

/// Why a request to a CA failed.
#[derive(Debug, thiserror::Error)]
enum RequestError {
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("cluster id {0:?} cannot be sent in a header")]
    ClusterId(String),
    /// `is_answer`: the server said so, rather than the channel to it.
    #[error("certificate authority answered {code:?}: {message}")]
    Rpc { code: Code, message: String, is_answer: bool },
}

impl From<RequestError> for IssueError {
    fn from(error: RequestError) -> Self {
        let text = with_causes(&error);
        match error {
            RequestError::Rpc { code: Code::Unavailable, is_answer: false, .. } => Self::Unreachable(text),
            RequestError::Rpc {
                code:
                    Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted | Code::Aborted | Code::Cancelled,
                ..
            } => Self::Unavailable(text),
            _ => Self::Refused(text),
        }
    }
}

/// Asks a CA over gRPC. Who this node is, is proven by the token.
#[derive(Debug, Clone)]
pub struct GrpcIssuer {
    channel: Channel,
    token: Option<PathBuf>,
    cluster_id: String,
    headers: ControlHeaders,
}

impl GrpcIssuer {
    /// `token` is reread for every request, as the kubelet renews it. Without one, no credential is sent: only a CA
    /// that knows nodes by other means will answer. The channel must be one that may carry the token: TLS.
    #[must_use]
    pub fn new(channel: Channel, token: Option<PathBuf>, cluster_id: String) -> Self {
        Self { channel, token, cluster_id, headers: ControlHeaders::default() }
    }

    /// Sends these headers along with every request.
    #[must_use]
    pub fn with_headers(self, headers: ControlHeaders) -> Self {
        Self { headers, ..self }
    }

    async fn bearer(&self) -> Result<Option<AsciiMetadataValue>, TokenError> {
        match &self.token {
            Some(path) => Ok(Some(read_bearer_token(path).await?)),
            None => Ok(None),
        }
    }

    /// Asks once, and once more if the token was refused and has been replaced meanwhile.
    async fn request(
        &self,
        csr_pem: &str,
        identity: &Identity,
        lifetime: Duration,
    ) -> Result<Vec<String>, RequestError> {
        let bearer = self.bearer().await?;
        let refused = match self.ask(csr_pem, identity, lifetime, bearer.clone()).await {
            Err(refused @ RequestError::Rpc { code: Code::Unauthenticated, .. }) => refused,
            answered => return answered,
        };
        let newer = self.bearer().await?;
        if newer == bearer {
            return Err(refused);
        }
        tracing::info!(%identity, "the token was refused and has been replaced: asking again");
        self.ask(csr_pem, identity, lifetime, newer).await
    }

    async fn ask(
        &self,
        csr_pem: &str,
        identity: &Identity,
        lifetime: Duration,
        bearer: Option<AsciiMetadataValue>,
    ) -> Result<Vec<String>, RequestError> {
        let impersonated = Value { kind: Some(Kind::StringValue(identity.to_string())) };
        let mut request = tonic::Request::new(IstioCertificateRequest {
            csr: csr_pem.to_owned(),
            validity_duration: i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX),
            metadata: Some(Struct { fields: [(IMPERSONATED_IDENTITY.to_owned(), impersonated)].into() }),
        });
        self.headers.add_to(request.metadata_mut());
        if let Some(bearer) = bearer {
            request.metadata_mut().insert("authorization", bearer);
        }
        let cluster_id = self.cluster_id.parse().map_err(|_| RequestError::ClusterId(self.cluster_id.clone()))?;
        request.metadata_mut().insert("clusterid", cluster_id);
        let mut client = IstioCertificateServiceClient::new(self.channel.clone());
        match client.create_certificate(request).await {
            Ok(response) => Ok(response.into_inner().cert_chain),
            // The status itself says "transport error"; what happened stands in its causes.
            Err(status) => Err(RequestError::Rpc {
                code: status.code(),
                message: append_causes(status.message().to_owned(), status.source()),
                is_answer: status.source().is_none(),
            }),
        }
    }
}

impl Issuer for GrpcIssuer {
    fn sign<'a>(&'a self, csr_pem: &'a str, identity: &'a Identity, lifetime: Duration) -> Signing<'a> {
        Box::pin(async move { Ok(self.request(csr_pem, identity, lifetime).await?) })
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;

    use parking_lot::Mutex;
    use tokio::net::TcpListener;
    use tokio_stream::wrappers::TcpListenerStream;
    use tonic::transport::{Endpoint, Server};
    use tonic::{Request, Response, Status};

    use super::*;
    use crate::proto::istio::v1::auth::IstioCertificateResponse;
    use crate::proto::istio::v1::auth::istio_certificate_service_server::{
        IstioCertificateService, IstioCertificateServiceServer,
    };
    use crate::tls::ca::local::LocalCa;
    use crate::tls::test_mesh::{TestRoot, id, new_request};

    const CART: &str = "spiffe://cluster.local/ns/shop/sa/cart";

    /// As istiod: it looks at the token, the cluster and the impersonated identity, and signs.
    struct Istiod {
        ca: LocalCa,
        tokens: Arc<Mutex<Vec<String>>>,
    }

    #[tonic::async_trait]
    impl IstioCertificateService for Istiod {
        async fn create_certificate(
            &self,
            request: Request<IstioCertificateRequest>,
        ) -> Result<Response<IstioCertificateResponse>, Status> {
            let header = |name| request.metadata().get(name).map(|value| value.to_str().unwrap().to_owned());
            let token = header("authorization").ok_or_else(|| Status::unauthenticated("no token"))?;
            self.tokens.lock().push(token);
            assert_eq!(header("clusterid").as_deref(), Some("Kubernetes"));
            let request = request.into_inner();
            let metadata = request.metadata.unwrap();
            let Some(Kind::StringValue(identity)) = &metadata.fields[IMPERSONATED_IDENTITY].kind else {
                panic!("{metadata:?}")
            };
            if identity != CART {
                return Err(Status::unauthenticated("request impersonation authentication failure"));
            }
            let lifetime = Duration::from_secs(request.validity_duration.unsigned_abs());
            let cert_chain = self.ca.sign(&request.csr, &id(identity), lifetime).unwrap();
            Ok(Response::new(IstioCertificateResponse { cert_chain }))
        }
    }

    async fn serve(istiod: Istiod) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = IstioCertificateServiceServer::new(istiod);
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)));
        address
    }

    fn issuer(address: SocketAddr, token: Option<PathBuf>) -> GrpcIssuer {
        let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
        GrpcIssuer::new(channel, token, "Kubernetes".to_owned())
    }

    async fn ask(issuer: &GrpcIssuer, identity: &str) -> Result<Vec<String>, String> {
        let (_, csr) = new_request(&id(identity)).unwrap();
        issuer.sign(&csr, &id(identity), Duration::from_secs(3600)).await.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn it_asks_as_istiod_wants_to_be_asked() {
        let tokens: Arc<Mutex<Vec<String>>> = Arc::default();
        let address = serve(Istiod { ca: TestRoot::new().ca(), tokens: tokens.clone() }).await;
        let dir = tempfile::tempdir().unwrap();
        let token = dir.path().join("token");
        let with_token = issuer(address, Some(token.clone()));

        std::fs::write(&token, "first\n").unwrap();
        assert_eq!(ask(&with_token, CART).await.unwrap().len(), 2, "leaf and root");
        std::fs::write(&token, "second").unwrap();
        ask(&with_token, CART).await.unwrap();
        assert_eq!(*tokens.lock(), ["Bearer first", "Bearer second"], "the token is reread");

        let refused = ask(&with_token, "spiffe://cluster.local/ns/shop/sa/web").await.unwrap_err();
        assert!(refused.ends_with("request impersonation authentication failure"), "{refused}");
        assert!(refused.starts_with("certificate authority answered Unauthenticated: "), "{refused}");

        let anonymous = ask(&issuer(address, None), CART).await.unwrap_err();
        assert!(anonymous.ends_with("no token"), "{anonymous}");
        std::fs::write(&token, " ").unwrap();
        assert!(ask(&with_token, CART).await.unwrap_err().ends_with("is empty or not printable"));
        std::fs::remove_file(&token).unwrap();
        assert!(ask(&with_token, CART).await.unwrap_err().starts_with("cannot read the token"));
    }

    #[tokio::test]
    async fn a_ca_that_is_not_there_is_told_as_such() {
        let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let (_, csr) = new_request(&id(CART)).unwrap();
        let error = issuer(address, None).sign(&csr, &id(CART), Duration::from_secs(3600)).await.unwrap_err();
        assert!(matches!(&error, IssueError::Unreachable(why) if why.contains("Connection refused")), "{error:?}");
    }
}
