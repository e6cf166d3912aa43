//! A request whose content is all here, to an endpoint of a service that is picked at random: nobody is read while it is sent, and its
//! response is taken whole. So are copies for mirrors sent, and what the agent asks for a pod.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;

use bytes::{Bytes, BytesMut};

use super::connection::HttpConnection;
use super::io::PoolKey;
use super::upstream::{Begun, Exchange, OpenError, Sending, over_tls};
use crate::http::{BodyLength, ExchangeError, KeptBody, MessageStream as _, Received, Upstream as _};
use crate::model::balance::Choice;
use crate::model::http::destination::DestinationPolicy;
use crate::model::http::head::{HttpFields, RequestHead, ResponseHead};
use crate::model::resolve::{EndpointRequest, Transport, Unresolved, Upstream};
use crate::model::service::ServiceKey;
use crate::model::workload::Workload;

/// A port of a service, and what the DestinationRule that counts says of it.
pub(super) struct Place {
    pub(super) service: ServiceKey,
    pub(super) port: u16,
    pub(super) policy: Arc<DestinationPolicy>,
}

/// See the module.
pub(super) struct WholeRequest<'a> {
    pub(super) connection: &'a HttpConnection,
    pub(super) place: &'a Place,
    pub(super) head: &'a RequestHead,
    pub(super) length: BodyLength,
    pub(super) body: &'a KeptBody,
    /// Whether it is sent once more where a connection that was kept from an earlier request proves to be closed.
    pub(super) is_repeatable: bool,
    /// Bytes that the content of the response may have; `None`: it is thrown away as it comes.
    pub(super) longest_response: Option<usize>,
}

/// A response that is here.
#[derive(Debug)]
pub(in crate::proxy) struct WholeResponse {
    pub(in crate::proxy) head: ResponseHead,
    pub(in crate::proxy) body: Bytes,
    pub(in crate::proxy) trailers: Option<HttpFields>,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub(in crate::proxy) enum WholeRequestError {
    #[error(transparent)]
    Unresolved(#[from] Unresolved),
    #[error("service {0} has neither an endpoint nor an address")]
    Nowhere(ServiceKey),
    #[error("no connection to {0}: its DestinationRule wants TLS that is not supported")]
    UnsupportedTls(ServiceKey),
    #[error("{0}")]
    Open(String),
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    #[error("the response has more than {0} bytes")]
    TooLong(usize),
}

impl From<OpenError> for WholeRequestError {
    fn from(error: OpenError) -> Self {
        Self::Open(error.to_string())
    }
}

impl WholeRequest<'_> {
    /// Sends the request, and waits for the end of its response.
    ///
    /// # Errors
    /// When there is no response, or it is longer than it may be.
    pub(super) async fn send(&self) -> Result<WholeResponse, WholeRequestError> {
        let Place { service, policy, .. } = self.place;
        if policy.tls.as_ref().is_some_and(|tls| tls.is_own() && tls.is_unsupported) {
            return Err(WholeRequestError::UnsupportedTls(service.clone()));
        }
        let upstream = self.choose()?;
        let pool_key = PoolKey::new(&upstream.transport);
        let mut may_reuse = true;
        loop {
            let Begun { exchange, idle_for } = self.begin(&upstream, &pool_key, may_reuse).await?;
            match self.exchange(exchange, &pool_key).await {
                Err(WholeRequestError::Exchange(ExchangeError::NoResponse | ExchangeError::Refused))
                    if self.is_repeatable && may_reuse && idle_for.is_some() =>
                {
                    may_reuse = false;
                }
                ended => return ended,
            }
        }
    }

    fn choose(&self) -> Result<Upstream, WholeRequestError> {
        let HttpConnection { pod_proxy, source, original_dst, .. } = self.connection;
        let Place { service, port, policy } = self.place;
        let is_excluded = |endpoint: &Workload| policy.subset.as_ref().is_some_and(|labels| !endpoint.carries(labels));
        let request = EndpointRequest { service, port: *port, dialled: *original_dst, choice: Choice::default() };
        let mesh = pod_proxy.proxy.mesh.read();
        let upstream = mesh.resolve_request(&source.workload, request, is_excluded, rand::random)?;
        // A service without an address that stands for it: the address in its place is nobody's.
        let is_nobody = |address: &SocketAddr| address.ip().is_unspecified();
        if matches!(&upstream.transport, Transport::Passthrough(address) if is_nobody(address)) {
            return Err(WholeRequestError::Nowhere(service.clone()));
        }
        Ok(over_tls(upstream, policy, self.head))
    }

    async fn begin(&self, upstream: &Upstream, pool_key: &PoolKey, may_reuse: bool) -> Result<Begun, OpenError> {
        let Self { connection, place, head, length, .. } = *self;
        let (pool, port) = (&place.policy.pool, place.port);
        Sending { connection, upstream, pool_key, port, pool, head, length, may_reuse }.begin().await
    }

    async fn exchange(&self, mut exchange: Exchange, pool_key: &PoolKey) -> Result<WholeResponse, WholeRequestError> {
        let mut outgoing = Outgoing { body: self.body, next: 0, is_ended: self.length == BodyLength::Empty };
        let mut head = ResponseHead::default();
        let length = loop {
            let length = poll_fn(|cx| {
                let sent = outgoing.poll_send(cx, &mut exchange);
                match (exchange.poll_response(cx, &mut head), sent) {
                    (Poll::Ready(response), _) => Poll::Ready(response),
                    (Poll::Pending, Poll::Ready(Err(error))) => Poll::Ready(Err(error)),
                    (Poll::Pending, _) => Poll::Pending,
                }
            })
            .await?;
            if !head.is_interim() {
                break length;
            }
        };
        let (mut body, mut trailers) = (BytesMut::new(), None);
        if !matches!(length, BodyLength::Empty | BodyLength::Tunnel) {
            loop {
                match poll_fn(|cx| exchange.poll_receive(cx)).await? {
                    Received::Data(data) => self.keep(&data, &mut body)?,
                    Received::Trailers(fields) => break trailers = Some(fields),
                    Received::End => break,
                }
            }
        }
        let may_keep = length != BodyLength::Tunnel && outgoing.is_ended;
        exchange.finish(self.connection, pool_key, &self.place.policy.pool, may_keep);
        Ok(WholeResponse { head, body: body.freeze(), trailers })
    }

    fn keep(&self, data: &[u8], body: &mut BytesMut) -> Result<(), WholeRequestError> {
        let Some(longest) = self.longest_response else { return Ok(()) };
        if data.len() > longest.saturating_sub(body.len()) {
            return Err(WholeRequestError::TooLong(longest));
        }
        body.extend_from_slice(data);
        Ok(())
    }
}

/// The content of the request on its way.
struct Outgoing<'a> {
    body: &'a KeptBody,
    /// The next piece.
    next: usize,
    /// Whether the end of the message was sent.
    is_ended: bool,
}

impl Outgoing<'_> {
    /// Sends what there is room for; ready once all of it is on its way.
    fn poll_send(
        &mut self,
        cx: &mut std::task::Context<'_>,
        exchange: &mut Exchange,
    ) -> Poll<Result<(), ExchangeError>> {
        while !self.is_ended {
            match exchange.poll_room(cx) {
                Poll::Ready(room) => room?,
                Poll::Pending => break,
            }
            match (self.body.data.get(self.next), &self.body.trailers) {
                (Some(data), _) => exchange.send_data(data.clone()),
                (None, Some(trailers)) => exchange.send_trailers(trailers),
                (None, None) => exchange.send_end(),
            }
            self.is_ended = self.next == self.body.data.len();
            self.next += 1;
        }
        let pushed = exchange.poll_push(cx)?;
        if self.is_ended { pushed.map(Ok) } else { Poll::Pending }
    }
}
