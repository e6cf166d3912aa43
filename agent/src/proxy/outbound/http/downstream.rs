//! A pod's connection that carries HTTP, to its end: one request after the other, or many at once.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::net::TcpStream;

use super::connection::HttpConnection;
use super::port::HttpPort;
use super::serve;
use super::watcher::{Client, ClientSocket};
use crate::http::h1::{self, RequestError};
use crate::http::{BodyLength, Detected, h2};
use crate::lifecycle::first_of;
use crate::limits::LimitKind;
use crate::model::http::head::RequestHead;
use crate::net;
use crate::proxy::http::refuse;
use crate::telemetry::ends::OutboundSource;
use crate::telemetry::record::ConnectionRecord;

/// How long a client has to end its side of a connection that is over.
const LINGER: Duration = Duration::from_secs(1);

/// Serves a connection to its end.
pub(in crate::proxy::outbound) async fn serve_connection(
    port: HttpPort<'_>,
    source: OutboundSource,
    downstream: TcpStream,
    detected: Detected,
    received: BytesMut,
) {
    HttpConnection::new(port, source).serve(downstream, detected, received).await;
}

impl HttpConnection {
    async fn serve(self, downstream: TcpStream, detected: Detected, received: BytesMut) {
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
            biased;
            () = first_of([pod.dead.cancelled(), drain.closing()]) => {}
            () = serving => {}
        }
    }

    /// Requests one after the other. The connection's close is a reset unless all that was begun has ended in order.
    async fn serve_http1(&self, downstream: TcpStream, received: BytesMut) {
        let (Ok(application), Ok(agent)) = (downstream.peer_addr(), downstream.local_addr()) else { return };
        let mut connection = h1::ServerConnection::new(downstream, received);
        let mut head = RequestHead::default();
        let routes = self.pod_proxy.proxy.mesh.routes();
        let mut config = routes.current();
        head.fields.preserve_case(config.proxy_headers().preserve_case);
        let drain = &self.pod_proxy.proxy.drain;
        // One for all requests: each waits in a list that the whole process shares.
        let mut may_close_idle = pin!(drain.may_close_idle());
        while connection.is_open() {
            let next = tokio::select! {
                biased;
                next = poll_fn(|cx| connection.poll_request(cx, &mut head)) => next,
                () = &mut may_close_idle => break,
            };
            let length = match next {
                Ok(Some(length)) => length,
                Ok(None) => break,
                Err(RequestError::Refused(error)) => {
                    refuse(&self.ends, &mut connection, error).await;
                    break;
                }
                Err(RequestError::Broken(_)) => return,
            };
            if drain.is_draining() {
                connection.close_after_response();
            }
            let client = Client::Socket(ClientSocket::new(&self.pod_proxy.pod, application, agent));
            routes.refresh(&mut config);
            let serving = pin!(serve::serve(self, &config, &mut connection, client, &mut head, length));
            if serving.await.is_err() {
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
        let mut draining = pin!(first_of([drain.draining()]));
        let mut is_leaving = false;
        loop {
            let next = tokio::select! {
                biased;
                next = poll_fn(|cx| connection.poll_request(cx)) => next,
                () = &mut draining, if !is_leaving => {
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
        let place = self.pod_proxy.pod.limits.of(LimitKind::HttpStreams).try_take();
        let config = self.pod_proxy.proxy.mesh.routes().current();
        // A stream whose response has not ended is reset as it is dropped.
        let _ = if place.is_some() {
            // In a box of its own: the runtime moves a new task several times.
            Box::pin(serve::serve(&self, &config, &mut stream, Client::Stream, &mut head, length)).await
        } else {
            Box::pin(serve::turn_away(&self, &config, &mut stream, Client::Stream, &mut head, length)).await
        };
    }
}
