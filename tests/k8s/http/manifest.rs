//! What a case applies: its two Services and its objects, with the names that they have in this run.

use serde_json::{Value, json};

use super::case::{HttpCase, Object, Request};

/// Servers, each with a Service of its name.
pub(super) const VERSIONS: [&str; 4] = ["v1", "v2", "v3", "s1"];
/// Where Services have their addresses; the API server gives none of the upper half by itself while the lower has room.
const ADDRESSES: &str = "10.96";

/// The names and addresses of a case. See [`super::case`] for the words that stand for them.
#[derive(Debug, Clone)]
pub(super) struct Names {
    web: String,
    alt: String,
    services: &'static str,
    number: u8,
    look: u32,
}

impl Names {
    /// Those of a run's n-th case.
    pub(super) fn of(case: &HttpCase, number: u8) -> Self {
        let (web, alt) = (format!("web-{number}"), format!("alt-{number}"));
        Self { web, alt, services: case.services, number, look: 0 }
    }

    /// The same for another attempt.
    pub(super) fn at_look(&self, look: u32) -> Self {
        Self { look, ..self.clone() }
    }

    /// A text with the names in it.
    pub(super) fn in_text(&self, text: &str) -> String {
        let pass = format!("look-{}", self.look);
        text.replace("WEB", &self.web).replace("ALT", &self.alt).replace("PASS", &pass)
    }

    /// Where a request goes: the host in its URL, and the Service's address.
    pub(super) fn destination(&self, request: &Request) -> (String, String) {
        let (namespace, address) = match request.service {
            "WEB" => (self.services, self.web_address()),
            "ALT" => (self.services, self.alt_address()),
            version => ("shop", address_of(version)),
        };
        (format!("{}.{namespace}.svc.cluster.local", self.in_text(request.service)), address)
    }

    /// Objects as documents of YAML, each begun.
    pub(super) fn manifest(&self, objects: &[Object]) -> String {
        objects.iter().map(|object| self.document(object)).collect()
    }

    /// The same, with the case's Services before them.
    pub(super) fn with_services(&self, objects: &[Object]) -> String {
        let selector = json!({"app": "web"});
        let services = [(&self.web, self.web_address()), (&self.alt, self.alt_address())];
        let services = services.map(|(name, address)| service(name, self.services, &address, &selector));
        let services: String = services.iter().map(|service| format!("---\n{service}\n")).collect();
        services + &self.manifest(objects)
    }

    fn document(&self, object: &Object) -> String {
        let Object { api, kind, namespace, name, spec } = object;
        let metadata = format!("{{name: {name}, namespace: {namespace}}}");
        self.in_text(&format!("---\napiVersion: {api}\nkind: {kind}\nmetadata: {metadata}\nspec: {spec}\n"))
    }

    fn web_address(&self) -> String {
        format!("{ADDRESSES}.200.{}", self.number)
    }

    fn alt_address(&self) -> String {
        format!("{ADDRESSES}.201.{}", self.number)
    }
}

/// The address of a version's Service.
pub(super) fn address_of(version: &str) -> String {
    let number = VERSIONS.iter().position(|known| *known == version).expect("tables name versions");
    format!("{ADDRESSES}.202.{}", number + 1)
}

/// A Service before pods of http-echo. Its ports declare HTTP/1, HTTP/2, gRPC, nothing, and TCP.
pub(super) fn service(name: &str, namespace: &str, address: &str, selector: &Value) -> Value {
    let ports =
        [("http", 80, 8080), ("http2", 8081, 8080), ("grpc", 9000, 8080), ("plain", 8082, 8080), ("tcp", 7001, 7001)];
    let ports = ports.map(|(name, port, target)| json!({"name": name, "port": port, "targetPort": target}));
    let metadata = json!({"name": name, "namespace": namespace});
    let spec = json!({"clusterIP": address, "selector": selector, "ports": ports});
    json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
}
