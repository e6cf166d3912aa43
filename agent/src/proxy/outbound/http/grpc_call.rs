//! A unary call of gRPC that the agent makes for a pod: one message there, one back (gRPC over HTTP/2, "Requests" and "Responses").

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::agent_request::{AgentRequest, AgentRequestError};
use super::whole_request::WholeResponse;
use crate::model::http::grpc::grpc_status;
use crate::model::http::head::{HttpFields, HttpVersion, RequestHead};
use crate::proxy::pod::PodProxy;

/// Before each message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;
/// `OK`.
const OK: u8 = 0;

/// One call, before it is made.
#[derive(Debug)]
pub(in crate::proxy) struct GrpcCall<'a> {
    /// As of [`AgentRequest`].
    pub(in crate::proxy) service: &'a str,
    pub(in crate::proxy) port: u16,
    /// `/package.Service/Method`.
    pub(in crate::proxy) method: &'static str,
    /// Further fields of the request's head (initial metadata).
    pub(in crate::proxy) metadata: HttpFields,
    /// How long the call may take.
    pub(in crate::proxy) within: Duration,
    /// Bytes that the message of the response may have.
    pub(in crate::proxy) longest_message: usize,
}

/// Why a call brought no message.
#[derive(Debug, thiserror::Error)]
pub(in crate::proxy) enum GrpcCallError {
    #[error(transparent)]
    Request(#[from] AgentRequestError),
    #[error("it answered with status {0} of HTTP")]
    Http(u16),
    #[error("it answered with status {status} of gRPC: {message}")]
    Grpc { status: u8, message: String },
    #[error("it answered with what is no message of gRPC")]
    Malformed,
}

impl GrpcCall<'_> {
    /// Makes the call with an encoded message, and returns the encoded message of the response. Whoever stops waiting cancels it.
    ///
    /// # Errors
    /// When there is no message in time.
    pub(in crate::proxy) async fn send(
        self,
        pod_proxy: &Arc<PodProxy>,
        message: &[u8],
    ) -> Result<Bytes, GrpcCallError> {
        let mut body = BytesMut::with_capacity(PREFIX_BYTES + message.len());
        body.put_u8(0);
        body.put_u32(u32::try_from(message.len()).map_err(|_| GrpcCallError::Malformed)?);
        body.put_slice(message);
        let mut fields = self.metadata;
        fields.append(b"content-type", b"application/grpc");
        fields.append(b"te", b"trailers");
        let head = RequestHead {
            version: HttpVersion::Http2,
            method: b"POST".to_vec(),
            target: self.method.as_bytes().to_vec(),
            fields,
            ..RequestHead::default()
        };
        let request = AgentRequest {
            service: self.service,
            port: self.port,
            head,
            body: body.freeze(),
            within: self.within,
            longest_response: PREFIX_BYTES + self.longest_message,
        };
        message_of(request.send(pod_proxy).await?)
    }
}

/// The message of a response that says that all went well.
fn message_of(response: WholeResponse) -> Result<Bytes, GrpcCallError> {
    let WholeResponse { head, mut body, trailers } = response;
    if head.status != 200 {
        return Err(GrpcCallError::Http(head.status));
    }
    // A response without a message may have its status in the head ("Trailers-Only").
    let last = trailers.as_ref().unwrap_or(&head.fields);
    let status = grpc_status(last).ok_or(GrpcCallError::Malformed)?;
    if status != OK {
        let message = String::from_utf8_lossy(last.first("grpc-message").unwrap_or_default()).into_owned();
        return Err(GrpcCallError::Grpc { status, message });
    }
    let is_plain = body.first() == Some(&0);
    if !is_plain || body.len() < PREFIX_BYTES {
        return Err(GrpcCallError::Malformed);
    }
    body.advance(1);
    let length = body.get_u32();
    if length as usize == body.len() { Ok(body) } else { Err(GrpcCallError::Malformed) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::http::head::ResponseHead;

    #[test]
    fn a_response_is_a_message_or_says_why_there_is_none() {
        /// Status and fields of the head, the body, the trailers, and what they come to.
        type Row<'a> = (u16, HttpFields, &'a [u8], Option<HttpFields>, Result<&'a [u8], &'a str>);
        let fields = |fields: &[(&'static str, &'static str)]| fields.iter().copied().collect::<HttpFields>();
        let ok = || Some(fields(&[("grpc-status", "0")]));
        let rows: [Row<'_>; 9] = [
            (200, fields(&[]), b"\0\0\0\0\x02ab", ok(), Ok(b"ab")),
            (200, fields(&[]), b"\0\0\0\0\0", ok(), Ok(b"")),
            (503, fields(&[]), b"", None, Err("it answered with status 503 of HTTP")),
            (
                200,
                fields(&[("grpc-status", "12"), ("grpc-message", "no such method")]),
                b"",
                None,
                Err("it answered with status 12 of gRPC: no such method"),
            ),
            (200, fields(&[]), b"\0\0\0\0\x03ab", ok(), Err("it answered with what is no message of gRPC")),
            (200, fields(&[]), b"\x01\0\0\0\x02ab", ok(), Err("it answered with what is no message of gRPC")),
            (200, fields(&[]), b"\0\0", ok(), Err("it answered with what is no message of gRPC")),
            (200, fields(&[]), b"", ok(), Err("it answered with what is no message of gRPC")),
            (200, fields(&[]), b"\0\0\0\0\x02ab", None, Err("it answered with what is no message of gRPC")),
        ];
        for (status, fields, body, trailers, expected) in rows {
            let head = ResponseHead { status, fields, ..ResponseHead::default() };
            let response = WholeResponse { head, body: Bytes::copy_from_slice(body), trailers };
            let found = message_of(response).map_err(|error| error.to_string());
            assert_eq!(found.as_deref().map_err(|error| &**error), expected, "{body:?}");
        }
    }
}
