//! The attributes that expressions name: Envoy's of requests, responses and connections, and what Istio adds about the workloads.
//! <https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/advanced/attributes>

use std::borrow::Cow;

/// An attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Attribute {
    Text(TextAttribute),
    Number(NumberAttribute),
    /// `connection.mtls`.
    MutualTls,
}

/// An attribute whose value is text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextAttribute {
    /// A field of the request's head by its name in lower case; `:method`, `:path`, `:authority` and `:scheme` are among them.
    Request(Box<str>),
    /// The path of the request without its query.
    UrlPath,
    /// `HTTP/1.1` and the like.
    Protocol,
    /// A field of the response's head.
    Response(Box<str>),
    ResponseCodeDetails,
    SourceAddress,
    DestinationAddress,
    UpstreamAddress,
    RouteName,
    ClusterName,
    /// The SPIFFE ID that the client's certificate has shown.
    DownstreamIdentity,
    /// The same of the server.
    UpstreamIdentity,
    /// A field of the pod itself.
    Own(WorkloadField),
    /// A label of the pod itself.
    OwnLabel(Box<str>),
    /// A field of the workload at the other end.
    Peer(PeerSide, WorkloadField),
}

/// An attribute whose value is a whole number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NumberAttribute {
    ResponseCode,
    /// Envoy's bits (`stream_info.h`).
    ResponseFlags,
    GrpcStatus,
    /// Bytes of the request's content.
    RequestSize,
    /// Bytes of the response's content.
    ResponseSize,
    SourcePort,
    DestinationPort,
    UpstreamPort,
}

/// Which of the two ends of a request an attribute is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerSide {
    /// The client.
    Downstream,
    /// The endpoint.
    Upstream,
}

/// What is known of a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkloadField {
    Name,
    Namespace,
    /// The name of its Deployment or the like.
    Workload,
    /// Its canonical service, the label `app`.
    App,
    /// Its canonical revision, the label `version`.
    Version,
    Cluster,
    ServiceAccount,
}

/// Says what attributes stand for, of one request or connection. What is not known, or does not exist, is `None`.
pub trait Facts {
    fn text(&self, attribute: &TextAttribute) -> Option<Cow<'_, str>>;
    fn number(&self, attribute: NumberAttribute) -> Option<i64>;
    fn is_mutual_tls(&self) -> bool;
}

/// Attributes without a part that the author chooses.
fn fixed(path: &str) -> Option<Attribute> {
    use NumberAttribute as Number;
    use TextAttribute as Text;
    let request = |name: &str| Some(Attribute::Text(Text::Request(name.into())));
    Some(match path {
        "request.host" => return request(":authority"),
        "request.method" => return request(":method"),
        "request.path" => return request(":path"),
        "request.scheme" => return request(":scheme"),
        "request.useragent" => return request("user-agent"),
        "request.referer" => return request("referer"),
        "request.id" => return request("x-request-id"),
        "request.url_path" => Attribute::Text(Text::UrlPath),
        "request.protocol" => Attribute::Text(Text::Protocol),
        "request.size" => Attribute::Number(Number::RequestSize),
        "response.code" => Attribute::Number(Number::ResponseCode),
        "response.flags" => Attribute::Number(Number::ResponseFlags),
        "response.grpc_status" => Attribute::Number(Number::GrpcStatus),
        "response.size" => Attribute::Number(Number::ResponseSize),
        "response.code_details" => Attribute::Text(Text::ResponseCodeDetails),
        "connection.mtls" => Attribute::MutualTls,
        "connection.uri_san_peer_certificate" => Attribute::Text(Text::DownstreamIdentity),
        "upstream.uri_san_peer_certificate" => Attribute::Text(Text::UpstreamIdentity),
        "source.address" => Attribute::Text(Text::SourceAddress),
        "source.port" => Attribute::Number(Number::SourcePort),
        "destination.address" => Attribute::Text(Text::DestinationAddress),
        "destination.port" => Attribute::Number(Number::DestinationPort),
        "upstream.address" => Attribute::Text(Text::UpstreamAddress),
        "upstream.port" => Attribute::Number(Number::UpstreamPort),
        "xds.route_name" => Attribute::Text(Text::RouteName),
        "xds.cluster_name" => Attribute::Text(Text::ClusterName),
        "node.metadata.NAMESPACE" => Attribute::Text(Text::Own(WorkloadField::Namespace)),
        "node.metadata.NAME" => Attribute::Text(Text::Own(WorkloadField::Name)),
        "node.metadata.WORKLOAD_NAME" => Attribute::Text(Text::Own(WorkloadField::Workload)),
        "node.metadata.CLUSTER_ID" => Attribute::Text(Text::Own(WorkloadField::Cluster)),
        "node.metadata.SERVICE_ACCOUNT" => Attribute::Text(Text::Own(WorkloadField::ServiceAccount)),
        _ => return None,
    })
}

impl Attribute {
    /// The attribute at a path such as `request.headers['x-tenant']`, part by part; `None` where there is none, or none that is
    /// known here.
    pub(super) fn at(path: &[String]) -> Option<Self> {
        let parts: Vec<&str> = path.iter().map(String::as_str).collect();
        let text = match *parts {
            ["request", "headers", name] => TextAttribute::Request(name.to_ascii_lowercase().into()),
            ["response", "headers", name] => TextAttribute::Response(name.to_ascii_lowercase().into()),
            ["node", "metadata", "LABELS", name] => TextAttribute::OwnLabel(name.into()),
            ["filter_state", "downstream_peer", ..] => peer(PeerSide::Downstream, &parts[2..])?,
            ["filter_state", "upstream_peer", ..] => peer(PeerSide::Upstream, &parts[2..])?,
            _ => return fixed(&path.join(".")),
        };
        Some(Self::Text(text))
    }

    /// The path that names the fields of a head, such as `request.headers`: of the request (`true`) or the response.
    pub(super) fn is_heads_of_request(path: &[String]) -> Option<bool> {
        match path {
            [head, headers] if headers == "headers" => match head.as_str() {
                "request" => Some(true),
                "response" => Some(false),
                _ => None,
            },
            _ => None,
        }
    }
}

fn peer(side: PeerSide, path: &[&str]) -> Option<TextAttribute> {
    let field = match path {
        ["name"] => WorkloadField::Name,
        ["namespace"] => WorkloadField::Namespace,
        ["workload"] => WorkloadField::Workload,
        // Of labels the workload API carries these two.
        ["app" | "service"] | ["labels", "app"] => WorkloadField::App,
        ["version" | "revision"] | ["labels", "version"] => WorkloadField::Version,
        ["cluster"] => WorkloadField::Cluster,
        _ => return None,
    };
    Some(TextAttribute::Peer(side, field))
}
