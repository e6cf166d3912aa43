//! A pair of Envoys: `tcp_proxy` on both sides, mutual TLS with SPIFFE certificates between them, one worker each; in the
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
use crate::subject::{Proxies, Subject, address};
use crate::testbed::{Dial, HTTP, IPERF, Testbed};

/// The second Envoy's ports are the server's with this added, the first one's with twice this.
const APART: u16 = 1_000;

/// Starts the pair from this binary.
pub(crate) fn start(testbed: &Testbed, binary: &Path) -> Result<Subject> {
    let folder = testbed.world.run().folder().join("envoy");
    let ids = Identities::write(&folder)?;
    let (client, far) = (&testbed.client, &testbed.far);
    let server_tls = tls("Downstream", &ids.server, &ids.root, identities::CLIENT);
    let client_tls = tls("Upstream", &ids.client, &ids.root, identities::SERVER);
    let ways =
        |pod, shift: u16, to: u16| [HTTP, IPERF].map(|port| (address(pod, port + shift), address(far, port + to)));
    let second = bootstrap(&ways(far, APART, 0), Some(&server_tls), None);
    let first = bootstrap(&ways(client, 2 * APART, APART), None, Some(&client_tls));
    let second = run(far, binary, &folder, &second, APART)?;
    let first = run(client, binary, &folder, &first, 2 * APART)?;
    let dial = Dial { http: address(client, HTTP + 2 * APART), iperf: address(client, IPERF + 2 * APART) };
    let proxies = Proxies::Processes(vec![vec![first.id()], vec![second.id()]]);
    Ok(Subject::across("envoy", testbed, dial, proxies).keeping([first, second]))
}

fn run(pod: &Pod, binary: &Path, folder: &Path, bootstrap: &Value, shift: u16) -> Result<Program> {
    let file: PathBuf = folder.join(format!("{}.json", pod.name()));
    fs::write(&file, serde_json::to_string_pretty(bootstrap)?)?;
    let (binary, file) = (binary.display().to_string(), file.display().to_string());
    let options = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"];
    let mut program = pod.place.spawn(&[&[&*binary, "--config-path", &*file], &options[..]].concat())?;
    for port in [HTTP, IPERF] {
        program.listens_on(port + shift)?;
    }
    Ok(program)
}

/// Listeners that hand what they accept to the address beside theirs.
fn bootstrap(ways: &[(SocketAddr, SocketAddr)], accept: Option<&Value>, dial: Option<&Value>) -> Value {
    let name = |listen: &SocketAddr| format!("port-{}", listen.port());
    let listeners: Vec<Value> = ways
        .iter()
        .map(|(listen, _)| {
            let proxy =
                typed("filters.network.tcp_proxy.v3.TcpProxy", &json!({"stat_prefix": "tcp", "cluster": name(listen)}));
            let mut chain = json!({"filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}]});
            set_transport(&mut chain, accept);
            json!({"name": name(listen), "address": socket(*listen), "filter_chains": [chain]})
        })
        .collect();
    let clusters: Vec<Value> = ways
        .iter()
        .map(|(listen, target)| {
            let endpoint = json!({"endpoint": {"address": socket(*target)}});
            // Its default of 1,024 connections is a limit, not a cost.
            let limits = json!([{"max_connections": 100_000, "max_pending_requests": 100_000}]);
            let mut cluster = json!({
                "name": name(listen), "type": "STATIC", "connect_timeout": "5s",
                "circuit_breakers": {"thresholds": limits},
                "load_assignment": {"cluster_name": name(listen), "endpoints": [{"lb_endpoints": [endpoint]}]},
            });
            set_transport(&mut cluster, dial);
            cluster
        })
        .collect();
    json!({"static_resources": {"listeners": listeners, "clusters": clusters}})
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
