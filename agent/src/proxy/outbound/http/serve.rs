//! One request from its head to the end of its response: what its route says becomes of it.
//!
//! Its phases are pinned where they are awaited: a future that is awaited by value is made in one place and copied into another, with all
//! the room that its state may need.

use std::pin::pin;
use std::sync::{Arc, LazyLock};
use std::time::SystemTime;

use bytes::Bytes;

use super::connection::HttpConnection;
use super::forward;
use super::port::Dialled;
use super::request::Request;
use super::watcher::{Client, RequestWatcher};
use crate::http::{BodyLength, Broken, Downstream, ExchangeError};
use crate::model::http::config::HttpConfig;
use crate::model::http::control_fields;
use crate::model::http::head::{RequestHead, ResponseHead};
use crate::model::http::hop;
use crate::model::http::local_reply::HttpResponseFlag;
use crate::model::http::policies::{Abort, Fault};
use crate::model::http::reply::{LocalReply, Reason};
use crate::model::http::route::{Action, Route};
use crate::model::http::trace::ensure_request_id;
use crate::model::http::visibility::SourceView;
use crate::model::mesh::OutboundTrafficPolicy;
use crate::telemetry::request::RequestRecord;

/// Istio's name of the route for requests to destinations that a pod may not reach.
static BLOCKING_ROUTE: LazyLock<Arc<str>> = LazyLock::new(|| "block_all".into());
/// Istio's name of the route for requests to addresses that the mesh does not know.
static PASSING_ROUTE: LazyLock<Arc<str>> = LazyLock::new(|| "allow_any".into());

/// Serves one request. `config`: what is in force as it begins.
///
/// # Errors
/// When the response was not sent whole: its connection, or its stream, is of no more use.
pub(super) async fn serve<D: Downstream>(
    connection: &HttpConnection,
    config: &HttpConfig,
    downstream: &mut D,
    client: Client<'_>,
    head: &mut RequestHead,
    length: BodyLength,
) -> Result<(), Broken> {
    let mut request = begin(connection, config, downstream, client, head, length);
    let outcome = pin!(request.decide()).await;
    request.end(outcome)
}

/// Answers a request beyond what the pod may have under way.
///
/// # Errors
/// As of [`serve`].
pub(super) async fn turn_away<D: Downstream>(
    connection: &HttpConnection,
    config: &HttpConfig,
    downstream: &mut D,
    client: Client<'_>,
    head: &mut RequestHead,
    length: BodyLength,
) -> Result<(), Broken> {
    let mut request = begin(connection, config, downstream, client, head, length);
    let outcome = request.reply(Reason::Overflow, false).await;
    request.end(outcome)
}

fn begin<'a, D: Downstream>(
    connection: &'a HttpConnection,
    config: &'a HttpConfig,
    downstream: &'a mut D,
    client: Client<'a>,
    head: &'a mut RequestHead,
    length: BodyLength,
) -> Request<'a, D> {
    hop::remove(&mut head.fields);
    control_fields::remove_of_own_pod(&mut head.fields);
    let headers = config.proxy_headers();
    if headers.request_id {
        ensure_request_id(&mut head.fields, rand::random);
    }
    headers.begin_request(connection.port, head);
    let mut record = RequestRecord::open(&connection.ends, head);
    record.trace(head);
    let watcher = RequestWatcher::new(record, client, &connection.pod_proxy);
    Request {
        connection,
        config,
        downstream,
        watcher,
        head,
        length,
        started: SystemTime::now(),
        taken: None,
        origin: None,
    }
}

impl<D: Downstream> Request<'_, D> {
    /// Tells the record what the request came to.
    fn end(&mut self, outcome: Result<(), Broken>) -> Result<(), Broken> {
        match &outcome {
            Ok(()) => self.watcher.record.complete(),
            // What else may break is noted where it does.
            Err(broken @ Broken::Downstream(ExchangeError::Malformed(_))) => self.watcher.broke(broken),
            Err(_) => {}
        }
        outcome
    }

    async fn decide(&mut self) -> Result<(), Broken> {
        if self.config.path_normalization().apply(self.head).is_err() {
            return self.reply(Reason::BadPath, false).await;
        }
        let HttpConnection { pod_proxy, source, dialled, port, .. } = self.connection;
        let named;
        let service = match dialled {
            Dialled::Service(service) => Some(service),
            Dialled::Elsewhere(policy) => {
                named = self.service_of_host(*policy);
                named.as_ref()
            }
        };
        let routes = {
            let pod = pod_proxy.pod.glance();
            let view = SourceView { namespace: &source.workload.namespace, labels: &pod.labels };
            match service {
                Some(service) => self.config.routes(view, &service.key, *port),
                None => self.config.routes_by_authority(view, &String::from_utf8_lossy(self.head.host()), *port),
            }
        };
        let Some(routes) = routes else {
            let plan = match (service, dialled) {
                (Some(service), _) => self.plan_to_service(service),
                (None, Dialled::Elsewhere(OutboundTrafficPolicy::RegistryOnly)) => {
                    self.watcher.record.route(&BLOCKING_ROUTE);
                    Err(Reason::Blocked)
                }
                (None, _) => {
                    self.watcher.record.route(&PASSING_ROUTE);
                    Ok(self.plan_to_address())
                }
            };
            return pin!(forward::run(self, plan)).await;
        };
        let Some(route) = routes.pick(self.head).cloned() else { return self.reply(Reason::NoRoute, false).await };
        self.watcher.record.route(&route.name);
        let place = match &route.rule.action {
            Action::Forward(forward) => forward.choose(route.rule.semantics, rand::random()),
            Action::Redirect(_) | Action::Respond(_) => None,
        };
        // In the order of a sidecar's filters.
        if let Some(fault) = &route.rule.fault
            && let Some(abort) = self.inject(fault).await?
        {
            self.taken = Some((route, place));
            return self.abort(abort).await;
        }
        if let Some(preflight) = route.rule.cors.as_ref().and_then(|cors| cors.preflight(self.head)) {
            let status = preflight.status;
            return self.answer(preflight, status, Bytes::new(), "cors_preflight").await;
        }
        self.taken = Some((route.clone(), place));
        let following = pin!(self.follow(&route, place));
        following.await
    }

    /// Waits as a fault says. Returns what the request is to be answered with, if it is to be aborted.
    async fn inject(&mut self, fault: &Fault) -> Result<Option<Abort>, Broken> {
        if let Some(delay) = fault.delay(rand::random()) {
            self.watcher.record.flag(HttpResponseFlag::DelayInjected);
            let is_received = self.length == BodyLength::Empty;
            self.watcher.unless_stopped(tokio::time::sleep(delay), self.downstream, is_received).await?;
        }
        Ok(fault.abort(rand::random()))
    }

    async fn abort(&mut self, abort: Abort) -> Result<(), Broken> {
        match abort {
            Abort::Http(status) => self.reply(Reason::FaultAbort { status }, false).await,
            Abort::Grpc(status) => {
                let LocalReply { body, details, flag, .. } = LocalReply::new(Reason::FaultAbort { status: 200 }, false);
                flag.into_iter().for_each(|flag| self.watcher.record.flag(flag));
                let mut head = ResponseHead::default();
                // To a client that does not speak gRPC its status says nothing.
                if self.head.is_grpc() {
                    head.fields.append(b"grpc-status", status.to_string().as_bytes());
                }
                self.answer(head, 200, body.into_owned().into(), details).await
            }
        }
    }

    /// `place`: which of the route's destinations the request goes to.
    async fn follow(&mut self, route: &Arc<Route>, place: Option<usize>) -> Result<(), Broken> {
        match &route.rule.action {
            Action::Forward(forward) => {
                let allowed = route.rule.cors.as_ref().and_then(|cors| cors.allowed_origin(self.head));
                self.origin = allowed.map(|origin| (route.clone(), origin.to_vec()));
                let plan = self.plan_by_route(route, forward, place);
                let forwarding = pin!(forward::run(self, plan));
                forwarding.await
            }
            Action::Redirect(redirect) => {
                let mut head = ResponseHead::default();
                let (status, location) = redirect.response(route, self.head, self.connection.port);
                head.fields.append(b"location", &location);
                self.answer(head, status, Bytes::new(), "direct_response").await
            }
            Action::Respond(response) => {
                let body = Bytes::from_owner(response.body.clone());
                self.answer(ResponseHead::default(), response.status, body, "direct_response").await
            }
        }
    }
}
