//! Responses that the agent makes itself, in the place of an upstream: at the source of a request as at its destination.

use std::borrow::Cow;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

use crate::http::h1::HeadError;
use crate::http::{BodyLength, Broken, Downstream, ExchangeError};
use crate::model::http::head::{RequestHead, ResponseHead};
use crate::model::http::local_reply::HttpResponseFlag;
use crate::model::http::proxy_headers::date;
use crate::model::http::reply::fill_head;
use crate::telemetry::request::RequestRecord;
use crate::telemetry::request_ends::RequestEnds;

/// A response that the agent makes.
#[derive(Debug)]
pub(in crate::proxy) struct Answer {
    /// What the head has besides the status and what says what the body is.
    pub(in crate::proxy) head: ResponseHead,
    pub(in crate::proxy) status: u16,
    pub(in crate::proxy) body: Bytes,
    /// Envoy's response code details.
    pub(in crate::proxy) details: Cow<'static, str>,
}

impl Answer {
    /// Gives the answer to the client of a request.
    ///
    /// # Errors
    /// When the client did not get it.
    pub(in crate::proxy) async fn give<D: Downstream>(
        self,
        downstream: &mut D,
        request: &RequestHead,
        record: &mut RequestRecord,
    ) -> Result<(), Broken> {
        let Self { mut head, status, body, details } = self;
        let is_in_head = fill_head(&mut head, request, status, &body);
        let body = if is_in_head { Bytes::new() } else { body };
        let is_sent = !body.is_empty() && request.method != b"HEAD";
        // A status that never has content has no length either (RFC 9110 §8.6).
        if !matches!(head.status, 100..200 | 204 | 304) && !is_in_head {
            head.fields.set("content-length", body.len().to_string().as_bytes());
        }
        date(&mut head, SystemTime::now);
        record.local_response(&head, details);
        let length = if is_sent { BodyLength::Known(body.len() as u64) } else { BodyLength::Empty };
        downstream.send_response(&head, length).map_err(Broken::Downstream)?;
        if is_sent {
            record.response_data(&body);
            downstream.send_data(body);
            downstream.send_end();
        }
        poll_fn(|cx| downstream.poll_flush(cx)).await.map_err(Broken::Downstream)
    }
}

/// Answers a request that cannot be understood; the connection ends with it.
pub(in crate::proxy) async fn refuse<D: Downstream>(ends: &Arc<RequestEnds>, downstream: &mut D, error: HeadError) {
    let mut record = RequestRecord::open(ends, &RequestHead::default());
    record.fail(HttpResponseFlag::DownstreamProtocolError, &error.reason());
    let body = Bytes::from_static(error.reason().as_bytes());
    let mut head = ResponseHead { status: error.status(), ..ResponseHead::default() };
    head.fields.append(b"content-type", b"text/plain");
    record.local_response(&head, error.kind());
    let length = BodyLength::Known(body.len() as u64);
    if downstream.send_response(&head, length).is_err() {
        return;
    }
    record.response_data(&body);
    downstream.send_data(body);
    downstream.send_end();
    if poll_fn(|cx| downstream.poll_flush(cx)).await.is_ok() {
        record.complete();
    }
}

/// The flag of a request whose exchange broke after it had begun; without one it counts as ended by its client.
pub(in crate::proxy) fn flag_of(broken: &Broken) -> Option<HttpResponseFlag> {
    Some(match broken {
        Broken::Downstream(ExchangeError::Malformed(_)) => HttpResponseFlag::DownstreamProtocolError,
        Broken::Downstream(_) => return None,
        Broken::Upstream(ExchangeError::Malformed(_) | ExchangeError::BrokenConnection(_)) => {
            HttpResponseFlag::UpstreamProtocolError
        }
        Broken::Upstream(ExchangeError::Reset | ExchangeError::Refused) => HttpResponseFlag::UpstreamRemoteReset,
        Broken::Upstream(_) => HttpResponseFlag::UpstreamConnectionTermination,
        Broken::Timeout | Broken::PerTryTimeout => HttpResponseFlag::UpstreamRequestTimeout,
        Broken::Revoked => HttpResponseFlag::LocalReset,
    })
}
