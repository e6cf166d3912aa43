//! Which rule a request takes and why, and what the rule does, in words.

use std::sync::Arc;
use std::time::Duration;

use super::explanation::{ObjectLine, RuleLine};
use crate::model::http::field_changes::{FieldChanges, FormatContext};
use crate::model::http::head::RequestHead;
use crate::model::http::plan::Plan;
use crate::model::http::policies::{Abort, Cors, Fault, RetryPolicy};
use crate::model::http::route::{Action, Forward, Route};
use crate::model::http::service_routes::ServiceRoutes;
use crate::model::http::standing::{ObjectStanding, Standing};
use crate::model::http::timeouts::Timeouts;

/// Objects and whether they count.
pub(super) fn object_lines(objects: &[ObjectStanding]) -> Vec<ObjectLine> {
    let line = |object: &ObjectStanding| ObjectLine {
        objects: object.origins.iter().map(ToString::to_string).collect(),
        host: object.host.to_string(),
        counts: object.standing == Standing::Counts,
        because: object.standing.to_string(),
    };
    objects.iter().map(line).collect()
}

/// The rules of the objects that count, up to the one that a request takes; those for other clients and ports first.
pub(super) fn rule_lines(
    objects: &[ObjectStanding],
    routes: &ServiceRoutes,
    taken: Option<&Arc<Route>>,
    head: &RequestHead,
) -> Vec<RuleLine> {
    let counting = objects.iter().filter(|object| object.standing == Standing::Counts);
    let left_out = counting
        .flat_map(|object| &object.left_out)
        .map(|route| RuleLine { failed: Some(route.applies.to_string()), ..line_of(route) });
    let mut lines: Vec<RuleLine> = left_out.collect();
    for route in routes.routes() {
        let is_taken = taken.is_some_and(|taken| Arc::ptr_eq(taken, route));
        let mut line = RuleLine { is_taken, ..line_of(route) };
        for condition in route.matches.conditions() {
            if condition.is_met_by(head) {
                line.met.push(condition.to_string());
            } else {
                line.failed = Some(condition.to_string());
                break;
            }
        }
        lines.push(line);
        if is_taken {
            break;
        }
    }
    lines
}

fn line_of(route: &Route) -> RuleLine {
    RuleLine {
        object: route.rule.origin.to_string(),
        rule: route.rule.origin.rule,
        name: route.name.to_string(),
        is_taken: false,
        met: Vec::new(),
        failed: None,
    }
}

/// What a rule does whatever destination the request gets.
pub(super) fn actions_of_rule(route: &Route, head: &RequestHead) -> Vec<String> {
    let mut actions = Vec::new();
    actions.extend(route.rule.cors.as_deref().map(cors));
    if let Some(fault) = &route.rule.fault {
        actions.extend(faults(fault));
    }
    if let Action::Forward(forward) = &route.rule.action {
        actions.extend(time_and_retries(forward, head));
        actions.extend(forward.mirrors.iter().map(|mirror| {
            let port = mirror.target.port.map_or(String::new(), |port| format!(", port {port}"));
            let subset = mirror.target.subset.as_ref().map_or(String::new(), |subset| format!(", subset {subset}"));
            format!("a copy of {} of the requests goes to {}{port}{subset}", mirror.share, mirror.target.hostname)
        }));
    }
    actions
}

fn cors(cors: &Cors) -> String {
    let origins: Vec<String> = cors.allow_origins.iter().map(|origin| format!("origin {origin}")).collect();
    format!("cross-origin requests are permitted where {}", origins.join(" or "))
}

fn faults(fault: &Fault) -> impl Iterator<Item = String> {
    let delay = fault.delay.map(|(share, delay)| format!("fault: {share} of the requests wait for {delay:?}"));
    let abort = fault.abort.map(|(share, abort)| match abort {
        Abort::Http(status) => format!("fault: {share} of the requests are answered {status}"),
        Abort::Grpc(status) => format!("fault: {share} of the requests are answered with status {status} of gRPC"),
    });
    delay.into_iter().chain(abort)
}

fn time_and_retries(forward: &Forward, head: &RequestHead) -> impl Iterator<Item = String> {
    let timeout = Timeouts::of(forward.timeout, None, head).total;
    let timeout = timeout.map(|timeout| format!("time-out: {timeout:?}, with all retries"));
    timeout.into_iter().chain([retries(RetryPolicy::of(forward.retry.as_ref(), head).as_ref())])
}

/// How often a request may be sent again.
pub(super) fn retries(retry: Option<&RetryPolicy>) -> String {
    let Some(retry) = retry else { return "retries: none".to_owned() };
    let mut on = vec![retry.on.to_string()].into_iter().filter(|on| !on.is_empty()).collect::<Vec<_>>();
    on.extend(retry.codes.iter().map(ToString::to_string));
    let per_try = retry.per_try_timeout.filter(|limit| *limit > Duration::ZERO);
    let per_try = per_try.map_or(String::new(), |limit| format!(", {limit:?} for each attempt"));
    format!("retries: at most {} on {}{per_try}", retry.attempts, on.join(", "))
}

/// What changes about a request and its response on the way to the destination of a plan.
pub(super) fn changes(plan: &Plan, head: &RequestHead, context: &FormatContext<'_>) -> Vec<String> {
    let mut changed = head.clone();
    plan.change_request(&mut changed, context);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut changes = Vec::new();
    if changed.target != head.target {
        changes.push(format!("the path becomes {}", text(&changed.target)));
    }
    if changed.authority != head.authority {
        changes.push(format!("the authority becomes {}", text(&changed.authority)));
    }
    let had = |name: &[u8], value: &[u8]| head.fields.iter().any(|field| field == (name, value));
    for (name, value) in changed.fields.iter().filter(|(name, value)| !had(name, value)) {
        changes.push(format!("the request gets the field {}: {}", text(name), text(value)));
    }
    let mut gone: Vec<&[u8]> = head.fields.iter().map(|(name, _)| name).collect();
    gone.retain(|name| !changed.fields.iter().any(|(still, _)| still == *name));
    changes.extend(gone.iter().map(|name| format!("the request loses the field {}", text(name))));
    changes.extend(plan.response_changes().flat_map(changes_of_response));
    changes
}

/// What a rule changes about responses, whoever makes them.
pub(super) fn changes_of_response(changes: &FieldChanges) -> impl Iterator<Item = String> {
    let removed = changes.remove.iter().map(|name| format!("the response loses the field {name}"));
    let set = changes.set.iter().map(|(name, _)| format!("the response has its field {name} set"));
    let added = changes.add.iter().map(|(name, _)| format!("the response gets a field {name}"));
    removed.chain(set).chain(added)
}
