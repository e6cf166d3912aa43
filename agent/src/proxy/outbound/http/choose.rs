//! Which endpoint an attempt goes to, and what is learnt of it.

use std::sync::Arc;
use std::time::Instant;

use super::connection::KnownEndpoint;
use super::plan::Plan;
use super::request::Request;
use super::upstream::over_tls;
use crate::model::http::destination::Algorithm;
use crate::model::http::hash_key::RequestHash;
use crate::model::http::outlier::{EndpointResult, Population};
use crate::model::http::reply::Reason;
use crate::model::mesh::Mesh;
use crate::model::resolve::{EndpointRequest, Unresolved};
use crate::model::workload::Workload;

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
        let is_tried = |endpoint: &Workload| tried.contains(&endpoint.uid);
        let endpoints = &self.connection.pod_proxy.proxy.endpoints;
        let ejected = plan.policy.outlier_detection.and_then(|detection| {
            let ejected = endpoints.ejected(&plan.service, plan.port, Instant::now());
            // Some of those that are ejected may be endpoints no more.
            let are_ejected = mesh.endpoints(&plan.service).map(|endpoint| ejected.contains(&endpoint.uid));
            (!ejected.is_empty() && detection.ejections_count(are_ejected)).then_some(ejected)
        });
        let is_ejected = |endpoint: &Workload| ejected.as_ref().is_some_and(|ejected| ejected.contains(&endpoint.uid));
        let chosen = self.choose_among(&mesh, plan, |endpoint| is_tried(endpoint) || is_ejected(endpoint));
        let chosen = match chosen {
            // An endpoint that failed is better than none.
            Err(Unresolved::NoHealthyEndpoint(..)) if !tried.is_empty() => self.choose_among(&mesh, plan, is_ejected),
            chosen => chosen,
        };
        chosen.map_err(|unresolved| reason_of(&unresolved))
    }

    fn choose_among(
        &self,
        mesh: &Mesh,
        plan: &Plan,
        is_excluded: impl Fn(&Workload) -> bool,
    ) -> Result<Chosen, Unresolved> {
        let subset = plan.policy.subset.as_ref();
        let excluded =
            &|endpoint: &Workload| is_excluded(endpoint) || subset.is_some_and(|labels| !endpoint.carries(labels));
        let (hash, set_cookie) = self.hash(plan);
        let request =
            EndpointRequest { service: &plan.service, port: plan.port, dialled: self.connection.original_dst, hash };
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
        let is_by_load = hash.is_none() && plan.policy.load_balancer.algorithm == Algorithm::LeastRequest;
        if is_by_load && endpoint.load() > 0 {
            let second = resolve()?;
            if second.load() < endpoint.load() {
                endpoint = second;
            }
        }
        Ok(Chosen { endpoint, set_cookie })
    }

    fn hash(&self, plan: &Plan) -> (Option<u64>, Option<String>) {
        let Algorithm::ConsistentHash(key) = &plan.policy.load_balancer.algorithm else { return (None, None) };
        match key.hash(self.head, self.connection.source.addr.ip(), rand::random()) {
            RequestHash::Known(hash) => (Some(hash), None),
            RequestHash::NewCookie { hash, set_cookie } => (Some(hash), Some(set_cookie)),
            RequestHash::Absent => (None, None),
        }
    }

    /// Counts what an endpoint did with a request; it may be ejected for that.
    pub(super) fn note_result(&self, plan: &Plan, chosen: &Chosen, result: EndpointResult) {
        let (Some(detection), Some(state)) = (&plan.policy.outlier_detection, &chosen.endpoint.state) else { return };
        let proxy = &self.connection.pod_proxy.proxy;
        let now = Instant::now();
        let population = || Population {
            endpoints: proxy.mesh.read().endpoints(&plan.service).count(),
            ejected: proxy.endpoints.ejected(&plan.service, plan.port, now).len(),
        };
        if state.record(result, detection, population, now) {
            let endpoint = chosen.endpoint.upstream.workload.as_ref().map(|workload| &*workload.uid);
            tracing::info!(endpoint, service = %plan.service, port = plan.port, "endpoint ejected: it failed too often in a row");
            proxy.endpoints.note_ejection(&plan.service, plan.port, state);
        }
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
