//! A source, a destination and the service between them, for tests; connections are described as the proxy does it.

use std::io::Read;

use crate::limits::{LimitKind, NodeLimits};
use crate::model::address::OriginalDst;
use crate::model::mesh::{Mesh, MeshUpdate};
use crate::model::service::{IpFamilies, PortMapping, Service, ServiceKey, ServicePort, Vip, Visibility};
use crate::model::workload::{TunnelProtocol, Workload};
use crate::telemetry::ends::{
    ConnectionEnds, InboundDestination, InboundSource, OutboundSource, RecordedPeer, Reporter,
};
use crate::telemetry::metrics::{Metrics, TextFormat};
use crate::telemetry::pod_telemetry::PodTelemetry;

const CLIENT: &str = "10.0.0.1:41000";

pub(crate) fn workload(namespace: &str, app: &str, address: &str) -> Workload {
    let name = format!("{app}-v1-1234");
    Workload {
        service_account: app.into(),
        addresses: vec![address.parse().expect("tests give addresses")],
        cluster_id: "Kubernetes".into(),
        node: "node-1".into(),
        protocol: TunnelProtocol::Hbone,
        workload_name: format!("{app}-v1").into(),
        canonical_name: app.into(),
        canonical_revision: "v1".into(),
        ..Workload::new(&format!("Kubernetes//Pod/{namespace}/{name}"), namespace, &name)
    }
}

pub(crate) fn service(namespace: &str, name: &str, vip: &str) -> Service {
    Service {
        key: ServiceKey::new(namespace, &format!("{name}.{namespace}.svc.cluster.local")),
        name: name.into(),
        vips: vec![Vip { network: "".into(), block: vip.parse().expect("tests give blocks") }],
        ports: vec![ServicePort { service_port: 80, target_port: 9080, app_protocol: Default::default() }],
        subject_alt_names: Vec::new(),
        waypoint: None,
        load_balancing: None,
        canonical: true,
        visibility: Visibility::Public,
        ip_families: IpFamilies::Automatic,
        ingress_use_waypoint: false,
        client_ip_affinity: false,
    }
}

/// A pod of `shop` that may have so many series with labels of its own.
pub(crate) fn pod(series: u32) -> PodTelemetry {
    let limits = NodeLimits::new(|kind| if kind == LimitKind::MetricSeries { series } else { 1 << 20 }).for_pod();
    let labels = [("app".to_owned(), "client".to_owned())].into();
    PodTelemetry::new("shop", labels, &limits)
}

/// What a scraper reads.
pub(crate) fn scraped(metrics: &Metrics) -> String {
    let mut text = String::new();
    let scrape = metrics.scrape(TextFormat::OpenMetrics).expect("metrics can be written down");
    scrape.text().read_to_string(&mut text).expect("it is text");
    text
}

/// `shop/client`, `shop/reviews` with its service, and `shop/legacy` with its own, which does not speak HBONE.
pub(crate) fn mesh() -> Mesh {
    let mut mesh = Mesh::default();
    mesh.apply(MeshUpdate::Workload(Box::new(workload("shop", "client", "10.0.0.1"))));
    for (app, address, vip, protocol) in [
        ("reviews", "10.0.0.2", "10.96.0.7/32", TunnelProtocol::Hbone),
        ("legacy", "10.0.0.3", "10.96.0.8/32", TunnelProtocol::None),
    ] {
        let service = service("shop", app, vip);
        let mut workload = Workload { protocol, ..workload("shop", app, address) };
        workload.services.insert(service.key.clone(), vec![PortMapping { service_port: 80, target_port: 9080 }]);
        mesh.apply(MeshUpdate::Service(Box::new(service)));
        mesh.apply(MeshUpdate::Workload(Box::new(workload)));
    }
    mesh
}

/// `shop/client` as it opens a connection.
pub(crate) fn outbound_source() -> OutboundSource {
    let workload = workload("shop", "client", "10.0.0.1");
    OutboundSource {
        addr: CLIENT.parse().expect("it is one"),
        identity: workload.identity(),
        workload: workload.into(),
    }
}

/// A connection over mTLS from `shop/client` to `shop/reviews` through its service.
pub(crate) fn ends(reporter: Reporter) -> ConnectionEnds {
    let (mesh, source) = (mesh(), outbound_source());
    let original_dst = OriginalDst("10.96.0.7:80".parse().expect("it is one"));
    let upstream = mesh.resolve(&source.workload, original_dst, || 0).expect("the service has an endpoint");
    match reporter {
        Reporter::Source => ConnectionEnds::outbound(source, original_dst, Some(&upstream)),
        Reporter::Destination => {
            let peer = RecordedPeer {
                identity: source.identity,
                workload: Some(source.workload),
                listener: "10.0.0.2:15008".parse().expect("it is one"),
            };
            let workload = upstream.workload.expect("the endpoint is a workload");
            let destination = InboundDestination {
                endpoint: "10.0.0.2:9080".parse().expect("it is one"),
                identity: workload.identity(),
                workload,
                service: upstream.service,
            };
            ConnectionEnds::inbound(InboundSource { addr: source.addr, peer: Some(peer) }, destination)
        }
    }
}

/// A connection about whose ends nothing is known but their addresses.
pub(crate) fn strangers(reporter: Reporter) -> ConnectionEnds {
    ConnectionEnds {
        source: None,
        source_identity: None,
        original_dst: None,
        hbone_listener: None,
        destination: None,
        destination_identity: None,
        service: None,
        mutual_tls: false,
        ..ends(reporter)
    }
}
