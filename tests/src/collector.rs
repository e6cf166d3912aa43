//! A collector of spans beside the control plane, where agents reach it from their nodes; the service of the mesh that it is, and what it
//! has got.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::agent::binary;
use crate::http_mesh::{HttpMesh, VERSIONS};
use crate::mesh::NAMESPACE;
use crate::objects::ForNow;
use crate::program::Program;
use crate::wait;
use crate::world::FABRIC;

/// The port of OTLP over gRPC.
const PORT: u16 = 4317;
const HOST: &str = "spans.example.com";

/// The kind of a span that the agent of a request's client tells of.
pub const CLIENT: u64 = 3;
/// The kind of one that the agent of its server tells of.
pub const SERVER: u64 = 2;

/// While it is there, all requests of the mesh's pods are recorded, and their spans come here.
#[derive(Debug)]
pub struct Collector<'a> {
    program: Program,
    _objects: [ForNow<'a>; 3],
}

/// A span, as the collector has printed it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct CollectedSpan {
    pub trace: String,
    pub span: String,
    /// Empty where it has none.
    pub parent: String,
    pub name: String,
    /// [`CLIENT`] or [`SERVER`].
    pub kind: u64,
    pub microseconds: u64,
    /// Nanoseconds since 1970.
    pub began: u64,
    /// `service.name`, `k8s.pod.name` and `k8s.node.name` of its resource.
    pub service: Option<String>,
    pub pod: Option<String>,
    pub node: Option<String>,
    pub tags: Map<String, Value>,
}

impl<'a> Collector<'a> {
    /// Starts it, as a service with this name, and has a Telemetry object of the mesh name it as the provider of spans.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn start(mesh: &'a HttpMesh, name: &str) -> Result<Self> {
        let app = binary("weir-test-app")?.display().to_string();
        let mut program = mesh.world.fabric.spawn(&[&*app, "serve", &format!("otlp:{PORT}")])?;
        program.listens_on(PORT)?;
        let objects = &mesh.control_plane.objects;
        let entry = format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: {NAMESPACE}}}\nspec:\n  hosts: \
             [{HOST}]\n  addresses: [10.97.9.17]\n  resolution: STATIC\n  endpoints: [{{address: {}}}]\n  ports: [{{number: {PORT}, name: \
             grpc-otlp, protocol: GRPC}}]\n",
            FABRIC
        );
        let config = format!(
            "apiVersion: mesh.istio.io/v1alpha1\nkind: MeshConfig\nmetadata: {{name: mesh, namespace: istio-system}}\nspec:\n  \
             extensionProviders: [{{name: spans, opentelemetry: {{service: {NAMESPACE}/{HOST}, port: {PORT}}}}}]\n"
        );
        let telemetry = "apiVersion: telemetry.istio.io/v1\nkind: Telemetry\nmetadata: {name: spans, namespace: istio-system}\nspec:\n  \
                         tracing: [{providers: [{name: spans}], randomSamplingPercentage: 100}]\n";
        let objects = [
            objects.put_for_now(&format!("{name}-entry"), &entry)?,
            objects.put_for_now("mesh-config", &config)?,
            objects.put_for_now(&format!("{name}-telemetry"), telemetry)?,
        ];
        Ok(Self { program, _objects: objects })
    }

    /// Has it take nothing more until it [goes on](Self::goes_on).
    ///
    /// # Errors
    /// If it has ended.
    pub fn stands_still(&self) -> Result<()> {
        self.program.signal(Signal::SIGSTOP)
    }

    /// Has it take spans again.
    ///
    /// # Errors
    /// If it has ended.
    pub fn goes_on(&self) -> Result<()> {
        self.program.signal(Signal::SIGCONT)
    }

    /// What it has got so far.
    ///
    /// # Errors
    /// If it has printed something else.
    pub fn spans(&self) -> Result<Vec<CollectedSpan>> {
        let text = self.program.stdout();
        // The last line may be half written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
    }

    /// Waits until it has a number of spans of a trace, and gives them in their order: each is the only child of the one before it.
    ///
    /// # Errors
    /// With those that it has got, if they do not come in time, or are in no such order.
    pub fn trace(&self, trace: &str, count: usize) -> Result<Vec<CollectedSpan>> {
        let found = wait::until(&format!("{count} spans of the trace {trace} come"), Duration::from_secs(15), || {
            let mut found = self.spans()?;
            found.retain(|span| span.trace == trace);
            ensure!(found.len() == count, "{found:#?}");
            Ok(found)
        })?;
        let first = found.iter().find(|span| found.iter().all(|other| other.span != span.parent));
        let next = |span: &&CollectedSpan| found.iter().find(|other| other.parent == span.span);
        let chain: Vec<_> = std::iter::successors(first, next).take(count).cloned().collect();
        ensure!(chain.len() == count, "{found:#?}");
        Ok(chain)
    }

    /// Waits until the requests of the mesh's client are read at their destinations, whichever of its agent's workers has them. Connections
    /// that were open before this came move as bytes until they end.
    ///
    /// # Errors
    /// If they are not in time.
    pub fn requests_are_read(&self, mesh: &HttpMesh) -> Result<()> {
        for version in VERSIONS {
            let agent = mesh.agent_of(mesh.pod(version));
            let labels = [("reporter", "destination"), ("destination_workload", version)];
            let counted = || Ok::<_, anyhow::Error>(agent.metrics()?.sum("istio_requests_total", &labels));
            wait::until(&format!("requests are read at {version}"), Duration::from_secs(20), || {
                let before = counted()?;
                // More at a time than connections wait.
                mesh.version(version).load(80, &["--requests=600", "--connections=300"])?.all_are(200)?;
                wait::until("each is counted", Duration::from_secs(1), || {
                    let grown = counted()? - before;
                    ensure!(grown >= 600.0, "{grown} of 600 were");
                    Ok(())
                })
            })?;
        }
        Ok(())
    }
}
