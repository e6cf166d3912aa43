//! Which endpoint an attempt goes to, and what is learnt of it.

use std::sync::Arc;
use std::time::Instant;

use super::connection::{HttpConnection, KnownEndpoint};
use super::plan::Plan;
use super::request::Request;
use super::upstream::over_tls;
use crate::model::balance::{Choice, Order, Warming};
use crate::model::http::destination::{Algorithm, LoadBalancer};
use crate::model::http::grpc::grpc_status;
use crate::model::http::hash_key::RequestHash;
use crate::model::http::head::ResponseHead;
use crate::model::http::outlier::{EndpointResult, Population};
use crate::model::http::reply::Reason;
use crate::model::mesh::Mesh;
use crate::model::resolve::{EndpointRequest, Unresolved};
use crate::model::workload::Workload;
use crate::proxy::pod::PodProxy;

/// In the place of a port: what is known of a dialled address is apart from what is known of the endpoint that may be there.
const DIALLED: u16 = 0;

/// The endpoint of one attempt.
pub(super) struct Chosen {
    pub(super) endpoint: Arc<KnownEndpoint>,
    /// A cookie that keeps the client with this endpoint, for the response.
    pub(super) set_cookie: Option<String>,
}

impl<D> Request<'_, D> {
    /// An endpoint for an attempt: one that was not tried yet and is not ejected, as long as there is one.
    pub(super) fn choose(&self, plan: &Plan, tried: &[Arc<str>]) -> Result<Chosen, Reason> {
        if let Some(upstream) = &plan.fixed {
            let upstream = over_tls(upstream.clone(), &plan.policy, self.head);
            let endpoint = self.connection.known(upstream, &plan.service, plan.port);
            return Ok(Chosen { endpoint, set_cookie: None });
        }
        let mesh = self.connection.pod_proxy.proxy.mesh.read();
        if plan.policy.load_balancer.algorithm == Algorithm::Passthrough {
            let HttpConnection { source, original_dst, .. } = self.connection;
            let upstream = mesh.resolve_dialled(&source.workload, &plan.service, *original_dst);
            let upstream = upstream.map_err(|unresolved| reason_of(&unresolved))?;
            let endpoint = self.connection.known(upstream, &plan.service, DIALLED);
            return Ok(Chosen { endpoint, set_cookie: None });
        }
        let is_tried = |endpoint: &Workload| tried.contains(&endpoint.uid);
        let endpoints = &self.connection.pod_proxy.endpoints;
        let ejected = plan.policy.outlier_detection.and_then(|detection| {
            let ejected = endpoints.ejected(&plan.service, plan.port, Instant::now());
            // Some of those that are ejected may be endpoints no more.
            let are_ejected = mesh.endpoints(&plan.service).map(|endpoint| ejected.contains(&endpoint.uid));
            (!ejected.is_empty() && detection.ejections_count(are_ejected)).then_some(ejected)
        });
        let is_ejected = |endpoint: &Workload| ejected.as_ref().is_some_and(|ejected| ejected.contains(&endpoint.uid));
        let (order, set_cookie) = self.order(plan);
        let warming = self.warming(&mesh, plan);
        let choice = Choice { order, preference: plan.policy.locality.as_ref(), warming: warming.as_ref() };
        let among = |excluded: &dyn Fn(&Workload) -> bool| self.choose_among(&mesh, plan, choice, excluded);
        let chosen = match among(&|endpoint| is_tried(endpoint) || is_ejected(endpoint)) {
            // An endpoint that failed is better than none.
            Err(Unresolved::NoHealthyEndpoint(..)) if !tried.is_empty() => among(&is_ejected),
            chosen => chosen,
        };
        let endpoint = chosen.map_err(|unresolved| reason_of(&unresolved))?;
        Ok(Chosen { endpoint, set_cookie })
    }

    fn choose_among(
        &self,
        mesh: &Mesh,
        plan: &Plan,
        choice: Choice<'_>,
        is_excluded: &dyn Fn(&Workload) -> bool,
    ) -> Result<Arc<KnownEndpoint>, Unresolved> {
        let subset = plan.policy.subset.as_ref();
        let excluded =
            &|endpoint: &Workload| is_excluded(endpoint) || subset.is_some_and(|labels| !endpoint.carries(labels));
        let request =
            EndpointRequest { service: &plan.service, port: plan.port, dialled: self.connection.original_dst, choice };
        let resolve = || -> Result<Arc<KnownEndpoint>, Unresolved> {
            let source = &self.connection.source.workload;
            // Most requests go where one of their connection went before: what that takes is known.
            let picked = mesh.pick_for_request(source, request, excluded, rand::random);
            let is_plain = plan.policy.tls.as_ref().is_none_or(|tls| !tls.is_own());
            let known = picked.filter(|_| is_plain).and_then(|picked| self.connection.known_as(picked, plan.port));
            if let Some(endpoint) = known {
                return Ok(endpoint);
            }
            let upstream = match picked {
                Some(picked) => mesh.reach_picked(source, request, picked)?,
                None => mesh.resolve_request(source, request, excluded, rand::random)?,
            };
            let upstream = over_tls(upstream, &plan.policy, self.head);
            Ok(self.connection.known(upstream, &plan.service, plan.port))
        };
        let mut endpoint = resolve()?;
        let is_by_load = plan.policy.load_balancer.algorithm == Algorithm::LeastRequest;
        if is_by_load && endpoint.load() > 0 {
            let second = resolve()?;
            if second.load() < endpoint.load() {
                endpoint = second;
            }
        }
        Ok(endpoint)
    }

    /// What decides between endpoints, and the cookie that says so of further requests.
    fn order(&self, plan: &Plan) -> (Order, Option<String>) {
        match &plan.policy.load_balancer.algorithm {
            Algorithm::ConsistentHash(key) => {
                match key.hash(self.head, self.connection.source.addr.ip(), rand::random()) {
                    RequestHash::Known(hash) => (Order::Hash(hash), None),
                    RequestHash::NewCookie { hash, set_cookie } => (Order::Hash(hash), Some(set_cookie)),
                    RequestHash::Absent => (Order::Chance, None),
                }
            }
            Algorithm::RoundRobin => {
                let turns = &self.connection.pod_proxy.turns;
                (Order::Turn(turns.take(&plan.service, plan.port, plan.policy.subset.as_ref())), None)
            }
            Algorithm::LeastRequest | Algorithm::Random | Algorithm::Passthrough => (Order::Chance, None),
        }
    }

    /// Endpoints that are new, where the algorithm is one of those for which Envoy knows a slow start.
    fn warming(&self, mesh: &Mesh, plan: &Plan) -> Option<Warming> {
        let LoadBalancer { algorithm, warmup, .. } = &plan.policy.load_balancer;
        let warmup = warmup.filter(|_| matches!(algorithm, Algorithm::LeastRequest | Algorithm::RoundRobin))?;
        self.connection.pod_proxy.proxy.warmups.warming(mesh, &plan.service, &warmup, Instant::now())
    }

    /// Counts what an endpoint did with a request; it may be ejected for that, or count as more loaded than it is.
    pub(super) fn note_result(&self, plan: &Plan, chosen: &Chosen, result: EndpointResult) {
        let Some(state) = &chosen.endpoint.state else { return };
        if result.is_overload() {
            state.note_overload(Instant::now());
        }
        let Some(detection) = &plan.policy.outlier_detection else { return };
        let PodProxy { proxy, endpoints, .. } = &*self.connection.pod_proxy;
        let now = Instant::now();
        let population = || {
            let ejected = endpoints.ejected(&plan.service, plan.port, now);
            let mesh = proxy.mesh.read();
            // Some of those that are ejected may be endpoints no more.
            Population::of(mesh.endpoints(&plan.service).map(|endpoint| ejected.contains(&endpoint.uid)))
        };
        if state.record(result, detection, population, now) {
            let endpoint = chosen.endpoint.upstream.workload.as_ref().map(|workload| &*workload.uid);
            tracing::info!(endpoint, service = %plan.service, port = plan.port, "endpoint ejected: it failed too often in a row");
            endpoints.note_ejection(&plan.service, plan.port, state);
        }
    }
}

impl Chosen {
    /// Counts what the trailers of a response say of its endpoint: its status in the end, where its head has none.
    pub(super) fn note_trailers(&self, head: &ResponseHead, in_the_end: Option<u8>) {
        let is_in_trailers = grpc_status(&head.fields).is_none();
        let in_trailers = in_the_end.filter(|_| is_in_trailers);
        let says_overload = in_trailers.is_some_and(|status| EndpointResult::of_grpc(status).is_overload());
        self.endpoint.state.iter().filter(|_| says_overload).for_each(|state| state.note_overload(Instant::now()));
    }
}

/// Why no endpoint serves a request.
fn reason_of(unresolved: &Unresolved) -> Reason {
    match unresolved {
        Unresolved::NoSuchPort(..) => Reason::NoCluster { status: 503 },
        Unresolved::RegistryOnly => Reason::Blocked,
        _ => Reason::NoHealthyEndpoint,
    }
}
