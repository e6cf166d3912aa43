//! Who gets certificates for whom.

use std::time::Duration;

use rcgen::{CertificateParams, KeyPair, SanType};
use tonic::Code;
use weir::api::control_channel::{self, ControlAddress, GrpcIssuer, RootSource};
use weir::api::model::identity::{Identity, TrustDomain};
use weir::api::tls::ca::{IssueError, Issuer};

use crate::kit::{Home, Running, workload};

fn request(identity: &Identity) -> String {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(identity.to_string().try_into().unwrap())];
    params.serialize_request(&key).unwrap().pem().unwrap()
}

#[tokio::test]
async fn a_node_gets_certificates_for_the_workloads_placed_on_it() {
    let home = Home::new();
    home.put("web", &workload("web", "n1", "10.1.0.1"));
    home.put("api", &workload("api", "n2", "10.1.0.2"));
    let control_plane = Running::start(&home, 0).await;
    let url = format!("https://127.0.0.1:{}", control_plane.port);
    let root = RootSource::File(home.path().join("state/ca-cert.pem"));
    let address = ControlAddress::new(&url, Some("istiod.istio-system.svc"), root).unwrap();
    let channel = control_channel::channel(&address);
    let token = home.path().join("n1.secret");
    let issuer = GrpcIssuer::new(channel.clone(), Some(token), "Kubernetes".into());
    let identity = |name: &str| Identity::new(TrustDomain::new(""), "demo", name);

    let web = identity("web");
    let chain = issuer.sign(&request(&web), &web, Duration::from_secs(3600)).await.unwrap();
    assert_eq!(chain.len(), 2, "leaf and root");

    let foreign = request(&identity("api"));
    for (issuer, csr, identity, expected) in [
        (&issuer, request(&identity("api")), identity("api"), Code::PermissionDenied),
        (&issuer, request(&identity("nobody")), identity("nobody"), Code::PermissionDenied),
        (&issuer, foreign, web.clone(), Code::InvalidArgument),
        (&issuer, "no request".into(), web.clone(), Code::InvalidArgument),
        (&GrpcIssuer::new(channel, None, String::new()), request(&web), web.clone(), Code::Unauthenticated),
    ] {
        let refused = issuer.sign(&csr, &identity, Duration::from_secs(3600)).await.unwrap_err();
        let answer = format!("certificate authority answered {expected:?}: ");
        assert!(matches!(&refused, IssueError::Refused(text) if text.starts_with(&answer)), "{identity}: {refused}");
    }
    let counted = control_plane.counters.read();
    assert_eq!((counted.certificates, counted.certificates_refused), (1, 4), "the last one never got that far");
    control_plane.stop().await;
}
