//! AuthorizationPolicy: what may connect to what. Its rules are in `rule`; it is read by `yaml` and
//! `protobuf`, which both end in [`AuthorizationPolicy::checked`].

use super::condition::Condition;
use super::rule::Rule;
use super::unmatchable::{self, Closes};
use crate::model::policy_object::PolicyTarget;
use crate::objects::labels::Labels;
use crate::objects::metadata::Metadata;
use crate::objects::reading::{Place, Report};

/// Annotation of a policy that is evaluated and reported, and decides nothing, if true.
pub const DRY_RUN_ANNOTATION: &str = "istio.io/dry-run";

/// `istio.security.v1beta1.AuthorizationPolicy`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorizationPolicy {
    /// Which workloads it is about; with `targetRefs`, which a waypoint enforces, none.
    pub target: PolicyTarget,
    pub action: PolicyAction,
    /// Any rule that matches makes the policy match.
    pub rules: Vec<Rule>,
    pub dry_run: bool,
    /// Name of the external authorizer of a CUSTOM policy.
    pub provider: Option<String>,
}

/// `action`: what happens to the requests that the rules match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyAction {
    Allow,
    Deny,
    Audit,
    Custom,
}

/// The parts of `spec` before it is checked what may stand together.
#[derive(Debug)]
pub(super) struct PolicyFields<'t> {
    pub(super) selector: Option<Labels>,
    pub(super) target_ref: Option<(Place<'t>, TargetReference)>,
    pub(super) target_refs: Vec<(Place<'t>, TargetReference)>,
    pub(super) action: PolicyAction,
    /// Name of the external authorizer.
    pub(super) provider: Option<String>,
    pub(super) rules: Vec<Rule>,
}

/// `istio.type.v1beta1.PolicyTargetReference`.
#[derive(Debug, Default)]
pub(super) struct TargetReference {
    pub(super) group: String,
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) namespace: String,
}

impl AuthorizationPolicy {
    /// Checks the policy that stands at `spec`. What is returned along with errors serves only to know what it is about.
    pub(super) fn checked(written: PolicyFields<'_>, metadata: &Metadata, spec: &Place<'_>) -> Self {
        let PolicyFields { selector, target_ref, target_refs, action, provider, rules } = written;
        let target = target(selector, target_ref, target_refs, spec);
        check_provider(action, provider.as_deref(), spec);
        let list = spec.field("rules");
        if rules.is_empty() && !list.has_errors() && matches!(action, PolicyAction::Deny | PolicyAction::Custom) {
            list.error("a DENY or CUSTOM policy without rules never triggers: add a rule, {} matches everything");
        }
        if action == PolicyAction::Deny && rules.iter().any(Rule::is_http_only) {
            list.notice("a DENY rule with HTTP attributes only also denies every connection in its scope that does not carry HTTP");
        }
        if action == PolicyAction::Custom {
            refuse_tokens(&rules, &list);
        }
        let closes = Closes {
            by_values: matches!(action, PolicyAction::Deny | PolicyAction::Custom),
            by_not_values: action == PolicyAction::Allow,
        };
        unmatchable::check(closes, &rules, &list);
        Self { target, action, rules, dry_run: dry_run(metadata, spec.report()), provider }
    }
}

/// Whom the policy is about. A selector that cannot be read stands for the whole namespace.
pub(super) fn target(
    selector: Option<Labels>,
    single: Option<(Place<'_>, TargetReference)>,
    list: Vec<(Place<'_>, TargetReference)>,
    spec: &Place<'_>,
) -> PolicyTarget {
    if single.is_some() && !list.is_empty() {
        spec.field("targetRef").error("only one of targetRef and targetRefs is allowed: use targetRefs");
    }
    let refers = single.is_some() || !list.is_empty();
    for (place, reference) in list.iter().chain(&single) {
        reference.check(place);
    }
    if selector.is_some() && refers {
        spec.field("selector").error("only one of selector and targetRefs is allowed: remove one of the two");
    }
    let is_readable = !["selector", "targetRef", "targetRefs"].iter().any(|name| spec.field(name).has_errors());
    match selector {
        Some(labels) if !labels.is_empty() && (is_readable || refers) => PolicyTarget::Selector(labels),
        None if refers && is_readable => PolicyTarget::Elsewhere,
        _ => PolicyTarget::Namespace,
    }
}

impl TargetReference {
    fn check(&self, place: &Place<'_>) {
        let allowed = matches!(
            (self.group.as_str(), self.kind.as_str()),
            ("" | "core", "Service")
                | ("networking.istio.io", "ServiceEntry")
                | ("gateway.networking.k8s.io", "Gateway" | "GatewayClass")
        );
        if !allowed {
            let reason = "must be one of Service, ServiceEntry, Gateway or GatewayClass, each with its group";
            place.field("kind").error(reason);
        }
        if self.name.is_empty() {
            place.field("name").error("a target needs a name");
        }
        if !self.namespace.is_empty() {
            place.field("namespace").error("a target in another namespace is not supported: remove it");
        }
    }
}

fn check_provider(action: PolicyAction, provider: Option<&str>, spec: &Place<'_>) {
    let place = spec.field("provider");
    match (provider, action) {
        (None, PolicyAction::Custom) if !place.has_errors() => {
            place.error("provider.name is needed with action CUSTOM");
        }
        (Some(""), _) => place.field("name").error("provider.name must not be empty"),
        _ => {}
    }
    if provider.is_some() && action != PolicyAction::Custom {
        place.error("is allowed with action CUSTOM only: remove it");
    }
}

/// Rules of CUSTOM may not be about tokens, as in Istio: they are verified after external authorizers have answered. Such a rule would
/// never match, or always, and so have fewer requests asked about than its author meant.
fn refuse_tokens(rules: &[Rule], list: &Place<'_>) {
    let reason = "is not supported with action CUSTOM: tokens are verified after the provider was asked. Use an ALLOW or DENY policy";
    for (at, rule) in rules.iter().enumerate() {
        let place = list.item(at);
        for (at, source) in rule.from.iter().enumerate() {
            for name in
                source.http_attributes().filter(|name| ["requestPrincipals", "notRequestPrincipals"].contains(name))
            {
                place.field("from").item(at).field("source").field(name).error(reason);
            }
        }
        for (at, condition) in rule.when.iter().enumerate() {
            if matches!(condition, Condition::Request { key, .. } if key.starts_with("request.auth.")) {
                place.field("when").item(at).field("key").error(reason);
            }
        }
    }
}

fn dry_run(metadata: &Metadata, report: &Report) -> bool {
    match metadata.annotations.get(DRY_RUN_ANNOTATION).map(String::as_str) {
        None | Some("" | "0" | "f" | "F" | "false" | "FALSE" | "False") => false,
        Some("1" | "t" | "T" | "true" | "TRUE" | "True") => true,
        Some(other) => {
            let field = format!("metadata.annotations[{DRY_RUN_ANNOTATION}]");
            report.error(field, 1, format!("{other:?} is neither true nor false: quote one of the two"));
            false
        }
    }
}
