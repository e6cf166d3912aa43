//! AuthorizationPolicy: what may connect to what. Reads the head and the rules' frame; the parts of a rule are in
//! `rule`.

use super::rule::{self, Rule};
use crate::objects::labels::{self, Labels};
use crate::objects::metadata::Metadata;
use crate::objects::reading::Fields;

/// Reported, and decides nothing, if true.
pub const DRY_RUN_ANNOTATION: &str = "istio.io/dry-run";

/// `spec` of an AuthorizationPolicy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorizationPolicy {
    pub target: PolicyTarget,
    pub action: PolicyAction,
    pub rules: Vec<Rule>,
    pub dry_run: bool,
}

/// Which workloads a policy is about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum PolicyTarget {
    /// All of its namespace; all of the mesh in the root namespace.
    #[default]
    Namespace,
    /// Those with these labels; never empty.
    Selector(Labels),
    /// Services or gateways: a waypoint's business.
    References,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyAction {
    Allow,
    Deny,
    Audit,
    Custom,
}

const ACTIONS: [(&str, PolicyAction); 4] = [
    ("ALLOW", PolicyAction::Allow),
    ("DENY", PolicyAction::Deny),
    ("AUDIT", PolicyAction::Audit),
    ("CUSTOM", PolicyAction::Custom),
];

/// Reads and checks `spec`. What is returned along with errors serves only to tell what the policy is about.
pub(in crate::objects) fn read(mut fields: Fields<'_>, metadata: &Metadata) -> AuthorizationPolicy {
    let target = read_target(&mut fields);
    let action = fields.word("action", &ACTIONS).unwrap_or(PolicyAction::Allow);
    check_provider(&mut fields, action);
    let report = fields.report();
    let rules: Vec<Rule> =
        fields.items("rules").iter().filter_map(|item| Some(rule::read(item.fields(report)?, metadata))).collect();
    if fields.items("rules").is_empty() && matches!(action, PolicyAction::Deny | PolicyAction::Custom) {
        fields
            .error("rules", "a DENY or CUSTOM policy without rules never triggers: add a rule, {} matches everything");
    }
    if action == PolicyAction::Deny && rules.iter().any(Rule::is_http_only) {
        fields.notice("rules", "a DENY rule with HTTP attributes only denies all TCP connections in its scope");
    }
    let dry_run = dry_run(&fields, metadata);
    fields.finish();
    AuthorizationPolicy { target, action, rules, dry_run }
}

fn check_provider(fields: &mut Fields<'_>, action: PolicyAction) {
    let Some(mut provider) = fields.fields("provider") else {
        if action == PolicyAction::Custom {
            fields.error("provider", "provider.name is needed with action CUSTOM");
        }
        return;
    };
    if provider.text("name").unwrap_or_default().is_empty() {
        provider.error("name", "provider.name must not be empty");
    }
    if action != PolicyAction::Custom {
        fields.error("provider", "is allowed with action CUSTOM only: remove it");
    }
    provider.finish();
}

fn dry_run(fields: &Fields<'_>, metadata: &Metadata) -> bool {
    match metadata.annotations.get(DRY_RUN_ANNOTATION).map(String::as_str) {
        None | Some("" | "0" | "f" | "F" | "false" | "FALSE" | "False") => false,
        Some("1" | "t" | "T" | "true" | "TRUE" | "True") => true,
        Some(other) => {
            let field = format!("metadata.annotations[{DRY_RUN_ANNOTATION}]");
            fields.report().error(field, 1, format!("{other:?} is neither true nor false: quote one of the two"));
            false
        }
    }
}

/// Reads selector and target references. A selector that cannot be read stands for the whole namespace.
fn read_target(fields: &mut Fields<'_>) -> PolicyTarget {
    let errors = fields.report().errors();
    let selector = read_selector(fields);
    let refers = read_references(fields);
    if selector.is_some() && refers {
        fields.error("selector", "only one of selector and targetRefs is allowed: remove one of the two");
    }
    let readable = fields.report().errors() == errors;
    match selector {
        Some(labels) if !labels.is_empty() && (readable || refers) => PolicyTarget::Selector(labels),
        None if refers && readable => PolicyTarget::References,
        _ => PolicyTarget::Namespace,
    }
}

/// Reads `selector.matchLabels` of a policy.
pub(super) fn read_selector(fields: &mut Fields<'_>) -> Option<Labels> {
    let mut selector = fields.fields("selector")?;
    let labels = labels::read_selector(&mut selector, "matchLabels");
    if labels.is_empty() {
        selector.notice("matchLabels", "a selector without labels stands for the whole namespace: remove it to say so");
    }
    selector.finish();
    Some(labels)
}

fn read_references(fields: &mut Fields<'_>) -> bool {
    let report = fields.report();
    let mut items = fields.items("targetRefs");
    let single = fields.get("targetRef");
    if single.is_some() && !items.is_empty() {
        fields.error("targetRef", "only one of targetRef and targetRefs is allowed: use targetRefs");
    }
    items.extend(single);
    for item in &items {
        if let Some(reference) = item.fields(report) {
            check_reference(reference);
        }
    }
    !items.is_empty()
}

fn check_reference(mut reference: Fields<'_>) {
    let group = reference.text("group").unwrap_or_default();
    let kind = reference.text("kind").unwrap_or_default();
    let allowed = matches!(
        (group.as_str(), kind.as_str()),
        ("" | "core", "Service")
            | ("networking.istio.io", "ServiceEntry")
            | ("gateway.networking.k8s.io", "Gateway" | "GatewayClass")
    );
    if !allowed {
        reference.error("kind", "must be one of Service, ServiceEntry, Gateway or GatewayClass, each with its group");
    }
    if reference.text("name").unwrap_or_default().is_empty() {
        reference.error("name", "a target needs a name");
    }
    if !reference.text("namespace").unwrap_or_default().is_empty() {
        reference.error("namespace", "a target in another namespace is not supported: remove it");
    }
    reference.finish();
}
