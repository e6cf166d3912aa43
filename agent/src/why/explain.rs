//! The way of a request, phase by phase, as the data path takes it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use super::asker::Asker;
use super::explanation::{AnswerLine, DestinationLine, Explanation};
use super::names::{self, Found};
use super::question::{Question, QuestionError, ReadQuestion, Sent};
use super::reach::{Elsewhere, Reach};
use super::{destinations, endpoints, rules, secrets};
use crate::model::address::OriginalDst;
use crate::model::http::field_changes::FormatContext;
use crate::model::http::head::RequestHead;
use crate::model::http::plan::{Plan, Planner};
use crate::model::http::reply::{LocalReply, Reason};
use crate::model::http::route::{Action, Forward, Route};
use crate::model::http::served::{HttpWish, Served};
use crate::model::resolve::Unresolved;
use crate::model::service::Service;

/// What would become of a request.
///
/// # Errors
/// When the question cannot be understood.
pub fn explain(asker: &Asker<'_>, question: &Question) -> Result<Explanation, QuestionError> {
    let asked = ReadQuestion::read(question)?;
    let head = asked.head.clone();
    let Found { address, because, service } = names::address_of(asker.mesh, asker.source, &asked.host, asked.port);
    let method = String::from_utf8_lossy(&asked.head.method).into_owned();
    let mut explanation = Explanation {
        request: format!("{method} {}", question.url),
        pod: format!("{}/{}", asker.source.namespace, asker.pod),
        identity: asker.identity.to_string(),
        address,
        destination: service.map(|service| service.key.to_string()),
        destination_because: because,
        served_as: "TCP".to_owned(),
        ..Explanation::default()
    };
    if !asker.is_known {
        explanation.problems.push("the mesh does not know the pod as a workload yet".to_owned());
    }
    match address {
        Some(address) => follow(asker, asked, OriginalDst(address), &mut explanation),
        None => explanation.served_because = "the mesh knows no address of the host; ask with an address".to_owned(),
    }
    Ok(secrets::hidden(explanation, &secrets::of(asker, &head)))
}

fn follow(asker: &Asker<'_>, asked: ReadQuestion, dialled: OriginalDst, explanation: &mut Explanation) {
    let served = Served::of(
        asker.mesh,
        asker.source,
        dialled,
        || HttpWish::of(asker.labels),
        |service, port| asker.config.routes(asker.view(), service, port).is_some(),
    );
    let own = asker.mesh.service_at(asker.source, dialled);
    explanation.destination = own.map(|service| service.key.to_string());
    let reach = Reach::of(asker, dialled);
    if asked.sent == Sent::Http
        && let Some(elsewhere) = reach.elsewhere(asker, &asked.head, dialled)
    {
        explanation.served_as = "HTTP".to_owned();
        match elsewhere {
            Elsewhere::Service(service) => {
                explanation.destination = Some(service.key.to_string());
                explanation.served_because =
                    format!("{}, and the host of the request names the service", reach.whose());
                let port = dialled.0.port();
                Requests { asker, dialled, service: &service, port, head: asked.head }.explain(explanation);
            }
            Elsewhere::Blocked => {
                explanation.served_because = "some service of the mesh declares HTTP at this port".to_owned();
                explanation.answer = Some(answer(Reason::Blocked, &reach.refusal(asker)));
            }
        }
        return;
    }
    match served {
        Served::Http { service, port, because } if asked.sent == Sent::Http => {
            (explanation.served_as, explanation.served_because) = ("HTTP".to_owned(), because.to_string());
            Requests { asker, dialled, service: &service, port, head: asked.head }.explain(explanation);
        }
        Served::Http { .. } => {
            let sends = if asked.sent == Sent::Tls { "TLS" } else { "something else than HTTP" };
            explanation.served_because = format!("the client sends {sends}; the port carries HTTP");
            tcp(asker, dialled, &reach, explanation);
        }
        Served::Tcp(because) => {
            explanation.served_because = because.to_string();
            let request = Some(&asked.head).filter(|_| asked.sent == Sent::Http);
            tcp(&Asker { request, ..*asker }, dialled, &reach, explanation);
        }
    }
}

/// A connection that is moved as bytes.
fn tcp(asker: &Asker<'_>, dialled: OriginalDst, reach: &Reach, explanation: &mut Explanation) {
    let port = dialled.0.port();
    let resolved = reach.resolve(asker, dialled);
    let service = asker.mesh.service_at(asker.source, dialled);
    let mut line = DestinationLine { port, weight: 1, total_weight: 1, ..DestinationLine::default() };
    line.name = service.map_or_else(|| dialled.0.ip().to_string(), |service| service.key.to_string());
    // Of a DestinationRule only its TLS counts for connections without HTTP.
    let to_service = service.filter(|service| service.waypoint.is_none());
    let policy = to_service.and_then(|to| asker.config.destination_policy(asker.view(), &to.key, port, None));
    if let Some(policy) = policy
        && let Some(tls) = policy.tls.as_ref().filter(|tls| tls.is_own())
    {
        line.destination_rule = policy.origin.as_ref().map(ToString::to_string);
        line.policy.push(format!("TLS: {:?}", tls.mode).to_uppercase());
    }
    match (&resolved, service) {
        (Ok(upstream), Some(service)) if service.waypoint.is_none() && upstream.workload.is_some() => {
            let place = endpoints::Place { service: &service.key, port, dialled, policy: None, hash: None };
            let _ = endpoints::add(asker, place, &mut line);
        }
        (Ok(upstream), _) => {
            if let (Some(workload), None) = (&upstream.workload, service) {
                line.name = format!("{}/{}", workload.namespace, workload.name);
                explanation.destination = Some(line.name.clone());
            }
            line.endpoints.push(endpoints::told_of_upstream(asker, upstream));
        }
        (Err(Unresolved::RegistryOnly), _) => {
            let because = format!("the connection is closed: {}", reach.refusal(asker));
            line.answer = Some(AnswerLine { status: 0, because });
        }
        (Err(unresolved), _) => {
            let because = format!("the connection is closed: {unresolved}");
            line.answer = Some(AnswerLine { status: 0, because });
            if let Some(service) = service {
                let place = endpoints::Place { service: &service.key, port, dialled, policy: None, hash: None };
                let _ = endpoints::add(asker, place, &mut line);
            }
        }
    }
    explanation.destinations.push(line);
}

/// Requests to a port that carries HTTP.
struct Requests<'a> {
    asker: &'a Asker<'a>,
    dialled: OriginalDst,
    service: &'a Service,
    port: u16,
    head: RequestHead,
}

impl Requests<'_> {
    fn explain(mut self, explanation: &mut Explanation) {
        let asker = self.asker;
        if asker.config.path_normalization().apply(&mut self.head).is_err() {
            explanation.answer = Some(answer(Reason::BadPath, "the path cannot be normalised"));
            return;
        }
        let objects = asker.config.route_objects(asker.view(), &self.service.key, self.port);
        explanation.objects = rules::object_lines(&objects);
        if let Some(sidecar) = asker.config.sidecar(asker.view()) {
            let is_imported = asker.config.is_imported(asker.view(), &self.service.key, self.port);
            let what =
                if is_imported { "imports the service" } else { "does not import the service: no route for it counts" };
            explanation.problems.extend((!is_imported).then(|| format!("Sidecar {sidecar} {what}")));
        }
        let Some(routes) = asker.config.routes(asker.view(), &self.service.key, self.port) else {
            return self.without_route(explanation);
        };
        let route = routes.pick(&self.head);
        explanation.rules = rules::rule_lines(&objects, &routes, route, &self.head);
        match route {
            Some(route) => self.by_route(route, explanation),
            None => explanation.answer = Some(answer(Reason::NoRoute, "no rule matches the request")),
        }
    }

    fn planner(&self) -> Planner<'_> {
        let Asker { mesh, config, .. } = self.asker;
        Planner { mesh, config, source: self.asker.view(), dialled_port: self.port }
    }

    /// To the service itself.
    fn without_route(&self, explanation: &mut Explanation) {
        match Plan::to_service(self.asker.config, self.asker.view(), self.service, self.port, &self.head) {
            Ok(plan) => {
                explanation.actions.push(rules::retries(plan.retry.as_ref()));
                explanation.destinations.push(destinations::planned(
                    self.asker,
                    self.dialled,
                    &plan,
                    &self.head,
                    &self.head,
                ));
            }
            Err(reason) => {
                let because = "its DestinationRule asks for TLS that this agent cannot do";
                explanation.answer = Some(answer(reason, because));
            }
        }
    }

    fn by_route(&self, route: &Arc<Route>, explanation: &mut Explanation) {
        explanation.actions = rules::actions_of_rule(route, &self.head);
        if let Some(preflight) = route.rule.cors.as_ref().and_then(|cors| cors.preflight(&self.head)) {
            let because = "it is a preflight, which the rule answers".to_owned();
            explanation.answer = Some(AnswerLine { status: preflight.status, because });
            return;
        }
        match &route.rule.action {
            Action::Forward(forward) => self.forward(route, forward, explanation),
            Action::Redirect(redirect) => {
                let (status, location) = redirect.response(route, &self.head, self.port);
                let because = format!("the rule redirects to {}", String::from_utf8_lossy(&location));
                explanation.actions.extend(rules::changes_of_response(&route.rule.response));
                explanation.answer = Some(AnswerLine { status, because });
            }
            Action::Respond(response) => {
                let because = format!("the rule answers by itself, with {} bytes", response.body.len());
                explanation.actions.extend(rules::changes_of_response(&route.rule.response));
                explanation.answer = Some(AnswerLine { status: response.status, because });
            }
        }
    }

    fn forward(&self, route: &Arc<Route>, forward: &Forward, explanation: &mut Explanation) {
        let planner = self.planner();
        if forward.choose(route.rule.semantics, 0).is_none() {
            let reason = Reason::NoDestination { status: 503 };
            explanation.answer = Some(answer(reason, "no destination of the rule has a weight"));
            return;
        }
        let total_weight = forward.destinations.iter().map(|destination| destination.weight).sum();
        for (at, destination) in forward.destinations.iter().enumerate() {
            let mut line = match planner.to_destination(route, forward, at, &self.head) {
                Ok(plan) => {
                    let changes = rules::changes(&plan, &self.head, &self.format_context(route));
                    let new = changes.into_iter().filter(|change| !explanation.actions.contains(change));
                    let new: Vec<String> = new.collect();
                    explanation.actions.extend(new);
                    let mut sent = self.head.clone();
                    plan.change_request(&mut sent, &self.format_context(route));
                    destinations::planned(self.asker, self.dialled, &plan, &self.head, &sent)
                }
                Err(reason) => {
                    let changes = route.response_changes(Some(at)).flat_map(rules::changes_of_response);
                    let new = changes.filter(|change| !explanation.actions.contains(change));
                    let new: Vec<String> = new.collect();
                    explanation.actions.extend(new);
                    destinations::unplanned(&planner, destination, reason)
                }
            };
            (line.weight, line.total_weight) = match forward.destinations.len() {
                1 => (1, 1),
                _ => (destination.weight, total_weight),
            };
            explanation.destinations.push(line);
        }
    }

    fn format_context<'c>(&'c self, route: &'c Route) -> FormatContext<'c> {
        let own = self.asker.source.addresses.first().copied().unwrap_or(self.dialled.0.ip());
        FormatContext {
            remote: SocketAddr::new(own, 0),
            local: self.dialled.0,
            start: SystemTime::now(),
            hostname: self.asker.pod,
            route: &route.name,
            upstream: None,
        }
    }
}

fn answer(reason: Reason, because: &str) -> AnswerLine {
    AnswerLine { status: LocalReply::new(reason, false).status, because: because.to_owned() }
}
