//! Answers in words, as tables: what somebody asks, and the lines that tell what he wants to know.

use std::path::Path;
use std::sync::Arc;

use super::{Asker, AtDestination, Question, explain, render};
use crate::compile::{HttpSettings, HttpStore};
use crate::model::authorization::AccessRequest;
use crate::model::http::head::RequestHead;
use crate::model::mesh::{Mesh, MeshUpdate};
use crate::model::peer_authentication::Labels;
use crate::model::service::{AppProtocol, PortMapping, Service, ServiceKey, ServicePort};
use crate::model::workload::{HealthStatus, Workload};
use crate::objects::{Loaded, MeshConfig, protobuf};
use crate::proxy::SeenOfEndpoint;
use crate::telemetry::fixture::{service, workload};

/// `shop/client`, and the service `shop/reviews` with an HTTP port 80, a port 90 that declares nothing and a TCP port 100, which
/// versions v1, v2 and the unhealthy v3 serve.
fn mesh() -> Mesh {
    let mut mesh = Mesh::default();
    mesh.apply(MeshUpdate::Workload(Box::new(workload("shop", "client", "10.0.0.1"))));
    let ports = [(80, AppProtocol::Http11), (90, AppProtocol::Unknown), (100, AppProtocol::Tcp)];
    let port = |(service_port, app_protocol)| ServicePort { service_port, target_port: 9080, app_protocol };
    let reviews = Service { ports: ports.map(port).to_vec(), ..service("shop", "reviews", "10.96.0.7/32") };
    for (at, version) in ["v1", "v2", "v3"].into_iter().enumerate() {
        let mut endpoint = workload("shop", version, &format!("10.0.1.{at}"));
        endpoint.canonical_name = "reviews".into();
        endpoint.canonical_revision = version.into();
        endpoint.status = if version == "v3" { HealthStatus::Unhealthy } else { HealthStatus::Healthy };
        let mapped = ports.map(|(service_port, _)| PortMapping { service_port, target_port: 9080 });
        endpoint.services.insert(reviews.key.clone(), mapped.to_vec());
        mesh.apply(MeshUpdate::Workload(Box::new(endpoint)));
    }
    mesh.apply(MeshUpdate::Service(Box::new(reviews)));
    mesh
}

/// Endpoints of which this node has seen something.
fn seen(uid: &Arc<str>, _: &ServiceKey, _: u16) -> SeenOfEndpoint {
    SeenOfEndpoint { under_way: 3, is_ejected: uid.ends_with("/v2-v1-1234") }
}

fn nowhere(_: &Workload, _: &AccessRequest, _: Option<&RequestHead>) -> AtDestination {
    AtDestination::default()
}

/// A pod whose destination refuses it, and says which request it has judged.
fn refused(_: &Workload, _: &AccessRequest, request: Option<&RequestHead>) -> AtDestination {
    let path = request.map_or("nothing".into(), |head| String::from_utf8_lossy(head.path()));
    AtDestination {
        decided: Some(Err(format!("{path} denied by policy shop/nobody"))),
        token: Some("accepted, of a/b".to_owned()),
        authorizers: vec!["policy shop/login has login asked (login.shop port 80)".to_owned()],
    }
}

#[test]
fn tokens_at_the_destination_are_told_and_none_is_repeated() {
    const TOKEN: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJhIn0.c2lnbmF0dXJl";
    let objects = r#"apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: users, namespace: shop}
spec:
  jwtRules:
  - {issuer: a, jwksUri: "https://a.example/keys"}
  - {issuer: b, jwksUri: "https://b.example/keys", fromHeaders: [{name: X-Token}], fromCookies: [session]}
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: others, namespace: bank}
spec: {jwtRules: [{issuer: c, jwksUri: "https://c.example/keys"}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: shop}
spec:
  hosts: [reviews]
  http:
  - rewrite: {uri: /v2}
    headers: {request: {set: {x-copy: "%REQ(authorization)%", x-other: "%REQ(x-token)%"}}}
    route: [{destination: {host: reviews}}]
"#;
    let (bearer, field) = (format!("authorization: Bearer {TOKEN}"), format!("x-token: {TOKEN}"));
    let (cookie, url) = (format!("cookie: session={TOKEN}"), format!("http://reviews/a?access_token={TOKEN}&b=c"));
    let refused = [("refused".to_owned(), String::new())].into();
    for (url, headers) in [("reviews", vec![&*bearer]), ("reviews", vec![&field, &cookie]), (&*url, vec![])] {
        let told = asked(objects, &refused, url, &headers);
        for expected in [
            "tokens: of a in field authorization behind \"Bearer \", parameter access_token (RequestAuthentication shop/users), of b in \
             field x-token, cookie session (RequestAuthentication shop/users)",
            "token: accepted, of a/b",
            "external authorization: policy shop/login has login asked (login.shop port 80)",
        ] {
            assert!(told.contains(expected), "no {expected:?} in\n{told}");
        }
        assert!(!told.contains("of c in") && !told.contains("eyJ") && !told.contains("c2lnbmF0dXJl"), "{told}");
    }
}

#[test]
fn limits_at_the_destination_are_told() {
    let limits = "apiVersion: weir.dev/v1alpha1
kind: RateLimit
metadata: {name: reviews, namespace: shop}
spec:
  targetRefs: [{kind: Service, name: reviews}]
  limits:
  - {name: few, local: {requests: 5, per: minute, by: source}}
  - {name: at-once, concurrency: {requests: 10}}
---
apiVersion: weir.dev/v1alpha1
kind: RateLimit
metadata: {name: v1, namespace: shop}
spec:
  selector: {matchLabels: {app: v1}}
  dryRun: true
  limits: [{name: all, local: {requests: 100, per: second, burst: 200}}]
";
    let told = asked(limits, &Labels::new(), "reviews", &[]);
    let line = |name: &str| told.lines().find(|line| line.contains(name)).expect("an endpoint").to_owned();
    let of_service =
        "rate limits: shop/reviews[few] (5 requests in 60s, by source), shop/reviews[at-once] (10 requests under way)";
    assert!(
        line("shop/v1-v1-1234")
            .contains(&format!("{of_service}, shop/v1[all] (100 requests in 1s, 200 at once; dry run)")),
        "{told}"
    );
    assert!(
        line("shop/v2-v1-1234")
            .contains(&format!("{of_service}, and those that select its labels, which its node knows")),
        "{told}"
    );
}

fn store(objects: &str) -> HttpStore {
    let mut loaded = Loaded::default();
    loaded.read_text(Path::new("objects.yaml"), objects);
    assert_eq!(loaded.problems, [], "{objects}");
    let mut store = HttpStore::new(HttpSettings::new("cluster.local", &MeshConfig::default()));
    for (kind, object) in loaded.objects.http_objects() {
        let received = protobuf::http_object(kind, &protobuf::http_envelope(kind, object)).expect("it is valid");
        store.put(kind, format!("{}/{}", object.metadata.namespace, object.metadata.name).into(), received);
    }
    store
}

/// The answer about a request of `shop/client`.
fn asked(objects: &str, labels: &Labels, url: &str, headers: &[&str]) -> String {
    let (mesh, config) = (mesh(), store(objects).take_changed().expect("a new one"));
    let source = workload("shop", "client", "10.0.0.1");
    let asker = Asker {
        pod: "client",
        labels,
        identity: &source.identity(),
        source: &source,
        is_known: true,
        mesh: &mesh,
        config: &config,
        seen: &seen,
        at_destination: if labels.contains_key("refused") { &refused } else { &nowhere },
        labels_of: &|workload| workload.name.starts_with("v1").then(|| [("app".to_owned(), "v1".to_owned())].into()),
        request: None,
    };
    let headers = headers.iter().map(|header| (*header).to_owned()).collect();
    let question = Question { pod: "shop/client".into(), url: url.into(), method: String::new(), headers };
    explain(&asker, &question).map_or_else(|error| error.to_string(), |explanation| render(&explanation))
}

const CANARY: &str = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: shop}
spec:
  hosts: [reviews]
  http:
  - match: [{sourceLabels: {app: other}}]
    directResponse: {status: 418}
  - match: [{headers: {x-user: {exact: tester}}, uri: {prefix: /api}}]
    rewrite: {uri: /v2}
    fault: {delay: {fixedDelay: 1s, percentage: {value: 10}}}
    timeout: 2s
    headers: {request: {set: {x-by: weir}}}
    route: [{destination: {host: reviews, subset: v2}}]
  - match: [{uri: {prefix: /old}}]
    redirect: {uri: /new, redirectCode: 308}
  - route:
    - {destination: {host: reviews, subset: v1, port: {number: 80}}, weight: 80}
    - {destination: {host: reviews, subset: v9, port: {number: 80}}, weight: 20}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: shop}
spec:
  host: reviews
  trafficPolicy: {outlierDetection: {consecutive5xxErrors: 3, maxEjectionPercent: 100}}
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}, trafficPolicy: {loadBalancer: {simple: RANDOM}}}
";

const HASHED: &str = "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: shop}
spec: {host: reviews, trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}}}
";

#[test]
fn a_request_that_a_canary_takes_is_told_whole() {
    let told = asked(CANARY, &Labels::new(), "http://reviews/", &[]);
    let expected = "\
request      GET http://reviews/, from shop/client (spiffe://cluster.local/ns/shop/sa/client)
destination  10.96.0.7:80: shop/reviews.shop.svc.cluster.local; reviews is reviews.shop.svc.cluster.local with the address 10.96.0.7
served as    HTTP: the port declares HTTP
objects      VirtualService shop/reviews (host reviews.shop.svc.cluster.local) counts
rules        VirtualService shop/reviews rule 0 not taken, because not: for clients with the label app=other
             VirtualService shop/reviews rule 1 not taken, because not: path begins with /api
             VirtualService shop/reviews rule 2 not taken, because not: path begins with /old
             VirtualService shop/reviews rule 3 taken: it is for every request
actions      retries: at most 2 on connect-failure, refused-stream, retriable-status-codes, cancelled, unavailable
goes to      80 %  shop/reviews.shop.svc.cluster.local port 80, subset v1 (DestinationRule shop/reviews)
               endpoints with version=v1
               balancing: the less loaded of two endpoints
               locality: the nearest endpoints that are left
               an endpoint is ejected for 30s after 3 errors 5xx in a row, at most 100 % of them
               + shop/v1-v1-1234 at 10.0.1.0:9080 over HBONE (mutual TLS) to 10.0.1.0:15008 as spiffe://cluster.local/ns/shop/sa/v1; node node-1; healthy; 3 under way; authorization: decided on node node-1
               endpoints of the service that are not of the subset: 2
goes to      20 %  reviews.shop.svc.cluster.local port 80, subset v9
               answer 503: DestinationRule shop/reviews has no subset v9
";
    assert_eq!(told, expected);
}

#[test]
fn what_people_ask_is_in_the_answer() {
    let plain = Labels::new();
    let off = Labels::from([("weir.dev/http".to_owned(), "off".to_owned())]);
    let refused = Labels::from([("refused".to_owned(), String::new())]);
    let hidden = CANARY.replace("  hosts: [reviews]", "  exportTo: [other]\n  hosts: [reviews]");
    let sidecar = format!(
        "{CANARY}---\napiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: narrow, namespace: shop}}\nspec: \
         {{egress: [{{hosts: [other/*]}}]}}\n"
    );
    let registry_only =
        sidecar.replace("spec: {egress:", "spec: {outboundTrafficPolicy: {mode: REGISTRY_ONLY}, egress:");
    let secured = CANARY.replace("trafficPolicy: {outlier", "trafficPolicy: {tls: {mode: SIMPLE}, outlier");
    let tester: &[&str] = &["x-user: tester"];
    type Row<'a> = (&'a str, &'a str, &'a Labels, &'a str, &'a [&'a str], &'a [&'a str]);
    let rows: Vec<Row<'_>> = vec![
        (
            "the rule by header, and what it does",
            CANARY,
            &plain,
            "http://reviews.shop/api/x?y",
            tester,
            &[
                "rule 1 taken: path begins with /api, field x-user is tester",
                "fault: 10 % of the requests wait for 1s",
                "time-out: 2s, with all retries",
                "the path becomes /v2/x?y",
                "the request gets the field x-by: weir",
                "balancing: random",
            ],
        ),
        (
            "an endpoint that is ejected",
            CANARY,
            &plain,
            "http://reviews/api",
            tester,
            &[
                "- shop/v2-v1-1234 at 10.0.1.1:9080",
                "not used: it is ejected: it failed too often in a row",
                "answer 503: service shop/reviews.shop.svc.cluster.local has no healthy endpoint for port 80",
            ],
        ),
        (
            "the first condition that failed",
            CANARY,
            &plain,
            "http://reviews/api",
            &[],
            &["rule 1 not taken: path begins with /api, but not: field x-user is tester"],
        ),
        (
            "a redirect",
            CANARY,
            &plain,
            "http://reviews/old",
            &[],
            &["answer       308: the rule redirects to http://reviews/new"],
        ),
        (
            "an object that is not visible",
            &hidden,
            &plain,
            "http://reviews/",
            &[],
            &[
                "VirtualService shop/reviews (host reviews.shop.svc.cluster.local) does not count: it is not visible",
                "goes to      shop/reviews",
            ],
        ),
        (
            "a Sidecar that does not import the service",
            &sidecar,
            &plain,
            "http://reviews/",
            &[],
            &[
                "does not count: the Sidecar of the client does not import it",
                "problems     Sidecar shop/narrow does not import the service",
            ],
        ),
        (
            "a pod that wants to be left alone",
            CANARY,
            &off,
            "http://reviews/",
            &[],
            &["served as    TCP: weir.dev/http of the pod or its namespace is off", "not used: it is not healthy"],
        ),
        (
            "a port that declares TCP",
            CANARY,
            &plain,
            "tcp://reviews:100",
            &[],
            &["served as    TCP: the port declares TCP", "+ shop/v1-v1-1234 at 10.0.1.0:9080 over HBONE"],
        ),
        (
            "the same, with TLS of the destination's own",
            &secured,
            &plain,
            "tcp://reviews:100",
            &[],
            &[
                "port 100 (DestinationRule shop/reviews)",
                "TLS: SIMPLE",
                "+ shop/v1-v1-1234 at 10.0.1.0:9080 over HBONE",
            ],
        ),
        (
            "a port that declares nothing",
            "",
            &plain,
            "http://reviews:90/",
            &[],
            &["served as    TCP: the port declares no protocol"],
        ),
        (
            "the same, with an object that names the service",
            CANARY,
            &plain,
            "http://reviews:90/",
            &[],
            &["served as    HTTP: the port declares nothing, and an object about HTTP names the service"],
        ),
        (
            "TLS to an HTTP port",
            CANARY,
            &plain,
            "https://reviews:80/",
            &[],
            &["served as    TCP: the client sends TLS"],
        ),
        (
            "a port that the service does not have",
            CANARY,
            &plain,
            "http://reviews:81/",
            &[],
            &["served as    TCP: the service has no such port", "10.96.0.7:81 over plain TCP"],
        ),
        (
            "a pod by its address",
            CANARY,
            &plain,
            "http://10.0.1.0:9080/",
            &[],
            &[
                "destination  10.0.1.0:9080: shop/v1-v1-1234; the URL has this address",
                "served as    TCP: the address is that of no service",
            ],
        ),
        (
            "an address that nobody has",
            "",
            &plain,
            "http://192.0.2.1/",
            &[],
            &["192.0.2.1:80: not known to the mesh", "192.0.2.1:80 over plain TCP"],
        ),
        (
            "a name that nobody has",
            "",
            &plain,
            "http://ratings/",
            &[],
            &["not known to the mesh; no service that namespace shop sees has the name ratings"],
        ),
        (
            "policy at the destination",
            "",
            &refused,
            "http://reviews/",
            &[],
            &["retries: at most 2 on", "authorization: refused: / denied by policy shop/nobody"],
        ),
        (
            "policy at the destination, of the request as it arrives there",
            CANARY,
            &refused,
            "http://reviews/api/x",
            tester,
            &["authorization: refused: /v2/x denied by policy shop/nobody"],
        ),
        (
            "policy at the destination of a port that is moved as bytes",
            "",
            &refused,
            "http://reviews:90/a/b",
            &[],
            &["authorization: refused: /a/b denied by policy shop/nobody"],
        ),
        (
            "policy at the destination of another protocol",
            "",
            &refused,
            "tcp://reviews:100",
            &[],
            &["authorization: refused: nothing denied by policy shop/nobody"],
        ),
        (
            "the endpoint that the hash of the request chooses",
            HASHED,
            &plain,
            "http://reviews/",
            tester,
            &[
                "balancing: by the field x-user",
                "not used: the hash of the request chooses another",
                "+ shop/v",
                "not used: it is not healthy",
            ],
        ),
        (
            "a service that is hidden from the pod",
            &registry_only,
            &plain,
            "http://reviews/",
            &[],
            &[
                "destination  10.96.0.7:80: shop/reviews.shop.svc.cluster.local",
                "served as    HTTP: some service of the mesh declares HTTP at this port",
                "answer       502: Sidecar shop/narrow does not import shop/reviews.shop.svc.cluster.local (egress), and Sidecar \
                 shop/narrow has the outboundTrafficPolicy REGISTRY_ONLY",
            ],
        ),
        (
            "its port that declares TCP",
            &registry_only,
            &plain,
            "tcp://reviews:100",
            &[],
            &["answer the connection is closed: Sidecar shop/narrow does not import shop/reviews"],
        ),
        (
            "a request to an address that nobody has, under REGISTRY_ONLY",
            &registry_only,
            &plain,
            "http://192.0.2.1/",
            &[],
            &[
                "192.0.2.1:80: not known to the mesh",
                "answer       502: no service of the mesh has the address, and Sidecar",
            ],
        ),
        (
            "the same at a port at which nobody speaks HTTP",
            &registry_only,
            &plain,
            "http://192.0.2.1:81/",
            &[],
            &["served as    TCP", "answer the connection is closed: no service of the mesh has the address"],
        ),
        ("a question that is none", "", &plain, "ftp://x/", &[], &["its scheme is none of http, https and tcp"]),
    ];
    for (what, objects, labels, url, headers, expected) in rows {
        let told = asked(objects, labels, url, headers);
        for line in expected {
            assert!(told.contains(line), "{what}: no {line:?} in\n{told}");
        }
    }
}

#[test]
fn the_answer_travels_as_json() {
    let (mesh, config) = (mesh(), store(CANARY).take_changed().expect("a new one"));
    let source = workload("shop", "client", "10.0.0.1");
    let labels = Labels::new();
    let asker = Asker {
        pod: "client",
        labels: &labels,
        identity: &source.identity(),
        source: &source,
        is_known: true,
        mesh: &mesh,
        config: &config,
        seen: &seen,
        at_destination: &nowhere,
        labels_of: &|workload| workload.name.starts_with("v1").then(|| [("app".to_owned(), "v1".to_owned())].into()),
        request: None,
    };
    let question = Question { url: "reviews".into(), ..Question::default() };
    let explanation = explain(&asker, &question).expect("a question");
    let text = serde_json::to_string(&explanation).expect("plain data");
    assert_eq!(serde_json::from_str::<super::Explanation>(&text).expect("what was written"), explanation);
}
