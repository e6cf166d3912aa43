//! Requests that go each by itself, and not as the bytes of a connection: as streams of their own on the HBONE connections to other agents, or
//! handed over to the side of a pod of the same node. All others go as bytes, over HBONE inside of CONNECT, and so does whatever the other
//! side does not admit.
//!
//! Such a stream says as much as HTTP/2 can say; what is handed over may have names in their own case besides. What ties a request to a
//! connection of HTTP/1 goes as bytes: upgrades, tunnels, authentication of connections, and limits of a DestinationRule for the
//! connections to its hosts.

use std::time::Duration;

use http::HeaderValue;

use super::connection::is_of_connection;
use super::upstream::{Begun, Exchange, Sending};
use crate::hbone::{Target, forwarded};
use crate::http::{BodyLength, h1};
use crate::limits::LimitKind;
use crate::model::http::destination::{ConnectionPool, DEFAULT_IDLE_TIMEOUT};
use crate::model::http::head::{HttpVersion, RequestHead, Scheme};
use crate::model::http::hop::{self, RequestHop};

impl Sending<'_> {
    /// Begins the request by itself, where the side of its endpoint wants that and the request can go so.
    pub(super) async fn begin_alone(&self) -> Option<Begun> {
        let (target, authority) = self.pool_key.over_hbone()?;
        let is_http2 = self.version() == HttpVersion::Http2;
        if !self.stands_alone(is_http2) {
            return None;
        }
        // An HBONE connection to a pod of the same node carries what is no HTTP.
        if self.connection.pod_proxy.is_beside(target) {
            return self.hand_over(target, authority, is_http2, false).await;
        }
        self.begin_stream(target, authority, is_http2)
    }

    /// Hands the request over to a pod of the same node, also where the pod's side had nothing to decide about such requests before: a new
    /// connection would ask it, too.
    pub(super) async fn begin_anew_alone(&self) -> Option<Begun> {
        let (target, authority) = self.pool_key.over_hbone()?;
        let is_http2 = self.version() == HttpVersion::Http2;
        if !self.connection.pod_proxy.is_beside(target) || !self.stands_alone(is_http2) {
            return None;
        }
        self.hand_over(target, authority, is_http2, true).await
    }

    async fn hand_over(&self, target: &Target, authority: &str, is_http2: bool, anew: bool) -> Option<Begun> {
        let pod_proxy = &self.connection.pod_proxy;
        let handing_over = pod_proxy.handing_over(target, authority, anew).await?;
        let held = pod_proxy.pod.limits.of(LimitKind::HttpUpstreams).try_take()?;
        let request = h1::CheckedRequest::of(self.head, self.length, is_http2).ok()?;
        let hop = RequestHop { destination: authority.to_owned(), forwarded: self.forwarded()?.as_bytes().to_vec() };
        let stream = handing_over.hand_over(pod_proxy, hop, request, held).await?;
        // One that crosses the end of its link, or of what policy allows its client, is begun again where that is safe.
        Some(Begun { exchange: Exchange::Carried(stream), idle_for: Some(Duration::ZERO) })
    }

    /// As a stream of its own.
    fn begin_stream(&self, target: &Target, authority: &str, is_http2: bool) -> Option<Begun> {
        if !self.may_reuse || self.head.fields.preserves_case() {
            return None;
        }
        let pod_proxy = &self.connection.pod_proxy;
        let slot = pod_proxy.pool().request_slot(target, authority)?;
        let held = pod_proxy.pod.limits.of(LimitKind::HttpUpstreams).try_take()?;
        let forwarded = self.forwarded()?;
        let mut more = vec![
            (hop::DESTINATION, authority.as_bytes()),
            (hop::FORWARDED, forwarded.as_bytes()),
            (hop::PROTOCOL, hop::protocol(is_http2)),
        ];
        let length_text;
        if let BodyLength::Known(bytes) = self.length
            && !self.head.fields.contains("content-length")
        {
            length_text = bytes.to_string();
            more.push(("content-length", length_text.as_bytes()));
        }
        let stream = slot.send(self.head, self.length, &more, held)?;
        // One that the other agent refuses, or that crosses the end of its connection, is sent again where that is safe.
        Some(Begun { exchange: Exchange::Carried(Box::new(stream)), idle_for: Some(Duration::ZERO) })
    }

    /// Whom the request is from, and what it asked for, in the words of CONNECT.
    fn forwarded(&self) -> Option<HeaderValue> {
        let service = self.upstream.service.as_ref().map(|service| &*service.key.hostname);
        forwarded(self.connection.source.addr, service)
    }

    /// Whether the request needs no connection that others do not share.
    pub(super) fn stands_alone(&self, is_http2: bool) -> bool {
        !self.connection.authenticates_connections()
            && has_usual_connections(self.pool)
            && is_expressible(self.head, self.length, is_http2)
    }
}

/// Whether nothing is said of the connections to a destination that streams could not keep to.
fn has_usual_connections(pool: &ConnectionPool) -> bool {
    pool.max_requests_per_connection == u32::MAX
        && pool.max_concurrent_streams == u32::MAX
        && pool.max_connection_duration.is_none()
        && pool.http2_keepalive.is_none()
        && pool.idle_timeout == Some(DEFAULT_IDLE_TIMEOUT)
}

/// Whether HTTP/2 can say the request, and what its agent makes of it for the application is the same as of one inside of CONNECT.
/// `is_http2`: the application is spoken to in HTTP/2.
fn is_expressible(head: &RequestHead, length: BodyLength, is_http2: bool) -> bool {
    let is_tunnel = length == BodyLength::Tunnel || head.method == b"CONNECT" || head.upgrade.is_some();
    // HTTP/1 says no scheme.
    let has_scheme_of_version = is_http2 || head.scheme == Scheme::Http;
    let has_path = head.target.starts_with(b"/") || (head.target == b"*" && head.method == b"OPTIONS");
    // Without a host, the application is spoken to in HTTP/1.0.
    !is_tunnel && has_scheme_of_version && has_path && !head.authority.is_empty() && !is_of_connection(&head.fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(method: &str, target: &str, fields: &[(&str, &str)]) -> RequestHead {
        RequestHead {
            method: method.into(),
            target: target.into(),
            authority: b"web".to_vec(),
            fields: fields.iter().copied().collect(),
            ..RequestHead::default()
        }
    }

    #[test]
    fn what_is_tied_to_a_connection_goes_inside_of_connect() {
        let get = || head("GET", "/", &[]);
        let with = |name, value| head("GET", "/", &[(name, value)]);
        for (head, length, is_http2, expected) in [
            (get(), BodyLength::Empty, false, true),
            (get(), BodyLength::Unknown, true, true),
            (head("OPTIONS", "*", &[]), BodyLength::Empty, false, true),
            (head("GET", "*", &[]), BodyLength::Empty, false, false),
            (head("CONNECT", "", &[]), BodyLength::Tunnel, true, false),
            (RequestHead { upgrade: Some(b"websocket".to_vec()), ..get() }, BodyLength::Empty, false, false),
            (RequestHead { authority: Vec::new(), ..get() }, BodyLength::Empty, false, false),
            (RequestHead { scheme: Scheme::Https, ..get() }, BodyLength::Empty, false, false),
            (RequestHead { scheme: Scheme::Https, ..get() }, BodyLength::Empty, true, true),
            (with("authorization", "Bearer x"), BodyLength::Empty, false, true),
            (with("authorization", "NTLM TlRMTVNTUAAB"), BodyLength::Empty, false, false),
            (with("authorization", "negotiate YII"), BodyLength::Empty, false, false),
            (with("proxy-authorization", "Negotiate"), BodyLength::Empty, false, false),
            (with("x", "NTLM"), BodyLength::Empty, false, true),
        ] {
            assert_eq!(is_expressible(&head, length, is_http2), expected, "{head:?} {length:?} {is_http2}");
        }
    }

    #[test]
    fn limits_of_connections_are_kept_inside_of_connect() {
        let usual = ConnectionPool::default;
        for (pool, expected) in [
            (usual(), true),
            (ConnectionPool { max_connections: 1, max_requests: 1, max_pending_requests: 1, ..usual() }, true),
            (ConnectionPool { max_requests_per_connection: 1, ..usual() }, false),
            (ConnectionPool { max_concurrent_streams: 10, ..usual() }, false),
            (ConnectionPool { max_connection_duration: Some(Duration::from_secs(1)), ..usual() }, false),
            (ConnectionPool { idle_timeout: None, ..usual() }, false),
            (ConnectionPool { idle_timeout: Some(Duration::from_secs(1)), ..usual() }, false),
        ] {
            assert_eq!(has_usual_connections(&pool), expected, "{pool:?}");
        }
    }
}
