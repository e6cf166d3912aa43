//! Many connections that each carried a request and then stay open, so that their memory can be read.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_tests::place::Place;
use weir_tests::program::Program;
use weir_tests::wait;

use super::request::Connection;

/// What the client prints when all connections are open.
const HELD: &str = "held";
/// How long opening may take.
const WITHIN: Duration = Duration::from_secs(60);

/// Opens connections and holds them until the program is dropped.
pub(crate) fn start(from: &Place, to: SocketAddr, connections: u32) -> Result<Program> {
    let own = std::env::current_exe()?.display().to_string();
    let mut program = from.spawn(&[own, "hold".into(), to.to_string(), format!("--connections={connections}")])?;
    let held = wait::until("all connections are open", WITHIN, || {
        let running = program.is_running();
        if program.stdout().contains(HELD) {
            return Ok(true);
        }
        ensure!(!running, "not yet");
        Ok(false)
    });
    ensure!(held?, "{}", program.stderr().lines().next().unwrap_or("it ended"));
    Ok(program)
}

/// The client: opens, tells, waits to be killed.
pub(crate) fn client(to: SocketAddr, connections: u32) -> Result<()> {
    let mut open = Vec::new();
    for number in 0..connections {
        let mut connection = Connection::open(to).with_context(|| format!("connection {number}"))?;
        connection.ask().with_context(|| format!("connection {number}"))?;
        open.push(connection);
    }
    println!("{HELD}");
    loop {
        std::thread::park();
    }
}
