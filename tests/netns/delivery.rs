//! Other ways to get a mesh and certificates: a node by itself, from files.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_tests::agent::{Agent, AgentOptions, Misconfigured};
use weir_tests::certificates::{Authority, Presented};
use weir_tests::control_plane::PORT;
use weir_tests::mesh::{Mesh, NAMESPACE, ip, workload_entry};
use weir_tests::objects::{ObjectFolder, authorization_policy};
use weir_tests::partial_ads::PartialAds;
use weir_tests::test_app::{self, ECHO};
use weir_tests::wait;
use weir_tests::world::{FABRIC, N1, Pod, World};

use crate::count::{Counter, OPENED};
use crate::harness::{Case, Check};
use crate::trust::{naming_roots, visit};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "delivery: a node by itself, from a folder of objects and a CA's key",
        check: Check::Alone(own_authority),
    },
    Case {
        name: "delivery: a control plane that accepts only small requests is followed all the same",
        check: Check::OwnMesh(small_requests),
    },
    Case {
        name: "delivery: five seconds after addresses and L4 policies an agent serves without what else was not answered, and names it",
        check: Check::OwnMesh(unanswered),
    },
    Case {
        name: "delivery: a node by itself, from objects and ready certificates",
        check: Check::Alone(ready_certificates),
    },
    Case {
        name: "delivery: a node by itself trusts the roots that MeshConfig names, whoever makes its certificates",
        check: Check::Alone(named_roots),
    },
];

/// One node, two pods, no control plane.
struct Alone {
    pods: [Pod; 2],
    objects: ObjectFolder,
    world: World,
}

impl Alone {
    fn new() -> Result<Self> {
        let world = World::new("t", 1)?;
        let pods = [world.nodes[N1].pod("left")?, world.nodes[N1].pod("right")?];
        let objects = ObjectFolder::create(&world.run().folder().join("objects"))?;
        for pod in &pods {
            objects.put(pod.name(), &workload_entry(pod))?;
        }
        Ok(Self { pods, objects, world })
    }

    fn agent(&self, certificates: String) -> Result<Agent> {
        let delivery = vec![format!("--config={}", self.objects.path().display()), certificates];
        let agent = Agent::start(&self.world.nodes[N1], AgentOptions { delivery, flags: Vec::new() })?;
        for pod in &self.pods {
            agent.enroll(pod, NAMESPACE, pod.name())?;
        }
        Ok(agent)
    }

    /// Traffic flows under mutual TLS, and policy from the same files applies.
    fn works(&self, agent: &Agent) -> Result<()> {
        let [left, right] = &self.pods;
        let _server = test_app::serve(&right.place)?;
        wait::until("traffic flows through the mesh", Duration::from_secs(10), || {
            test_app::echoes(&left.place, right.ipv4(), ECHO)?;
            let labels = [("reporter", "destination"), ("connection_security_policy", "mutual_tls")];
            ensure!(
                agent.metrics()?.sum("istio_tcp_connections_opened_total", &labels) > 0.0,
                "it goes around the mesh"
            );
            Ok(())
        })
        .with_context(|| agent.tail())?;
        let _policy =
            self.objects.put_for_now("deny", &authorization_policy("deny", NAMESPACE, "right", "DENY", "[{}]"))?;
        wait::until("policy applies", Duration::from_secs(10), || {
            let seen = test_app::probe(&left.place, right.ipv4(), ECHO, "let me in")?;
            ensure!(seen.refused(), "{seen:?}");
            Ok(())
        })
    }
}

fn own_authority() -> Result<()> {
    let alone = Alone::new()?;
    let folder = alone.world.run().folder().join("ca");
    Authority::generate()?.store(&folder)?;
    let agent = alone.agent(format!("--ca-dir={}", folder.display()))?;
    alone.works(&agent)
}

fn ready_certificates() -> Result<()> {
    let alone = Alone::new()?;
    let agent = alone.agent(with_ready_certificates(&alone)?)?;
    alone.works(&agent)
}

/// Writes certificates for the pods. Returns the flag that names them.
fn with_ready_certificates(alone: &Alone) -> Result<String> {
    let folder = alone.world.run().folder().join("certificates");
    let authority = Authority::generate()?;
    authority.store(&folder)?;
    fs::rename(folder.join("ca-cert.pem"), folder.join("root-cert.pem"))?;
    fs::remove_file(folder.join("ca-key.pem"))?;
    for pod in &alone.pods {
        let id = weir_tests::mesh::principal(pod);
        let files = authority.write(Presented::Identity(&id), &folder, "fresh")?;
        let both = fs::read_to_string(&files.chain)? + &fs::read_to_string(&files.key)?;
        fs::write(folder.join(format!("{NAMESPACE}.{}.pem", pod.name())), both)?;
    }
    Ok(format!("--certificates-dir={}", folder.display()))
}

/// A root that MeshConfig names counts, whoever makes the node's own certificates.
fn named_roots() -> Result<()> {
    for is_ready in [false, true] {
        let alone = Alone::new()?;
        let [left, right] = &alone.pods;
        let run = alone.world.run().folder();
        let certificates = if is_ready {
            with_ready_certificates(&alone)?
        } else {
            let own = run.join("ca");
            Authority::generate()?.store(&own)?;
            format!("--ca-dir={}", own.display())
        };
        let (foreign, folder) = (Authority::generate()?, run.join("visitors"));
        foreign.store(&folder)?;
        let identity = format!("spiffe://cluster.local/ns/{NAMESPACE}/sa/visitor");
        let certificate = foreign.write(Presented::Identity(&identity), &folder, "stranger")?;
        let outsider = alone.world.nodes[N1].pod("outsider")?;
        let agent = alone.agent(certificates)?;
        let _server = test_app::serve(&right.place)?;
        wait::until("traffic flows through the mesh", WITHIN, || test_app::echoes(&left.place, right.ipv4(), ECHO))?;
        ensure!(visit(&outsider, right, &certificate).is_err(), "the stranger's root is trusted already");
        let config = naming_roots(&fs::read_to_string(folder.join("ca-cert.pem"))?);
        {
            let _named = alone.objects.put_for_now("mesh-config", &config)?;
            wait::until("the stranger is let in", WITHIN, || visit(&outsider, right, &certificate).map(drop))
                .with_context(|| agent.tail())?;
            test_app::echoes(&left.place, right.ipv4(), ECHO).context("the node's own root counts as before")?;
        }
        wait::until("the stranger is refused", WITHIN, || {
            ensure!(visit(&outsider, right, &certificate).is_err(), "it is let in");
            Ok(())
        })?;
    }
    Ok(())
}

/// What the control plane accepts: fewer versions than there are workloads.
const SMALL_REQUEST: &str = "--max-request-bytes=32768";
const WORKLOADS: usize = 600;
/// How long a change of the objects may take to reach a connection, with a control plane that was away.
const WITHIN: Duration = Duration::from_secs(30);

fn small_requests(mesh: &mut Mesh) -> Result<()> {
    let entry = |name: &str, vip: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: {NAMESPACE}}}\nspec: \
             {{hosts: [{name}.example], addresses: [{vip}], resolution: STATIC, workloadSelector: {{labels: {{app: far}}}}, \
             ports: [{{number: {ECHO}, name: tcp, protocol: TCP}}]}}\n"
        )
    };
    let workloads: Vec<String> = (0..WORKLOADS)
        .map(|n| {
            format!(
                "---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: one-of-many-workloads-{n}, \
                 namespace: {NAMESPACE}}}\nspec: {{address: 10.77.{}.{}}}\n",
                n / 250,
                n % 250
            )
        })
        .collect();
    let (gone, new) = (ip("10.96.0.61"), ip("10.96.0.62"));
    mesh.control_plane.objects.put("many", &workloads.concat())?;
    mesh.control_plane.objects.put("gone", &entry("gone", "10.96.0.61"))?;
    wait::until("the agent knows all", WITHIN, || test_app::echoes(&mesh.client.place, gone, ECHO).map(drop))?;
    mesh.control_plane.stop()?;
    mesh.control_plane.objects.remove("gone")?;
    mesh.control_plane.objects.put("new", &entry("new", "10.96.0.62"))?;
    mesh.control_plane.resume_with(&[SMALL_REQUEST])?;
    wait::until("what is new is known", WITHIN, || test_app::echoes(&mesh.client.place, new, ECHO).map(drop))
        .with_context(|| mesh.logs())?;
    // One response holds both.
    let seen = test_app::probe(&mesh.client.place, gone, ECHO, "x")?;
    ensure!(seen.received.is_empty(), "what was removed in the meantime is still served: {seen:?}");
    test_app::echoes(&mesh.client.place, mesh.far.ipv4(), ECHO).map(drop)
}

/// What a control plane for ztunnel alone does not have.
const MISSING: [&str; 3] = ["mesh_config", "authorization_policy", "peer_authentication"];

fn unanswered(mesh: &mut Mesh) -> Result<()> {
    let plane = PartialAds::start(mesh)?;
    mesh.agents[N1].kill()?;
    // Without a configuration of former days.
    let mut agent = mesh.agents[N1].successor().misconfigured(Misconfigured::ControlPlane(plane.url()));
    agent.add_flags([format!("--ca-address=https://{FABRIC}:{PORT}")]);
    agent.launch()?;
    agent.logs_line(0, &["configuration stream is up"])?;
    agent.is_not_ready_for("configuration", WITHIN)?;
    agent.becomes_ready()?;
    let line = agent.logs_line(0, &["the control plane has not answered these types: serving without"])?;
    let status = agent.weir(&["status"])?.stdout;
    let warning = status.lines().find(|line| line.contains(": connections are served without"));
    let warning = warning.with_context(|| format!("no warning in {status}"))?;
    for missing in MISSING {
        ensure!(line.contains(missing), "the log says {line}");
        ensure!(warning.contains(missing), "the status says {warning}");
    }
    ensure!(!warning.contains("address"), "addresses were answered: {warning}");
    agent.enroll(&mesh.client, NAMESPACE, mesh.client.name())?;
    let opened = Counter::of(&agent, OPENED, &[("reporter", "source")])?;
    test_app::echoes(&mesh.client.place, mesh.outsider.ipv4(), ECHO).context("connections are served without")?;
    opened.grows_by(1.0)?;
    plane.answers_all()?;
    wait::until("nothing is missing any more", WITHIN, || {
        let status = agent.weir(&["status"])?.stdout;
        ensure!(!status.contains("connections are served without"), "{status}");
        Ok(())
    })?;
    mesh.agents[N1] = agent;
    Ok(())
}
