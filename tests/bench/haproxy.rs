//! A pair of HAProxys in the places of Weir's agents, as sidecars would be: bytes in `mode tcp`, requests in `mode http`, and mutual TLS
//! between them, one thread each. Everything else is HAProxy's default. Each asks the other for a certificate of the same
//! authority; which SPIFFE id that has, HAProxy does not check.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use weir_tests::certificates::CertificateFiles;
use weir_tests::program::Program;
use weir_tests::world::Pod;

use crate::identities::Identities;
use crate::subject::{Proxies, Subject, address};
use crate::testbed::{Dial, GRPC, HTTP, IPERF, Routed, Testbed};

/// Where Debian has it.
const PROGRAM: &str = "/usr/sbin/haproxy";

/// The second HAProxy's ports are the server's with this added, the first one's with twice this.
const APART: u16 = 1_000;
/// What is added to a port where requests are read, so that it differs from the one where connections are carried.
const ROUTED: u16 = 5;
/// Twice as many descriptors are less than a machine may allow a process.
const MAX_CONNECTIONS: u32 = 9_000;

/// Port of the server, what is added to it at both HAProxys, how it is carried, and by which protocol of HTTP.
const WAYS: [(u16, u16, &str, Option<&str>); 4] = [
    (HTTP, 0, "tcp", None),
    (IPERF, 0, "tcp", None),
    (HTTP, ROUTED, "http", Some("http/1.1")),
    (GRPC, ROUTED, "http", Some("h2")),
];

/// Whether the program is there.
pub(crate) fn is_installed() -> bool {
    Path::new(PROGRAM).exists()
}

/// Starts the pair.
pub(crate) fn start(testbed: &Testbed) -> Result<Subject> {
    let folder = testbed.world.run().folder().join("haproxy");
    let ids = Identities::write(&folder)?;
    let (client, far) = (&testbed.client, &testbed.far);
    let tls = |own: &CertificateFiles, name: &str| -> Result<String> {
        let both = folder.join(format!("{name}-both.pem"));
        fs::write(&both, [fs::read(&own.chain)?, fs::read(&own.key)?].concat())?;
        Ok(format!("ssl crt {} ca-file {} verify required", both.display(), ids.root.display()))
    };
    let (server_tls, client_tls) = (tls(&ids.server, "server")?, tls(&ids.client, "client")?);
    let [mut first, mut second] = [global(), global()];
    for (port, more, mode, http) in WAYS {
        let [listen, middle, target] =
            [address(client, port + more + 2 * APART), address(far, port + more + APART), address(far, port)];
        let (alpn, plain) = (
            http.map(|protocol| format!(" alpn {protocol}")).unwrap_or_default(),
            http.filter(|protocol| *protocol == "h2").map(|_| " proto h2").unwrap_or_default(),
        );
        let _ = write!(
            first,
            "listen port-{}\n  mode {mode}\n  bind {listen}{plain}\n  server next {middle} {client_tls}{alpn}\n",
            listen.port()
        );
        let _ = write!(
            second,
            "listen port-{}\n  mode {mode}\n  bind {middle} {server_tls}{alpn}\n  server next {target}{plain}\n",
            middle.port()
        );
    }
    let second = run(far, &folder, &second, APART)?;
    let first = run(client, &folder, &first, 2 * APART)?;
    let [http, iperf, routed, grpc] = WAYS.map(|(port, more, ..)| address(client, port + more + 2 * APART));
    let proxies = Proxies::Processes(vec![vec![first.id()], vec![second.id()]]);
    let subject = Subject::across("haproxy", testbed, Dial { http, iperf }, proxies);
    Ok(subject.routing(Routed { http: routed, grpc }).keeping([first, second]))
}

fn global() -> String {
    format!(
        "global\n  nbthread 1\n  maxconn {MAX_CONNECTIONS}\ndefaults\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n"
    )
}

fn run(pod: &Pod, folder: &Path, configuration: &str, apart: u16) -> Result<Program> {
    let file: PathBuf = folder.join(format!("{}.cfg", pod.name()));
    fs::write(&file, configuration)?;
    let mut program = pod.place.spawn(&[PROGRAM, "-db", "-f", &file.display().to_string()])?;
    for (port, more, ..) in WAYS {
        program.listens_on(port + more + apart)?;
    }
    Ok(program)
}
