//! A pair of Envoys: `tcp_proxy` on both sides, and for routed loads `http_connection_manager` with one route; mutual TLS with SPIFFE certificates between them, one worker each; in the
//! places of Weir's agents, as sidecars would be. Everything else is Envoy's default.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::{Value, json};
use weir_tests::certificates::CertificateFiles;
use weir_tests::program::Program;
use weir_tests::world::Pod;

use crate::identities::{self, Identities};
use crate::pair::{self, Carried, Way};
use crate::subject::Subject;
use crate::testbed::Testbed;

/// Listen here, hand on there.
#[derive(Debug, Clone, Copy)]
struct Hop {
    listen: SocketAddr,
    target: SocketAddr,
    carried: Carried,
}

/// Starts the pair from this binary.
pub(crate) fn start(testbed: &Testbed, binary: &Path) -> Result<Subject> {
    let folder = testbed.world.run().folder().join("envoy");
    let ids = Identities::write(&folder)?;
    let (client, far) = (&testbed.client, &testbed.far);
    let server_tls = tls("Downstream", &ids.server, &ids.root, identities::CLIENT);
    let client_tls = tls("Upstream", &ids.client, &ids.root, identities::SERVER);
    let ways = pair::ways(testbed, pair::ENVOY);
    let last = ways.map(|Way { second, server, carried, .. }| Hop { listen: second, target: server, carried });
    let hops = ways.map(|Way { first, second, carried, .. }| Hop { listen: first, target: second, carried });
    let second = run(far, binary, &folder, &bootstrap(&last, Some(&server_tls), None), &last)?;
    let first = run(client, binary, &folder, &bootstrap(&hops, None, Some(&client_tls)), &hops)?;
    Ok(pair::subject("envoy", testbed, ways, first, second))
}

fn run(pod: &Pod, binary: &Path, folder: &Path, bootstrap: &Value, hops: &[Hop]) -> Result<Program> {
    let file: PathBuf = folder.join(format!("{}.json", pod.name()));
    fs::write(&file, serde_json::to_string_pretty(bootstrap)?)?;
    let (binary, file) = (binary.display().to_string(), file.display().to_string());
    let options = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"];
    let mut program = pod.place.spawn(&[&[&*binary, "--config-path", &*file], &options[..]].concat())?;
    for hop in hops {
        program.listens_on(hop.listen.port())?;
    }
    Ok(program)
}

/// Listeners that hand on what they accept.
fn bootstrap(hops: &[Hop], accept: Option<&Value>, dial: Option<&Value>) -> Value {
    let listeners: Vec<Value> = hops
        .iter()
        .map(|hop| {
            let mut chain = json!({"filters": [hop.filter()]});
            set_transport(&mut chain, accept);
            json!({"name": hop.name(), "address": socket(hop.listen), "filter_chains": [chain]})
        })
        .collect();
    let clusters: Vec<Value> = hops
        .iter()
        .map(|hop| {
            let mut cluster = hop.cluster();
            set_transport(&mut cluster, dial);
            cluster
        })
        .collect();
    json!({"static_resources": {"listeners": listeners, "clusters": clusters}})
}

impl Hop {
    fn name(&self) -> String {
        format!("port-{}", self.listen.port())
    }

    /// The network filter that carries it.
    fn filter(&self) -> Value {
        if self.carried == Carried::Bytes {
            let proxy = json!({"stat_prefix": "tcp", "cluster": self.name()});
            let proxy = typed("filters.network.tcp_proxy.v3.TcpProxy", &proxy);
            return json!({"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy});
        }
        let route = json!({"match": {"prefix": "/"}, "route": {"cluster": self.name(), "timeout": "0s"}});
        let host = json!({"name": "all", "domains": ["*"], "routes": [route]});
        let router = typed("filters.http.router.v3.Router", &json!({}));
        let manager = json!({
            "stat_prefix": "http", "route_config": {"virtual_hosts": [host]},
            "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
        });
        let manager = typed("filters.network.http_connection_manager.v3.HttpConnectionManager", &manager);
        json!({"name": "envoy.filters.network.http_connection_manager", "typed_config": manager})
    }

    fn cluster(&self) -> Value {
        let endpoint = json!({"endpoint": {"address": socket(self.target)}});
        // Its default of 1,024 is a limit, not a cost.
        let limits = json!([{"max_connections": 100_000, "max_pending_requests": 100_000, "max_requests": 100_000}]);
        let mut cluster = json!({
            "name": self.name(), "type": "STATIC", "connect_timeout": "5s",
            "circuit_breakers": {"thresholds": limits},
            "load_assignment": {"cluster_name": self.name(), "endpoints": [{"lb_endpoints": [endpoint]}]},
        });
        if self.carried == Carried::Http2 {
            let options = json!({"explicit_http_config": {"http2_protocol_options": {}}});
            let options = typed("upstreams.http.v3.HttpProtocolOptions", &options);
            cluster["typed_extension_protocol_options"] =
                json!({"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options});
        }
        cluster
    }
}

fn set_transport(of: &mut Value, tls: Option<&Value>) {
    if let Some(tls) = tls {
        of["transport_socket"] = json!({"name": "envoy.transport_sockets.tls", "typed_config": tls});
    }
}

/// TLS for one side: our certificate, and a peer that must have this identity.
fn tls(side: &str, own: &CertificateFiles, root: &Path, peer: &str) -> Value {
    let names = json!([{"san_type": "URI", "matcher": {"exact": peer}}]);
    let mut context = json!({"common_tls_context": {
        "tls_certificates": [{"certificate_chain": {"filename": own.chain}, "private_key": {"filename": own.key}}],
        "validation_context": {"trusted_ca": {"filename": root}, "match_typed_subject_alt_names": names},
    }});
    if side == "Downstream" {
        context["require_client_certificate"] = true.into();
    }
    typed(&format!("transport_sockets.tls.v3.{side}TlsContext"), &context)
}

fn typed(name: &str, fields: &Value) -> Value {
    let mut value = fields.clone();
    value["@type"] = format!("type.googleapis.com/envoy.extensions.{name}").into();
    value
}

fn socket(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip(), "port_value": address.port()}})
}
