//! A real Envoy as the sidecar of a pod: it asks a real istiod for its whole configuration over delta ADS, as any sidecar's does, and
//! what the pod's user sends to addresses of Services is led to it, as Istio's own rules do that.
//!
//! The Envoy is Envoy's own build, which lacks the filters that are Istio's alone. This istiod, another one than the agents', is told
//! by its own settings to leave these out: the exchange of metadata between sidecars, and the choice of ALPN by it. Envoy asks for no
//! HBONE (`DISABLE_HBONE_SEND`): it has no certificate, and would wait for one before it serves anything.

use std::fs;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use weir_tests::answers::NAMESPACE;
use weir_tests::cluster::istiod::Istiod;
use weir_tests::cluster::kubectl::Pod;
use weir_tests::cluster::network::{SECOND_ISTIOD, SERVICES};
use weir_tests::cluster::{CLIENT_NODE, Cluster};
use weir_tests::envoy;
use weir_tests::program::Program;

/// Settings of istiod that leave out what Envoy's own build lacks.
const LEFT_OUT: [(&str, &str); 2] =
    [("PILOT_ENABLE_METADATA_EXCHANGE", "false"), ("PILOT_ENABLE_ALPN_FILTER", "false")];
/// Where a sidecar accepts what is led to it.
const OUTBOUND: u16 = 15001;
const INBOUND: u16 = 15006;
/// Whom the client of an Envoy runs as: what this user sends is led to Envoy, whose own user is another one.
pub(super) const USER: u32 = 1000;

/// See the module. Dropping it ends both.
#[derive(Debug)]
pub(super) struct Sidecar {
    envoy: Program,
    _istiod: Istiod,
}

impl Sidecar {
    /// Starts istiod and Envoy, and has a pod's traffic led to it by rules of nftables. Whether Envoy has its configuration, requests
    /// tell.
    pub(super) fn start(cluster: &Cluster, pod: &Pod, labels: &Value, led: &str) -> Result<Self> {
        let istiod = Istiod::start_second(&cluster.control_plane, cluster.parts(), &LEFT_OUT)?;
        let node = cluster.node(CLIENT_NODE)?;
        let namespace = network_namespace(cluster, &pod.address)?;
        let inside = ["nsenter".to_owned(), format!("--net={namespace}")];
        let within = |words: &[String]| [&inside[..], words].concat();
        let rules = node.folder().join("sidecar.nft");
        fs::write(&rules, led)?;
        node.place().run(&within(&["nft".to_owned(), "--file".to_owned(), rules.display().to_string()]))?;
        let file = node.folder().join("sidecar.json");
        fs::write(&file, serde_json::to_string_pretty(&bootstrap(pod, labels))?)?;
        let fixed = "--concurrency 1 --use-dynamic-base-id --disable-hot-restart --file-flush-interval-msec 10 --log-level warning";
        let mut command =
            vec![envoy::binary()?.display().to_string(), "--config-path".into(), file.display().to_string()];
        command.extend(fixed.split(' ').map(str::to_owned));
        let envoy = node.place().spawn(&within(&command))?;
        Ok(Self { envoy, _istiod: istiod })
    }

    pub(super) fn access_log(&self) -> String {
        self.envoy.stdout()
    }

    /// The end of what it says for itself.
    pub(super) fn words(&self) -> String {
        self.envoy.tail()
    }
}

/// The path of a pod's network namespace in its node.
fn network_namespace(cluster: &Cluster, address: &str) -> Result<String> {
    let look = format!(
        "for ns in /run/netns/cni-*; do if nsenter --net=$ns ip -o addr | grep -q ' {address}/'; then echo $ns; fi; done"
    );
    let found = cluster.node(CLIENT_NODE)?.place().run(&["sh", "-c", &look])?;
    let found = found.trim();
    ensure!(!found.is_empty() && found.lines().count() == 1, "of {address} there are {found:?}");
    Ok(found.to_owned())
}

/// What the user of a pod sends to Services goes to Envoy, which learns where it was to go.
pub(super) fn of_a_client() -> String {
    rules("output", &format!("meta skuid {USER} ip daddr {SERVICES} meta l4proto tcp redirect to :{OUTBOUND}"))
}

/// What comes to a port of a pod from elsewhere goes to Envoy, and what Envoy itself sends there to the application.
pub(super) fn of_a_server(port: u16) -> String {
    rules("prerouting", &format!("iifname != lo tcp dport {port} redirect to :{INBOUND}"))
}

fn rules(hook: &str, rule: &str) -> String {
    format!("table ip sidecar {{\n chain led {{\n  type nat hook {hook} priority -100\n  {rule}\n }}\n}}\n")
}

/// As Istio writes it for a sidecar, with the switches that it gives Envoy, and without certificates, tracing and metrics.
fn bootstrap(pod: &Pod, labels: &Value) -> Value {
    let Pod { name, address, .. } = pod;
    let grpc = json!({
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    });
    let socket = |address: &str, port: u16| json!({"socket_address": {"address": address, "port_value": port}});
    let ads = json!({"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"});
    json!({
        "node": {
            "id": format!("sidecar~{address}~{name}.{NAMESPACE}~{NAMESPACE}.svc.cluster.local"),
            "cluster": format!("client.{NAMESPACE}"),
            "metadata": {
                "NAME": name, "NAMESPACE": NAMESPACE, "CLUSTER_ID": "Kubernetes", "ISTIO_VERSION": "1.31.0",
                "INTERCEPTION_MODE": "REDIRECT", "SERVICE_ACCOUNT": "default", "DISABLE_HBONE_SEND": "true", "NODE_NAME": CLIENT_NODE,
                "INSTANCE_IPS": address, "MESH_ID": "cluster.local", "LABELS": labels,
            },
        },
        "admin": {"address": socket("127.0.0.1", 15000)},
        "bootstrap_extensions": [{
            "name": "envoy.bootstrap.internal_listener",
            "typed_config": {"@type": "type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener"},
        }],
        "layered_runtime": {"layers": [
            {"name": "static", "static_layer": {
                "re2.max_program_size.error_level": 32768,
                "envoy.reloadable_features.http_reject_path_with_fragment": false,
            }},
            {"name": "admin", "admin_layer": {}},
        ]},
        "dynamic_resources": {
            "lds_config": ads, "cds_config": ads,
            "ads_config": {
                "api_type": "DELTA_GRPC", "set_node_on_first_message_only": true, "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}],
            },
        },
        "static_resources": {"clusters": [{
            "name": "xds-grpc", "type": "STATIC", "connect_timeout": "5s",
            "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": grpc},
            "load_assignment": {"cluster_name": "xds-grpc", "endpoints": [{"lb_endpoints": [
                {"endpoint": {"address": socket(SECOND_ISTIOD, 15010)}},
            ]}]},
        }]},
    })
}
