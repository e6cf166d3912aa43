//! The connection by which a worker asks.

use std::sync::Arc;
use std::time::SystemTime;

use hyper::body::Incoming;
use hyper::header::HOST;
use hyper::{Request, Response, Version};

use super::answer::Fault;
use super::content::Content;
use super::kind::Kind;
use crate::kept::Kept;

/// How often a request that was never sent, because its connection ended before, is sent over another one.
const TRIES: u32 = 5;

/// By which connection a worker asks, and for which authority.
pub(super) struct Way {
    pub(super) connection: Arc<Kept<Content>>,
    pub(super) is_http2: bool,
    pub(super) host: String,
    /// When the connection was opened over which it asked last.
    pub(super) since: Option<SystemTime>,
}

impl Way {
    /// Sends a request, and waits for the head of the answer.
    pub(super) async fn ask(
        &mut self,
        kind: Kind,
        target: &str,
        mut content: impl FnMut() -> Content,
    ) -> Result<Response<Incoming>, Fault> {
        for _ in 0..TRIES {
            self.since = None;
            let ready = self.connection.ready().await.map_err(|error| Fault::lost(format!("{error:#}")))?;
            self.since = Some(ready.since);
            match ready.send(self.request(kind, target, content())).await {
                Err(error) if error.is_canceled() => self.connection.give_up().await,
                sent => return Ok(sent?),
            }
        }
        Err(Fault::lost("no connection lasts until it is used"))
    }

    /// Leaves what it has asked for. Over HTTP/1 the connection goes with it.
    pub(super) async fn leave(&self) {
        if !self.is_http2 {
            self.connection.give_up().await;
        }
    }

    fn request(&self, kind: Kind, target: &str, content: Content) -> Request<Content> {
        let mut request = Request::builder().method(kind.method());
        request = if self.is_http2 {
            request.version(Version::HTTP_2).uri(format!("http://{}{target}", self.host))
        } else {
            request.uri(target).header(HOST, &self.host)
        };
        request = match kind {
            Kind::Pinned => request.header("x-pin", "yes"),
            Kind::Stream => request.header("content-type", "application/grpc").header("te", "trailers"),
            _ => request,
        };
        request.body(content).expect("targets and fields are valid")
    }
}
