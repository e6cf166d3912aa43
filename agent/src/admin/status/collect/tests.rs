//! What an operator is warned of.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::admin::fixture::{mesh, pod, sources};
use crate::telemetry::ends::Reporter;
use crate::telemetry::fixture::{ends, workload};
use crate::telemetry::record::ConnectionRecord;

#[test]
fn a_healthy_node_has_no_warnings() {
    let (_log, mut sources) = sources();
    let mut pods = (sources.pods)();
    pods.iter_mut().filter(|pod| pod.name == "reviews-v1-1234").for_each(|pod| pod.requests_in_flight = 5);
    sources.pods = Box::new(move || pods.clone());
    let _open = ConnectionRecord::open(&sources.metrics, ends(Reporter::Source));
    let status = of_mesh(&sources, &mesh());
    assert_eq!(status.warnings, [] as [String; 0]);
    assert_eq!(status.mesh, MeshCounts { workloads: 2, services: 2, policies: 1 });
    assert_eq!(status.capture, [("redirected".to_owned(), 4)].into());
    let open = |pod: &PodStatus| (pod.name.clone(), pod.connections_open, pod.requests_in_flight);
    let expected = [("client-v1-1234".to_owned(), 1, 0), ("reviews-v1-1234".to_owned(), 0, 5)];
    assert_eq!(status.pods.iter().map(open).collect::<Vec<_>>(), expected);
    assert!(status.pods[0].certificate_seconds_left > Some(0));
}

#[test]
fn every_kind_of_trouble_is_told() {
    let (_log, mut sources) = sources();
    let [mut expired, mut failing, mut missing] =
        ["client", "reviews", "new"].map(|app| crate::admin::fixture::certificate(&workload("shop", app, "10.0.0.3")));
    expired.not_after = Some(SystemTime::now() - Duration::from_secs(3600));
    failing.not_after = Some(SystemTime::now() + Duration::from_secs(7230));
    failing.last_error = Some("the CA is down".into());
    missing.not_after = None;
    missing.last_error = Some("the CA refuses".into());
    sources.certificates = Box::new(move || vec![expired.clone(), failing.clone(), missing.clone()]);
    let unknown = PodEntry { workload_uid: None, captured: false, ..pod(&workload("shop", "new", "10.0.0.3")) };
    let full = ReachedLimit { limit: "pending_connects".to_owned(), maximum: 8192, held: 40, times: 3 };
    let known = PodEntry { limits_reached: vec![full], ..pod(&workload("shop", "reviews", "10.0.0.2")) };
    sources.pods = Box::new(move || vec![unknown.clone(), known.clone()]);
    let mut plane = (sources.control_plane)();
    plane.connected = false;
    plane.last_error = Some("connection refused".to_owned());
    plane.rejected = vec!["shop/bad: port 0".to_owned()];
    plane.unanswered = ["mesh_config", "peer_authentication"].map(str::to_owned).to_vec();
    plane.not_followed = vec!["listing httproutes: 403".to_owned()];
    sources.control_plane = Box::new(move || plane.clone());
    let mut mesh = mesh();
    let mut broken = (*mesh.authorizations.remove(0)).clone();
    (broken.key, broken.invalid) = ("shop/broken".into(), Some("empty address".into()));
    mesh.authorizations.push(Arc::new(broken));

    let expected = [
        "no connection to https://istiod:15012: connection refused; the configuration in use is 0s old",
        "https://istiod:15012 has not answered mesh_config, peer_authentication: connections are served without",
        "objects of Kubernetes are not followed, those known stay in force: listing httproutes: 403",
        "configuration was refused: shop/bad: port 0",
        "the certificate of spiffe://cluster.local/ns/shop/sa/client expired 1h 0m ago: it was not renewed",
        "the certificate of spiffe://cluster.local/ns/shop/sa/reviews expires in 2h 0m and cannot be renewed: the CA is down",
        "there is no certificate for spiffe://cluster.local/ns/shop/sa/new: the CA refuses",
        "shop/new-v1-1234 is enrolled but its traffic is not captured",
        "shop/new-v1-1234 is enrolled but the mesh does not know it as a workload",
        "shop/reviews-v1-1234 has reached its limit pending_connects 3 times; 40 of 8192 are held now",
        "policy shop/broken cannot be understood and denies everything in its scope: empty address",
        "shop/reviews-v1-1234 denies every connection: policy shop/allow-client is in force for it but not known",
    ];
    assert_eq!(of_mesh(&sources, &mesh).warnings, expected);
}
