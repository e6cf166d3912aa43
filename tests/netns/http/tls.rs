//! TLS that a DestinationRule asks for, towards a server outside of the mesh: a real nginx, and one of WebSockets.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_tests::certificates::{Authority, Presented, serial_of};
use weir_tests::http_mesh::{Answer, HttpMesh};
use weir_tests::objects::ForNow;
use weir_tests::test_app::{self, Seen};
use weir_tests::websocket::{WebSocketClient, WebSocketServer};
use weir_tests::world::{N2, Pod};
use weir_tests::{nginx, wait};

use crate::count::{Counter, FAILED};
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
    Case { name: "http: tls: a server whose certificate caCrl revokes is not asked", check: Check::Http(revoked) },
    Case {
        name: "http: tls: a connection without HTTP is put into TLS as the DestinationRule says, or refused",
        check: Check::Http(without_http),
    },
    Case {
        name: "http: tls: WebSockets reach a server outside by TLS, in HTTP/1 also where requests go by HTTP/2",
        check: Check::Http(websockets),
    },
];

const HOST: &str = "api.tls.example";
/// The port of the server that declares TCP.
const TCP_PORT: u16 = 9443;
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
             ports: [{{number: 80, name: http, protocol: HTTP, targetPort: {port}}}, {{number: {TCP_PORT}, name: tcp, protocol: TCP, \
             targetPort: {port}}}]\n",
            server.ipv4(),
            port = nginx::TLS_PORT,
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
    let showing = |folder: &Path| {
        let (chain, key) = (folder.join("client.pem"), folder.join("client.key"));
        outside.rule(&format!(
            "tls: {{mode: MUTUAL, caCertificates: {ca}, clientCertificate: {}, privateKey: {}}}",
            chain.display(),
            key.display()
        ))
    };
    let (shown, agent) = (mesh.destination_tls(), mesh.agent_of(&mesh.client));
    {
        let _mutual = showing(&shown)?;
        outside.comes_to("its files are missing", HOST, 503, "upstream connect error")?;
        let told = agent.weir(&["status", "--config"])?;
        let chain = shown.join("client.pem");
        let missing = format!("spec.trafficPolicy.tls: clientCertificate {}: No such file", chain.display());
        ensure!(
            told.stdout.contains("DestinationRule shop/tls\n") && told.stdout.contains(&missing),
            "{}",
            told.summary()
        );
        clients.write(Presented::DnsName("client.example"), &shown, "client")?;
        outside.comes_to("its files are there", HOST, 200, &format!("{HOST} HTTP/1.1 SUCCESS GET /x"))?;
        let told = agent.weir(&["status", "--config"])?;
        ensure!(!told.stdout.contains("clientCertificate"), "{}", told.summary());
    }
    // A key that is not there to be shown, such as one of another pod.
    clients.write(Presented::DnsName("client.example"), &folder, "client")?;
    let _foreign = showing(&folder)?;
    outside.comes_to("its files are another's", HOST, 503, "upstream connect error")?;
    let why = "where --destination-tls-dir has what servers may be shown";
    let told = agent.weir(&["status", "--config"])?;
    ensure!(told.stdout.contains(why), "{}", told.summary());
    wait::until("the reason is told", DELIVERED, || {
        let log = agent.tail();
        ensure!(log.contains(why), "{log}");
        Ok(())
    })
}

fn without_http(mesh: &HttpMesh) -> Result<()> {
    let folder = mesh.world.run().folder().join("tls-tcp");
    let ((servers, ca), (_, other)) = (authority(&folder, "ca")?, authority(&folder, "other")?);
    let server = mesh.world.nodes[N2].pod("tls-tcp")?;
    let own = servers.write(Presented::DnsName(HOST), &folder, "server")?;
    let _nginx = nginx::serve_tls(&server.place, mesh.world.run(), &own, None)?;
    let outside = Outside::new(mesh, &server, "10.97.9.4")?;
    let (ca, other) = (ca.display(), other.display());
    // To the agent these are bytes: the port declares TCP.
    let send = || test_app::probe(&mesh.client.place, outside.vip.parse()?, TCP_PORT, "GET /x HTTP/1.0\r\n\r\n");
    let comes_to = |what: &str, meets: &dyn Fn(&Seen) -> bool| {
        wait::until(what, DELIVERED, || {
            let seen = send()?;
            ensure!(meets(&seen), "{seen:?}");
            Ok(())
        })
        .with_context(|| mesh.logs())
    };
    let is_plaintext = |seen: &Seen| seen.received.starts_with("HTTP/1.1 400 ");
    comes_to("without a rule nginx gets plaintext", &is_plaintext)?;
    {
        let _rule = outside.rule(&format!("tls: {{mode: SIMPLE, caCertificates: {ca}}}"))?;
        let served = format!("{HOST} HTTP/1.0 NONE GET /x");
        comes_to("the service's name is asked for", &|seen| seen.received.ends_with(&served) && seen.end == "eof")?;
    }
    let labels = [("reporter", "source"), ("destination_service", HOST), ("response_flags", "TLS_FAILURE")];
    for (what, policy) in [
        ("another authority", format!("mode: SIMPLE, caCertificates: {other}")),
        ("a file that is missing", "mode: SIMPLE, caCertificates: /nowhere/ca.pem".to_owned()),
        ("a Secret", format!("mode: SIMPLE, caCertificates: {ca}, credentialName: secret")),
    ] {
        comes_to("without a rule nginx gets plaintext", &is_plaintext)?;
        let _rule = outside.rule(&format!("tls: {{{policy}}}"))?;
        comes_to(what, &Seen::refused)?;
        let counted = Counter::of(mesh.agent_of(&mesh.client), FAILED, &labels)?;
        ensure!(send()?.refused(), "{what}");
        counted.grows_by(1.0)?;
    }
    Ok(())
}

fn revoked(mesh: &HttpMesh) -> Result<()> {
    let folder = mesh.world.run().folder().join("tls-revoked");
    let (servers, ca) = authority(&folder, "ca")?;
    let server = mesh.world.nodes[N2].pod("tls-revoked")?;
    let own = servers.write(Presented::DnsName(HOST), &folder, "server")?;
    let _nginx = nginx::serve_tls(&server.place, mesh.world.run(), &own, None)?;
    let outside = Outside::new(mesh, &server, "10.97.9.3")?;
    let (ca, list) = (ca.display(), folder.join("list.pem"));
    fs::write(&list, servers.revocation_list(&[])?)?;
    // Connections that are open are not verified again.
    let limits = "connectionPool: {http: {maxRequestsPerConnection: 1}}";
    let tls = format!("tls: {{mode: SIMPLE, caCertificates: {ca}, caCrl: {}}}", list.display());
    let _rule = outside.rule(&format!("{tls}, {limits}"))?;
    outside.comes_to("no certificate is revoked", HOST, 200, HOST)?;
    let serial = serial_of(&fs::read_to_string(&own.chain)?)?;
    fs::write(&list, servers.revocation_list(&[serial])?)?;
    outside.comes_to("the certificate is revoked", HOST, 503, "")?;
    let answer = outside.ask(HOST)?;
    ensure!(answer.body.contains("CERTIFICATE_VERIFY_FAILED"), "{answer:?}");
    Ok(())
}

fn websockets(mesh: &HttpMesh) -> Result<()> {
    let folder = mesh.world.run().folder().join("tls-sockets");
    let (servers, ca) = authority(&folder, "ca")?;
    let server = mesh.world.nodes[N2].pod("tls-sockets")?;
    let own = servers.write(Presented::DnsName(HOST), &folder, "server")?;
    let sockets = WebSocketServer::start(&server.place, mesh.world.run(), nginx::TLS_PORT, Some(&own))?;
    let outside = Outside::new(mesh, &server, "10.97.9.5")?;
    let client = WebSocketClient::new(&mesh.client.place, SocketAddr::new(outside.vip.parse()?, 80), HOST);
    let tls = format!("tls: {{mode: SIMPLE, caCertificates: {}}}", ca.display());
    {
        let _rule = outside.rule(&tls)?;
        outside.comes_to("the server wants another protocol", HOST, 426, "Failed to open a WebSocket connection")?;
        sockets.serves(&client)?;
    }
    // It would rather speak HTTP/2, and cannot.
    let _rule = outside.rule(&format!("{tls}, connectionPool: {{http: {{h2UpgradePolicy: UPGRADE}}}}"))?;
    outside.comes_to("requests go by HTTP/2", HOST, 502, "")?;
    sockets.serves(&client)
}
