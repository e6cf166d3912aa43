//! A control plane that answers only some of the types that an agent asks for, until it is made to answer all.

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};
use weir::api::proto::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use weir::api::proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};

pub struct Partial {
    pub port: u16,
    all: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl Drop for Partial {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Partial {
    /// Listens without TLS, and answers these types, with no resources.
    pub async fn start(types: &'static [&'static str]) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let all = watch::Sender::new(false);
        let service = AggregatedDiscoveryServiceServer::new(Service { types, all: all.subscribe() });
        let serving = tokio::spawn(async move {
            Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
        });
        Self { port, all, serving }
    }

    pub fn answer_all(&self) {
        self.all.send_replace(true);
    }
}

struct Service {
    types: &'static [&'static str],
    all: watch::Receiver<bool>,
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Service {
    type DeltaAggregatedResourcesStream = ReceiverStream<Result<DeltaDiscoveryResponse, Status>>;

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let (answers, outgoing) = mpsc::channel(16);
        let (types, mut all, mut requests) = (self.types, self.all.clone(), request.into_inner());
        tokio::spawn(async move {
            let mut unanswered: Vec<String> = Vec::new();
            loop {
                let mut now = Vec::new();
                tokio::select! {
                    request = requests.message() => match request {
                        // An ACK.
                        Ok(Some(request)) if !request.response_nonce.is_empty() => {}
                        Ok(Some(request)) if types.contains(&request.type_url.as_str()) => now.push(request.type_url),
                        Ok(Some(request)) => unanswered.push(request.type_url),
                        _ => return,
                    },
                    _ = all.wait_for(|all| *all), if !unanswered.is_empty() => now.append(&mut unanswered),
                }
                for type_url in now {
                    let answer = DeltaDiscoveryResponse { type_url, nonce: "1".into(), ..Default::default() };
                    let _ = answers.send(Ok(answer)).await;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }
}
