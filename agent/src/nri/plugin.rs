//! One connection to the container runtime: registers, says which events are of interest, and has each answered beside the
//! others. Decides nothing about pods.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use prost::Message as _;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::messages::{
    ConfigureRequest, ConfigureResponse, Event, PLUGIN_SERVICE, PodRequest, PodSandbox, REGISTER, RUNTIME_SERVICE,
    RegisterPluginRequest, StateChangeEvent, SynchronizeRequest, SynchronizeResponse,
};
use super::mux::{self, PLUGIN, RUNTIME};
use super::ttrpc::{self, Code, Message, Request, WireError};

/// The name by which the container runtime lists us, and our place among its plugins: after those that change pods.
const NAME: &str = "weir";
const INDEX: &str = "90";
/// How long the container runtime may take until it has taken us in: it finishes pods that are under way first.
const TAKING_IN: Duration = Duration::from_secs(30);
/// How long it may take to read what we write.
const WRITING: Duration = Duration::from_secs(5);
/// Requests that are answered at once; more are not read meanwhile. Container runtimes ask one by one.
const MAX_REQUESTS: usize = 64;
/// How long a request may take where the container runtime does not say: its own default.
const REQUEST: Duration = Duration::from_secs(2);

/// Why the agent is no plugin.
#[derive(Debug, thiserror::Error)]
pub enum NriError {
    #[error("{0}")]
    Socket(#[from] io::Error),
    #[error("the container runtime sends {0}")]
    Wire(#[from] WireError),
    #[error("the container runtime refuses the plugin: {0}")]
    Refused(String),
    #[error("the container runtime did not take the plugin in within {} s", .0.as_secs())]
    Silent(Duration),
    #[error("the container runtime closed the connection")]
    Closed,
}

/// What a request comes to: a payload, or why there is none.
type RequestResult = Result<Vec<u8>, (Code, String)>;

/// What is to be done about a request.
enum Task<F> {
    Respond(RequestResult),
    Answer(F),
}

/// Serves one connection until it ends, or until `stop` has resolved and nothing is under way; only that is well.
/// `answer` is asked about pods, with the time that it has; an error makes the container runtime give the pod up.
/// `connected` hears the container runtime's name once it has taken the plugin in.
pub(super) async fn converse<S, A, F>(
    stream: S,
    answer: A,
    connected: impl FnMut(&str),
    stop: impl Future<Output = ()>,
) -> Result<(), NriError>
where
    S: AsyncRead + AsyncWrite + Send,
    A: Fn(Event, PodSandbox, Duration) -> F,
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    let (mut reading, mut writing) = tokio::io::split(stream);
    send(&mut writing, RUNTIME, &ttrpc::request(1, &registration())).await?;
    let mut plugin = Plugin { answer, connected, runtime: String::new(), timeout: REQUEST, is_taken: false };
    let mut wires = Wires::default();
    let mut under_way = JoinSet::new();
    let taking_in = Instant::now() + TAKING_IN;
    let mut is_stopping = false;
    tokio::pin!(stop);
    while !(is_stopping && under_way.is_empty()) {
        while under_way.len() < MAX_REQUESTS {
            let Some(message) = wires.next()? else { break };
            let Some((stream, task)) = plugin.take(message)? else { continue };
            match task {
                Task::Respond(outcome) => send(&mut writing, PLUGIN, &ttrpc::response(stream, outcome)).await?,
                Task::Answer(answer) => drop(under_way.spawn(async move { (stream, answer.await) })),
            }
        }
        tokio::select! {
            read = reading.read_buf(&mut wires.trunk), if under_way.len() < MAX_REQUESTS => {
                if read? == 0 {
                    return Err(NriError::Closed);
                }
            }
            Some(answered) = under_way.join_next() => {
                let Ok((stream, answer)) = answered else { continue };
                let outcome = answer.map(|()| Vec::new()).map_err(|reason| (Code::FailedPrecondition, reason));
                send(&mut writing, PLUGIN, &ttrpc::response(stream, outcome)).await?;
            }
            () = tokio::time::sleep_until(taking_in), if !plugin.is_taken => return Err(NriError::Silent(TAKING_IN)),
            () = &mut stop, if !is_stopping => is_stopping = true,
        }
    }
    Ok(())
}

fn registration() -> Request {
    let registration = RegisterPluginRequest { plugin_name: NAME.to_owned(), plugin_idx: INDEX.to_owned() };
    Request {
        service: RUNTIME_SERVICE.to_owned(),
        method: REGISTER.to_owned(),
        payload: registration.encode_to_vec().into(),
        timeout_nano: i64::try_from(TAKING_IN.as_nanos()).unwrap_or(i64::MAX),
    }
}

async fn send(writing: &mut (impl AsyncWrite + Unpin), connection: u32, message: &[u8]) -> Result<(), NriError> {
    let piece = mux::piece(connection, message);
    match tokio::time::timeout(WRITING, writing.write_all(&piece)).await {
        Ok(written) => Ok(written?),
        Err(_) => Err(NriError::Socket(io::ErrorKind::TimedOut.into())),
    }
}

/// What was read and not taken yet. At most a message and a piece of each connection.
#[derive(Debug, Default)]
struct Wires {
    trunk: BytesMut,
    plugin: BytesMut,
    runtime: BytesMut,
}

impl Wires {
    fn next(&mut self) -> Result<Option<Message>, WireError> {
        loop {
            for connection in [&mut self.plugin, &mut self.runtime] {
                if let Some(message) = ttrpc::take(connection)? {
                    return Ok(Some(message));
                }
            }
            let Some(piece) = mux::take(&mut self.trunk)? else { return Ok(None) };
            match piece.connection {
                PLUGIN => self.plugin.extend_from_slice(&piece.bytes),
                RUNTIME => self.runtime.extend_from_slice(&piece.bytes),
                // Kept for what may come; nobody listens there.
                _ => {}
            }
        }
    }
}

struct Plugin<A, C> {
    answer: A,
    connected: C,
    runtime: String,
    /// How long a request may take that does not say so itself.
    timeout: Duration,
    /// It has received the list of all pods, and is asked about new ones from now on.
    is_taken: bool,
}

impl<A, C, F> Plugin<A, C>
where
    A: Fn(Event, PodSandbox, Duration) -> F,
    C: FnMut(&str),
{
    /// What a message asks for, and the stream that the response goes to.
    fn take(&mut self, message: Message) -> Result<Option<(u32, Task<F>)>, NriError> {
        match message {
            Message::Request(stream, request) => {
                let task = self.request(&request).unwrap_or_else(|source| {
                    let reason = format!("{} is malformed: {source}", request.method);
                    Task::Respond(Err((Code::InvalidArgument, reason)))
                });
                Ok(Some((stream, task)))
            }
            // The only thing that we ask for is to be registered.
            Message::Response(_, response) => match response.status.filter(|status| status.code != 0) {
                Some(status) => Err(NriError::Refused(status.message)),
                None => Ok(None),
            },
            Message::Other(_) => Ok(None),
        }
    }

    fn request(&mut self, request: &Request) -> Result<Task<F>, prost::DecodeError> {
        let payload = request.payload.clone();
        let done = |payload| Ok(Task::Respond(Ok(payload)));
        if request.service != PLUGIN_SERVICE {
            return Ok(unimplemented(&request.service));
        }
        match request.method.as_str() {
            "Configure" => {
                let request = ConfigureRequest::decode(payload)?;
                self.runtime = format!("{} {}", request.runtime_name, request.runtime_version);
                if let Ok(milliseconds @ 1..) = u64::try_from(request.request_timeout) {
                    self.timeout = Duration::from_millis(milliseconds);
                }
                done(ConfigureResponse { events: Event::subscription() }.encode_to_vec())
            }
            "Synchronize" => {
                let more = SynchronizeRequest::decode(payload)?.more;
                if !more {
                    self.is_taken = true;
                    (self.connected)(&self.runtime);
                }
                done(SynchronizeResponse { more }.encode_to_vec())
            }
            "StateChange" => {
                let change = StateChangeEvent::decode(payload)?;
                match Event::of_number(change.event) {
                    Some(event) => Ok(self.ask(event, change.pod, request)),
                    None => done(Vec::new()),
                }
            }
            // It goes; the connection ends by itself.
            "Shutdown" => done(Vec::new()),
            method => match Event::of_method(method) {
                Some(event) => Ok(self.ask(event, PodRequest::decode(payload)?.pod, request)),
                None => Ok(unimplemented(method)),
            },
        }
    }

    fn ask(&self, event: Event, pod: Option<PodSandbox>, request: &Request) -> Task<F> {
        let timeout = match u64::try_from(request.timeout_nano) {
            Ok(nanos @ 1..) => Duration::from_nanos(nanos),
            _ => self.timeout,
        };
        Task::Answer((self.answer)(event, pod.unwrap_or_default(), timeout))
    }
}

fn unimplemented<F>(what: &str) -> Task<F> {
    Task::Respond(Err((Code::Unimplemented, format!("{what} is not known here"))))
}

#[cfg(test)]
mod tests;
