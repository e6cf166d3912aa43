//! What the rule of a route changes about a request on its way to the endpoint, and about the response on its way back.

use std::net::SocketAddr;
use std::time::SystemTime;

use super::choose::Chosen;
use super::plan::Plan;
use super::request::Request;
use crate::model::http::field_changes::{FieldChanges, FormatContext};
use crate::model::http::head::ResponseHead;
use crate::model::http::proxy_headers::date;
use crate::model::http::route::Route;
use crate::model::resolve::{Transport, Upstream};

impl<D> Request<'_, D> {
    /// Changes the request as its route and the destination that was chosen say. The route was matched before that.
    pub(super) fn change_request(&mut self, plan: &Plan) {
        let Some((route, _)) = &plan.route else { return };
        let context = format_context(self, route, None);
        let headers = self.config.proxy_headers();
        let before = headers.forwarded_host.then(|| self.head.authority.clone());
        plan.change_request(self.head, &context);
        before.iter().for_each(|before| headers.rewritten(before, self.head));
    }

    /// Changes the response of an endpoint: what the agent says in it of its own comes before what the route changes.
    pub(super) fn change_response(&self, plan: &Plan, response: &mut ResponseHead, chosen: &Chosen) {
        self.config.proxy_headers().name_server(response);
        date(response, SystemTime::now);
        if let Some(cookie) = &chosen.set_cookie {
            response.fields.append(b"set-cookie", cookie.as_bytes());
        }
        let Some((route, _)) = &plan.route else { return };
        for changes in plan.response_changes() {
            self.apply_to_response(changes, route, response, Some(&chosen.endpoint.upstream));
        }
        self.permit_origin(response);
    }

    /// Says what the origin of the request may do with a response, whoever made that.
    pub(super) fn permit_origin(&self, response: &mut ResponseHead) {
        if let Some((route, origin)) = &self.origin
            && let Some(cors) = &route.rule.cors
        {
            cors.permit(origin, response);
        }
    }

    /// Changes a response that no endpoint made, of a request that has taken a route.
    pub(super) fn change_own_response(&self, response: &mut ResponseHead) {
        let Some((route, at)) = &self.taken else { return };
        for changes in route.response_changes(*at) {
            self.apply_to_response(changes, route, response, None);
        }
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
    match upstream.transport.carrier() {
        Transport::Hbone { authority, .. } => authority.parse().ok(),
        Transport::Passthrough(address) => Some(*address),
        Transport::ResolveHostname { .. } | Transport::Tls { .. } => None,
    }
}
