//! Values of a policy that nothing matches, whatever their author meant. Where the policy would then close less than that, it
//! is not valid; else its author is told.

use std::fmt::Display;

use super::condition::Condition;
use super::rule::Rule;
use crate::model::authorization::{PathMatch, RequestCondition, RequestPrincipalMatch, StringMatch, Values};
use crate::objects::reading::Place;

/// Where a value that nothing matches makes a policy close less than its author meant.
#[derive(Debug, Clone, Copy)]
pub(super) struct Closes {
    pub(super) by_values: bool,
    pub(super) by_not_values: bool,
}

/// Checks all rules of a policy; `list` is where they stand.
pub(super) fn check(closes: Closes, rules: &[Rule], list: &Place<'_>) {
    for (at, rule) in rules.iter().enumerate() {
        let place = list.item(at);
        for (at, source) in rule.from.iter().enumerate() {
            let source_place = place.field("from").item(at).field("source");
            let checker =
                |name, not_name| Checker { closes, places: [source_place.field(name), source_place.field(not_name)] };
            checker("principals", "notPrincipals").principals(&source.principals);
            checker("namespaces", "notNamespaces").namespaces(&source.namespaces);
            for condition in &source.request {
                checker("requestPrincipals", "notRequestPrincipals").condition(condition);
            }
        }
        for (at, operation) in rule.to.iter().enumerate() {
            let place = place.field("to").item(at).field("operation");
            Checker { closes, places: ["ports", "notPorts"].map(|name| place.field(name)) }.ports(&operation.ports);
            for condition in &operation.request {
                let names = match condition {
                    RequestCondition::Path(_) => ["paths", "notPaths"],
                    RequestCondition::Host(_) => ["hosts", "notHosts"],
                    _ => ["methods", "notMethods"],
                };
                Checker { closes, places: names.map(|name| place.field(name)) }.condition(condition);
            }
        }
        for (at, condition) in rule.when.iter().enumerate() {
            let place = place.field("when").item(at);
            let checker = Checker { closes, places: ["values", "notValues"].map(|name| place.field(name)) };
            match condition {
                Condition::SourcePrincipal(values) => checker.principals(values),
                Condition::SourceNamespace(values) => checker.namespaces(values),
                Condition::DestinationPort(values) => checker.ports(values),
                Condition::Request { condition, .. } => checker.condition(condition),
                _ => {}
            }
        }
    }
}

/// Where the values of one condition stand, and those of its `not` form.
struct Checker<'n> {
    closes: Closes,
    places: [Place<'n>; 2],
}

impl Checker<'_> {
    fn principals(&self, values: &Values<String>) {
        let form = "matches nobody: a principal is <trust domain>/ns/<namespace>/sa/<service account>, without spiffe://, with \
                    a star at one end at most";
        self.values(values, form, |text| StringMatch::written(text).can_match_a_principal());
    }

    fn namespaces(&self, values: &Values<String>) {
        let form = "matches nobody: a namespace is a name such as shop, with a star at one end at most";
        self.values(values, form, |text| StringMatch::written(text).can_match_a_namespace());
    }

    fn ports(&self, values: &Values<u16>) {
        self.values(values, "matches no connection: a port is 1 to 65535", |port| *port != 0);
    }

    fn condition(&self, condition: &RequestCondition) {
        match condition {
            RequestCondition::Method(values) => {
                self.values(
                    values,
                    "matches no request: a method is one word such as GET",
                    StringMatch::can_match_a_method,
                );
            }
            RequestCondition::Path(values) => {
                let form = "matches no request: a path begins with / and is compared without query and fragment";
                self.values(values, form, PathMatch::can_match_a_path);
            }
            RequestCondition::Host(values) => {
                let form = "matches no request: a host is a name, with its port where requests have one, with a star at one end at most";
                self.values(values, form, StringMatch::can_match_a_host);
            }
            RequestCondition::RequestPrincipal(values) => {
                let form = "matches nobody: a request principal is <issuer>/<subject>, with a star at one end at most";
                self.values(values, form, RequestPrincipalMatch::can_match_a_token);
            }
            RequestCondition::Header { .. }
            | RequestCondition::Claim { .. }
            | RequestCondition::RemoteIp(_)
            | RequestCondition::Unseen => {}
        }
    }

    fn values<T: Display>(&self, values: &Values<T>, form: &str, can_match: impl Fn(&T) -> bool) {
        let ([place, not_place], Closes { by_values, by_not_values }) = (&self.places, self.closes);
        let both = [(&values.values, place, by_values), (&values.not_values, not_place, by_not_values)];
        for (values, place, closes) in both {
            for (at, value) in values.iter().enumerate().filter(|(_, value)| !can_match(value)) {
                let reason = format!("{:?} {form}", value.to_string());
                let place = place.item(at);
                if closes { place.error(reason) } else { place.notice(reason) }
            }
        }
    }
}
