//! A node with two enrolled pods, for tests.

use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use clap::Parser;
use tracing::Subscriber;

use super::sources::{AdminSources, MeshCopy, PodEntry};
use super::status::ControlPlaneStatus;
use crate::config::AgentConfig;
use crate::lifecycle::Ready;
use crate::model::authorization::{Action, Authorization, Clause, Group, Match, PolicyScope, StringMatch};
use crate::model::service::{GatewayAddress, GatewayDestination, PortMapping, ServiceKey, Vip};
use crate::model::workload::{HealthStatus, Workload};
use crate::proxy::LatePlaintext;
use crate::state::SharedMesh;
use crate::supervisor::StartInfo;
use crate::telemetry::fixture::{service, workload};
use crate::telemetry::log::tests::unused;
use crate::telemetry::metrics::Metrics;
use crate::tls::CertificateInfo;
use crate::tls::certificates::CertificateStatus;
use crate::why::{Explanation, find_pod};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    config: AgentConfig,
}

pub(crate) fn config() -> AgentConfig {
    Cli::parse_from(["weir", "--node", "node-1", "--xds-address", "https://istiod:15012", "--log", "info"]).config
}

pub(crate) fn pod(workload: &Workload) -> PodEntry {
    PodEntry {
        uid: format!("uid-of-{}", workload.name),
        namespace: workload.namespace.to_string(),
        name: workload.name.to_string(),
        identity: workload.identity(),
        addresses: workload.addresses.clone(),
        captured: true,
        workload_uid: Some(workload.uid.clone()),
        requests_in_flight: 0,
        requests_ended: 0,
        requests_failed: 0,
        requests_denied: 0,
        limits_reached: Vec::new(),
    }
}

pub(crate) fn certificate(workload: &Workload) -> CertificateStatus {
    CertificateStatus {
        identity: workload.identity(),
        chain_pem: vec!["LEAF".to_owned(), "INTERMEDIATE".to_owned()],
        root_pem: vec!["ROOT".to_owned()],
        serial: "123456789012345678901234567890".to_owned(),
        not_before: Some(UNIX_EPOCH + Duration::from_secs(1_795_000_000)),
        not_after: Some(UNIX_EPOCH + Duration::from_secs(4_100_000_000)),
        last_error: None,
    }
}

/// Sources of a healthy node; the first value keeps its log alive.
pub(crate) fn sources() -> (impl Subscriber + Send + Sync, AdminSources) {
    let (keep, log) = unused("info");
    let [client, reviews] = [workload("shop", "client", "10.0.0.1"), workload("shop", "reviews", "10.0.0.2")];
    let (pods, certificates) = ([pod(&client), pod(&reviews)], [certificate(&client), certificate(&reviews)]);
    let metrics = Metrics::new();
    metrics.config_accepted(std::time::SystemTime::now());
    let mesh = SharedMesh::default();
    let sources = AdminSources {
        late_plaintext: LatePlaintext::new(mesh.clone(), metrics.clone()),
        config: config(),
        started: Instant::now(),
        supervisor: StartInfo { supervisor: 7, ..StartInfo::default() },
        ready: Ready::default(),
        metrics,
        log,
        mesh,
        certificates: Box::new(move || certificates.to_vec()),
        describe_certificate: Box::new(|pem| {
            (pem == "ROOT").then(|| CertificateInfo {
                serial: "1".to_owned(),
                not_before: UNIX_EPOCH,
                not_after: UNIX_EPOCH + Duration::from_secs(4_107_542_400),
            })
        }),
        pods: Box::new(move || pods.to_vec()),
        objects: Box::new(Vec::new),
        control_plane: Box::new(|| ControlPlaneStatus {
            source: "https://istiod:15012".to_owned(),
            connected: true,
            seconds_since_update: Some(12),
            last_error: None,
            rejected: Vec::new(),
            unanswered: Vec::new(),
            not_saved: None,
            not_followed: Vec::new(),
        }),
        kubernetes: Box::new(|| None),
        nri: Box::new(|| None),
        kernel_counters: Box::new(|| vec![("redirected", 4), ("bypass_loopback", 0)]),
        warnings: Box::new(Vec::new),
        why: Box::new(|question| match &*question.pod {
            "shop/client" => Ok(Explanation { request: format!("{question:?}"), ..Explanation::default() }),
            _ => Err(find_pod(&question.pod, &[("1", "shop", "client")]).expect_err("it is another")),
        }),
        quit: Box::new(|| ()),
    };
    (keep, sources)
}

/// Two workloads, the service of one, one more service that only a workload knows, and a policy of every feature.
pub(crate) fn mesh() -> MeshCopy {
    let mut reviews = workload("shop", "reviews", "10.0.0.2");
    let known = service("shop", "reviews", "10.96.0.7/32");
    let ports = vec![PortMapping { service_port: 80, target_port: 9080 }];
    reviews.services.insert(known.key.clone(), ports.clone());
    reviews.services.insert(ServiceKey::new("shop", "soon.shop.svc.cluster.local"), ports);
    reviews.authorization_policies = vec!["shop/allow-client".into()];
    reviews.status = HealthStatus::Unhealthy;
    let mut outside = service("shop", "outside", "203.0.113.0/24");
    outside.vips.push(Vip { network: "other".into(), block: "2001:db8::7/128".parse().expect("it is one") });
    outside.waypoint =
        Some(GatewayAddress { destination: GatewayDestination::Hostname(known.key.clone()), hbone_mtls_port: 15008 });
    MeshCopy {
        policy_objects: Vec::new(),
        workloads: vec![Arc::new(reviews), Arc::new(workload("shop", "client", "10.0.0.1"))],
        services: vec![Arc::new(known), Arc::new(outside)],
        authorizations: vec![Arc::new(policy())],
    }
}

fn policy() -> Authorization {
    let one = Match {
        principals: vec![
            StringMatch::Exact("cluster.local/ns/shop/sa/client".into()),
            StringMatch::Suffix("/sa/admin".into()),
        ],
        not_namespaces: vec![StringMatch::Presence],
        source_ips: vec!["10.0.0.0/8".parse().expect("it is one")],
        destination_ports: vec![9080],
        ..Match::default()
    };
    Authorization {
        key: "shop/allow-client".into(),
        namespace: "shop".into(),
        scope: PolicyScope::WorkloadSelector,
        action: Action::Allow,
        dry_run: false,
        provider: "".into(),
        groups: vec![Group { clauses: vec![Clause { matches: vec![one] }], ..Group::default() }].into(),
        invalid: None,
    }
}
