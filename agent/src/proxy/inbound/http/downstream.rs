//! An inbound connection that was admitted for its requests, to its end: one request after the other, or many at once. One that turns
//! out to carry something else is moved as bytes, if policy allows that.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio_util::sync::CancellationToken;

use super::connection::HttpConnection;
use super::opening::{Application, Opening};
use super::request::InboundRequest;
use crate::http::h1::{self, RequestError};
use crate::http::{BodyLength, Detected, h2};
use crate::lifecycle::first_of;
use crate::model::authorization::AccessRequest;
use crate::model::http::head::RequestHead;
use crate::proxy::already_read::AlreadyRead;
use crate::proxy::http::refuse;
use crate::proxy::inbound::admission;
use crate::proxy::inbound::client::Client;
use crate::proxy::inbound::error::InboundError;
use crate::proxy::inbound::peers::AuthenticatedPeer;
use crate::proxy::inbound::spliced::Spliced;
use crate::proxy::pod::PodProxy;
use crate::proxy::revocation::{PolicyChanges, TrackedRequests};
use crate::telemetry::ends::ConnectionEnds;
use crate::telemetry::record::ConnectionRecord;

/// How long a client has to end its side of a connection that is over.
const LINGER: Duration = Duration::from_secs(1);

/// See the module.
pub(in crate::proxy::inbound) struct HttpDownstream {
    /// Provisional: it is settled once the protocol is known.
    pub(in crate::proxy::inbound) record: ConnectionRecord,
    pub(in crate::proxy::inbound) tracked: TrackedRequests,
    pub(in crate::proxy::inbound) client: Client,
    pub(in crate::proxy::inbound) ends: ConnectionEnds,
    /// What policy was asked about the connection.
    pub(in crate::proxy::inbound) access: AccessRequest,
    /// The client as the application is shown it.
    pub(in crate::proxy::inbound) shown: SocketAddr,
    /// `None` in plaintext.
    pub(in crate::proxy::inbound) peer: Option<AuthenticatedPeer>,
    /// Nobody has declared that the port carries HTTP: the application may be the one that speaks first.
    pub(in crate::proxy::inbound) is_guess: bool,
}

/// Serves a connection to its end. Then its record is complete.
pub(in crate::proxy::inbound) async fn serve(pod_proxy: &Arc<PodProxy>, mut http: Box<HttpDownstream>) {
    let revoked = http.tracked.connection.revoked.clone();
    let HttpDownstream { record, client, access, shown, is_guess, .. } = &mut *http;
    let opening = tokio::select! {
        biased;
        error = stopped(pod_proxy, record, &revoked) => Err(error),
        opening = Opening::of(pod_proxy, client, access, *shown, *is_guess) => opening,
    };
    let ended = match opening {
        Ok(Opening::Requests(detected, received)) => {
            return http.serve_requests(pod_proxy, detected, received).await;
        }
        Ok(Opening::Bytes(received, application)) => return http.serve_bytes(pod_proxy, received, application).await,
        // A client that leaves, or says nothing, is no failure.
        Ok(Opening::Nothing) => None,
        Err(error) => Some(error),
    };
    http.record.settle(Some(http.ends));
    if let Some(error) = ended {
        http.record.fail(error.flag(), &error);
    }
}

/// Resolves once a connection must end, with the reason.
async fn stopped(pod_proxy: &PodProxy, record: &ConnectionRecord, revoked: &CancellationToken) -> InboundError {
    tokio::select! {
        () = record.end_wanted() => InboundError::LatePlaintext,
        error = cut_off(pod_proxy, revoked) => error,
    }
}

/// Resolves once what comes over HBONE must end, with the reason.
pub(super) async fn cut_off(pod_proxy: &PodProxy, revoked: &CancellationToken) -> InboundError {
    let (pod, drain) = (&pod_proxy.pod, &pod_proxy.proxy.drain);
    first_of([revoked.cancelled(), pod.dead.cancelled(), drain.closing()]).await;
    if revoked.is_cancelled() {
        InboundError::Revoked
    } else if pod.dead.is_cancelled() {
        InboundError::PodGone
    } else {
        InboundError::DrainEnded
    }
}

impl HttpDownstream {
    /// Another protocol: policies about requests have their meaning for TCP.
    async fn serve_bytes(self, pod_proxy: &Arc<PodProxy>, of_client: BytesMut, application: Option<Application>) {
        let Self { mut record, tracked, client, ends, access, shown, .. } = self;
        record.settle(Some(ends));
        drop(tracked);
        let opening = async {
            let (permit, tracked) = admission::admit_bytes(pod_proxy, &access).await?;
            let application = match application {
                Some(connected) => connected,
                None => Application::connect(pod_proxy, permit, shown).await?,
            };
            Ok::<_, InboundError>((tracked, application))
        };
        match Box::pin(opening).await {
            Ok((tracked, Application { stream: application, received: of_server })) => {
                let read = Some(Box::new(AlreadyRead { of_client, of_server }));
                Spliced { record, tracked, client, application, read }.run(pod_proxy).await;
            }
            Err(error) => record.fail(error.flag(), &error),
        }
    }

    async fn serve_requests(self, pod_proxy: &Arc<PodProxy>, detected: Detected, received: BytesMut) {
        let Self { mut record, tracked, client, ends, access, shown, peer, .. } = self;
        let TrackedRequests { connection: tracked, changes } = tracked;
        client.carries_requests();
        record.settle_for_requests(Some(ends.clone()));
        let connection = HttpConnection::new(pod_proxy, access, shown, ends, peer, tracked.revoked.clone());
        let serving = async {
            if detected == Detected::Http2 {
                Arc::new(connection).serve_http2(client, received, changes).await;
            } else {
                connection.serve_http1(client, received, changes).await;
            }
        };
        let error = tokio::select! {
            biased;
            error = stopped(pod_proxy, &record, &tracked.revoked) => error,
            () = serving => return,
        };
        // Requests that this ends tell of the rest.
        if matches!(error, InboundError::Revoked | InboundError::LatePlaintext) {
            record.fail(error.flag(), &error);
        }
    }
}

impl HttpConnection {
    /// Requests one after the other. The connection's close is a reset unless all that was begun has ended in order.
    async fn serve_http1(&self, client: Client, received: BytesMut, mut changes: PolicyChanges) {
        let proxy = &self.pod_proxy.proxy;
        let mut connection = h1::ServerConnection::new(client, received);
        let mut head = RequestHead::default();
        let routes = proxy.mesh.routes();
        let mut config = routes.current();
        head.fields.preserve_case(config.proxy_headers().preserve_case);
        // One for all requests: each waits in a list that the whole process shares.
        let mut may_close_idle = std::pin::pin!(proxy.drain.may_close_idle());
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
            if proxy.drain.is_draining() {
                connection.close_after_response();
            }
            routes.refresh(&mut config);
            let request = InboundRequest::begin(self, &config, &mut connection, &mut head, length);
            if request.serve(&config, &mut changes).await.is_err() {
                // What the client was promised does not come: a reset says so.
                return;
            }
        }
        connection.io().end_in_order();
        // A client that keeps its side open does not keep the connection.
        let ending = async {
            if connection.close().await.is_ok() {
                connection.io_mut().ended().await;
            }
        };
        let _ = tokio::time::timeout(LINGER, ending).await;
    }

    /// Requests at the same time, each in a task of its own.
    async fn serve_http2(self: Arc<Self>, client: Client, received: BytesMut, changes: PolicyChanges) {
        let mut connection = h2::ServerConnection::new(client, received, self.pod_proxy.budget.clone());
        let drain = self.pod_proxy.proxy.drain.clone();
        let mut draining = std::pin::pin!(first_of([drain.draining()]));
        let mut is_leaving = false;
        let ended = loop {
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
                Ok(Some((stream, head, length))) => {
                    drop(tokio::spawn(self.clone().serve_stream(stream, head, length, changes.clone())));
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        if let Err(error) = ended {
            tracing::debug!(client = %self.shown, %error, "HTTP/2 connection of a client ended");
        }
        connection.io().end_in_order();
        let _ = tokio::time::timeout(LINGER, connection.io_mut().ended()).await;
    }

    async fn serve_stream(
        self: Arc<Self>,
        mut stream: h2::ServerStream,
        mut head: RequestHead,
        length: BodyLength,
        mut changes: PolicyChanges,
    ) {
        let place = self.take_place();
        let config = self.pod_proxy.proxy.mesh.routes().current();
        let request = InboundRequest::begin(&self, &config, &mut stream, &mut head, length);
        // A stream whose response has not ended is reset as it is dropped.
        let _ = if place.is_some() {
            // In a box of its own: the runtime moves a new task several times.
            Box::pin(request.serve(&config, &mut changes)).await
        } else {
            Box::pin(request.turn_away()).await
        };
    }
}
