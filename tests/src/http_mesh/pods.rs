//! The pods of the HTTP mesh, their agents and their control plane.
//!
//! | pod | node | labels | serves |
//! |---|---|---|---|
//! | client | n1 | `app: client` | |
//! | v1 | n1 | `app: web`, `version: v1` | http-echo and echo |
//! | v2 | n2 | `app: web`, `version: v2` | the same |
//! | v3 | n2 | `app: web`, `version: v3` | the same |
//!
//! The services `v1`, `v2` and `v3` have one pod each: backends of routes. A case makes a service of its own for what it
//! routes ([`HttpMesh::service`]), with all three pods, so that no case sees another one's objects.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::service::{ECHO, HttpService, PORTS, Port};
use crate::agent::{Agent, binary};
use crate::control_plane::ControlPlane;
use crate::http;
use crate::mesh::{NAMESPACE, labelled_entry, start_agents};
use crate::objects::ForNow;
use crate::place::Place;
use crate::program::Program;
use crate::test_app;
use crate::wait;
use crate::world::{FABRIC, N1, N2, Pod, World};

/// The names of the three versions, which are also those of their pods and services.
pub const VERSIONS: [&str; 3] = ["v1", "v2", "v3"];
/// Last number of the first case's service; those before are of the versions.
const FIRST_CASE: u8 = 10;

/// See the module. Fields are in the order in which they must go.
#[derive(Debug)]
pub struct HttpMesh {
    /// The servers in v1, v2 and v3.
    pub servers: Vec<Program>,
    pub client: Pod,
    /// v1, v2 and v3.
    pub versions: Vec<Pod>,
    /// Agents of the nodes, at [`N1`] and [`N2`].
    pub agents: Vec<Agent>,
    pub control_plane: ControlPlane,
    pub world: World,
    /// Last number of the next service's addresses.
    next: AtomicU8,
}

impl HttpMesh {
    /// Brings the mesh up and waits until the client reaches every version.
    ///
    /// # Errors
    /// If some part does not come up; with its log.
    pub fn start(purpose: &str) -> Result<Self> {
        Self::start_with(purpose, &[])
    }

    /// As [`HttpMesh::start`], with further flags for both agents.
    ///
    /// # Errors
    /// If some part does not come up; with its log.
    pub fn start_with(purpose: &str, flags: &[&str]) -> Result<Self> {
        let world = World::new(purpose, 2)?;
        let control_plane = ControlPlane::start(&world)?;
        let client = world.nodes[N1].pod("client")?;
        let on = [N1, N2, N2];
        let versions = VERSIONS.iter().zip(on).map(|(name, node)| world.nodes[node].pod(name));
        let versions = versions.collect::<Result<Vec<_>>>()?;
        let servers = versions.iter().map(|pod| serve(&pod.place)).collect::<Result<Vec<_>>>()?;
        let (agents, next) = (Vec::new(), AtomicU8::new(FIRST_CASE));
        let mut mesh = Self { servers, client, versions, agents, control_plane, world, next };
        let destination_tls = format!("--destination-tls-dir={}", mesh.destination_tls().display());
        // The issuers of cases serve their keys beside the control plane, and change them.
        let (jwks_allow, jwks_refresh) = (format!("--jwks-allow={FABRIC}/32"), "--jwks-refresh-seconds=2");
        let own = [&*destination_tls, &*jwks_allow, jwks_refresh];
        mesh.agents = start_agents(&mesh.world, &mesh.control_plane, &[&own, flags].concat())?;
        mesh.describe()?;
        for pod in mesh.versions.iter().chain([&mesh.client]) {
            mesh.agent_of(pod).enroll(pod, NAMESPACE, pod.name())?;
        }
        mesh.carries_traffic()?;
        Ok(mesh)
    }

    /// The directory of the certificates that the agents may show to destinations. Cases make it.
    #[must_use]
    pub fn destination_tls(&self) -> PathBuf {
        self.world.run().folder().join("destination-tls")
    }

    fn describe(&self) -> Result<()> {
        let objects = &self.control_plane.objects;
        objects.put("client", &labelled_entry(&self.client, &[("app", "client")], true))?;
        for (pod, number) in self.versions.iter().zip(1..) {
            let name = pod.name();
            objects.put(name, &labelled_entry(pod, &usual_labels(name), true))?;
            objects.put(&format!("service-{name}"), &service(name, vips(number), ("version", name), &PORTS))?;
        }
        Ok(())
    }

    fn carries_traffic(&self) -> Result<()> {
        for name in VERSIONS {
            let what = format!("the client reaches {name}");
            wait::until(&what, Duration::from_secs(15), || self.version(name).ask("/", &[])?.expect(200, Some(name)))
                .with_context(|| self.logs())?;
        }
        Ok(())
    }

    /// Makes a service with all three pods, which goes when it is dropped. Its name must be no other service's.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn service(&self, name: &str) -> Result<HttpService<'_>> {
        self.service_of(name, ("app", "web"))
    }

    /// As [`HttpMesh::service`], with the pods that have a label.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn service_of(&self, name: &str, selector: (&str, &str)) -> Result<HttpService<'_>> {
        let vips = self.next_vips();
        let yaml = service(name, vips, selector, &PORTS);
        let object = self.control_plane.objects.put_for_now(&format!("service-{name}"), &yaml)?;
        self.is_known(self.service_at(name, vips, Some(object)))
    }

    /// The handle of a service that a case made for good, by the name and the addresses that it had.
    #[must_use]
    pub fn made_before(&self, name: &str, vips: [IpAddr; 2]) -> HttpService<'_> {
        self.service_at(name, vips, None)
    }

    /// Makes a service whose endpoint is one version, with ports of its own: for servers that a case starts there. It goes
    /// when it is dropped.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn service_at_ports(&self, name: &str, version: &str, ports: &[Port]) -> Result<HttpService<'_>> {
        let vips = self.next_vips();
        let yaml = service(name, vips, ("version", version), ports);
        let object = self.control_plane.objects.put_for_now(&format!("service-{name}"), &yaml)?;
        self.is_known(self.service_at(name, vips, Some(object)))
    }

    /// Makes a Service of another namespace whose endpoint is one version's address. It goes when it is dropped.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn service_in(&self, namespace: &str, name: &str, version: &str) -> Result<HttpService<'_>> {
        let vips = self.next_vips();
        let yaml = format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {{clusterIP: {}, ports: [{{name: \
             http, port: 80}}]}}\n---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {name}-1, namespace: \
             {namespace}, labels: {{kubernetes.io/service-name: {name}}}}}\naddressType: IPv4\nports: [{{name: http, port: {ECHO}}}]\n\
             endpoints: [{{addresses: [{}]}}]\n",
            vips[0],
            self.pod(version).ipv4()
        );
        let object = self.control_plane.objects.put_for_now(&format!("service-{namespace}-{name}"), &yaml)?;
        let service = self.service_at(name, vips, Some(object));
        self.is_known(service.called(&format!("{name}.{namespace}.svc.cluster.local")))
    }

    /// Waits until the client's agent knows a service: what is sent to its address before goes to nobody.
    fn is_known<'a>(&'a self, service: HttpService<'a>) -> Result<HttpService<'a>> {
        let agent = self.agent_of(&self.client);
        wait::until("the client's agent knows the service", Duration::from_secs(10), || {
            let dump = agent.config_dump()?.to_string();
            ensure!(
                dump.contains(&format!("\"{}\"", service.host())),
                "{} is not in its configuration",
                service.host()
            );
            Ok(())
        })?;
        Ok(service)
    }

    fn service_at<'a>(&'a self, name: &str, vips: [IpAddr; 2], object: Option<ForNow<'a>>) -> HttpService<'a> {
        HttpService::new(&self.client.place, &self.control_plane, name, vips, object)
    }

    fn next_vips(&self) -> [IpAddr; 2] {
        vips(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Makes a service by a host name of its own, in any namespace, with a port that declares HTTP. Its endpoint is one
    /// version's address: what is known of the pod does not count. It goes when it is dropped.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn host(&self, namespace: &str, host: &str, version: &str) -> Result<HttpService<'_>> {
        let vips = self.next_vips();
        let name = host.replace('.', "-");
        let yaml = format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n  \
             hosts: [{host}]\n  addresses: [{}, \"{}\"]\n  resolution: STATIC\n  location: MESH_INTERNAL\n  endpoints: [{{address: \
             {}}}]\n  ports: [{{number: 80, name: http, protocol: HTTP, targetPort: {ECHO}}}]\n",
            vips[0],
            vips[1],
            self.pod(version).ipv4()
        );
        let object = self.control_plane.objects.put_for_now(&format!("host-{name}"), &yaml)?;
        self.is_known(self.service_at(&name, vips, Some(object)).called(host))
    }

    /// The service of one version.
    ///
    /// # Panics
    /// If there is no such version.
    #[must_use]
    pub fn version(&self, name: &str) -> HttpService<'_> {
        let number = VERSIONS.iter().zip(1..).find(|(known, _)| **known == name).expect("callers name versions").1;
        self.service_at(name, vips(number), None)
    }

    /// The pod of one version.
    ///
    /// # Panics
    /// If there is no such version.
    #[must_use]
    pub fn pod(&self, name: &str) -> &Pod {
        self.versions.iter().find(|pod| pod.name() == name).expect("callers name versions")
    }

    /// Gives the pod of a version other labels, until the guard is dropped.
    ///
    /// # Errors
    /// If its entry cannot be written.
    pub fn relabel(&self, version: &'static str, labels: &[(&str, &str)]) -> Result<Relabelled<'_>> {
        self.control_plane.objects.put(version, &labelled_entry(self.pod(version), labels, true))?;
        Ok(Relabelled { mesh: self, version })
    }

    /// How many requests of a key have arrived at each version: asked of the servers, past the mesh.
    ///
    /// # Errors
    /// If one does not tell.
    pub fn arrived(&self, key: &str) -> Result<[u64; 3]> {
        #[derive(Deserialize)]
        struct Counted {
            count: u64,
        }
        let mut counts = [0; 3];
        for (count, pod) in counts.iter_mut().zip(&self.versions) {
            let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), ECHO);
            let response = http::get(pod.place.netns(), address, &format!("/_count?key={key}"))?;
            ensure!(response.status == 200, "{}: {response:?}", pod.name());
            *count = serde_json::from_str::<Counted>(&response.body)?.count;
        }
        Ok(counts)
    }

    /// The agent of a pod's node.
    #[must_use]
    pub fn agent_of(&self, pod: &Pod) -> &Agent {
        &self.agents[usize::from(pod.node() == "n2")]
    }

    /// What the control plane said last, for messages: it names what it does not take of an object.
    #[must_use]
    pub fn said(&self) -> String {
        format!("control plane:\n{}", self.control_plane.tail())
    }

    /// The ends of all logs, for messages.
    #[must_use]
    pub fn logs(&self) -> String {
        let agents = self.agents.iter().map(|agent| format!("agent of {}:\n{}\n", agent.place().name(), agent.tail()));
        agents.chain([self.said()]).collect()
    }
}

/// A pod with other labels than usual. Dropping it gives it back its own.
#[derive(Debug)]
pub struct Relabelled<'a> {
    mesh: &'a HttpMesh,
    version: &'static str,
}

impl Drop for Relabelled<'_> {
    fn drop(&mut self) {
        let entry = labelled_entry(self.mesh.pod(self.version), &usual_labels(self.version), true);
        if let Err(error) = self.mesh.control_plane.objects.put(self.version, &entry) {
            eprintln!("giving {} its labels back: {error:#}", self.version);
        }
    }
}

fn usual_labels(version: &str) -> [(&str, &str); 2] {
    [("app", "web"), ("version", version)]
}

/// Starts the servers of a version in its pod, and waits until they listen.
///
/// # Errors
/// If they do not.
pub fn serve(place: &Place) -> Result<Program> {
    let program = binary("weir-test-app")?.display().to_string();
    let services = [format!("http-echo:{ECHO}"), format!("echo:{}", test_app::ECHO)];
    let command = [&[program, "serve".to_owned(), format!("--pod={}", place.name())], &services[..]].concat();
    let mut server = place.spawn(&command)?;
    for port in [ECHO, test_app::ECHO] {
        server.listens_on(port)?;
    }
    Ok(server)
}

fn vips(number: u8) -> [IpAddr; 2] {
    let last = u16::from(number);
    [Ipv4Addr::new(10, 97, 0, number).into(), Ipv6Addr::new(0xfd97, 0, 0, 0, 0, 0, 0, last).into()]
}

fn service(name: &str, [v4, v6]: [IpAddr; 2], (key, value): (&str, &str), ports: &[Port]) -> String {
    let port = |port: &Port| format!("{{name: {}, port: {}, targetPort: {}}}", port.name, port.number, port.target);
    let ports: Vec<String> = ports.iter().map(port).collect();
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {NAMESPACE}}}\nspec:\n  clusterIP: {v4}\n  \
         clusterIPs: [{v4}, \"{v6}\"]\n  selector: {{{key}: {value}}}\n  ports: [{}]\n",
        ports.join(", ")
    )
}
