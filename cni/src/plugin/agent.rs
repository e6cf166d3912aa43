//! Asks the node's agent: one connection, one line, one answer. An agent that is not there yet, or that does not know the
//! pod yet, is asked again until a limit.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use weir_cni::wire::{Answer, MAX_LINE_BYTES, Request};

/// Pauses between attempts: short while an agent is merely being replaced, then longer.
const PAUSES: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(250)];

/// Nobody said what is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Silence {
    /// No agent answered.
    NoAgent { waited: Duration, last: String },
    /// An agent answered that it does not know.
    Unknown { waited: Duration, reason: String },
}

/// Asks until the agent knows, or the limit is over.
///
/// # Errors
/// The silence, and what was seen last.
pub(crate) fn ask_until(socket: &Path, request: &Request, limit: Duration) -> Result<Answer, Silence> {
    let start = Instant::now();
    let mut pause = PAUSES[0];
    loop {
        let left = limit.saturating_sub(start.elapsed());
        let silence = match attempt(socket, request, left) {
            Ok(Answer::Unknown { reason }) => Silence::Unknown { waited: limit, reason },
            Ok(answer) => return Ok(answer),
            Err(error) => Silence::NoAgent { waited: limit, last: error.to_string() },
        };
        if start.elapsed() + pause >= limit {
            return Err(silence);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(PAUSES[1]);
    }
}

/// Asks once.
///
/// # Errors
/// The silence.
pub(crate) fn ask_once(socket: &Path, request: &Request, limit: Duration) -> Result<Answer, Silence> {
    attempt(socket, request, limit).map_err(|error| Silence::NoAgent { waited: limit, last: error.to_string() })
}

/// One attempt, in a thread of its own: connecting to a Unix socket whose backlog is full has no limit of its own.
fn attempt(socket: &Path, request: &Request, limit: Duration) -> io::Result<Answer> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let (socket, request) = (socket.to_owned(), request.clone());
    std::thread::Builder::new().spawn(move || {
        // Nobody listens any more once the limit is over.
        let _ = sender.send(converse(socket, &request));
    })?;
    match receiver.recv_timeout(limit) {
        Ok(answer) => answer,
        Err(RecvTimeoutError::Timeout) => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")),
        Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("the conversation broke off")),
    }
}

fn converse(socket: PathBuf, request: &Request) -> io::Result<Answer> {
    let mut stream = UnixStream::connect(socket)?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = Vec::new();
    let limit = u64::try_from(MAX_LINE_BYTES).expect("a few thousand");
    BufReader::new(stream.take(limit)).read_until(b'\n', &mut answer)?;
    if answer.last() != Some(&b'\n') {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the agent hung up"));
    }
    Ok(serde_json::from_slice(&answer)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use weir_cni::wire::Command;

    use super::*;

    fn request() -> Request {
        Request {
            command: Command::Add,
            container: "c".into(),
            netns: "/run/netns/a".into(),
            interface: "eth0".into(),
            namespace: "shop".into(),
            name: "web".into(),
            uid: "u".into(),
            addresses: Vec::new(),
        }
    }

    /// Answers each connection with the next of the lines.
    fn answering(listener: UnixListener, lines: Vec<&'static str>) {
        std::thread::spawn(move || {
            for line in lines {
                let (mut stream, _) = listener.accept().expect("a client");
                let mut asked = String::new();
                BufReader::new(&stream).read_line(&mut asked).expect("a line");
                assert_eq!(serde_json::from_str::<Request>(&asked).expect("a request"), request());
                stream.write_all(line.as_bytes()).expect("it listens");
            }
        });
    }

    #[test]
    fn an_agent_that_comes_and_learns_is_asked_until_it_knows() {
        let dir = tempfile::tempdir().expect("a directory");
        let socket = dir.path().join("cni.sock");
        let path = socket.clone();
        std::thread::spawn(move || {
            // A dead agent's socket file first, then a live one's.
            drop(UnixListener::bind(&path).expect("a socket"));
            std::fs::remove_file(&path).expect("it is there");
            let unknown = "{\"answer\":\"unknown\",\"reason\":\"not yet\"}\n";
            answering(
                UnixListener::bind(&path).expect("a socket"),
                vec!["", "junk\n", unknown, "{\"answer\":\"enrolled\"}\n"],
            );
        });
        assert_eq!(ask_until(&socket, &request(), Duration::from_secs(10)), Ok(Answer::Enrolled));
    }

    #[test]
    fn silence_ends_with_the_limit_and_says_what_was_seen() {
        let dir = tempfile::tempdir().expect("a directory");
        let socket = dir.path().join("cni.sock");
        let limit = Duration::from_millis(100);
        let said = |silence: Result<Answer, Silence>| match silence {
            Err(Silence::NoAgent { last, .. }) => last,
            other => panic!("{other:?}"),
        };
        assert!(said(ask_until(&socket, &request(), limit)).contains("No such file"));
        let listener = UnixListener::bind(&socket).expect("a socket");
        let start = Instant::now();
        assert_eq!(said(ask_until(&socket, &request(), limit)), "no answer in time");
        assert!(start.elapsed() < 20 * limit, "a listener that never answers held us {:?}", start.elapsed());
        drop(listener);
        assert!(said(ask_once(&socket, &request(), limit)).contains("refused"));
    }
}
