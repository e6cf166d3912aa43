//! `spec` of the kinds of this group as YAML has it, field by field.

use super::authorization_policy::{AuthorizationPolicy, PolicyAction, PolicyFields, TargetReference};
use super::condition::Condition;
use super::peer_authentication;
use super::rule::{Operation, Rule, Source, WrittenOperation, WrittenSource};
use super::unmatchable::{self, Closes};
use crate::model::authorization::Values;
use crate::model::peer_authentication::{MtlsMode, PeerAuthentication};
use crate::objects::labels::{self, Labels};
use crate::objects::metadata::Metadata;
use crate::objects::reading::yaml::Value;
use crate::objects::reading::{Fields, Item, Text};

const ACTIONS: [(&str, PolicyAction); 4] = [
    ("ALLOW", PolicyAction::Allow),
    ("DENY", PolicyAction::Deny),
    ("AUDIT", PolicyAction::Audit),
    ("CUSTOM", PolicyAction::Custom),
];

/// Reads an AuthorizationPolicy.
pub(in crate::objects) fn authorization_policy<'n>(mut fields: Fields<'n>, metadata: &Metadata) -> AuthorizationPolicy {
    let (report, spec) = (fields.report(), fields.place());
    let reference = |item: Item<'n>| Some((item.place(report), target_reference(item.fields(report)?)));
    let target_refs = fields.items("targetRefs").into_iter().filter_map(reference).collect();
    let target_ref = fields.get("targetRef").and_then(reference);
    let rules = fields.items("rules");
    let written = PolicyFields {
        selector: selector(&mut fields),
        target_ref,
        target_refs,
        action: fields.word("action", &ACTIONS).unwrap_or(PolicyAction::Allow),
        provider: fields.fields("provider").map(provider),
        rules: rules.iter().filter_map(|item| Some(rule(item.fields(report)?, metadata))).collect(),
    };
    fields.finish();
    AuthorizationPolicy::checked(written, metadata, &spec)
}

/// Reads a list of rules that are those of an AuthorizationPolicy, for an object that bounds what they match: a value that nothing
/// matches is an error.
pub(in crate::objects) fn bounding_rules(
    fields: &mut Fields<'_>,
    name: &'static str,
    metadata: &Metadata,
) -> Vec<Rule> {
    let (report, list) = (fields.report(), fields.place().field(name));
    let items = fields.items(name);
    let rules: Vec<Rule> = items.iter().filter_map(|item| Some(rule(item.fields(report)?, metadata))).collect();
    unmatchable::check(Closes { by_values: true, by_not_values: false }, &rules, &list);
    rules
}

fn provider(mut fields: Fields<'_>) -> String {
    let name = fields.text("name").unwrap_or_default();
    fields.finish();
    name
}

pub(super) fn target_reference(mut fields: Fields<'_>) -> TargetReference {
    let reference = TargetReference {
        group: fields.text("group").unwrap_or_default(),
        kind: fields.text("kind").unwrap_or_default(),
        name: fields.text("name").unwrap_or_default(),
        namespace: fields.text("namespace").unwrap_or_default(),
    };
    fields.finish();
    reference
}

pub(super) fn selector(fields: &mut Fields<'_>) -> Option<Labels> {
    let mut selector = fields.fields("selector")?;
    let labels = selector.text_map("matchLabels");
    labels::check_policy_selector(&labels, &selector.place());
    selector.finish();
    Some(labels)
}

fn rule(mut fields: Fields<'_>, metadata: &Metadata) -> Rule {
    let rule = Rule {
        from: parts(&mut fields, "from", "source", |source| read_source(source, metadata)),
        to: parts(&mut fields, "to", "operation", operation),
        when: conditions(&mut fields, metadata),
    };
    fields.finish();
    rule
}

/// Reads a list whose items are maps with the single field `inner`. A list that is there and empty is an error: it
/// would silently mean "anything".
fn parts<'n, T>(
    fields: &mut Fields<'n>,
    name: &'static str,
    inner: &'static str,
    read: impl Fn(Fields<'n>) -> T,
) -> Vec<T> {
    let Some(item) = fields.any(name) else { return Vec::new() };
    let is_empty = match &item.node.value {
        Value::Null => true,
        Value::List(list) => list.is_empty(),
        _ => false,
    };
    if is_empty {
        fields.error(name, format!("must not be empty: remove it to match any {inner}, or add one"));
        return Vec::new();
    }
    let report = fields.report();
    let mut found = Vec::new();
    for item in fields.items(name) {
        let Some(mut part) = item.fields(report) else { continue };
        match part.fields(inner) {
            Some(fields) if !fields.is_empty() => found.push(read(fields)),
            _ => part.error(inner, format!("{inner} must not be empty: set at least one of its fields")),
        }
        part.finish();
    }
    found
}

fn read_source(mut fields: Fields<'_>, metadata: &Metadata) -> Source {
    let place = fields.place();
    let written = WrittenSource {
        principals: values(&mut fields, "principals", "notPrincipals"),
        request_principals: values(&mut fields, "requestPrincipals", "notRequestPrincipals"),
        namespaces: values(&mut fields, "namespaces", "notNamespaces"),
        ip_blocks: values(&mut fields, "ipBlocks", "notIpBlocks"),
        remote_ip_blocks: values(&mut fields, "remoteIpBlocks", "notRemoteIpBlocks"),
        service_accounts: values(&mut fields, "serviceAccounts", "notServiceAccounts"),
        trust_domains: values(&mut fields, "trustDomains", "notTrustDomains"),
    };
    fields.finish();
    Source::checked(&written, &metadata.namespace, &place)
}

fn operation(mut fields: Fields<'_>) -> Operation {
    let place = fields.place();
    let written = WrittenOperation {
        hosts: values(&mut fields, "hosts", "notHosts"),
        ports: values(&mut fields, "ports", "notPorts"),
        methods: values(&mut fields, "methods", "notMethods"),
        paths: values(&mut fields, "paths", "notPaths"),
    };
    fields.finish();
    Operation::checked(&written, &place)
}

fn conditions(fields: &mut Fields<'_>, metadata: &Metadata) -> Vec<Condition> {
    let report = fields.report();
    let mut found = Vec::new();
    for item in fields.items("when") {
        let Some(mut condition) = item.fields(report) else { continue };
        let place = condition.place();
        let key = condition.text("key").unwrap_or_default();
        let values = values(&mut condition, "values", "notValues");
        condition.finish();
        found.extend(Condition::checked(&key, &values, &metadata.namespace, &place));
    }
    found
}

fn values<'n>(fields: &mut Fields<'n>, name: &'static str, not_name: &'static str) -> Values<Text<'n>> {
    Values { values: fields.placed_texts(name), not_values: fields.placed_texts(not_name) }
}

const MODES: [(&str, MtlsMode); 4] = [
    ("UNSET", MtlsMode::Unset),
    ("DISABLE", MtlsMode::Disable),
    ("PERMISSIVE", MtlsMode::Permissive),
    ("STRICT", MtlsMode::Strict),
];

/// Reads a PeerAuthentication.
pub(in crate::objects) fn peer_authentication(mut fields: Fields<'_>) -> PeerAuthentication {
    let (report, spec) = (fields.report(), fields.place());
    let selector = selector(&mut fields);
    let mode = fields.fields("mtls").map(mtls_mode).unwrap_or_default();
    let ports = fields.entries("portLevelMtls").map(|entries| {
        let entry = |(key, item): (&str, Item<'_>)| Some((key.to_owned(), mtls_mode(item.fields(report)?)));
        entries.into_iter().filter_map(entry).collect()
    });
    fields.finish();
    peer_authentication::checked(selector, mode, ports, &spec)
}

fn mtls_mode(mut fields: Fields<'_>) -> MtlsMode {
    let mode = fields.word("mode", &MODES).unwrap_or_default();
    fields.finish();
    mode
}
