//! Who may speak HBONE: only peers with a certificate of a trusted domain, and only those that are who they should be.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use weir_tests::agent::binary;
use weir_tests::attack::bank;
use weir_tests::certificates::{Authority, CertificateFiles, Presented};
use weir_tests::mesh::Mesh;
use weir_tests::test_app::{self, ECHO};
use weir_tests::wait;

use crate::count::Counter;
use crate::harness::{Case, Check};

pub(crate) const CASES: &[Case] = &[
    Case { name: "identity: a good certificate is accepted", check: Check::Mesh(good) },
    Case { name: "identity: a foreign trust domain is refused", check: Check::Mesh(foreign_domain) },
    Case { name: "identity: an expired certificate is refused", check: Check::Mesh(expired) },
    Case { name: "identity: a self-signed certificate is refused", check: Check::Mesh(self_signed) },
    Case { name: "identity: a certificate of another authority is refused", check: Check::Mesh(other_authority) },
    Case { name: "identity: a certificate without a SPIFFE id is refused", check: Check::Mesh(no_spiffe_id) },
    Case { name: "identity: a peer without a certificate is refused", check: Check::Mesh(no_certificate) },
    Case { name: "identity: an impostor in place of a workload gets nothing", check: Check::Mesh(impostor) },
];

const FAILURES: &str = "weir_tls_handshake_failures_total";
const HBONE: u16 = 15008;

/// How a handshake ended, as its client saw it.
#[derive(Debug, Deserialize)]
pub(crate) struct Handshake {
    outcome: String,
    #[serde(default)]
    detail: String,
}

impl Handshake {
    pub(crate) fn is_accepted(&self) -> bool {
        self.outcome == "accepted"
    }

    pub(crate) fn is_refused(&self) -> bool {
        self.outcome == "refused"
    }
}

fn good(mesh: &Mesh) -> Result<()> {
    let handshake = handshake(mesh, Some(Presented::Identity("spiffe://cluster.local/ns/shop/sa/client")))?;
    ensure!(handshake.is_accepted(), "{handshake:?}");
    Ok(())
}

fn foreign_domain(mesh: &Mesh) -> Result<()> {
    refused(mesh, Some(Presented::Identity("spiffe://evil.example/ns/shop/sa/client")), "wrong_trust_domain")
}

fn expired(mesh: &Mesh) -> Result<()> {
    refused(mesh, Some(Presented::Expired("spiffe://cluster.local/ns/shop/sa/client")), "expired")
}

fn self_signed(mesh: &Mesh) -> Result<()> {
    refused(mesh, Some(Presented::SelfSigned("spiffe://cluster.local/ns/shop/sa/client")), "unknown_issuer")
}

fn no_spiffe_id(mesh: &Mesh) -> Result<()> {
    refused(mesh, Some(Presented::DnsName("client.shop.svc.cluster.local")), "no_identity")
}

fn no_certificate(mesh: &Mesh) -> Result<()> {
    refused(mesh, None, "no_certificate")
}

fn other_authority(mesh: &Mesh) -> Result<()> {
    let presented = Presented::Identity("spiffe://cluster.local/ns/shop/sa/client");
    let files = Authority::generate()?.write(presented, &mesh.world.run().folder().join("foreign"), "foreign")?;
    let counter = Counter::of(mesh.agent_of(&mesh.far), FAILURES, &[("reason", "unknown_issuer")])?;
    let handshake = handshake_with(mesh, Some(&files))?;
    ensure!(handshake.is_refused(), "{handshake:?}");
    counter.grows_by(1.0)
}

/// A peer with such a certificate gets no further than the handshake; it is counted by reason, and logged.
fn refused(mesh: &Mesh, presented: Option<Presented<'_>>, reason: &str) -> Result<()> {
    let agent = mesh.agent_of(&mesh.far);
    let counter = Counter::of(agent, FAILURES, &[("reason", reason)])?;
    let logged = agent.log().len();
    let handshake = handshake(mesh, presented)?;
    ensure!(handshake.is_refused(), "{handshake:?}");
    ensure!(!handshake.detail.contains("timed out"), "it is refused, not left waiting: {handshake:?}");
    counter.grows_by(1.0).with_context(|| agent.tail())?;
    wait::until("the refusal is in the log", Duration::from_secs(10), || {
        let log = agent.log();
        let new = log.get(logged..).unwrap_or_default();
        ensure!(new.contains(&mesh.outsider.ipv4().to_string()), "since then it has logged {new:?}");
        Ok(())
    })
}

fn handshake(mesh: &Mesh, presented: Option<Presented<'_>>) -> Result<Handshake> {
    let folder = mesh.world.run().folder().join("presented");
    let authority = mesh.control_plane.authority()?;
    let files = presented.map(|presented| authority.write(presented, &folder, "peer")).transpose()?;
    handshake_with(mesh, files.as_ref())
}

/// From the outsider, whose connections nobody captures.
pub(crate) fn handshake_with(mesh: &Mesh, files: Option<&CertificateFiles>) -> Result<Handshake> {
    let address = SocketAddr::new(mesh.far.ipv4(), HBONE).to_string();
    let mut arguments = vec!["tls".to_owned(), address];
    if let Some(CertificateFiles { chain, key }) = files {
        arguments.extend(["--chain".into(), chain.display().to_string(), "--key".into(), key.display().to_string()]);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    test_app::client(&mesh.outsider.place, Duration::from_secs(20), &arguments)
}

/// The outsider is the workload `bank` to the mesh.
fn impostor(mesh: &Mesh) -> Result<()> {
    let folder = mesh.world.run().folder().join("impostor");
    let _bank = mesh.control_plane.objects.put_for_now("bank", &bank(mesh))?;
    let presented = [
        ("thief", Presented::Identity("spiffe://cluster.local/ns/shop/sa/thief")),
        ("elsewhere", Presented::Identity("spiffe://evil.example/ns/shop/sa/bank")),
        ("self-signed", Presented::SelfSigned("spiffe://cluster.local/ns/shop/sa/bank")),
    ];
    for (name, presented) in presented {
        let CertificateFiles { chain, key } = mesh.control_plane.authority()?.write(presented, &folder, name)?;
        let mut listener = mesh.outsider.place.spawn(&[
            binary("weir-test-app")?.display().to_string(),
            "tls-serve".into(),
            format!("0.0.0.0:{HBONE}"),
            format!("--chain={}", chain.display()),
            format!("--key={}", key.display()),
        ])?;
        listener.listens_on(HBONE)?;
        wait::until("the client's agent dials the impostor and refuses it", Duration::from_secs(5), || {
            let seen = test_app::probe(&mesh.client.place, mesh.outsider.ipv4(), ECHO, "my password")?;
            ensure!(listener.stdout().contains("client"), "{name}: it was not dialled: {seen:?}");
            ensure!(seen.refused(), "{name}: the client got {seen:?}");
            Ok(())
        })?;
        wait::throughout("the impostor is not spoken to", Duration::from_millis(300), || {
            ensure!(!listener.stdout().contains("went on"), "{name} was believed: {}", listener.stdout());
            Ok(())
        })?;
    }
    Ok(())
}
