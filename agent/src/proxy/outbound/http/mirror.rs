//! Copies of a request that go to further places (`mirrors` of a VirtualService, `RequestMirror` of an HTTPRoute). Nobody waits for
//! them: what they are answered is thrown away, and one that fails is not sent again.
//!
//! A copy is sent as the rule changed the request, once all of the request is here. A request whose content is not kept
//! whole by then, because it is large or its response came first, has no copy; nor one of a pod that has so many under way already:
//! a mirror that does not answer must not take the places of the pod's own requests.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use super::connection::HttpConnection;
use super::io::PoolKey;
use super::plan::Plan;
use super::request::Request;
use super::upstream::over_tls;
use super::upstream::{Begun, Sending};
use crate::http::{BodyLength, ExchangeError, KeptBody, MessageStream as _, Received, RequestBody, Upstream as _};
use crate::limits::{Held, LimitKind};
use crate::model::balance::Choice;
use crate::model::http::destination::DestinationPolicy;
use crate::model::http::head::{RequestHead, ResponseHead};
use crate::model::http::route::Action;
use crate::model::resolve::{EndpointRequest, Upstream};
use crate::model::service::ServiceKey;
use crate::model::workload::Workload;

/// Bounds a copy on its way where the rule has no timeout.
const LONGEST: Duration = Duration::from_secs(60);

/// The copies that a request is to have.
pub(super) struct Mirrors {
    places: Vec<Place>,
    timeout: Duration,
}

/// Where one copy goes.
struct Place {
    service: ServiceKey,
    port: u16,
    policy: Arc<DestinationPolicy>,
}

/// One copy on its way.
struct Copy {
    connection: HttpConnection,
    place: Place,
    head: RequestHead,
    length: BodyLength,
    body: KeptBody,
    /// Its place among those that the pod may have.
    _held: Held,
}

impl<D> Request<'_, D> {
    /// The copies of a request, by chance where a mirror gets only a share. A place that does not exist gets none.
    pub(super) fn mirrors(&self, plan: &Plan) -> Option<Mirrors> {
        let (route, _) = plan.route.as_ref()?;
        let Action::Forward(forward) = &route.rule.action else { return None };
        // Bytes of another protocol that follow are between the two ends.
        if forward.mirrors.is_empty() || self.head.upgrade.is_some() || self.length == BodyLength::Tunnel {
            return None;
        }
        let places = forward.mirrors(rand::random).filter_map(|mirror| {
            let (service, port) = self.service_of(&mirror.target)?;
            let policy = self.policy(&service, port, mirror.target.subset.as_deref())?;
            if policy.tls.as_ref().is_some_and(|tls| tls.is_own() && tls.is_unsupported) {
                return None;
            }
            Some(Place { service, port, policy })
        });
        let timeout = plan.timeouts.total.map_or(LONGEST, |total| total.min(LONGEST));
        Some(Mirrors { places: places.collect(), timeout }).filter(|mirrors| !mirrors.places.is_empty())
    }

    /// Sends the copies, if all of the content is here.
    pub(super) fn send_copies(&self, mirrors: Mirrors, body: &RequestBody) {
        let Some(body) = body.kept() else { return };
        let mut head = self.head.clone();
        // The content follows at once.
        head.fields.remove("expect");
        let limit = self.connection.pod_proxy.pod.limits.of(LimitKind::MirroredRequests);
        for place in mirrors.places {
            let Some(held) = limit.try_take() else { return };
            let connection = self.connection.detached();
            let (head, length, body) = (head.clone(), self.length, body.clone());
            let copy = Copy { connection, place, head, length, body, _held: held };
            // On this worker, whose connections it may use.
            tokio::spawn(copy.run(mirrors.timeout));
        }
    }
}

impl Copy {
    async fn run(self, timeout: Duration) {
        let proxy = &self.connection.pod_proxy;
        let sent = async {
            tokio::select! {
                sent = tokio::time::timeout(timeout, self.send()) => sent.unwrap_or(Err("its time is over".to_owned())),
                () = proxy.pod.dead.cancelled() => Ok(()),
                () = proxy.proxy.drain.closing() => Ok(()),
            }
        };
        if let Err(why) = sent.await {
            tracing::debug!(service = %self.place.service, port = self.place.port, why, "the copy of a request was not answered");
        }
    }

    async fn send(&self) -> Result<(), String> {
        let upstream = self.choose()?;
        let (pool, pool_key) = (&self.place.policy.pool, PoolKey::new(&upstream.transport));
        let sending = Sending {
            connection: &self.connection,
            upstream: &upstream,
            pool_key: &pool_key,
            port: self.place.port,
            pool,
            head: &self.head,
            length: self.length,
            may_reuse: true,
        };
        let Begun { mut exchange, .. } = sending.begin().await.map_err(|error| error.to_string())?;
        let broken = |error: ExchangeError| error.to_string();
        for data in &self.body.data {
            poll_fn(|cx| exchange.poll_room(cx)).await.map_err(broken)?;
            exchange.send_data(data.clone());
        }
        match &self.body.trailers {
            Some(trailers) => exchange.send_trailers(trailers),
            None if self.length != BodyLength::Empty => exchange.send_end(),
            None => {}
        }
        poll_fn(|cx| exchange.poll_flush(cx)).await.map_err(broken)?;
        let mut response = ResponseHead::default();
        let length = loop {
            let length = poll_fn(|cx| exchange.poll_response(cx, &mut response)).await.map_err(broken)?;
            if !response.is_interim() {
                break length;
            }
        };
        if !matches!(length, BodyLength::Empty | BodyLength::Tunnel) {
            while let Received::Data(_) = poll_fn(|cx| exchange.poll_receive(cx)).await.map_err(broken)? {}
        }
        exchange.finish(&self.connection, &pool_key, pool, length != BodyLength::Tunnel);
        Ok(())
    }

    fn choose(&self) -> Result<Upstream, String> {
        let HttpConnection { pod_proxy, source, original_dst, .. } = &self.connection;
        let Place { service, port, policy } = &self.place;
        let is_excluded = |endpoint: &Workload| policy.subset.as_ref().is_some_and(|labels| !endpoint.carries(labels));
        let request = EndpointRequest { service, port: *port, dialled: *original_dst, choice: Choice::default() };
        let mesh = pod_proxy.proxy.mesh.read();
        let upstream = mesh.resolve_request(&source.workload, request, is_excluded, rand::random);
        upstream.map(|upstream| over_tls(upstream, policy, &self.head)).map_err(|error| error.to_string())
    }
}
