//! What is refused, on either side of the stream.

use std::fs;
use std::sync::Arc;

use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::{Code, Request, Response, Status, Streaming};
use weir::api::control_channel::{ControlAddress, RootSource, channel, listener as control_listener};
use weir::api::control_plane::authority::Authority;
use weir::api::proto::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use weir::api::proto::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use weir::api::proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource};
use weir::api::proto::istio::workload as pb;
use weir::api::resources::{ADDRESS_TYPE_URL, AUTHORIZATION_TYPE_URL, MESH_CONFIG_TYPE_URL, ResourceType};
use weir::api::xds::XdsOptions;

use crate::kit::{Agent, Home, Running, options, until, workload};

#[tokio::test]
async fn only_a_known_token_opens_a_stream() {
    let home = Home::new();
    home.put("web", &workload("web", "n1", "10.1.0.1"));
    let control_plane = Running::start(&home, 0).await;
    let options = options(&home, control_plane.port);
    fs::write(&options.token, "a guess").unwrap();
    let agent = Agent::start(options.clone());
    let error = || agent.status.report().last_error.unwrap_or_default();
    until("it is refused", || error().contains("the token is not known")).await;
    fs::remove_file(&options.token).unwrap();
    until("it is refused without one", || error().contains("a bearer token is needed")).await;
    assert!(agent.workloads().is_empty());
    assert_eq!(agent.ready.waiting_for(), ["xds"]);
    fs::write(&options.token, "second-secret").unwrap();
    agent.synced().await;
    control_plane.stop().await;
}

#[tokio::test]
async fn a_control_plane_must_prove_itself() {
    let home = Home::new();
    let control_plane = Running::start(&home, 0).await;
    let stranger = home.path().join("stranger");
    Authority::open(&stranger).unwrap();
    let with = |change: fn(XdsOptions) -> XdsOptions| change(options(&home, control_plane.port));
    for (options, expected) in [
        (
            XdsOptions {
                root_ca: RootSource::File(stranger.join("ca-cert.pem")),
                ..options(&home, control_plane.port)
            },
            "invalid peer certificate",
        ),
        (with(|o| XdsOptions { server_name: Some("other.example".into()), ..o }), "invalid peer certificate"),
        (
            with(|o| XdsOptions { root_ca: RootSource::File("/nowhere/root.pem".into()), ..o }),
            "root certificate /nowhere/root.pem",
        ),
        (with(|o| XdsOptions { address: o.address.replace("https", "http"), ..o }), "control plane"),
    ] {
        let agent = Agent::start(options);
        until("it does not connect", || agent.status.report().last_error.is_some()).await;
        let error = agent.status.report().last_error.unwrap();
        assert!(error.contains(expected), "{error}");
        assert!(!agent.status.is_synced());
    }
    control_plane.stop().await;
}

/// The requests arrive together, so the refusal of the last one follows responses that wait to be read.
#[tokio::test]
async fn a_request_that_is_too_large_is_named_as_the_reason_behind_all_responses() {
    const LIMIT_BYTES: usize = 4096;
    let home = Home::new();
    let control_plane = Running::start_with_limit(&home, 0, LIMIT_BYTES).await;
    let options = options(&home, control_plane.port);
    let request = |kind: ResourceType, versions: usize| DeltaDiscoveryRequest {
        type_url: kind.type_url().to_owned(),
        resource_names_subscribe: vec!["*".to_owned()],
        initial_resource_versions: (0..versions).map(|n| (format!("workload-{n}"), "1".to_owned())).collect(),
        ..Default::default()
    };
    for answered in 0..ResourceType::COUNT {
        let small = ResourceType::all().take(answered).map(|kind| request(kind, 0));
        let requests: Vec<_> = small.chain([request(ResourceType::Address, LIMIT_BYTES)]).collect();
        let address =
            ControlAddress::new(&options.address, options.server_name.as_deref(), options.root_ca.clone()).unwrap();
        let mut client = AggregatedDiscoveryServiceClient::new(channel(&address));
        let mut request = Request::new(tokio_stream::iter(requests));
        request.metadata_mut().insert("authorization", "Bearer first-secret".parse().unwrap());
        let mut responses = client.delta_aggregated_resources(request).await.unwrap().into_inner();
        let mut count = 0;
        let refused = loop {
            match responses.message().await {
                Ok(Some(_)) => count += 1,
                ended => break ended.map(drop).map_err(|status| status.code()),
            }
        };
        assert_eq!((refused, count), (Err(Code::OutOfRange), answered));
    }
    control_plane.stop().await;
}

/// A control plane that sends what it is told and hands over what it is asked.
struct Scripted {
    script: Vec<DeltaDiscoveryResponse>,
    heard: mpsc::UnboundedSender<DeltaDiscoveryRequest>,
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Scripted {
    type DeltaAggregatedResourcesStream = ReceiverStream<Result<DeltaDiscoveryResponse, Status>>;

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let (answers, outgoing) = mpsc::channel(self.script.len());
        for response in &self.script {
            answers.try_send(Ok(response.clone())).unwrap();
        }
        let heard = self.heard.clone();
        tokio::spawn(async move {
            let mut requests = request.into_inner();
            while let Ok(Some(request)) = requests.message().await {
                heard.send(request).unwrap();
            }
            drop(answers);
        });
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }
}

async fn serve(home: &Home, scripted: Scripted) -> u16 {
    let authority = Authority::open(&home.path().join("state")).unwrap();
    let (chain, key) = authority.server_certificate(&["istiod.istio-system.svc".into()]).unwrap();
    let identity = Arc::new(control_listener::ServerIdentity::new(&chain, &key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let incoming = control_listener::incoming(listener, identity);
    let service = AggregatedDiscoveryServiceServer::new(scripted);
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
    port
}

fn address(uid: &str, ip: &[u8]) -> Resource {
    let wire =
        pb::Workload { uid: uid.into(), name: uid.into(), addresses: vec![ip.to_vec().into()], ..Default::default() };
    let wire = pb::Address { r#type: Some(pb::address::Type::Workload(wire)) };
    let body = prost_types::Any { type_url: ADDRESS_TYPE_URL.into(), value: wire.encode_to_vec() };
    Resource { name: uid.into(), version: "1".into(), resource: Some(body), ..Default::default() }
}

#[tokio::test]
async fn a_bad_resource_is_refused_and_the_others_count() {
    let home = Home::new();
    let answer = |type_url: &str, nonce: &str, resources| DeltaDiscoveryResponse {
        type_url: type_url.into(),
        nonce: nonce.into(),
        resources,
        ..Default::default()
    };
    let (heard, mut requests) = mpsc::unbounded_channel();
    let resources = vec![address("good", &[10, 0, 0, 1]), address("bad", &[1])];
    let script = vec![
        answer(MESH_CONFIG_TYPE_URL, "m1", vec![]),
        answer(AUTHORIZATION_TYPE_URL, "p1", vec![]),
        answer(ADDRESS_TYPE_URL, "a1", resources),
    ];
    let agent = Agent::start(options(&home, serve(&home, Scripted { script, heard }).await));
    agent.synced().await;
    assert_eq!(agent.workloads(), ["good"]);
    assert_eq!(agent.status.report().nacks, 1);

    let mut openings = Vec::new();
    let mut answers = Vec::new();
    while answers.len() < 3 {
        let request = requests.recv().await.unwrap();
        if request.response_nonce.is_empty() { openings.push(request) } else { answers.push(request) }
    }
    assert_eq!(openings.len(), ResourceType::COUNT);
    assert!(openings[0].node.as_ref().unwrap().id.starts_with("ztunnel~127.0.0.1~weir-1.istio-system~"));
    assert!(answers[..2].iter().all(|answer| answer.error_detail.is_none()));
    assert_eq!(answers[2].response_nonce, "a1");
    let reason = &answers[2].error_detail.as_ref().unwrap().message;
    assert_eq!(reason, "bad: workload.addresses[0]: an IP address has 4 or 16 bytes, not 1");
}
