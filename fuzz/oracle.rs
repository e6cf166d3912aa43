//! The plainest reading of L4 policies: from the wire's messages, bit by bit and text by text, without the agent's code.

use std::net::IpAddr;

use weir::api::proto::istio::security as pb;

use crate::sample::{Policy, Request, Sample};

const ROOT_NAMESPACE: &str = "istio-system";
const GLOBAL: i32 = 0;
const NAMESPACE: i32 = 1;
const ALLOW: i32 = 0;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Allowed,
    Denied,
}

/// What all policies say together about one request.
pub(crate) fn decide(sample: &Sample, request: &Request) -> Verdict {
    let name = |policy: &Policy| format!("{}/{}", policy.wire.namespace, policy.wire.name);
    let listed = &sample.workload.authorization_policies;
    if listed.iter().any(|listed| !sample.policies.iter().any(|policy| name(policy) == *listed)) {
        return Verdict::Denied;
    }
    let mut in_force = Vec::new();
    for policy in &sample.policies {
        // A policy of the root namespace is one of the whole mesh: where it cannot be understood, whatever its scope says.
        let of_root = policy.is_broken && policy.wire.scope == NAMESPACE && policy.wire.namespace == ROOT_NAMESPACE;
        let everywhere = policy.wire.scope == GLOBAL || of_root;
        let here = policy.wire.scope == NAMESPACE && policy.wire.namespace == sample.workload.namespace;
        // One that cannot be understood is never under trial: what it would have been is unknown.
        let enforced = policy.is_broken || !policy.wire.dry_run;
        if enforced && (everywhere || here || listed.contains(&name(policy))) {
            in_force.push(policy);
        }
    }
    let mut has_allow = false;
    let mut allowed = false;
    for policy in in_force {
        if policy.is_broken {
            return Verdict::Denied;
        }
        let holds = policy.wire.groups.iter().any(|group| group_holds(group, request));
        if policy.wire.action != ALLOW && holds {
            return Verdict::Denied;
        }
        if policy.wire.action == ALLOW {
            has_allow = true;
            allowed |= holds;
        }
    }
    if has_allow && !allowed { Verdict::Denied } else { Verdict::Allowed }
}

fn group_holds(group: &pb::Group, request: &Request) -> bool {
    group.rules.iter().all(|rules| rules.matches.is_empty() || rules.matches.iter().any(|one| holds(one, request)))
}

fn holds(one: &pb::Match, request: &Request) -> bool {
    let [domain, namespace, account] = request.source.unwrap_or_default();
    let principal = request.source.map(|_| format!("{domain}/ns/{namespace}/sa/{account}"));
    let (source, destination) = (request.asked.source_ip, request.asked.destination.ip());
    let port = u32::from(request.asked.destination.port());

    let of_namespace = |wanted: &pb::StringMatch| text_holds(wanted, namespace);
    let of_principal = |wanted: &pb::StringMatch| principal.as_deref().is_some_and(|text| text_holds(wanted, text));
    let of_account = |wanted: &pb::ServiceAccountMatch| {
        request.source.is_some() && wanted.namespace == namespace && wanted.service_account == account
    };
    let from = |wanted: &pb::Address| block_holds(wanted, source);
    let to = |wanted: &pb::Address| block_holds(wanted, destination);
    let fields = [
        field(&one.namespaces, &one.not_namespaces, of_namespace),
        field(&one.principals, &one.not_principals, of_principal),
        field(&one.source_ips, &one.not_source_ips, from),
        field(&one.destination_ips, &one.not_destination_ips, to),
        field(&one.destination_ports, &one.not_destination_ports, |wanted: &u32| *wanted == port),
        field(&one.service_accounts, &one.not_service_accounts, of_account),
    ];
    // None: the field is not set. A match without any is no match.
    fields.iter().any(Option::is_some) && fields.iter().all(|holds| *holds != Some(false))
}

fn field<T>(wanted: &[T], unwanted: &[T], is: impl Fn(&T) -> bool) -> Option<bool> {
    if wanted.is_empty() && unwanted.is_empty() {
        return None;
    }
    let some_wanted = wanted.is_empty() || wanted.iter().any(&is);
    Some(some_wanted && !unwanted.iter().any(&is))
}

fn text_holds(wanted: &pb::StringMatch, text: &str) -> bool {
    use pb::string_match::MatchType;
    match &wanted.match_type {
        Some(MatchType::Exact(exact)) => text == exact,
        Some(MatchType::Prefix(prefix)) => text.len() >= prefix.len() && &text[..prefix.len()] == prefix,
        Some(MatchType::Suffix(suffix)) => text.len() >= suffix.len() && &text[text.len() - suffix.len()..] == suffix,
        Some(MatchType::Presence(())) => !text.is_empty(),
        None => false,
    }
}

/// Compares bit by bit. An IPv4-mapped IPv6 address is the IPv4 address; so is a block of such addresses.
fn block_holds(wanted: &pb::Address, ip: IpAddr) -> bool {
    let (mut block, mut length) = (bits(&wanted.address), usize::try_from(wanted.length).expect("it is small"));
    let mapped = bits(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255]);
    if block.len() == 128 && block.starts_with(&mapped) && length >= 96 {
        block.drain(..96);
        length -= 96;
    }
    let ip = match ip {
        IpAddr::V4(v4) => bits(&v4.octets()),
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => bits(&v4.octets()),
            None => bits(&v6.octets()),
        },
    };
    block.len() == ip.len() && block[..length] == ip[..length]
}

fn bits(bytes: &[u8]) -> Vec<bool> {
    bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1)).collect()
}
