//! One `http` rule to the routes that it comes to: one per match, all with one action.

use std::sync::Arc;

use super::destinations::{self, Changes};
use super::matching;
use super::settings::{RuleContext, retry_policy};
use crate::model::http::route::{Action, Applicability, Forward, Origin, PathRewrite, RequestMatch, Route, Rule};
use crate::objects::{HttpMatch, HttpRule, Rewrite};

/// The routes of a rule, in the order of its matches. Those that no request of a pod can take are left out.
pub(super) fn routes(context: RuleContext<'_>, origin: Origin, rule: &HttpRule) -> Vec<Arc<Route>> {
    let compiled = Arc::new(self::rule(context, origin, rule));
    let every = [HttpMatch::default()];
    let matches = if rule.matches.is_empty() { &every[..] } else { &rule.matches };
    let route = |one: &HttpMatch| {
        let (matches, applies): (RequestMatch, Applicability) = matching::compile(context.semantics, one)?;
        let name = match (rule.name.as_str(), one.name.as_str()) {
            (name, "") => name.into(),
            ("", name) => name.into(),
            (rule, name) => format!("{rule}.{name}").into(),
        };
        Some(Arc::new(Route { name, matches, applies, rule: compiled.clone() }))
    };
    matches.iter().filter_map(route).collect()
}

fn rule(context: RuleContext<'_>, origin: Origin, rule: &HttpRule) -> Rule {
    let request = destinations::changes(&rule.headers.request);
    let response = destinations::changes(&rule.headers.response).fields;
    let action = if let Some(redirect) = &rule.redirect {
        Action::Redirect(Box::new(redirect.clone()))
    } else if let Some(response) = &rule.direct_response {
        Action::Respond(Box::new(response.clone()))
    } else {
        forward(context, rule, &request)
    };
    Rule {
        origin,
        semantics: context.semantics,
        action,
        request: request.fields,
        response,
        fault: rule.fault.clone().map(Box::new),
        cors: rule.cors.clone().map(Box::new),
    }
}

fn forward(context: RuleContext<'_>, rule: &HttpRule, request: &Changes) -> Action {
    let destinations = destinations::destinations(context, &rule.route);
    if destinations.is_empty() {
        return destinations::nowhere();
    }
    let retry = match &rule.retries {
        Some(retries) => retry_policy(retries),
        None => context.settings.default_retry.clone(),
    };
    let rewrite = rule.rewrite.as_ref();
    Action::Forward(Box::new(Forward {
        destinations,
        has_several: rule.route.len() > 1,
        path: rewrite.and_then(path_rewrite),
        authority: rewrite
            .and_then(|rewrite| rewrite.authority.as_deref())
            .map(Box::from)
            .or_else(|| request.authority.clone()),
        timeout: rule.timeout.filter(|timeout| !timeout.is_zero()),
        retry,
        mirrors: destinations::mirrors(context, &rule.mirrors),
    }))
}

fn path_rewrite(rewrite: &Rewrite) -> Option<PathRewrite> {
    match (&rewrite.uri, &rewrite.regex) {
        (Some(uri), _) => Some(PathRewrite::Prefix(uri.as_str().into())),
        (None, Some(substitution)) => Some(PathRewrite::Regex(substitution.clone())),
        (None, None) => None,
    }
}
