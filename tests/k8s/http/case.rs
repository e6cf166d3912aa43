//! A behaviour of HTTP as a row of a table: the objects that kubectl applies, and the requests that show what they come to.
//!
//! Each case has two Services of its own, `WEB` and `ALT`, whose pods are all those of their namespace. In every text
//! below these words stand for their names, and `PASS` for a word that no other attempt has.

/// See the module.
#[derive(Debug)]
pub(crate) struct HttpCase {
    /// The namespace of the two Services.
    pub(super) services: &'static str,
    /// Objects that are older than the others by a second at least.
    pub(super) older: &'static [Object],
    pub(super) objects: &'static [Object],
    /// All of them hold at the same time, once the objects count.
    pub(super) requests: &'static [Request],
}

/// An object of the case.
#[derive(Debug, Clone, Copy)]
pub(super) struct Object {
    pub(super) api: &'static str,
    pub(super) kind: &'static str,
    pub(super) namespace: &'static str,
    pub(super) name: &'static str,
    /// In YAML.
    pub(super) spec: &'static str,
}

/// A pod that sends requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Client {
    pub(super) namespace: &'static str,
    pub(super) pod: &'static str,
}

/// The usual client, on the first node, and one of another namespace, on the second node.
pub(super) const SHOPPER: Client = Client { namespace: "shop", pod: "client" };
pub(super) const STRANGER: Client = Client { namespace: "store", pod: "s1" };

/// One or many requests of a client, and what becomes of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    pub(super) from: Client,
    /// `WEB`, `ALT`, or one of the versions.
    pub(super) service: &'static str,
    pub(super) port: u16,
    pub(super) path: &'static str,
    /// Arguments of curl, or of `weir-test-app http-load`.
    pub(super) arguments: &'static [&'static str],
    pub(super) expected: Expected,
}

/// What is expected.
#[derive(Debug, Clone, Copy)]
pub(super) enum Expected {
    /// By curl: of one request.
    Answer(Answer),
    /// By http-load: of many, how many of a hundred each pod or, by a number, each status has.
    Shares(&'static [(&'static str, u64)]),
    /// By http-load: of many, which pods answered, and nobody else; how often does not matter.
    Only(&'static [&'static str]),
    /// By http-load: of many, all by the same pod, whichever that is.
    OnePod,
    /// Of a connection that carries no HTTP: whether the server of the port sends back what it gets.
    Echo(bool),
}

/// What one request comes to. Only what is said is compared.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Which pod answered; none: the mesh itself.
    pub(super) pod: Option<&'static str>,
    pub(super) body: Option<&'static str>,
    /// Of the response; `None` where it must not be.
    pub(super) headers: &'static [(&'static str, Option<&'static str>)],
    /// Of the request, as the pod received it.
    pub(super) received: &'static [(&'static str, Option<&'static str>)],
    /// Path and query that the pod received.
    pub(super) target: Option<&'static str>,
    /// The authority that the pod received.
    pub(super) host: Option<&'static str>,
    /// How long it takes, in milliseconds.
    pub(super) takes: (u32, u32),
}

/// One request for a path, which the mesh itself answers with 200, until more is said.
pub(super) const fn ask(path: &'static str) -> Request {
    let answer = Answer {
        status: 200,
        pod: None,
        body: None,
        headers: &[],
        received: &[],
        target: None,
        host: None,
        takes: (0, u32::MAX),
    };
    let expected = Expected::Answer(answer);
    Request { from: SHOPPER, service: "WEB", port: 80, path, arguments: &[], expected }
}

/// How many requests of a key have arrived at a server, as it tells.
pub(super) const fn arrived(path: &'static str, count: &'static str) -> Request {
    ask(path).body(count)
}

/// Many requests by `weir-test-app http-load`.
pub(super) const fn load(arguments: &'static [&'static str], expected: Expected) -> Request {
    Request { from: SHOPPER, service: "WEB", port: 80, path: "/", arguments, expected }
}

/// A connection that carries no HTTP, to a port, and whether it is served.
pub(super) const fn connection(port: u16, is_served: bool) -> Request {
    Request { from: SHOPPER, service: "WEB", port, path: "", arguments: &[], expected: Expected::Echo(is_served) }
}

impl Request {
    pub(super) const fn from(mut self, client: Client) -> Self {
        self.from = client;
        self
    }

    /// To the case's other Service.
    pub(super) const fn alt(self) -> Self {
        self.to("ALT")
    }

    /// To the Service of a version.
    pub(super) const fn to(mut self, service: &'static str) -> Self {
        self.service = service;
        self
    }

    pub(super) const fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    pub(super) const fn with(mut self, arguments: &'static [&'static str]) -> Self {
        self.arguments = arguments;
        self
    }

    /// A pod answers, with 200.
    pub(super) const fn by(self, pod: &'static str) -> Self {
        self.is(200, Some(pod))
    }

    /// The mesh itself answers.
    pub(super) const fn refused(self, status: u16) -> Self {
        self.is(status, None)
    }

    pub(super) const fn is(mut self, status: u16, pod: Option<&'static str>) -> Self {
        let answer = self.answer();
        self.expected = Expected::Answer(Answer { status, pod, ..answer });
        self
    }

    pub(super) const fn body(mut self, body: &'static str) -> Self {
        let answer = self.answer();
        self.expected = Expected::Answer(Answer { body: Some(body), ..answer });
        self
    }

    pub(super) const fn headers(mut self, headers: &'static [(&'static str, Option<&'static str>)]) -> Self {
        let answer = self.answer();
        self.expected = Expected::Answer(Answer { headers, ..answer });
        self
    }

    pub(super) const fn received(mut self, received: &'static [(&'static str, Option<&'static str>)]) -> Self {
        let answer = self.answer();
        self.expected = Expected::Answer(Answer { received, ..answer });
        self
    }

    pub(super) const fn target(mut self, target: &'static str) -> Self {
        let answer = self.answer();
        self.expected = Expected::Answer(Answer { target: Some(target), ..answer });
        self
    }

    pub(super) const fn host(mut self, host: &'static str) -> Self {
        let answer = self.answer();
        self.expected = Expected::Answer(Answer { host: Some(host), ..answer });
        self
    }

    pub(super) const fn takes(mut self, least: u32, most: u32) -> Self {
        let answer = self.answer();
        self.expected = Expected::Answer(Answer { takes: (least, most), ..answer });
        self
    }

    const fn answer(&self) -> Answer {
        match self.expected {
            Expected::Answer(answer) => answer,
            Expected::Shares(_) | Expected::Only(_) | Expected::OnePod => panic!("a load is told by shares"),
            Expected::Echo(_) => panic!("what carries no HTTP has no answer"),
        }
    }
}

const ISTIO: &str = "networking.istio.io/v1";
const SECURITY: &str = "security.istio.io/v1";
const GATEWAY_API: &str = "gateway.networking.k8s.io/v1";

/// Objects of the client's namespace, named like the case's Service, until more is said.
pub(super) const fn virtual_service(spec: &'static str) -> Object {
    Object { api: ISTIO, kind: "VirtualService", namespace: "shop", name: "WEB", spec }
}

pub(super) const fn destination_rule(spec: &'static str) -> Object {
    Object { api: ISTIO, kind: "DestinationRule", namespace: "shop", name: "WEB", spec }
}

pub(super) const fn sidecar(spec: &'static str) -> Object {
    Object { api: ISTIO, kind: "Sidecar", namespace: "shop", name: "WEB", spec }
}

pub(super) const fn authorization_policy(spec: &'static str) -> Object {
    Object { api: SECURITY, kind: "AuthorizationPolicy", namespace: "shop", name: "WEB", spec }
}

pub(super) const fn http_route(spec: &'static str) -> Object {
    Object { api: GATEWAY_API, kind: "HTTPRoute", namespace: "shop", name: "WEB", spec }
}

pub(super) const fn grpc_route(spec: &'static str) -> Object {
    Object { api: GATEWAY_API, kind: "GRPCRoute", namespace: "shop", name: "WEB", spec }
}

/// How many requests pods may be asked: Weir's own kind.
pub(super) const fn rate_limit(spec: &'static str) -> Object {
    Object { api: "weir.dev/v1alpha1", kind: "RateLimit", namespace: "shop", name: "WEB", spec }
}

impl Object {
    pub(super) const fn of(mut self, namespace: &'static str) -> Self {
        self.namespace = namespace;
        self
    }

    pub(super) const fn named(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }
}
