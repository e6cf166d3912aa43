//! A pair of HAProxys in the places of Weir's agents, as sidecars would be: bytes in `mode tcp`, requests in `mode http`, and mutual TLS
//! between them, one thread each. Everything else is HAProxy's default. Each asks the other for a certificate of the same
//! authority; which SPIFFE id that has, HAProxy does not check.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Result;
use weir_tests::certificates::CertificateFiles;
use weir_tests::program::Program;
use weir_tests::world::Pod;

use crate::identities::Identities;
use crate::pair::{self, Carried, Way};
use crate::subject::Subject;
use crate::testbed::Testbed;

/// Where Debian has it.
const PROGRAM: &str = "/usr/sbin/haproxy";

/// Twice as many descriptors are less than a machine may allow a process.
const MAX_CONNECTIONS: u32 = 9_000;

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
    let ways = pair::ways(testbed, pair::HAPROXY);
    for Way { first: listen, second: middle, server, carried } in ways {
        let (mode, alpn, plain) = match carried {
            Carried::Bytes => ("tcp", "", ""),
            Carried::Http1 => ("http", " alpn http/1.1", ""),
            Carried::Http2 => ("http", " alpn h2", " proto h2"),
        };
        let _ = write!(
            first,
            "listen port-{}\n  mode {mode}\n  bind {listen}{plain}\n  server next {middle} {client_tls}{alpn}\n",
            listen.port()
        );
        let _ = write!(
            second,
            "listen port-{}\n  mode {mode}\n  bind {middle} {server_tls}{alpn}\n  server next {server}{plain}\n",
            middle.port()
        );
    }
    let second = run(far, &folder, &second, ways.map(|way| way.second))?;
    let first = run(client, &folder, &first, ways.map(|way| way.first))?;
    Ok(pair::subject("haproxy", testbed, ways, first, second))
}

fn global() -> String {
    format!(
        "global\n  nbthread 1\n  maxconn {MAX_CONNECTIONS}\ndefaults\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n"
    )
}

fn run(pod: &Pod, folder: &Path, configuration: &str, listens: [SocketAddr; 4]) -> Result<Program> {
    let file: PathBuf = folder.join(format!("{}.cfg", pod.name()));
    fs::write(&file, configuration)?;
    let mut program = pod.place.spawn(&[PROGRAM, "-db", "-f", &file.display().to_string()])?;
    for address in listens {
        program.listens_on(address.port())?;
    }
    Ok(program)
}
