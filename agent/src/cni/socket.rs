//! The socket that the CNI plugin comes to: one line in, one line out, each bounded in length and time. Knows no pods.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use weir_cni::wire::{Answer, MAX_LINE_BYTES, Request};

/// The socket's name, below the run directory.
pub const SOCKET_NAME: &str = "cni.sock";
/// Calls that are answered at once; more wait in the socket's backlog. A node starts its pods a few at a time.
const MAX_CALLS: usize = 64;
/// Time for the plugin to say its line, and to take the answer. It does nothing else.
const LINE_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest line, as readers count.
const LIMIT: u64 = MAX_LINE_BYTES as u64;
/// Pause after a failed accept(): it usually means that file descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Listens at a path, to which only root may connect. The path changes hands at once: whoever listened there before gets
/// no further calls, and there is no moment without a socket. Nobody removes the path: it may be a successor's by then,
/// and a socket without a listener refuses just as well.
///
/// # Errors
/// When the directory cannot be written.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    let instant = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    let new = path.with_extension(format!("{}-{instant}", std::process::id()));
    let bound = listen(&new).and_then(|listener| std::fs::rename(&new, path).map(|()| listener));
    if bound.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    bound
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Asks whoever listens at a path, as the plugin would.
///
/// # Errors
/// When nobody answers in time, or not with an answer.
pub async fn ask(path: &Path, request: &Request) -> io::Result<Answer> {
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    let asking = async {
        let mut stream = UnixStream::connect(path).await?;
        stream.write_all(&line).await?;
        let mut answer = Vec::new();
        BufReader::new(stream.take(LIMIT)).read_until(b'\n', &mut answer).await?;
        Ok(serde_json::from_slice(&answer)?)
    };
    tokio::time::timeout(LINE_TIMEOUT, asking).await?
}

/// Answers calls until `stop` resolves; calls that are under way then are answered still.
pub async fn serve<A, F>(listener: UnixListener, answer: A, stop: impl Future<Output = ()>)
where
    A: Fn(Request) -> F + Clone + Send + 'static,
    F: Future<Output = Answer> + Send,
{
    let places = Arc::new(Semaphore::new(MAX_CALLS));
    let accepting = async {
        loop {
            let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
            match listener.accept().await {
                Ok((stream, _)) => {
                    let answer = answer.clone();
                    tokio::spawn(async move {
                        if let Err(error) = converse(stream, answer).await {
                            tracing::debug!(%error, "a CNI call was not answered");
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a CNI call");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        () = accepting => {}
        () = stop => {}
    }
}

async fn converse<F: Future<Output = Answer>>(stream: UnixStream, answer: impl Fn(Request) -> F) -> io::Result<()> {
    let (reading, mut writing) = stream.into_split();
    let mut line = Vec::new();
    tokio::time::timeout(LINE_TIMEOUT, BufReader::new(reading.take(LIMIT)).read_until(b'\n', &mut line)).await??;
    let said = match parse(&line) {
        Ok(request) => answer(request).await,
        // The plugin may be of another release: it falls back on what it knows by itself.
        Err(reason) => Answer::Unknown { reason },
    };
    let mut line = serde_json::to_vec(&said)?;
    line.push(b'\n');
    tokio::time::timeout(LINE_TIMEOUT, writing.write_all(&line)).await?
}

fn parse(line: &[u8]) -> Result<Request, String> {
    if line.last() != Some(&b'\n') {
        return Err(format!("the request is no line of at most {MAX_LINE_BYTES} bytes"));
    }
    serde_json::from_slice(line).map_err(|error| format!("the request is not understood: {error}"))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use tokio::sync::Notify;

    use super::*;

    const ASK: &str = r#"{"command":"ADD","container":"c","namespace":"n","name":"p"}"#;

    async fn say(path: &Path, said: &[u8]) -> io::Result<Answer> {
        let mut stream = UnixStream::connect(path).await?;
        stream.write_all(said).await?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).await?;
        Ok(serde_json::from_str(&answer)?)
    }

    fn socket() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("cni.sock");
        (dir, path)
    }

    async fn enrolled(_: Request) -> Answer {
        Answer::Enrolled
    }

    #[tokio::test]
    async fn a_line_is_answered_by_a_line_and_nothing_else_is_heard() {
        let (_dir, path) = socket();
        tokio::spawn(serve(bind(&path).expect("bound"), enrolled, std::future::pending()));
        let mode = std::fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(say(&path, format!("{ASK}\n").as_bytes()).await.expect("answered"), Answer::Enrolled);
        let request = serde_json::from_str(ASK).expect("a request");
        assert_eq!(ask(&path, &request).await.expect("answered"), Answer::Enrolled);
        let long = vec![b' '; 2 * MAX_LINE_BYTES];
        for wrong in ["\n", "{}\n", "junk\n"] {
            let answer = say(&path, wrong.as_bytes()).await.expect("answered");
            assert!(matches!(answer, Answer::Unknown { .. }), "{wrong:?}: {answer:?}");
        }
        // It may hang up while we still write: it has read as much as it takes.
        assert!(!matches!(say(&path, &long).await, Ok(Answer::Enrolled)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_says_nothing_makes_room() {
        let (_dir, path) = socket();
        tokio::spawn(serve(bind(&path).expect("bound"), enrolled, std::future::pending()));
        let mut silent = Vec::new();
        for _ in 0..MAX_CALLS {
            silent.push(UnixStream::connect(&path).await.expect("room in the backlog"));
        }
        assert_eq!(say(&path, format!("{ASK}\n").as_bytes()).await.expect("answered"), Answer::Enrolled);
    }

    #[tokio::test]
    async fn the_path_passes_to_a_successor_and_calls_under_way_are_answered() {
        let (_dir, path) = socket();
        let [asked, go_on, stop] = [(); 3].map(|()| Arc::new(Notify::new()));
        let slowly = {
            let (asked, go_on) = (asked.clone(), go_on.clone());
            move |_| {
                let (asked, go_on) = (asked.clone(), go_on.clone());
                async move {
                    asked.notify_one();
                    go_on.notified().await;
                    Answer::NotForTheMesh
                }
            }
        };
        let told = stop.clone();
        let former = tokio::spawn(serve(bind(&path).expect("bound"), slowly, async move { told.notified().await }));
        let mut stream = UnixStream::connect(&path).await.expect("it listens");
        stream.write_all(format!("{ASK}\n").as_bytes()).await.expect("it listens");
        asked.notified().await;
        let listener = bind(&path).expect("bound again");
        tokio::spawn(serve(listener, enrolled, std::future::pending()));
        assert_eq!(say(&path, format!("{ASK}\n").as_bytes()).await.expect("answered"), Answer::Enrolled);
        stop.notify_one();
        go_on.notify_one();
        former.await.expect("it ends");
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).await.expect("answered");
        assert!(answer.contains("not-for-the-mesh"), "{answer:?}");
        assert_eq!(say(&path, format!("{ASK}\n").as_bytes()).await.expect("the path is still there"), Answer::Enrolled);
    }
}
