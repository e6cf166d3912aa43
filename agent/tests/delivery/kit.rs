//! A control plane and agents in one process, joined by TCP and TLS over loopback.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use weir::api::control_channel::{ControlHeaders, OwnServices, RootSource};
use weir::api::control_plane::{ControlPlane, ControlPlaneConfig, Counters};
use weir::api::lifecycle::Ready;
use weir::api::model::identity::TrustDomain;
use weir::api::model::mesh::{MeshSettings, OutboundTrafficPolicy};
use weir::api::state::SharedMesh;
use weir::api::xds::{NodeDescription, WantedObjects, XdsOptions, XdsStatus};

/// The bound on every wait: reached only by a failure.
const DEADLINE: Duration = Duration::from_secs(10);

/// Waits for a condition; panics with its name at the deadline.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < DEADLINE, "{what}: not in {DEADLINE:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    started.elapsed()
}

/// Files of a test: objects, state of the control plane, tokens, state of the agent.
pub struct Home(TempDir);

impl Home {
    pub fn new() -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        fs::create_dir(home.path().join("objects")).unwrap();
        fs::write(home.path().join("tokens"), "n1 first-secret\nn2 second-secret\n").unwrap();
        fs::write(home.path().join("n1.secret"), "first-secret\n").unwrap();
        home
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file of objects at once.
    pub fn put(&self, name: &str, yaml: &str) {
        let fresh = self.path().join("fresh");
        fs::write(&fresh, yaml).unwrap();
        fs::rename(fresh, self.path().join("objects").join(format!("{name}.yaml"))).unwrap();
    }

    pub fn remove(&self, name: &str) {
        fs::remove_file(self.path().join("objects").join(format!("{name}.yaml"))).unwrap();
    }
}

/// A workload on a node.
pub fn workload(name: &str, node: &str, ip: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata:\n  name: {name}\n  namespace: demo\n  labels:\n    \
         app: {name}\n    kubernetes.io/hostname: {node}\nspec:\n  address: {ip}\n  serviceAccount: {name}\n"
    )
}

/// A policy of the namespace that denies a port.
pub fn deny_port(name: &str, port: u16) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata:\n  name: {name}\n  namespace: demo\nspec:\n  \
         action: DENY\n  rules:\n  - to:\n    - operation:\n        ports: [\"{port}\"]\n"
    )
}

/// The resource name of a workload.
pub fn uid(name: &str) -> String {
    format!("Kubernetes/networking.istio.io/WorkloadEntry/demo/{name}")
}

/// A running control plane.
pub struct Running {
    pub port: u16,
    pub counters: Arc<Counters>,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl Running {
    /// Starts one; port 0 takes any.
    pub async fn start(home: &Home, port: u16) -> Self {
        Self::start_with_limit(home, port, 64 << 20).await
    }

    /// Starts one that accepts requests up to a size of its own.
    pub async fn start_with_limit(home: &Home, port: u16, max_request_bytes: usize) -> Self {
        let config = ControlPlaneConfig {
            config: home.path().join("objects"),
            listen: ([127, 0, 0, 1], port).into(),
            state_dir: home.path().join("state"),
            tokens: home.path().join("tokens"),
            server_names: vec!["istiod.istio-system.svc".into()],
            cluster_id: "Kubernetes".into(),
            network: String::new(),
            max_request_bytes,
            log: String::new(),
            log_format: weir::api::config::LogFormat::Text,
        };
        let control_plane = ControlPlane::open(config).await.unwrap();
        let port = control_plane.local_addr().unwrap().port();
        let counters = control_plane.counters();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let serving = tokio::spawn(async move { control_plane.serve(stopped).await.unwrap() });
        Self { port, counters, stop, serving }
    }

    pub async fn stop(self) {
        self.stop.cancel();
        self.serving.await.unwrap();
    }
}

/// A running agent, as far as configuration goes. Dropping it kills it.
pub struct Agent {
    pub mesh: SharedMesh,
    pub status: XdsStatus,
    pub ready: Ready,
    running: JoinHandle<()>,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.running.abort();
    }
}

pub fn options(home: &Home, port: u16) -> XdsOptions {
    XdsOptions {
        address: format!("https://127.0.0.1:{port}"),
        server_name: Some("istiod.istio-system.svc".into()),
        root_ca: RootSource::File(home.path().join("state/ca-cert.pem")),
        services: OwnServices::default(),
        headers: ControlHeaders::default(),
        objects: WantedObjects::All,
        token: home.path().join("n1.secret"),
        node: NodeDescription {
            node: "n1".into(),
            pod: "weir-1".into(),
            namespace: "istio-system".into(),
            service_account: "ztunnel".into(),
            ip: [127, 0, 0, 1].into(),
            cluster_id: "Kubernetes".into(),
            network: String::new(),
            mesh_id: "cluster.local".into(),
            metadata: std::collections::BTreeMap::new(),
        },
        metrics: weir::api::telemetry::metrics::Metrics::new(),
        settings: own_settings(),
        state_dir: Some(home.path().join("agent")),
        destination_tls_dir: "/nowhere".into(),
        may_save: tokio::sync::watch::Sender::new(true).subscribe(),
    }
}

pub fn own_settings() -> MeshSettings {
    MeshSettings {
        trust_domain: TrustDomain::new(""),
        trust_domain_aliases: Vec::new(),
        outbound_traffic_policy: OutboundTrafficPolicy::AllowAny,
        access_log: None,
        root_namespace: "istio-system".into(),
        ca_certificates: Vec::new(),
        network: "".into(),
    }
}

impl Agent {
    pub fn start(options: XdsOptions) -> Self {
        let (mesh, status, ready) = (SharedMesh::default(), XdsStatus::default(), Ready::default());
        let running =
            tokio::spawn(weir::api::xds::run(options, mesh.clone(), status.clone(), ready.block("xds"), None));
        Self { mesh, status, ready, running }
    }

    /// Waits for the first complete mesh.
    pub async fn synced(&self) {
        tokio::time::timeout(DEADLINE, self.status.first_sync()).await.expect("the first mesh comes");
        until("ready", || self.ready.waiting_for().is_empty()).await;
    }

    pub fn workloads(&self) -> Vec<String> {
        let mut names: Vec<String> = self.mesh.read().workloads().map(|workload| workload.name.to_string()).collect();
        names.sort();
        names
    }

    pub fn policies(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.mesh.read().authorizations().map(|policy| policy.key.to_string()).collect();
        keys.sort();
        keys
    }
}
