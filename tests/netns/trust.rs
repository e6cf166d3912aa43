//! What is trusted may change while connections are open: revocation lists, trust domains.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_tests::agent::Agent;
use weir_tests::certificates::{Authority, CertificateFiles, Presented, serial_of};
use weir_tests::mesh::{Mesh, NAMESPACE, principal};
use weir_tests::raw_http2::{RawHttp2, Reaction};
use weir_tests::table::note;
use weir_tests::test_app::{self, ECHO, Held};
use weir_tests::wait;
use weir_tests::world::{N1, N2, Pod};

use crate::count::Counter;
use crate::harness::{Case, Check};
use crate::identity::handshake_with;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "trust: a revoked certificate gets nobody in, ends what is open, and is replaced; others notice nothing",
        check: Check::Alone(revoked),
    },
    Case {
        name: "trust: connections of a trust domain that is removed end in order",
        check: Check::Alone(domain_removed),
    },
    Case {
        name: "trust: connections of a root that is removed end in order, and no others",
        check: Check::Alone(root_removed),
    },
    Case {
        name: "trust: roots that caCertificates of MeshConfig names are trusted for as long as it does",
        check: Check::Alone(root_named),
    },
];

pub(crate) const HBONE: u16 = 15008;
const FAILURES: &str = "weir_tls_handshake_failures_total";
const DISTRUSTED: &str = "weir_hbone_peers_distrusted_total";
/// The file is read every five seconds.
const WITHIN: Duration = Duration::from_secs(15);

/// The certificate that a pod carries now, PEM.
fn certificate_of(agent: &Agent, pod: &Pod) -> Result<String> {
    let (dump, identity) = (agent.config_dump()?, principal(pod));
    let all = dump["certificates"].as_array().context("the dump lists certificates")?;
    let own = all.iter().find(|one| one["identity"] == identity.as_str()).context("the pod has one")?;
    Ok(own["certChain"][0]["pem"].as_str().context("it has a leaf")?.to_owned())
}

fn revoked() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let lists = folder.path().join("ca-crl.pem");
    let mesh = Mesh::start_with("t", &[&format!("--crl={}", lists.display()), "--worker-threads=1"])?;
    let (authority, far) = (mesh.control_plane.authority()?, mesh.agent_of(&mesh.far));
    let old = certificate_of(&mesh.agents[N1], &mesh.client)?;
    let stolen =
        authority.write(Presented::Identity(&principal(&mesh.client)), &folder.path().join("stolen"), "client")?;
    ensure!(handshake_with(&mesh, Some(&stolen))?.is_accepted(), "nothing is revoked yet");
    let (meant, bystander) =
        (Held::open(&mesh.client.place, mesh.far.ipv4())?, Held::open(&mesh.near.place, mesh.far.ipv4())?);
    are_open(far, 2.0)?;

    let serials = [serial_of(&old)?, serial_of(&fs::read_to_string(&stolen.chain)?)?];
    let put = |text: &str| -> Result<()> {
        let fresh = lists.with_extension("new");
        fs::write(&fresh, text)?;
        Ok(fs::rename(&fresh, &lists)?)
    };
    put(&authority.revocation_list(&serials)?)?;
    let end = wait::until("the connection of the revoked certificate ends", WITHIN, || meant.end())?;
    note(format!("ended by {} after {} ms", end.end, end.ms));
    ensure!(end.end == "ConnectionReset", "{end:?}");
    let counted = far.metrics()?.sum(DISTRUSTED, &[("side", "downstream"), ("reason", "revoked")]);
    ensure!(counted == 1.0, "{counted} peers were revoked");
    let refusals = Counter::of(far, FAILURES, &[("side", "downstream"), ("reason", "revoked")])?;
    ensure!(handshake_with(&mesh, Some(&stolen))?.is_refused(), "the stolen certificate gets in");
    refusals.grows_by(1.0)?;
    // The pod itself has a new certificate.
    wait::until("the client gets through again", WITHIN, || {
        test_app::echoes(&mesh.client.place, mesh.far.ipv4(), ECHO)
    })?;
    ensure!(serial_of(&certificate_of(&mesh.agents[N1], &mesh.client)?)? != serials[0], "it carries the revoked one");

    // A file that cannot be used changes nothing, and is told.
    put("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n")?;
    wait::until("the damage is told", WITHIN, || {
        let status = far.weir(&["status"])?.stdout;
        ensure!(status.contains("--crl") && status.contains("the last good content counts"), "{status}");
        Ok(())
    })?;
    ensure!(handshake_with(&mesh, Some(&stolen))?.is_refused(), "the stolen certificate gets in");
    put(&authority.revocation_list(&[])?)?;
    wait::until("what is no longer on the list gets in", WITHIN, || {
        ensure!(handshake_with(&mesh, Some(&stolen))?.is_accepted(), "it is refused");
        Ok(())
    })?;
    bystander.is_open().context("the bystander's connection")
}

/// Its own domain is renamed, which makes strangers of all who were let in under the old name.
fn domain_removed() -> Result<()> {
    const DRAIN: u64 = 3;
    let mesh = Mesh::start_with("t", &[&format!("--drain-seconds={DRAIN}"), "--worker-threads=1"])?;
    let held = Held::open(&mesh.client.place, mesh.far.ipv4())?;
    are_open(&mesh.agents[N2], 1.0)?;
    let renamed = "apiVersion: mesh.istio.io/v1alpha1\nkind: MeshConfig\nmetadata: {name: mesh, namespace: istio-system}\n\
                   spec: {trustDomain: new.example}\n";
    mesh.control_plane.objects.put("mesh-config", renamed)?;
    let end = wait::until("the connection that was let in under the old name ends", WITHIN, || held.end())?;
    note(format!("ended by {} after {} ms", end.end, end.ms));
    ensure!(end.end == "ConnectionReset", "{end:?}");
    let counted = mesh.agents[N2].metrics()?.sum(DISTRUSTED, &[("reason", "wrong_trust_domain")]);
    ensure!(counted >= 1.0, "{counted} peers are strangers now");
    wait::until("the mesh carries connections under the new name", WITHIN, || {
        test_app::echoes(&mesh.client.place, mesh.far.ipv4(), ECHO).with_context(|| mesh.logs())
    })?;
    let labels = [("source_principal", "spiffe://new.example/ns/shop/sa/client")];
    let seen = mesh.agents[N2].metrics()?.sum("istio_tcp_connections_opened_total", &labels);
    ensure!(seen >= 1.0, "{NAMESPACE}: {seen} connections came under the new name");
    Ok(())
}

/// Opens a connection to a pod's HBONE listener with this certificate, and a stream on it that carries bytes.
pub(crate) fn visit(from: &Pod, to: &Pod, certificate: &CertificateFiles) -> Result<RawHttp2> {
    let mut peer = RawHttp2::connect(from.place.netns(), SocketAddr::new(to.ipv4(), HBONE), certificate)?;
    let status = peer.request(1, &SocketAddr::new(to.ipv4(), ECHO).to_string())?;
    ensure!(status == 200, "it is answered {status}");
    peer.echo(1, b"before")?;
    Ok(peer)
}

/// A peer with a certificate of its own.
struct Visitor<'a> {
    mesh: &'a Mesh,
    certificate: CertificateFiles,
}

impl Visitor<'_> {
    fn opens(&self) -> Result<RawHttp2> {
        visit(&self.mesh.outsider, &self.mesh.far, &self.certificate)
    }
}

/// MeshConfig that names these roots (PEM).
pub(crate) fn naming_roots(pem: &str) -> String {
    let indented: String = pem.lines().map(|line| format!("        {line}\n")).collect();
    format!(
        "apiVersion: mesh.istio.io/v1alpha1\nkind: MeshConfig\nmetadata: {{name: mesh, namespace: istio-system}}\nspec:\n  \
         caCertificates:\n    - pem: |\n{indented}"
    )
}

fn root_named() -> Result<()> {
    let mesh = Mesh::start_with("t", &["--drain-seconds=3"])?;
    let (foreign, folder) = (Authority::generate()?, mesh.world.run().folder().join("visitors"));
    foreign.store(&folder)?;
    let identity = format!("spiffe://cluster.local/ns/{NAMESPACE}/sa/visitor");
    let certificate = foreign.write(Presented::Identity(&identity), &folder, "stranger")?;
    let stranger = Visitor { mesh: &mesh, certificate };
    ensure!(stranger.opens().is_err(), "its root is trusted already");
    mesh.control_plane.objects.put("mesh-config", &naming_roots(&fs::read_to_string(folder.join("ca-cert.pem"))?))?;
    let mut peer = wait::until("the stranger is let in", WITHIN, || stranger.opens()).with_context(|| mesh.logs())?;
    mesh.control_plane.objects.remove("mesh-config")?;
    let word = peer.last_word(WITHIN);
    ensure!(word == Reaction::GoAway(0), "it is told {word:?}");
    ensure!(stranger.opens().is_err(), "a new handshake is accepted");
    Ok(())
}

fn root_removed() -> Result<()> {
    const DRAIN: u64 = 3;
    let mesh = Mesh::start_with("t", &[&format!("--drain-seconds={DRAIN}")])?;
    let (foreign, folder) = (Authority::generate()?, mesh.world.run().folder().join("visitors"));
    foreign.store(&folder)?;
    let identity = format!("spiffe://cluster.local/ns/{NAMESPACE}/sa/visitor");
    let visitor = |authority: &Authority, name: &str| -> Result<Visitor<'_>> {
        Ok(Visitor { mesh: &mesh, certificate: authority.write(Presented::Identity(&identity), &folder, name)? })
    };
    let (stranger, own) = (visitor(&foreign, "stranger")?, visitor(&mesh.control_plane.authority()?, "own")?);
    ensure!(stranger.opens().is_err(), "its root is trusted already");
    let mut kept = own.opens()?;
    let roots = mesh.control_plane.root();
    let own_root = fs::read_to_string(&roots)?;
    fs::write(&roots, format!("{own_root}\n{}", fs::read_to_string(folder.join("ca-cert.pem"))?))?;
    let mut peer = wait::until("the stranger is let in", WITHIN, || stranger.opens())?;
    fs::write(&roots, own_root)?;
    let word = peer.last_word(WITHIN);
    ensure!(word == Reaction::GoAway(0), "it is told {word:?}");
    // What it carries goes on, for as long as a drain may take.
    peer.echo(1, b"after")?;
    ensure!(stranger.opens().is_err(), "a new handshake is accepted");
    wait::until("the connection ends", WITHIN + Duration::from_secs(DRAIN), || {
        let reaction = peer.reaction(Duration::from_secs(1));
        ensure!(reaction == Reaction::Closed, "{reaction:?}");
        Ok(())
    })?;
    let reaction = kept.reaction(Duration::from_secs(2));
    ensure!(reaction == Reaction::Alive, "a peer of the mesh's own root: {reaction:?}");
    kept.echo(1, b"still")
}

/// Waits until the destination's agent has so many connections open.
fn are_open(agent: &Agent, expected: f64) -> Result<()> {
    wait::until("the connections are open", WITHIN, || {
        let open = agent.metrics()?.sum("istio_tcp_sockets_open", &[("reporter", "destination")]);
        ensure!(open == expected, "{open} are");
        Ok(())
    })
}
