//! What a collector gets, and what becomes of spans where there is none.

use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use super::*;
use crate::model::http::head::{RequestHead, ResponseHead};
use crate::model::http::trace::Sampling;
use crate::proto::opentelemetry::proto::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use crate::proto::opentelemetry::proto::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use crate::telemetry::ends::Reporter;
use crate::telemetry::fixture::{ends, pod, scraped, strangers};
use crate::telemetry::request::RequestRecord;
use crate::telemetry::request_ends::RequestEnds;
use crate::telemetry::request_reporting::RequestReporting;
use crate::telemetry::spans::Tracing;

/// Passes on what it gets, and refuses one span of each export.
struct Collector(mpsc::UnboundedSender<ExportTraceServiceRequest>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.send(request.into_inner()).expect("the test waits for it");
        let partial_success = Some(ExportTracePartialSuccess { rejected_spans: 1, error_message: String::new() });
        Ok(Response::new(ExportTraceServiceResponse { partial_success }))
    }
}

/// The metrics and the spans of three requests: two of the same pod, and one about which nothing is known.
fn spans() -> (Arc<Metrics>, mpsc::Receiver<Box<Span>>) {
    let (tracing, waiting) = Tracing::new(Sampling::percent(100.0));
    let metrics = Metrics::new();
    let reporting = RequestReporting::new(&metrics, Some(tracing));
    for of in [ends(Reporter::Source), strangers(Reporter::Destination), ends(Reporter::Source)] {
        let ends = RequestEnds::new(&reporting, &pod(100), of);
        let mut head = RequestHead { method: b"GET".to_vec(), target: b"/".to_vec(), ..RequestHead::default() };
        let mut record = RequestRecord::open(&ends, &head);
        record.trace(&mut head);
        record.response(&ResponseHead { status: 200, ..ResponseHead::default() });
        record.complete();
    }
    (metrics, waiting)
}

fn counted(metrics: &Metrics) -> [u64; 2] {
    let text = scraped(metrics);
    ["exported", "dropped"].map(|what| {
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("weir_spans_{what}_total ")));
        line.expect("it is there from the start").parse().expect("a number")
    })
}

#[tokio::test]
async fn spans_arrive_whole_and_by_workload() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = format!("http://{}", listener.local_addr().expect("it is bound"));
    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(Collector(arrived)));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    let (metrics, waiting) = spans();
    // The queue has ended: the exporter ends with it.
    Exporter::new(&address, metrics.clone()).expect("it is an address").run(waiting).await;
    let request = arrivals.recv().await.expect("an export arrived");
    let mut names: Vec<_> = request
        .resource_spans
        .iter()
        .map(|of_workload| {
            let attributes = &of_workload.resource.as_ref().expect("each has one").attributes;
            let spans: Vec<_> = of_workload.scope_spans.iter().flat_map(|scope| &scope.spans).collect();
            assert!(spans.iter().all(|span| span.trace_id.len() == 16 && span.span_id.len() == 8));
            assert!(spans.iter().all(|span| span.end_time_unix_nano >= span.start_time_unix_nano));
            let service = attributes.iter().find(|attribute| attribute.key == "service.name").expect("each has one");
            format!("{:?} {} of {}", service.value, spans.len(), spans[0].name)
        })
        .collect();
    names.sort();
    let named = |name: &str| format!("Some(AnyValue {{ value: Some(StringValue({name:?})) }})");
    let expected = [
        format!("{} 2 of reviews.shop.svc.cluster.local:80/*", named("client.shop")),
        format!("{} 1 of 10.0.0.2:9080/*", named("unknown")),
    ];
    assert_eq!(names, expected);
    assert_eq!(counted(&metrics), [2, 1], "it refused one");
}

#[tokio::test(start_paused = true)]
async fn where_nobody_answers_spans_are_dropped_and_counted() {
    // It accepts nothing.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = format!("http://{}", listener.local_addr().expect("it is bound"));
    let (metrics, waiting) = spans();
    Exporter::new(&address, metrics.clone()).expect("it is an address").run(waiting).await;
    assert_eq!(counted(&metrics), [0, 3]);
}
