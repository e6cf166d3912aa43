//! An `http` rule of a VirtualService (`istio.networking.v1.HTTPRoute`): what it matches, where it sends, what it changes; and
//! which of its parts may stand together, with the rules of Istio's webhook.

use std::time::Duration;

use super::destination::{self, RouteDestination};
use super::http_actions::{self, Mirror, Rewrite};
use super::http_match::{self, HttpMatch};
use super::retries::{self, Retries};
use super::values::{self, HeaderChanges};
use crate::model::http::policies::{Cors, Fault};
use crate::model::http::route::{DirectResponse, Redirect};
use crate::objects::reading::Fields;

/// A rule. It redirects, answers itself, delegates, or sends to destinations, the first of these that it has.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HttpRule {
    pub name: String,
    /// One of them must hold; none: every request.
    pub matches: Vec<HttpMatch>,
    pub redirect: Option<Redirect>,
    pub direct_response: Option<DirectResponse>,
    pub delegate: Option<Delegate>,
    pub route: Vec<RouteDestination>,
    pub rewrite: Option<Rewrite>,
    /// Of the whole request, retries included; zero and `None`: unlimited.
    pub timeout: Option<Duration>,
    pub retries: Option<Retries>,
    pub fault: Option<Fault>,
    pub mirrors: Vec<Mirror>,
    pub cors: Option<Cors>,
    pub headers: HeaderChanges,
}

/// `delegate`: the VirtualService whose rules stand in the place of this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delegate {
    pub name: String,
    /// Empty: that of the delegating object.
    pub namespace: String,
}

/// Reads a rule.
pub(super) fn read(mut fields: Fields<'_>) -> Option<HttpRule> {
    let report = fields.report();
    let errors = report.errors();
    let rule = HttpRule {
        name: fields.text("name").unwrap_or_default(),
        matches: fields.items("match").iter().filter_map(|item| Some(http_match::read(item.fields(report)?))).collect(),
        redirect: fields.fields("redirect").map(http_actions::redirect),
        direct_response: fields.fields("directResponse").map(http_actions::direct_response),
        delegate: fields.fields("delegate").map(delegate),
        route: fields
            .items("route")
            .iter()
            .filter_map(|item| destination::read_weighted(item.fields(report)?))
            .collect(),
        rewrite: fields.fields("rewrite").map(http_actions::rewrite),
        timeout: values::duration(&mut fields, "timeout"),
        retries: fields.fields("retries").map(retries::read),
        fault: fields.fields("fault").map(http_actions::fault),
        mirrors: http_actions::mirrors(&mut fields),
        cors: fields.fields("corsPolicy").map(http_actions::cors),
        headers: values::header_changes(&mut fields),
    };
    if report.errors() == errors {
        check(&rule, &fields);
    }
    fields.finish();
    Some(rule)
}

fn check(rule: &HttpRule, fields: &Fields<'_>) {
    let answers = rule.redirect.is_some() || rule.direct_response.is_some();
    let kind = if rule.redirect.is_some() { "redirect" } else { "directResponse" };
    let others = [
        ("route", !rule.route.is_empty()),
        ("fault", rule.fault.is_some()),
        ("rewrite", rule.rewrite.is_some()),
        ("delegate", rule.delegate.is_some()),
        ("directResponse", rule.redirect.is_some() && rule.direct_response.is_some()),
    ];
    for (name, is_set) in others {
        if answers && is_set {
            fields.error(name, format!("a rule with {kind} cannot have {name}: remove one of the two"));
        }
    }
    if rule.delegate.is_some() && !rule.route.is_empty() {
        fields.error("route", "a rule with delegate cannot have route: remove one of the two");
    }
    if !answers && rule.delegate.is_none() && rule.route.is_empty() {
        fields.error("route", "a rule needs one of route, redirect, directResponse and delegate");
    }
    if rule.route.len() > 1 && rule.route.iter().all(|destination| destination.weight == 0) {
        fields.error("route", "the weights add up to 0: give at least one destination a weight");
    }
}

fn delegate(mut fields: Fields<'_>) -> Delegate {
    let found = Delegate {
        name: fields.text("name").unwrap_or_default(),
        namespace: fields.text("namespace").unwrap_or_default(),
    };
    if found.name.is_empty() {
        fields.error("name", "the name of a VirtualService without hosts is needed");
    }
    fields.finish();
    found
}
