//! The answers of `http-echo`: what was received, as JSON, or what the request asks for instead.

use std::io;
use std::io::Write as _;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

use super::script::{Script, Step};
use super::shared::Shared;
use super::wishes::{Reset, Wishes};
use crate::pattern::Pattern;
use crate::report::shown;

/// The most of a request's body that a gRPC answer returns.
const RETURNED_BYTES: usize = 64 * 1024;
/// Part of the body that is sent before a connection is reset midway, and the time it has to get away.
const BEFORE_RESET_BYTES: u64 = 1000;
const BEFORE_RESET: Duration = Duration::from_millis(20);
/// Protocol to which a connection can be upgraded: every byte comes back.
const UPGRADED: &str = "echo";

/// One connection of a client.
#[derive(Debug)]
pub(super) struct Connection {
    shared: Arc<Shared>,
    number: u64,
    peer: SocketAddr,
    /// The socket, for what hyper does not do.
    socket: TcpStream,
    requests: AtomicU64,
    /// Told when the server is to end the connection once what is under way is answered.
    leaves: Notify,
}

/// A request's body, once it is read.
#[derive(Debug, Default)]
struct Received {
    bytes: u64,
    /// Every byte was the pattern's.
    is_pattern: bool,
    first: Vec<u8>,
    trailers: HeaderMap,
}

impl Connection {
    pub(super) fn new(shared: Arc<Shared>, number: u64, peer: SocketAddr, socket: TcpStream) -> Self {
        Self { shared, number, peer, socket, requests: AtomicU64::new(0), leaves: Notify::new() }
    }

    /// Ready once the server is to leave.
    pub(super) async fn leaves(&self) {
        self.leaves.notified().await;
    }

    /// Answers a request. An error ends its connection, or its stream.
    pub(super) async fn answer(self: Arc<Self>, mut request: Request<Incoming>) -> io::Result<Response<Script>> {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let field = request.headers().get("x-echo").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let wishes = match Wishes::parse(&query, field, &self.shared.pod) {
            Ok(wishes) => wishes,
            Err(why) => return Ok(plain(StatusCode::BAD_REQUEST, why)),
        };
        let key = wishes.key.clone().unwrap_or_else(|| request.uri().path().to_owned());
        if request.uri().path() == "/_count" {
            return Ok(plain(StatusCode::OK, json!({ "count": self.shared.count(&key) }).to_string()));
        }
        let arrival = self.shared.arrives(&key);
        if let Some(once) = &wishes.once {
            println!("arrived {once}");
        }
        if wishes.leaves {
            self.leaves.notify_one();
        }
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let is_upgrade = request.headers().get(UPGRADE).is_some_and(|protocol| protocol == UPGRADED);
        if is_upgrade || request.method() == Method::CONNECT {
            return Ok(self.upgrade(&mut request));
        }
        if wishes.is_live {
            return Ok(self.live(request, &wishes, number));
        }
        let received = match wishes.leaves_unread {
            true => Received::default(),
            false => read(request.body_mut(), Pattern::at(wishes.from)).await?,
        };
        tokio::time::sleep(wishes.delay).await;
        if wishes.reset.is_some() && request.version() < Version::HTTP_2 {
            SockRef::from(&self.socket).set_linger(Some(Duration::ZERO))?;
        }
        if wishes.reset == Some(Reset::Before) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if let Some(status) = wishes.interim.filter(|_| request.version() < Version::HTTP_2) {
            let interim = format!("HTTP/1.1 {status} Interim\r\nlink: </style.css>; rel=preload\r\n\r\n");
            (&self.socket).write_all(interim.as_bytes())?;
        }
        if let Some(after) = wishes.idle_close {
            tokio::spawn(self.clone().close_after(after, number));
        }
        let told = self.told(&request, &received, number);
        let mut response = Response::new(body(&wishes, &told, &request, &received));
        *response.status_mut() = StatusCode::from_u16(wishes.status_of(arrival)).map_err(io::Error::other)?;
        self.fill_head(response.headers_mut(), &wishes, &request, number);
        Ok(response)
    }

    fn told(&self, request: &Request<Incoming>, received: &Received, number: u64) -> Value {
        let pairs = |fields: &HeaderMap| -> Vec<[String; 2]> {
            let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
            fields.iter().map(|(name, value)| [name.as_str().to_owned(), text(value)]).collect()
        };
        let uri = request.uri();
        let host = uri.authority().map(|authority| authority.as_str().to_owned()).or_else(|| {
            request.headers().get("host").map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned())
        });
        json!({
            "pod": self.shared.pod, "method": request.method().as_str(),
            "target": uri.path_and_query().map_or(uri.path(), |target| target.as_str()), "host": host,
            "version": format!("{:?}", request.version()), "headers": pairs(request.headers()),
            "trailers": pairs(&received.trailers), "body_bytes": received.bytes, "body_exact": received.is_pattern,
            "peer": shown(self.peer), "connection": self.number, "request": number,
        })
    }

    /// Sends back what comes, while it comes.
    fn live(&self, request: Request<Incoming>, wishes: &Wishes, number: u64) -> Response<Script> {
        let (head, body) = request.into_parts();
        let request = Request::from_parts(head, ());
        let trailers = trailers(wishes, is_grpc(&request)).map(Step::Trailers);
        let mut response = Response::new(Script::new([Some(Step::Live(body)), trailers].into_iter().flatten()));
        self.fill_head(response.headers_mut(), wishes, &request, number);
        response
    }

    fn fill_head<B>(&self, fields: &mut HeaderMap, wishes: &Wishes, request: &Request<B>, number: u64) {
        let text = |value: &str| HeaderValue::from_str(value).expect("wishes are printable");
        fields.insert("x-pod", text(&self.shared.pod));
        fields.insert("x-connection", self.number.into());
        fields.insert("x-request", number.into());
        let kind = match (is_grpc(request), wishes.events, wishes.size) {
            (true, ..) => "application/grpc",
            (_, Some(_), _) => "text/event-stream",
            (.., Some(_)) => "application/x-pattern",
            _ => "application/json",
        };
        fields.insert(CONTENT_TYPE, text(kind));
        if wishes.has_trailers {
            fields.insert("trailer", text("x-checked"));
        }
        if wishes.closes && request.version() < Version::HTTP_2 {
            fields.insert(CONNECTION, text("close"));
        }
        for (name, value) in &wishes.fields {
            if let Ok(name) = HeaderName::from_bytes(name.as_bytes()) {
                fields.append(name, text(value));
            }
        }
    }

    /// Every byte after the head of this answer comes back, to an upgrade as to CONNECT.
    fn upgrade(&self, request: &mut Request<Incoming>) -> Response<Script> {
        let is_tunnel = request.method() == Method::CONNECT;
        let upgraded = hyper::upgrade::on(request);
        tokio::spawn(async move {
            let mut stream = TokioIo::new(upgraded.await.map_err(io::Error::other)?);
            let mut block = vec![0; 16 * 1024];
            loop {
                let length = stream.read(&mut block).await?;
                if length == 0 {
                    return stream.shutdown().await;
                }
                stream.write_all(&block[..length]).await?;
            }
        });
        let mut response = Response::new(Script::default());
        if !is_tunnel {
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            response.headers_mut().insert(UPGRADE, HeaderValue::from_static(UPGRADED));
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
        }
        response.headers_mut().insert("x-pod", HeaderValue::from_str(&self.shared.pod).expect("a name"));
        response
    }

    /// Closes the connection after a time without another request.
    async fn close_after(self: Arc<Self>, after: Duration, number: u64) {
        tokio::time::sleep(after).await;
        if self.requests.load(Ordering::Relaxed) == number {
            let _ = self.socket.shutdown(Shutdown::Both);
        }
    }
}

fn is_grpc<B>(request: &Request<B>) -> bool {
    request.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

async fn read(body: &mut Incoming, mut pattern: Pattern) -> io::Result<Received> {
    let (mut received, mut scratch) = (Received::default(), Vec::new());
    received.is_pattern = true;
    while let Some(frame) = body.frame().await {
        match frame.map_err(io::Error::other)?.into_data() {
            Ok(data) => {
                received.is_pattern &= pattern.matches(&data, &mut scratch);
                received.bytes += data.len() as u64;
                let wanted = RETURNED_BYTES.saturating_sub(received.first.len()).min(data.len());
                received.first.extend_from_slice(&data[..wanted]);
            }
            Err(frame) => received.trailers = frame.into_trailers().unwrap_or_default(),
        }
    }
    Ok(received)
}

fn body(wishes: &Wishes, told: &Value, request: &Request<Incoming>, received: &Received) -> Script {
    let mut steps = match (is_grpc(request), wishes.events, wishes.size) {
        // The messages that came, as they came.
        (true, ..) => vec![Step::Data(received.first.clone().into())],
        (_, Some(count), _) => {
            let event = |number| [Step::Data(format!("data: {number}\n\n").into()), Step::Pause(wishes.pause)];
            (1..=count).flat_map(event).collect()
        }
        (.., Some(size)) => vec![Step::Pattern(size)],
        _ => vec![Step::Data(Bytes::from(format!("{told}\n")))],
    };
    if wishes.reset == Some(Reset::Midway) {
        // Chunked, and the last chunk never comes.
        steps = vec![Step::Pattern(BEFORE_RESET_BYTES), Step::Pause(BEFORE_RESET), Step::Break];
    }
    steps.extend(trailers(wishes, is_grpc(request)).map(Step::Trailers));
    Script::new(steps).with_pattern_at(wishes.from)
}

/// What an answer ends with, if anything.
fn trailers(wishes: &Wishes, is_grpc: bool) -> Option<HeaderMap> {
    let mut trailers = HeaderMap::new();
    if wishes.has_trailers {
        trailers.insert("x-checked", HeaderValue::from_static("yes"));
    }
    if is_grpc {
        trailers.insert("grpc-status", wishes.grpc_status.into());
    }
    (!trailers.is_empty()).then_some(trailers)
}

fn plain(status: StatusCode, text: String) -> Response<Script> {
    let mut response = Response::new(Script::new([Step::Data(text.into())]));
    *response.status_mut() = status;
    response
}
