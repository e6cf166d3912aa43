//! What is known of a request when an external authorizer is asked about it.

use std::net::SocketAddr;
use std::time::SystemTime;

use crate::model::http::head::{HttpVersion, RequestHead};

/// The field that says whether the content that an authorizer is shown is only the beginning. Of a client it is not passed on.
pub(super) const PARTIAL_BODY: &str = "x-envoy-auth-partial-body";

/// A request, before it is decided about.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// As the application will get it.
    pub head: &'a RequestHead,
    pub source: Peer<'a>,
    pub destination: Peer<'a>,
    /// When the request came.
    pub time: SystemTime,
    /// `None` where content is not asked for, or there is none.
    pub content: Option<Content<'a>>,
}

/// One end of the connection.
#[derive(Debug, Clone, Copy)]
pub struct Peer<'a> {
    pub address: SocketAddr,
    /// The SPIFFE ID of its certificate; `None` in plaintext.
    pub principal: Option<&'a str>,
}

/// The content of the request, or its beginning.
#[derive(Debug, Clone, Copy)]
pub struct Content<'a> {
    pub bytes: &'a [u8],
    pub is_part: bool,
    /// Whether a message of gRPC has it as bytes, and not as text.
    pub is_raw: bool,
}

impl Question<'_> {
    /// Fields and, as HTTP/2 has them, the parts of the request line; names in lower case, one entry for each value.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let head = self.head;
        let parts: [(&[u8], &[u8]); 4] = [
            (b":authority", &head.authority),
            (b":method", &head.method),
            (b":path", &head.target),
            (b":scheme", head.scheme.text().as_bytes()),
        ];
        let fields = head.fields.iter().filter(|(name, _)| *name != PARTIAL_BODY.as_bytes());
        let partial = self.content.map(|content| {
            let said: &[u8] = if content.is_part { b"true" } else { b"false" };
            (PARTIAL_BODY.as_bytes(), said)
        });
        parts.into_iter().chain(fields).chain(partial)
    }

    /// The version of HTTP in Envoy's words.
    pub(super) fn protocol(&self) -> &'static str {
        match self.head.version {
            HttpVersion::Http10 => "HTTP/1.0",
            HttpVersion::Http11 => "HTTP/1.1",
            HttpVersion::Http2 => "HTTP/2",
        }
    }
}
