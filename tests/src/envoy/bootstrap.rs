//! What an Envoy is told to do: terminate HBONE, originate it, or serve pages. Each is one of its bootstrap files.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::identity::EnvoyIdentity;

/// Where HBONE is accepted.
pub const HBONE: u16 = 15008;
/// Where pages are served over HTTP/1.1 and over HTTP/2 without negotiation.
pub const PAGES: u16 = 8090;
/// A port that is added to an application's to get that of the listener which tunnels to it.
pub const TUNNEL: u16 = 10_000;
/// A status that is added to get the port for which a terminating Envoy answers CONNECT with that status.
pub const REFUSE: u16 = 9000;
/// The statuses for which there is such a port.
pub const REFUSALS: [u16; 5] = [401, 403, 404, 429, 503];
/// What a page holds.
pub const PAGE: &str = "a page of Envoy's";

/// Protocol settings of the HTTP/2 inside HBONE, on Envoy's side. `Default` is Envoy's own.
#[derive(Debug, Clone, Default)]
pub struct Http2 {
    /// Fields of `Http2ProtocolOptions`.
    pub options: Value,
    /// Fields of `HttpProtocolOptions`: lives and limits of connections.
    pub common: Value,
}

impl Http2 {
    fn options(&self) -> Value {
        merged(json!({ "allow_connect": true }), &self.options)
    }

    fn common(&self) -> Value {
        merged(json!({}), &self.common)
    }
}

/// An Envoy that accepts HBONE for its pod and joins each CONNECT to the address that it asks for. It serves pages too.
#[must_use]
pub fn terminator(identity: &EnvoyIdentity, http2: &Http2, response_headers: &[(&str, String)]) -> Value {
    let added: Vec<Value> =
        response_headers.iter().map(|(key, value)| json!({ "header": { "key": key, "value": value } })).collect();
    let refusals = REFUSALS.iter().map(|status| {
        let port = format!(":{}", REFUSE + status);
        json!({
            "match": { "connect_matcher": {}, "headers": [{ "name": ":authority", "string_match": { "suffix": port } }] },
            "direct_response": { "status": status, "body": { "inline_string": "no" } },
        })
    });
    let join = json!({
        "match": { "connect_matcher": {} },
        "route": {
            "cluster": "application", "timeout": "0s",
            "upgrade_configs": [{ "upgrade_type": "CONNECT", "connect_config": {} }],
        },
        "response_headers_to_add": added,
    });
    let routes: Vec<Value> = refusals.chain([join]).collect();
    let mut manager = connection_manager("hbone", &json!(routes));
    let fields = json!({
        "codec_type": "HTTP2",
        "http2_protocol_options": http2.options(),
        "common_http_protocol_options": http2.common(),
        "upgrade_configs": [{ "upgrade_type": "CONNECT" }],
        "drain_timeout": "0.5s",
        "access_log": [access_log()],
    });
    manager = merged(manager, &fields);
    let tls = transport_socket(
        "Downstream",
        &json!({
            "require_client_certificate": true,
            "common_tls_context": identity.common_tls_context(),
        }),
    );
    let mut hbone = listener("hbone", "::", HBONE, &filter("http_connection_manager", &manager));
    hbone["filter_chains"][0]["transport_socket"] = tls;
    let application = json!({
        "name": "application", "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED", "connect_timeout": "5s",
        "original_dst_lb_config": { "use_http_header": true, "http_header_name": ":authority" },
    });
    bootstrap(&[hbone, pages_listener()], &[application])
}

/// An Envoy that carries what comes to loopback ports over HBONE to one peer: for each application port a listener on
/// that port plus [`TUNNEL`].
#[must_use]
pub fn originator(identity: &EnvoyIdentity, http2: &Http2, peer: SocketAddr, ports: &[u16]) -> Value {
    let listeners: Vec<Value> = ports
        .iter()
        .map(|port| {
            let proxy = json!({
                "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                "stat_prefix": "tunnel",
                "cluster": "hbone",
                "tunneling_config": { "hostname": SocketAddr::new(peer.ip(), *port).to_string() },
                "access_log": [access_log()],
            });
            let proxy = json!({ "name": "envoy.filters.network.tcp_proxy", "typed_config": proxy });
            listener(&format!("tunnel-{port}"), "127.0.0.1", port + TUNNEL, &proxy)
        })
        .collect();
    let options = json!({
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": { "http2_protocol_options": http2.options() },
        "common_http_protocol_options": http2.common(),
    });
    let cluster = json!({
        "name": "hbone", "type": "STATIC", "connect_timeout": "5s",
        "load_assignment": { "cluster_name": "hbone", "endpoints": [{ "lb_endpoints": [{ "endpoint": {
            "address": socket_address(&peer.ip().to_string(), peer.port()) } }] }] },
        "typed_extension_protocol_options": { "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options },
        "transport_socket": transport_socket("Upstream", &json!({ "common_tls_context": identity.common_tls_context() })),
    });
    bootstrap(&listeners, &[cluster])
}

/// The filter of HTTP that asks an external authorizer, with its configuration.
#[must_use]
pub fn ext_authz(config: &Value) -> Value {
    let kind = json!({ "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz" });
    json!({ "name": "envoy.filters.http.ext_authz", "typed_config": merged(kind, config) })
}

/// The filter of HTTP that verifies tokens, with its configuration.
#[must_use]
pub fn jwt_authn(config: &Value) -> Value {
    let kind = json!({ "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication" });
    json!({ "name": "envoy.filters.http.jwt_authn", "typed_config": merged(kind, config) })
}

/// An Envoy that has the requests that come to loopback ports pass filters, at each port its own, before they go to an application. The
/// filters name clusters, each with an address, and whether it speaks HTTP/2.
#[must_use]
pub fn asking(application: SocketAddr, clusters: &[(&str, SocketAddr, bool)], chains: &[(u16, Vec<Value>)]) -> Value {
    let listeners: Vec<Value> = chains
        .iter()
        .map(|(port, filters)| {
            let route = json!([{ "match": { "prefix": "/" }, "route": { "cluster": "application" } }]);
            let mut manager = connection_manager("asking", &route);
            let router = manager["http_filters"][0].take();
            manager["http_filters"] = filters.iter().cloned().chain([router]).collect();
            listener(&format!("asking-{port}"), "127.0.0.1", *port, &filter("http_connection_manager", &manager))
        })
        .collect();
    let all = clusters.iter().copied().chain([("application", application, false)]);
    let clusters: Vec<Value> = all.map(|(name, address, is_http2)| plain_cluster(name, address, is_http2)).collect();
    bootstrap(&listeners, &clusters)
}

fn plain_cluster(name: &str, address: SocketAddr, is_http2: bool) -> Value {
    let version = if is_http2 { "http2_protocol_options" } else { "http_protocol_options" };
    let options = json!({
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": { version: {} },
    });
    json!({
        "name": name, "type": "STATIC", "connect_timeout": "5s",
        "load_assignment": { "cluster_name": name, "endpoints": [{ "lb_endpoints": [{ "endpoint": {
            "address": socket_address(&address.ip().to_string(), address.port()) } }] }] },
        "typed_extension_protocol_options": { "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options },
    })
}

/// An Envoy that only serves pages: an application that speaks HTTP/1.1 and HTTP/2.
#[must_use]
pub fn pages() -> Value {
    bootstrap(&[pages_listener()], &[])
}

fn pages_listener() -> Value {
    let page = json!([{
        "match": { "prefix": "/" },
        "direct_response": { "status": 200, "body": { "inline_string": PAGE } },
    }]);
    listener("pages", "::", PAGES, &filter("http_connection_manager", &connection_manager("pages", &page)))
}

fn bootstrap(listeners: &[Value], clusters: &[Value]) -> Value {
    json!({
        "node": { "id": "test", "cluster": "test" },
        "admin": { "address": socket_address("127.0.0.1", 9901) },
        "static_resources": { "listeners": listeners, "clusters": clusters },
    })
}

fn listener(name: &str, host: &str, port: u16, filter: &Value) -> Value {
    let mut address = socket_address(host, port);
    address["socket_address"]["ipv4_compat"] = json!(host == "::");
    json!({ "name": name, "stat_prefix": name, "address": address, "filter_chains": [{ "filters": [filter] }] })
}

fn filter(kind: &str, config: &Value) -> Value {
    json!({ "name": format!("envoy.filters.network.{kind}"), "typed_config": config })
}

fn connection_manager(prefix: &str, routes: &Value) -> Value {
    let router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
    json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": prefix,
        "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": routes }] },
        "http_filters": [{ "name": "envoy.filters.http.router", "typed_config": { "@type": router } }],
    })
}

fn transport_socket(side: &str, context: &Value) -> Value {
    let kind =
        json!({ "@type": format!("type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.{side}TlsContext") });
    json!({ "name": "envoy.transport_sockets.tls", "typed_config": merged(kind, context) })
}

/// One object per stream: who the peer proved to be, with which certificate, and how the stream ended.
fn access_log() -> Value {
    json!({
        "name": "envoy.access_loggers.stdout",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
            "log_format": { "json_format": {
                "peer": "%DOWNSTREAM_PEER_URI_SAN%",
                "serial": "%DOWNSTREAM_PEER_SERIAL%",
                "tls": "%DOWNSTREAM_TLS_VERSION%",
                "upstream_peer": "%UPSTREAM_PEER_URI_SAN%",
                "upstream_valid_until": "%UPSTREAM_PEER_CERT_V_END%",
                "authority": "%REQ(:AUTHORITY)%",
                "code": "%RESPONSE_CODE%",
                "flags": "%RESPONSE_FLAGS%",
                "details": "%RESPONSE_CODE_DETAILS%",
                "received": "%BYTES_RECEIVED%",
                "sent": "%BYTES_SENT%",
            } },
        },
    })
}

fn socket_address(host: &str, port: u16) -> Value {
    json!({ "socket_address": { "address": host, "port_value": port } })
}

/// An object with the fields of another added or replaced. `null` adds nothing.
fn merged(mut base: Value, more: &Value) -> Value {
    let fields = more.as_object().into_iter().flatten();
    fields.for_each(|(key, value)| base[key] = value.clone());
    base
}
