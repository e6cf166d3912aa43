//! From YAML to what a request meets, as tables. What the tables share is here: objects travel as they do to an agent, through
//! their envelopes, and one line of text says what a request came to.

mod destinations;
mod documents;
mod istio_cases;
mod routes;

use std::path::Path;

use super::{Hostnames, HttpSettings, HttpStore};
use crate::model::http::config::HttpConfig;
use crate::model::http::head::RequestHead;
use crate::model::http::route::{Action, Destination, Route, Target};
use crate::model::http::visibility::SourceView;
use crate::model::service::ServiceKey;
use crate::objects::{Labels, Loaded, MeshConfig, protobuf};

/// An object in one document. `metadata` is `namespace/name`, and perhaps more fields behind it.
fn object(kind: &str, metadata: &str, spec: &str) -> String {
    let group = match kind {
        "HTTPRoute" | "GRPCRoute" => "gateway.networking.k8s.io/v1",
        "Telemetry" => "telemetry.istio.io/v1",
        _ => "networking.istio.io/v1",
    };
    let (namespace, name) = metadata.split_once('/').expect("namespace/name");
    format!(
        "---\napiVersion: {group}\nkind: {kind}\nmetadata: {{namespace: {namespace}, name: {name}}}\nspec: {{{spec}}}\n"
    )
}

/// A store with the objects of a YAML text, all of which must be valid.
fn store(text: &str) -> HttpStore {
    let mut loaded = Loaded::default();
    loaded.read_text(Path::new("objects.yaml"), text);
    assert_eq!(loaded.problems, [], "{text}");
    let mut store = HttpStore::new(HttpSettings::new("cluster.local", &MeshConfig::default()));
    for (kind, object) in loaded.objects.http_objects() {
        let received = protobuf::http_object(kind, &protobuf::http_envelope(kind, object))
            .expect("what a file has, an agent reads");
        let name = format!("{}/{}", object.metadata.namespace, object.metadata.name);
        store.put(kind, name.into(), received);
    }
    store
}

fn config(text: &str) -> HttpConfig {
    store(text).take_changed().expect("something has changed")
}

/// A client in a namespace, with labels.
#[derive(Debug, Clone)]
struct Client {
    namespace: &'static str,
    labels: Labels,
}

impl Client {
    fn of(namespace: &'static str) -> Self {
        Self { namespace, labels: Labels::new() }
    }

    fn with(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    fn view(&self) -> SourceView<'_> {
        SourceView { namespace: self.namespace, labels: &self.labels }
    }
}

/// A request: `METHOD target` and headers as `name: value`, separated by ` | `; `host:` is the authority.
fn request(text: &str) -> RequestHead {
    let mut parts = text.split(" | ");
    let (method, target) = parts.next().and_then(|line| line.split_once(' ')).expect("METHOD target");
    let mut head = RequestHead { method: method.into(), target: target.into(), ..RequestHead::default() };
    for (name, value) in parts.filter_map(|field| field.split_once(": ")) {
        if name == "host" {
            head.authority = value.into();
        } else {
            head.fields.append(name.as_bytes(), value.as_bytes());
        }
    }
    head
}

/// The service of that name (`name.namespace`).
fn service(name: &str) -> ServiceKey {
    let (_, namespace) = name.split_once('.').expect("name.namespace");
    ServiceKey::new(namespace, &format!("{name}.svc.cluster.local"))
}

/// What a request of a client to a port of a service comes to: `default` where no object is about the service, `404` where
/// no route matches, else what the route does.
fn answer(config: &HttpConfig, client: &Client, to: &str, port: u16, text: &str) -> String {
    match config.routes(client.view(), &service(to), port) {
        None => "default".to_owned(),
        Some(routes) => routes.pick(&request(text)).map_or_else(|| "404".to_owned(), |route| action(route)),
    }
}

/// What a route does, in short.
fn action(route: &Route) -> String {
    match &route.rule.action {
        Action::Redirect(redirect) => format!("redirect {}", redirect.status),
        Action::Respond(response) => format!("respond {}", response.status),
        Action::Forward(forward) => {
            let all: Vec<String> = forward.destinations.iter().map(destination).collect();
            all.join(" ")
        }
    }
}

/// `service.namespace:port/subset=weight`, without what there is not.
fn destination(destination: &Destination) -> String {
    let target = match &destination.target {
        Target::Invalid { status } => status.to_string(),
        Target::Cluster(cluster) => {
            let host = cluster.hostname.strip_suffix(".svc.cluster.local").unwrap_or(&cluster.hostname);
            let port = cluster.port.map(|port| format!(":{port}")).unwrap_or_default();
            let subset = cluster.subset.as_ref().map(|subset| format!("/{subset}")).unwrap_or_default();
            format!("{host}{port}{subset}")
        }
    };
    format!("{target}={}", destination.weight)
}
