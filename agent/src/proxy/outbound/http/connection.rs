//! A pod's connection that carries HTTP: from its first bytes to its end, one request after the other or many at once.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::net::TcpStream;

use super::port::HttpPort;
use super::request;
use super::watcher::{Client, ClientSocket};
use crate::http::h1::{self, RequestError};
use crate::http::{BodyLength, Detected, h2};
use crate::model::address::OriginalDst;
use crate::model::http::head::RequestHead;
use crate::model::resolve::{Transport, Upstream};
use crate::model::service::{AppProtocol, Service};
use crate::model::workload::Workload;
use crate::net;
use crate::proxy::pod::PodProxy;
use crate::telemetry::ends::{ConnectionEnds, OutboundSource};
use crate::telemetry::record::ConnectionRecord;
use crate::telemetry::request_ends::RequestEnds;

/// What the requests of one connection have in common.
pub(super) struct HttpConnection {
    pub(super) pod_proxy: Arc<PodProxy>,
    pub(super) source: OutboundSource,
    /// The address that the application dialled.
    pub(super) original_dst: OriginalDst,
    /// The service of that address.
    pub(super) service: Arc<Service>,
    pub(super) port: u16,
    pub(super) protocol: AppProtocol,
    /// Both ends of a request before an endpoint is chosen.
    pub(super) ends: Arc<RequestEnds>,
    /// Both ends of requests to the endpoints that were chosen last.
    ends_at: Mutex<Vec<EndsAt>>,
}

/// How long a client has to end its side of a connection that is over.
const LINGER: Duration = Duration::from_secs(1);
/// Endpoints of a connection whose [`RequestEnds`] are remembered, at most.
const MAX_ENDS: usize = 16;

/// The ends of requests to one endpoint.
struct EndsAt {
    workload: Option<Arc<Workload>>,
    transport: Transport,
    ends: Arc<RequestEnds>,
}

impl HttpConnection {
    pub(super) fn new(port: HttpPort<'_>, source: OutboundSource) -> Self {
        let HttpPort { pod_proxy, original_dst, service, port, protocol } = port;
        let first = ConnectionEnds {
            service: Some(service.clone()),
            ..ConnectionEnds::outbound(source.clone(), original_dst, None)
        };
        let ends = RequestEnds::new(&pod_proxy.proxy.requests, &pod_proxy.pod.requests, first);
        let pod_proxy = pod_proxy.clone();
        Self { pod_proxy, source, original_dst, service, port, protocol, ends, ends_at: Mutex::default() }
    }

    /// The ends of requests to an endpoint.
    pub(super) fn ends_at(&self, upstream: &Upstream) -> Arc<RequestEnds> {
        let mut known = self.ends_at.lock();
        let is_it = |at: &&EndsAt| {
            let is_same = match (&at.workload, &upstream.workload) {
                (Some(one), Some(other)) => Arc::ptr_eq(one, other),
                (one, other) => one.is_none() && other.is_none(),
            };
            is_same && at.transport == upstream.transport
        };
        if let Some(at) = known.iter().find(is_it) {
            return at.ends.clone();
        }
        let ends = ConnectionEnds::outbound(self.source.clone(), self.original_dst, Some(upstream));
        let ends = RequestEnds::new(&self.pod_proxy.proxy.requests, &self.pod_proxy.pod.requests, ends);
        if known.len() == MAX_ENDS {
            known.remove(0);
        }
        let (workload, transport) = (upstream.workload.clone(), upstream.transport.clone());
        known.push(EndsAt { workload, transport, ends: ends.clone() });
        ends
    }

    /// Serves the connection to its end.
    pub(super) async fn serve(self, downstream: TcpStream, detected: Detected, received: BytesMut) {
        // Listed as open for as long as it is served.
        let _record = ConnectionRecord::open_for_requests(&self.pod_proxy.proxy.metrics, self.ends.ends().clone());
        let pod = self.pod_proxy.pod.clone();
        let drain = self.pod_proxy.proxy.drain.clone();
        let serving = async {
            if detected == Detected::Http2 {
                Arc::new(self).serve_http2(downstream, received).await;
            } else {
                self.serve_http1(downstream, received).await;
            }
        };
        tokio::select! {
            () = serving => {}
            () = pod.dead.cancelled() => {}
            () = drain.closing() => {}
        }
    }

    /// Requests one after the other. The connection's close is a reset unless all that was begun has ended in order.
    async fn serve_http1(&self, downstream: TcpStream, received: BytesMut) {
        let (Ok(application), Ok(agent)) = (downstream.peer_addr(), downstream.local_addr()) else { return };
        let mut connection = h1::ServerConnection::new(downstream, received);
        let mut head = RequestHead::default();
        let drain = &self.pod_proxy.proxy.drain;
        while connection.is_open() {
            let next = tokio::select! {
                biased;
                next = poll_fn(|cx| connection.poll_request(cx, &mut head)) => next,
                () = drain.draining() => break,
            };
            let length = match next {
                Ok(Some(length)) => length,
                Ok(None) => break,
                Err(RequestError::Refused(error)) => {
                    request::refuse(self, &mut connection, error).await;
                    break;
                }
                Err(RequestError::Broken(_)) => return,
            };
            if drain.is_draining() {
                connection.close_after_response();
            }
            let client = Client::Socket(ClientSocket::new(&self.pod_proxy.pod, application, agent));
            if request::serve(self, &mut connection, client, &mut head, length).await.is_err() {
                // What the client was promised does not come: a reset says so.
                return;
            }
        }
        net::end_in_order(connection.io());
        // A client that keeps its side open does not keep the connection.
        let _ = tokio::time::timeout(LINGER, connection.close()).await;
    }

    /// Requests at the same time, each in a task of its own.
    async fn serve_http2(self: Arc<Self>, downstream: TcpStream, received: BytesMut) {
        let budget = self.pod_proxy.budget.clone();
        let mut connection = h2::ServerConnection::new(downstream, received, budget);
        let drain = self.pod_proxy.proxy.drain.clone();
        let mut is_leaving = false;
        loop {
            let next = tokio::select! {
                next = poll_fn(|cx| connection.poll_request(cx)) => next,
                () = drain.draining(), if !is_leaving => {
                    is_leaving = true;
                    connection.leave();
                    continue;
                }
            };
            match next {
                Ok(Some((stream, head, length))) => drop(tokio::spawn(self.clone().serve_stream(stream, head, length))),
                Ok(None) => break net::end_in_order(connection.io()),
                Err(error) => {
                    tracing::debug!(client = %self.source.addr, %error, "HTTP/2 connection of a client ended");
                    break net::end_in_order(connection.io());
                }
            }
        }
    }

    async fn serve_stream(self: Arc<Self>, mut stream: h2::ServerStream, mut head: RequestHead, length: BodyLength) {
        // A stream whose response has not ended is reset as it is dropped.
        let _ = request::serve(&self, &mut stream, Client::Stream, &mut head, length).await;
    }
}
