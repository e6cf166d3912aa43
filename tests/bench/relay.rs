//! The limit: two plain TCP relays in the places of Weir's agents. No TLS, no policy, no capture, no log, no framing; the
//! client dials the first, which dials the second, which dials the server. What a proxy pair cannot do faster.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream};
use weir_tests::program::Program;
use weir_tests::world::Pod;

use crate::subject::{Proxies, Subject, address};
use crate::testbed::{Dial, HTTP, IPERF, Testbed};

/// Bytes of buffer for each direction of a connection.
const BUFFER: usize = 64 * 1024;
/// The second relay's ports are the server's with this added, the first one's with twice this.
const APART: u16 = 10_000;

/// Listen here, dial there.
pub(crate) type Way = (SocketAddr, SocketAddr);

/// Reads `LISTEN=TARGET`.
pub(crate) fn parse_way(text: &str) -> Result<Way> {
    let (listen, target) = text.split_once('=').context("a way is LISTEN=TARGET")?;
    Ok((listen.parse()?, target.parse()?))
}

/// Relays until it is killed.
pub(crate) fn serve(ways: &[Way]) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        for (listen, target) in ways {
            tokio::spawn(accept(TcpListener::bind(listen).await?, *target));
        }
        std::future::pending().await
    })
}

async fn accept(listener: TcpListener, target: SocketAddr) {
    loop {
        if let Ok((client, _)) = listener.accept().await {
            tokio::spawn(relay(client, target));
        }
    }
}

async fn relay(mut client: TcpStream, target: SocketAddr) -> std::io::Result<()> {
    let mut server = TcpStream::connect(target).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    copy_bidirectional_with_sizes(&mut client, &mut server, BUFFER, BUFFER).await.map(drop)
}

/// Starts the pair where Weir's sockets would be: in the client's pod and in the server's pod.
pub(crate) fn start(testbed: &Testbed) -> Result<Subject> {
    let (client, far) = (&testbed.client, &testbed.far);
    let second = run(far, &[(HTTP, address(far, HTTP)), (IPERF, address(far, IPERF))], APART)?;
    let first = run(client, &[(HTTP, address(far, HTTP + APART)), (IPERF, address(far, IPERF + APART))], 2 * APART)?;
    let dial = Dial { http: address(client, HTTP + 2 * APART), iperf: address(client, IPERF + 2 * APART) };
    let proxies = Proxies::Processes(vec![vec![first.id()], vec![second.id()]]);
    Ok(Subject::across("relay", testbed, dial, proxies).keeping([first, second]))
}

fn run(pod: &Pod, ways: &[(u16, SocketAddr)], shift: u16) -> Result<Program> {
    let mut command = vec![std::env::current_exe()?.display().to_string(), "relay".to_owned()];
    command.extend(ways.iter().map(|(port, target)| format!("{}={target}", address(pod, port + shift))));
    let mut program = pod.place.spawn(&command)?;
    for (port, _) in ways {
        program.listens_on(port + shift)?;
    }
    Ok(program)
}
