//! A program whose very first act is to dial: what a pod does that must be in the mesh before its first instruction.
//! Deliberately without a runtime, and without reading its arguments by anything that takes time.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;

use crate::report::name;

/// Pause between two attempts.
const PAUSE: Duration = Duration::from_millis(1);
/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(5);
const TOKEN: [u8; 8] = *b"dialling";

#[derive(Debug, Args)]
pub(crate) struct Dial {
    /// An echo.
    address: SocketAddr,
    /// Seconds after which it gives up.
    #[arg(long, default_value_t = 60)]
    patience: u64,
    /// Go on running afterwards, as a pod of a Deployment must.
    #[arg(long)]
    stay: bool,
}

/// Dials until the echo answers, and tells after how many milliseconds since `start` that was, and what went wrong before.
pub(crate) fn run(dial: &Dial, start: Instant) -> Result<()> {
    let began = SystemTime::now() - start.elapsed();
    let (mut errors, mut first_error) = (BTreeMap::<String, u64>::new(), None);
    let local = loop {
        match attempt(dial.address) {
            Ok(local) => break Some(local),
            Err(error) => {
                let error = name(&error);
                first_error.get_or_insert_with(|| error.clone());
                *errors.entry(error).or_default() += 1;
            }
        }
        if start.elapsed() >= Duration::from_secs(dial.patience) {
            break None;
        }
        std::thread::sleep(PAUSE);
    };
    let ms = start.elapsed().as_secs_f64() * 1000.0;
    let began_ms = began.duration_since(UNIX_EPOCH).context("the clock is before 1970")?.as_millis();
    println!(
        "{}",
        json!({
            "ok": local.is_some(), "ms": ms, "local": local.map(|local| local.to_string()),
            "errors": errors, "first_error": first_error, "began_unix_ms": u64::try_from(began_ms)?,
        })
    );
    if dial.stay {
        loop {
            std::thread::park();
        }
    }
    Ok(())
}

fn attempt(address: SocketAddr) -> io::Result<SocketAddr> {
    let mut stream = TcpStream::connect_timeout(&address, ATTEMPT)?;
    stream.set_read_timeout(Some(ATTEMPT))?;
    stream.write_all(&TOKEN)?;
    let mut answer = [0; TOKEN.len()];
    stream.read_exact(&mut answer)?;
    if answer != TOKEN {
        return Err(io::ErrorKind::InvalidData.into());
    }
    stream.local_addr()
}
