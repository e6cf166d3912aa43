//! Connections that are open while something happens to what carries them: each has echoed before, and must echo much
//! more and end cleanly afterwards.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use weir_tests::agent::binary;
use weir_tests::program::Program;
use weir_tests::test_app::{ECHO, SINK, SOURCE};
use weir_tests::wait;

use super::setup::Way;

/// Echoes, waits for a signal, echoes a lot, ends its side and waits for the end of the other.
const CLIENT: &str = "\
import signal,socket,sys
signal.pthread_sigmask(signal.SIG_BLOCK,[signal.SIGUSR1])
def echo(s,text):
  s.sendall(text); got=b''
  while len(got)<len(text):
    part=s.recv(65536)
    if not part: raise SystemExit('it ended early')
    got+=part
  assert got==text,'other bytes came back'
held=[socket.create_connection((sys.argv[1],int(sys.argv[2])),20) for _ in range(int(sys.argv[3]))]
for s in held: echo(s,b'before')
print('open',flush=True)
signal.sigwait([signal.SIGUSR1])
for s in held: echo(s,b'after '*10000)
for s in held:
  s.shutdown(socket.SHUT_WR)
  assert s.recv(1)==b'','bytes after the end'
print('finished',flush=True)
";

/// Idle connections, and two that are busy: one in each direction.
#[derive(Debug)]
pub(super) struct Held {
    idle: Program,
    busy: [Program; 2],
}

impl Held {
    /// Opens idle connections, and two that move so many bytes each.
    pub(super) fn open(way: Way<'_>, idle: u32, bytes: u64) -> Result<Self> {
        let echo = way.to(ECHO);
        let (ip, port, count) = (echo.ip().to_string(), echo.port().to_string(), idle.to_string());
        let idle = way.client.spawn(&["python3", "-c", CLIENT, &ip, &port, &count])?;
        let app = binary("weir-test-app")?.display().to_string();
        let busy =
            |act: &str, port: u16| way.client.spawn(&[&*app, act, &way.to(port).to_string(), &bytes.to_string()]);
        let busy = [busy("upload", SINK)?, busy("fetch", SOURCE)?];
        wait::until("connections are open", Duration::from_secs(60), || {
            ensure!(idle.stdout().starts_with("open"), "{}{}", idle.stdout(), idle.stderr());
            Ok(())
        })?;
        Ok(Self { idle, busy })
    }

    /// True while a busy connection is under way.
    pub(super) fn is_busy(&mut self) -> bool {
        self.busy.iter_mut().any(Program::is_running)
    }

    /// All of them go on and end well.
    pub(super) fn finish(self) -> Result<()> {
        self.idle.signal(Signal::SIGUSR1)?;
        let idle = self.idle.finish(Duration::from_secs(30))?;
        ensure!(idle.success && idle.stdout.ends_with("finished\n"), "idle connections: {}", idle.summary());
        for busy in self.busy {
            let output = busy.finish(Duration::from_secs(120)).context("a busy connection")?;
            ensure!(
                output.success && output.stdout.contains("\"exact\":true"),
                "a busy connection: {}",
                output.summary()
            );
        }
        Ok(())
    }
}
