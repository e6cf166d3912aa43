//! The language of the groups: objects in YAML, and the requests that they are written for.

use std::net::{Ipv4Addr, SocketAddr};

/// The namespace of all groups.
pub const NAMESPACE: &str = "answers";
/// Where the Services of the groups have their addresses: each the next.
const ADDRESSES: [u8; 3] = [10, 96, 210];

/// A Service in front of all servers, and objects about it. In them, `NAME` stands for its name.
#[derive(Debug)]
pub struct Group {
    pub name: &'static str,
    pub objects: &'static [Object],
    pub templates: &'static [Template],
}

/// An object: kind and specification.
#[derive(Debug, Clone, Copy)]
pub struct Object {
    pub kind: Kind,
    pub spec: &'static str,
}

/// A kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    VirtualService,
    DestinationRule,
    HttpRoute,
    GrpcRoute,
    AuthorizationPolicy,
    RequestAuthentication,
}

/// A request that an object is written for.
#[derive(Debug, Clone, Copy)]
pub struct Template {
    pub method: &'static str,
    pub target: &'static str,
    pub fields: &'static [(&'static str, &'static str)],
    pub content: &'static str,
    /// What the server is to do, as `http-echo` understands it.
    pub wishes: &'static str,
    pub port: u16,
    /// A call of gRPC: over HTTP/2 alone.
    pub is_grpc: bool,
    /// Takes long: fewer requests are made of it.
    pub is_slow: bool,
}

/// A request for a target.
pub(super) const fn get(target: &'static str) -> Template {
    Template { method: "GET", target, fields: &[], content: "", wishes: "", port: 80, is_grpc: false, is_slow: false }
}

/// A call of a method.
pub(super) const fn call(target: &'static str) -> Template {
    let mut template = get(target).method("POST");
    template.is_grpc = true;
    template
}

impl Template {
    pub(super) const fn method(mut self, method: &'static str) -> Self {
        self.method = method;
        self
    }

    pub(super) const fn with(mut self, fields: &'static [(&'static str, &'static str)]) -> Self {
        self.fields = fields;
        self
    }

    pub(super) const fn content(mut self, content: &'static str) -> Self {
        self.content = content;
        self
    }

    pub(super) const fn wishes(mut self, wishes: &'static str) -> Self {
        self.wishes = wishes;
        self
    }

    pub(super) const fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    pub(super) const fn slow(mut self) -> Self {
        self.is_slow = true;
        self
    }
}

pub(super) const fn virtual_service(spec: &'static str) -> Object {
    Object { kind: Kind::VirtualService, spec }
}

pub(super) const fn destination_rule(spec: &'static str) -> Object {
    Object { kind: Kind::DestinationRule, spec }
}

pub(super) const fn http_route(spec: &'static str) -> Object {
    Object { kind: Kind::HttpRoute, spec }
}

pub(super) const fn grpc_route(spec: &'static str) -> Object {
    Object { kind: Kind::GrpcRoute, spec }
}

pub(super) const fn authorization_policy(spec: &'static str) -> Object {
    Object { kind: Kind::AuthorizationPolicy, spec }
}

pub(super) const fn request_authentication(spec: &'static str) -> Object {
    Object { kind: Kind::RequestAuthentication, spec }
}

impl Group {
    /// Its host, in full.
    #[must_use]
    pub fn host(&self) -> String {
        format!("{}.{NAMESPACE}.svc.cluster.local", self.name)
    }

    /// Its objects, as documents of YAML.
    #[must_use]
    pub fn manifest(&self) -> String {
        let document = |(place, object): (usize, &Object)| {
            let (api, kind) = match object.kind {
                Kind::VirtualService => ("networking.istio.io/v1", "VirtualService"),
                Kind::DestinationRule => ("networking.istio.io/v1", "DestinationRule"),
                Kind::HttpRoute => ("gateway.networking.k8s.io/v1", "HTTPRoute"),
                Kind::GrpcRoute => ("gateway.networking.k8s.io/v1", "GRPCRoute"),
                Kind::AuthorizationPolicy => ("security.istio.io/v1", "AuthorizationPolicy"),
                Kind::RequestAuthentication => ("security.istio.io/v1", "RequestAuthentication"),
            };
            let metadata = format!("{{name: {}-{place}, namespace: {NAMESPACE}}}", self.name);
            let spec = object.spec.replace("NAME", self.name);
            format!("---\napiVersion: {api}\nkind: {kind}\nmetadata: {metadata}\nspec:{spec}\n")
        };
        self.objects.iter().enumerate().map(document).collect()
    }
}

/// Where the Service of the n-th group is, at a port.
#[must_use]
pub fn address(place: usize, port: u16) -> SocketAddr {
    let [a, b, c] = ADDRESSES;
    let last = u8::try_from(place + 1).expect("there are few groups");
    SocketAddr::new(Ipv4Addr::new(a, b, c, last).into(), port)
}
