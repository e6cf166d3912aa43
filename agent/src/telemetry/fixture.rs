//! A source, a destination and the service between them, for tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::identity::TrustDomain;
use crate::model::service::{IpFamilies, Service, ServiceKey, ServicePort, Vip, Visibility};
use crate::model::workload::{HealthStatus, Locality, NetworkMode, TunnelProtocol, Workload, WorkloadType};
use crate::telemetry::connection::{ConnectionEnds, Reporter};

pub(crate) fn workload(namespace: &str, app: &str, address: &str) -> Workload {
    let name = format!("{app}-v1-1234");
    Workload {
        uid: format!("Kubernetes//Pod/{namespace}/{name}").into(),
        name: name.as_str().into(),
        namespace: namespace.into(),
        trust_domain: TrustDomain::new(""),
        service_account: app.into(),
        addresses: vec![address.parse().expect("tests give addresses")],
        hostname: "".into(),
        network: "".into(),
        cluster_id: "Kubernetes".into(),
        node: "node-1".into(),
        protocol: TunnelProtocol::Hbone,
        native_tunnel: false,
        network_mode: NetworkMode::Standard,
        workload_name: format!("{app}-v1").into(),
        workload_type: WorkloadType::Deployment,
        canonical_name: app.into(),
        canonical_revision: "v1".into(),
        locality: Locality::default().into(),
        status: HealthStatus::Healthy,
        capacity: 1,
        waypoint: None,
        network_gateway: None,
        application_tunnel: None,
        authorization_policies: Vec::new(),
        services: BTreeMap::new().into(),
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
    }
}

/// A connection over mTLS from `shop/client` to `shop/reviews` through its service.
pub(crate) fn ends(reporter: Reporter) -> ConnectionEnds {
    let (source, destination) = (workload("shop", "client", "10.0.0.1"), workload("shop", "reviews", "10.0.0.2"));
    ConnectionEnds {
        reporter,
        source_addr: "10.0.0.1:41000".parse().expect("it is one"),
        source_identity: Some(source.identity()),
        source: Some(Arc::new(source)),
        destination_addr: "10.0.0.2:9080".parse().expect("it is one"),
        hbone_addr: Some("10.0.0.2:15008".parse().expect("it is one")),
        destination_identity: Some(destination.identity()),
        destination: Some(Arc::new(destination)),
        service: Some(Arc::new(service("shop", "reviews", "10.96.0.7/32"))),
        mutual_tls: true,
    }
}

/// A connection about whose ends nothing is known but their addresses.
pub(crate) fn strangers(reporter: Reporter) -> ConnectionEnds {
    ConnectionEnds {
        source: None,
        source_identity: None,
        hbone_addr: None,
        destination: None,
        destination_identity: None,
        service: None,
        mutual_tls: false,
        ..ends(reporter)
    }
}
