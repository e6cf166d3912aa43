//! `spec` of the kinds of this group as it comes over ADS. Messages are taken apart whole, so that a field which is added
//! to a definition cannot be forgotten here: it may have been meant to restrict something.

use super::authorization_policy::{AuthorizationPolicy, PolicyAction, PolicyFields, TargetReference};
use super::condition::Condition;
use super::peer_authentication;
use super::rule::{Operation, Rule, Source, WrittenOperation, WrittenSource};
use crate::model::authorization::Values;
use crate::model::peer_authentication::{MtlsMode, PeerAuthentication};
use crate::objects::labels::{self, Labels};
use crate::objects::metadata::Metadata;
use crate::objects::reading::{Place, Text, UnknownValue};
use crate::proto::istio::security::v1beta1 as pb;
use crate::proto::istio::r#type::v1beta1::{PolicyTargetReference, WorkloadSelector};

/// Reads an AuthorizationPolicy, which stands at `spec`.
///
/// # Errors
/// When its action is not known.
pub(in crate::objects) fn authorization_policy(
    wire: &pb::AuthorizationPolicy,
    metadata: &Metadata,
    spec: &Place<'_>,
) -> Result<AuthorizationPolicy, UnknownValue> {
    use pb::authorization_policy::ActionDetail;
    let pb::AuthorizationPolicy {
        selector: wire_selector,
        rules,
        action: wire_action,
        target_ref,
        target_refs,
        action_detail,
    } = wire;
    let list = spec.field("targetRefs");
    let written = PolicyFields {
        action: action(*wire_action)?,
        selector: wire_selector.as_ref().map(|wire| selector(wire, spec)),
        target_ref: target_ref.as_ref().map(|wire| (spec.field("targetRef"), target_reference(wire))),
        target_refs: target_refs.iter().enumerate().map(|(at, wire)| (list.item(at), target_reference(wire))).collect(),
        provider: action_detail.as_ref().map(|ActionDetail::Provider(provider)| provider.name.clone()),
        rules: rules.iter().enumerate().map(|(at, wire)| rule(wire, metadata, &spec.field("rules").item(at))).collect(),
    };
    Ok(AuthorizationPolicy::checked(written, metadata, spec))
}

fn action(value: i32) -> Result<PolicyAction, UnknownValue> {
    use pb::authorization_policy::Action;
    match Action::try_from(value) {
        Ok(Action::Allow) => Ok(PolicyAction::Allow),
        Ok(Action::Deny) => Ok(PolicyAction::Deny),
        Ok(Action::Audit) => Ok(PolicyAction::Audit),
        Ok(Action::Custom) => Ok(PolicyAction::Custom),
        Err(_) => Err(UnknownValue { field: "spec.action", value }),
    }
}

fn target_reference(wire: &PolicyTargetReference) -> TargetReference {
    let PolicyTargetReference { group, kind, name, namespace } = wire.clone();
    TargetReference { group, kind, name, namespace }
}

fn selector(wire: &WorkloadSelector, spec: &Place<'_>) -> Labels {
    let WorkloadSelector { match_labels } = wire;
    let labels = match_labels.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    labels::check_policy_selector(&labels, &spec.field("selector"));
    labels
}

fn rule(wire: &pb::Rule, metadata: &Metadata, place: &Place<'_>) -> Rule {
    let pb::Rule { from, to, when } = wire;
    let mut rule = Rule::default();
    for (at, pb::rule::From { source: wire }) in from.iter().enumerate() {
        let place = place.field("from").item(at).field("source");
        match wire {
            Some(wire) if *wire != pb::Source::default() => rule.from.push(source(wire, metadata, &place)),
            _ => place.error("source must not be empty: set at least one of its fields"),
        }
    }
    for (at, pb::rule::To { operation: wire }) in to.iter().enumerate() {
        let place = place.field("to").item(at).field("operation");
        match wire {
            Some(wire) if *wire != pb::Operation::default() => rule.to.push(operation(wire, &place)),
            _ => place.error("operation must not be empty: set at least one of its fields"),
        }
    }
    for (at, pb::Condition { key, values: has, not_values }) in when.iter().enumerate() {
        let place = place.field("when").item(at);
        let texts = values(&place, ("values", has), ("notValues", not_values));
        rule.when.extend(Condition::checked(key, &texts, &metadata.namespace, &place));
    }
    rule
}

fn source(wire: &pb::Source, metadata: &Metadata, place: &Place<'_>) -> Source {
    let pb::Source {
        principals,
        request_principals,
        namespaces,
        ip_blocks,
        not_principals,
        not_request_principals,
        not_namespaces,
        not_ip_blocks,
        remote_ip_blocks,
        not_remote_ip_blocks,
        service_accounts,
        not_service_accounts,
        trust_domains,
        not_trust_domains,
    } = wire;
    let both = |name, texts, not_name, not_texts| values(place, (name, texts), (not_name, not_texts));
    let written = WrittenSource {
        principals: both("principals", principals, "notPrincipals", not_principals),
        request_principals: both(
            "requestPrincipals",
            request_principals,
            "notRequestPrincipals",
            not_request_principals,
        ),
        namespaces: both("namespaces", namespaces, "notNamespaces", not_namespaces),
        ip_blocks: both("ipBlocks", ip_blocks, "notIpBlocks", not_ip_blocks),
        remote_ip_blocks: both("remoteIpBlocks", remote_ip_blocks, "notRemoteIpBlocks", not_remote_ip_blocks),
        service_accounts: both("serviceAccounts", service_accounts, "notServiceAccounts", not_service_accounts),
        trust_domains: both("trustDomains", trust_domains, "notTrustDomains", not_trust_domains),
    };
    Source::checked(&written, &metadata.namespace, place)
}

fn operation(wire: &pb::Operation, place: &Place<'_>) -> Operation {
    let pb::Operation { hosts, ports, methods, paths, not_hosts, not_ports, not_methods, not_paths } = wire;
    let written = WrittenOperation {
        hosts: values(place, ("hosts", hosts), ("notHosts", not_hosts)),
        ports: values(place, ("ports", ports), ("notPorts", not_ports)),
        methods: values(place, ("methods", methods), ("notMethods", not_methods)),
        paths: values(place, ("paths", paths), ("notPaths", not_paths)),
    };
    Operation::checked(&written, place)
}

fn values<'t>(
    place: &Place<'t>,
    (name, texts): (&str, &'t [String]),
    (not_name, not_texts): (&str, &'t [String]),
) -> Values<Text<'t>> {
    Values { values: place.texts(name, texts), not_values: place.texts(not_name, not_texts) }
}

/// Reads a PeerAuthentication, which stands at `spec`.
///
/// # Errors
/// When one of its modes is not known.
pub(in crate::objects) fn peer_authentication(
    wire: &pb::PeerAuthentication,
    spec: &Place<'_>,
) -> Result<PeerAuthentication, UnknownValue> {
    let pb::PeerAuthentication { selector: wire_selector, mtls, port_level_mtls } = wire;
    let mode = mtls.as_ref().map(mtls_mode).transpose()?.unwrap_or_default();
    let ports = port_level_mtls.iter().map(|(port, mtls)| Ok((port.to_string(), mtls_mode(mtls)?)));
    let ports: Vec<_> = ports.collect::<Result<_, _>>()?;
    let selector = wire_selector.as_ref().map(|wire| selector(wire, spec));
    // A map that is empty is one that was not sent.
    Ok(peer_authentication::checked(selector, mode, Some(ports).filter(|ports| !ports.is_empty()), spec))
}

fn mtls_mode(wire: &pb::peer_authentication::MutualTls) -> Result<MtlsMode, UnknownValue> {
    use pb::peer_authentication::mutual_tls::Mode;
    let pb::peer_authentication::MutualTls { mode } = wire;
    match Mode::try_from(*mode) {
        Ok(Mode::Unset) => Ok(MtlsMode::Unset),
        Ok(Mode::Disable) => Ok(MtlsMode::Disable),
        Ok(Mode::Permissive) => Ok(MtlsMode::Permissive),
        Ok(Mode::Strict) => Ok(MtlsMode::Strict),
        Err(_) => Err(UnknownValue { field: "spec.mtls.mode", value: *mode }),
    }
}
