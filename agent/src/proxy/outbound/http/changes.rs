//! What the rule of a route changes about a request on its way to the endpoint, and about the response on its way back.

use std::net::SocketAddr;

use super::choose::Chosen;
use super::plan::Plan;
use super::request::Request;
use crate::model::http::field_changes::{FieldChanges, FormatContext};
use crate::model::http::head::ResponseHead;
use crate::model::http::route::{Action, Forward, Route};
use crate::model::resolve::{Transport, Upstream};

impl<D> Request<'_, D> {
    /// Changes the request as its route and the destination that was chosen say. The route was matched before that.
    pub(super) fn change_request(&mut self, plan: &Plan) {
        let Some((route, _)) = &plan.route else { return };
        let Action::Forward(forward) = &route.rule.action else { return };
        let destination = plan.destination();
        let context = format_context(self, route, None);
        let levels = in_order(forward, destination.map(|destination| &destination.request), &route.rule.request);
        for changes in levels.into_iter().flatten().filter(|changes| !changes.is_empty()) {
            changes.apply_to_request(self.head, &context);
        }
        forward.rewrite(route, destination, self.head);
    }

    /// Changes the response of an endpoint.
    pub(super) fn change_response(&self, plan: &Plan, response: &mut ResponseHead, chosen: &Chosen) {
        if let Some(cookie) = &chosen.set_cookie {
            response.fields.append(b"set-cookie", cookie.as_bytes());
        }
        let Some((route, _)) = &plan.route else { return };
        let Action::Forward(forward) = &route.rule.action else { return };
        let destination = plan.destination().map(|destination| &destination.response);
        for changes in in_order(forward, destination, &route.rule.response).into_iter().flatten() {
            self.apply_to_response(changes, route, response, Some(&chosen.upstream));
        }
        if let Some(cors) = &route.rule.cors {
            cors.permit(self.head, response);
        }
    }

    /// Changes a response that no endpoint made.
    pub(super) fn change_own_response(&self, route: &Route, response: &mut ResponseHead) {
        self.apply_to_response(&route.rule.response, route, response, None);
    }

    fn apply_to_response(
        &self,
        changes: &FieldChanges,
        route: &Route,
        response: &mut ResponseHead,
        upstream: Option<&Upstream>,
    ) {
        if !changes.is_empty() {
            changes.apply_to_response(response, self.head, &format_context(self, route, upstream));
        }
    }
}

/// The changes of a destination and of its rule, in the order in which Istio has them made: where a rule has one destination, its
/// changes come last and win; where it has several, those of the rule do.
fn in_order<'c>(
    forward: &Forward,
    destination: Option<&'c FieldChanges>,
    rule: &'c FieldChanges,
) -> [Option<&'c FieldChanges>; 2] {
    if forward.destinations.len() == 1 { [Some(rule), destination] } else { [destination, Some(rule)] }
}

fn format_context<'c, D>(request: &Request<'c, D>, route: &'c Route, upstream: Option<&Upstream>) -> FormatContext<'c> {
    let connection = request.connection;
    FormatContext {
        remote: connection.source.addr,
        local: connection.original_dst.0,
        start: request.started,
        hostname: &connection.pod_proxy.pod.spec.name,
        route: &route.name,
        upstream: upstream.and_then(address_of),
    }
}

/// The address of an endpoint, as far as it is known before a name is looked up.
fn address_of(upstream: &Upstream) -> Option<SocketAddr> {
    match &upstream.transport {
        Transport::Hbone { authority, .. } => authority.parse().ok(),
        Transport::Passthrough(address) => Some(*address),
        Transport::ResolveHostname { .. } => None,
    }
}
