//! TLS that a DestinationRule asks for, towards a server outside of the mesh: a real nginx.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_tests::certificates::{Authority, Presented};
use weir_tests::http_mesh::{Answer, HttpMesh};
use weir_tests::objects::ForNow;
use weir_tests::world::{N2, Pod};
use weir_tests::{nginx, wait};

use crate::count::Counter;
use crate::harness::{Case, Check};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "http: tls: a server outside is reached by TLS if it is who the DestinationRule says, and else not at all",
        check: Check::Http(simple),
    },
    Case {
        name: "http: tls: MUTUAL shows the certificate of the DestinationRule, once its files are there",
        check: Check::Http(mutual),
    },
];

const HOST: &str = "api.tls.example";
/// How long a change of an object, or of a file, may take to be in effect.
const DELIVERED: Duration = Duration::from_secs(10);

/// A server outside of the mesh, which has a host and a virtual address.
struct Outside<'a> {
    mesh: &'a HttpMesh,
    vip: &'static str,
    _entry: ForNow<'a>,
}

impl<'a> Outside<'a> {
    fn new(mesh: &'a HttpMesh, server: &Pod, vip: &'static str) -> Result<Self> {
        let yaml = format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: tls, namespace: shop}}\nspec:\n  hosts: \
             [{HOST}]\n  addresses: [{vip}]\n  location: MESH_EXTERNAL\n  resolution: STATIC\n  endpoints: [{{address: {}}}]\n  \
             ports: [{{number: 80, name: http, protocol: HTTP, targetPort: {}}}]\n",
            server.ipv4(),
            nginx::TLS_PORT
        );
        let entry = mesh.control_plane.objects.put_for_now("tls-entry", &yaml)?;
        Ok(Self { mesh, vip, _entry: entry })
    }

    /// Writes the DestinationRule of the host.
    fn rule(&self, policy: &str) -> Result<ForNow<'a>> {
        let yaml = format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: tls, namespace: shop}}\nspec:\n  host: \
             {HOST}\n  trafficPolicy: {{{policy}}}\n"
        );
        self.mesh.control_plane.objects.put_for_now("tls-rule", &yaml)
    }

    fn ask(&self, host: &str) -> Result<Answer> {
        let field = format!("Host: {host}");
        self.mesh.version("v1").ask_at(self.vip.parse()?, 80, "/x", &["-H", &field])
    }

    /// Asks until the answer has this status, and a body that begins so.
    fn comes_to(&self, what: &str, host: &str, status: u16, body: &str) -> Result<()> {
        wait::until(what, DELIVERED, || {
            let answer = self.ask(host)?;
            ensure!(answer.status == status && answer.body.starts_with(body), "{answer:?}");
            Ok(())
        })
        .with_context(|| self.mesh.logs())
    }
}

/// A new authority, whose certificate is in a file of a folder.
fn authority(folder: &Path, name: &str) -> Result<(Authority, PathBuf)> {
    let authority = Authority::generate()?;
    authority.store(&folder.join(name))?;
    Ok((authority, folder.join(name).join("ca-cert.pem")))
}

fn simple(mesh: &HttpMesh) -> Result<()> {
    let folder = mesh.world.run().folder().join("tls-simple");
    let ((trusted, ca), (_, other)) = (authority(&folder, "ca")?, authority(&folder, "other")?);
    let server = mesh.world.nodes[N2].pod("tls-simple")?;
    let own = trusted.write(Presented::DnsName(HOST), &folder, "server")?;
    let _nginx = nginx::serve_tls(&server.place, mesh.world.run(), &own, None)?;
    let outside = Outside::new(mesh, &server, "10.97.9.1")?;
    let (ca, other) = (ca.display(), other.display());
    outside.comes_to("without a rule nginx complains of plaintext", HOST, 400, "")?;
    let good = format!("tls: {{mode: SIMPLE, caCertificates: {ca}}}");
    let served = format!("{HOST} HTTP/1.1 NONE GET /x");
    for (what, policy, host, expected) in [
        ("the settings of a port", format!("portLevelSettings: [{{port: {{number: 80}}, {good}}}]"), HOST, &*served),
        (
            "the name of the rule",
            format!("tls: {{mode: SIMPLE, caCertificates: {ca}, sni: {HOST}, subjectAltNames: [x.example, {HOST}]}}"),
            "y.example",
            &*served,
        ),
        (
            "HTTP/2",
            format!("{good}, connectionPool: {{http: {{h2UpgradePolicy: UPGRADE}}}}"),
            HOST,
            &format!("{HOST} HTTP/2.0 NONE GET /x"),
        ),
        ("no verification", "tls: {mode: SIMPLE, insecureSkipVerify: true}".to_owned(), HOST, &*served),
    ] {
        let _rule = outside.rule(&policy)?;
        outside.comes_to(what, host, 200, expected)?;
    }
    let failed = [("reporter", "source"), ("destination_service", HOST), ("response_flags", "UF,URX")];
    let counted = Counter::of(mesh.agent_of(&mesh.client), "istio_requests_total", &failed)?;
    for (what, policy, host, said) in [
        ("another authority", format!("mode: SIMPLE, caCertificates: {other}"), HOST, "CERTIFICATE_VERIFY_FAILED"),
        ("the roots of the system", "mode: SIMPLE".to_owned(), HOST, "CERTIFICATE_VERIFY_FAILED"),
        ("another name", format!("mode: SIMPLE, caCertificates: {ca}"), "y.example", "CERTIFICATE_VERIFY_FAILED"),
        (
            "another name in the rule",
            format!("mode: SIMPLE, caCertificates: {ca}, subjectAltNames: [y.example]"),
            HOST,
            "CERTIFICATE_VERIFY_FAILED",
        ),
        ("a file that is missing", "mode: SIMPLE, caCertificates: /nowhere/ca.pem".to_owned(), HOST, "cannot be used"),
        ("a Secret", format!("mode: SIMPLE, caCertificates: {ca}, credentialName: secret"), HOST, ""),
    ] {
        {
            let _good = outside.rule(&good)?;
            outside.comes_to("the right authority", HOST, 200, &served)?;
        }
        let _rule = outside.rule(&format!("tls: {{{policy}}}"))?;
        outside.comes_to(what, host, 503, "")?;
        let answer = outside.ask(host)?;
        ensure!(answer.status == 503 && answer.body.contains(said), "{what}: {answer:?}");
    }
    counted.grows_by(5.0)
}

fn mutual(mesh: &HttpMesh) -> Result<()> {
    let folder = mesh.world.run().folder().join("tls-mutual");
    let ((servers, ca), (clients, client_ca)) = (authority(&folder, "servers")?, authority(&folder, "clients")?);
    let server = mesh.world.nodes[N2].pod("tls-mutual")?;
    let own = servers.write(Presented::DnsName(HOST), &folder, "server")?;
    let _nginx = nginx::serve_tls(&server.place, mesh.world.run(), &own, Some(&client_ca))?;
    let outside = Outside::new(mesh, &server, "10.97.9.2")?;
    let ca = ca.display();
    {
        let _simple = outside.rule(&format!("tls: {{mode: SIMPLE, caCertificates: {ca}}}"))?;
        outside.comes_to("without a certificate nginx complains", HOST, 400, "")?;
        let answer = outside.ask(HOST)?;
        ensure!(answer.body.contains("No required SSL certificate"), "{answer:?}");
    }
    let (chain, key) = (folder.join("client.pem"), folder.join("client.key"));
    let _mutual = outside.rule(&format!(
        "tls: {{mode: MUTUAL, caCertificates: {ca}, clientCertificate: {}, privateKey: {}}}",
        chain.display(),
        key.display()
    ))?;
    outside.comes_to("its files are missing", HOST, 503, "upstream connect error")?;
    clients.write(Presented::DnsName("client.example"), &folder, "client")?;
    outside.comes_to("its files are there", HOST, 200, &format!("{HOST} HTTP/1.1 SUCCESS GET /x"))
}
