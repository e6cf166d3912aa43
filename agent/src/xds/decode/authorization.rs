//! `istio.security.Authorization` to the model's policy. A policy that cannot be understood is never dropped: it
//! becomes one that denies its scope, and where even the scope cannot be read, the widest that its name allows.

use ipnet::IpNet;
use prost::Message;

use super::fields::{block, known, port};
use super::malformed::{Flaw, Malformed, named};
use crate::model::authorization::{
    Action, Authorization, Clause, Group, Groups, Match, PolicyScope, ServiceAccountMatch, StringMatch, can_be_a_name,
};
use crate::proto::istio::security as pb;

/// Decodes a policy that came under a name.
///
/// # Errors
/// The first field that is malformed; give the reason to [`denial_of_unreadable`] then.
pub(in crate::xds) fn authorization(name: &str, body: &[u8]) -> Result<Authorization, Malformed> {
    let wire = pb::Authorization::decode(body)?;
    named("name", &format!("{}/{}", wire.namespace, wire.name), name)?;
    let action = action(wire.action)?;
    let groups = wire
        .groups
        .iter()
        .enumerate()
        .map(|(i, wire)| group(i, wire, action).map_err(|e| e.within(&format!("groups[{i}]"))));
    Ok(Authorization {
        key: name.into(),
        scope: scope(wire.scope)?,
        action,
        dry_run: wire.dry_run,
        provider: "".into(),
        groups: groups.collect::<Result<_, _>>()?,
        namespace: wire.namespace.into(),
        invalid: None,
    })
}

/// The policy that stands for a resource that could not be decoded: it denies what the original applies to, as far as that
/// can be read from its bytes; else the namespace that its name gives, or the whole mesh if that is the root namespace
/// or there is none.
#[must_use]
pub(in crate::xds) fn denial_of_unreadable(
    name: &str,
    body: &[u8],
    reason: &str,
    root_namespace: &str,
) -> Authorization {
    let mut partial = pb::Authorization::default();
    let complete = partial.merge(body).is_ok() && !body.is_empty();
    let namespace = if partial.namespace.is_empty() {
        name.split_once('/').map_or("", |(namespace, _)| namespace)
    } else {
        &partial.namespace
    };
    // GLOBAL is the value that is not sent, so of a message that breaks off it proves nothing.
    let readable = if complete || partial.scope != 0 { scope(partial.scope).ok() } else { None };
    let scope = match readable {
        Some(PolicyScope::WorkloadSelector) => PolicyScope::WorkloadSelector,
        Some(PolicyScope::Namespace) | None if !namespace.is_empty() && namespace != root_namespace => {
            PolicyScope::Namespace
        }
        Some(PolicyScope::Global | PolicyScope::Namespace) | None => PolicyScope::Global,
    };
    Authorization {
        key: name.into(),
        namespace: namespace.into(),
        scope,
        action: Action::Deny,
        // A dry run that cannot be read might not have been one.
        dry_run: false,
        provider: "".into(),
        groups: Groups::default(),
        invalid: Some(reason.into()),
    }
}

fn scope(value: i32) -> Result<PolicyScope, Malformed> {
    Ok(match known("scope", value)? {
        pb::Scope::Global => PolicyScope::Global,
        pb::Scope::Namespace => PolicyScope::Namespace,
        pb::Scope::WorkloadSelector => PolicyScope::WorkloadSelector,
    })
}

fn action(value: i32) -> Result<Action, Malformed> {
    Ok(match known("action", value)? {
        pb::Action::Allow => Action::Allow,
        pb::Action::Deny => Action::Deny,
    })
}

fn group(rule: usize, wire: &pb::Group, action: Action) -> Result<Group, Malformed> {
    let clauses = wire.rules.iter().enumerate().map(|(i, wire)| {
        let matches = wire.matches.iter().enumerate();
        let matches =
            matches.map(|(j, wire)| one_match(wire, action).map_err(|e| e.within(&format!("rules[{i}].matches[{j}]"))));
        Ok(Clause { matches: matches.collect::<Result<_, Malformed>>()? })
    });
    Ok(Group { rule, clauses: clauses.collect::<Result<_, Malformed>>()? })
}

fn one_match(wire: &pb::Match, action: Action) -> Result<Match, Malformed> {
    if !wire.extensions.is_empty() {
        return Err(Malformed::new("extensions", Flaw::Unsupported("a condition of an extension")));
    }
    let principals = strings("principals", &wire.principals)?;
    let not_principals = strings("not_principals", &wire.not_principals)?;
    let namespaces = strings("namespaces", &wire.namespaces)?;
    let not_namespaces = strings("not_namespaces", &wire.not_namespaces)?;
    let accounts = service_accounts("service_accounts", &wire.service_accounts)?;
    let not_accounts = service_accounts("not_service_accounts", &wire.not_service_accounts)?;
    let destination_ports = ports("destination_ports", &wire.destination_ports)?;
    let not_destination_ports = ports("not_destination_ports", &wire.not_destination_ports)?;
    // What keeps somebody out must be about somebody, and about a port that there is.
    match action {
        Action::Deny | Action::Audit | Action::Custom => {
            about_somebody("", &principals, &namespaces, &accounts)?;
            about_some_port("destination_ports", &destination_ports)?;
        }
        Action::Allow => {
            about_somebody("not_", &not_principals, &not_namespaces, &not_accounts)?;
            about_some_port("not_destination_ports", &not_destination_ports)?;
        }
    }
    Ok(Match {
        namespaces,
        not_namespaces,
        principals,
        not_principals,
        source_ips: blocks("source_ips", &wire.source_ips)?,
        not_source_ips: blocks("not_source_ips", &wire.not_source_ips)?,
        destination_ips: blocks("destination_ips", &wire.destination_ips)?,
        not_destination_ips: blocks("not_destination_ips", &wire.not_destination_ips)?,
        destination_ports,
        not_destination_ports,
        service_accounts: accounts,
        not_service_accounts: not_accounts,
        request: Vec::new(),
    })
}

/// Whether somebody can be meant by each value of these fields, whose names begin with `sign`.
fn about_somebody(
    sign: &str,
    principals: &[StringMatch],
    namespaces: &[StringMatch],
    accounts: &[ServiceAccountMatch],
) -> Result<(), Malformed> {
    let malformed = |field: &str, flaw| Err(Malformed::new(format!("{sign}{field}"), flaw));
    if let Some(pattern) = principals.iter().find(|pattern| !pattern.can_match_a_principal()) {
        return malformed("principals", Flaw::NoPrincipal(format!("{pattern:?}")));
    }
    if let Some(pattern) = namespaces.iter().find(|pattern| !pattern.can_match_a_namespace()) {
        return malformed("namespaces", Flaw::NoNamespace(format!("{pattern:?}")));
    }
    let is_one =
        |account: &&ServiceAccountMatch| can_be_a_name(&account.namespace) && can_be_a_name(&account.service_account);
    match accounts.iter().find(|account| !is_one(account)) {
        Some(account) => {
            let written = format!("{}/{}", account.namespace, account.service_account);
            malformed("service_accounts", Flaw::NoServiceAccount(written))
        }
        None => Ok(()),
    }
}

/// No connection has port 0.
fn about_some_port(field: &str, ports: &[u16]) -> Result<(), Malformed> {
    if ports.contains(&0) { Err(Malformed::new(field, Flaw::Port(0))) } else { Ok(()) }
}

fn strings(field: &str, wire: &[pb::StringMatch]) -> Result<Vec<StringMatch>, Malformed> {
    use pb::string_match::MatchType;
    let matches = wire.iter().map(|wire| match &wire.match_type {
        // An empty affix matches everything, which is not what an empty field means.
        Some(MatchType::Exact(text) | MatchType::Prefix(text) | MatchType::Suffix(text)) if text.is_empty() => {
            Err(Malformed::new(field, Flaw::Empty))
        }
        Some(MatchType::Exact(text)) => Ok(StringMatch::Exact(text.as_str().into())),
        Some(MatchType::Prefix(text)) => Ok(StringMatch::Prefix(text.as_str().into())),
        Some(MatchType::Suffix(text)) => Ok(StringMatch::Suffix(text.as_str().into())),
        Some(MatchType::Presence(())) => Ok(StringMatch::Presence),
        None => Err(Malformed::new(field, Flaw::Missing)),
    });
    matches.collect()
}

fn blocks(field: &str, wire: &[pb::Address]) -> Result<Vec<IpNet>, Malformed> {
    wire.iter().map(|wire| block(field, &wire.address, Some(wire.length))).collect()
}

fn ports(field: &str, wire: &[u32]) -> Result<Vec<u16>, Malformed> {
    wire.iter().map(|value| port(field, *value)).collect()
}

fn service_accounts(field: &str, wire: &[pb::ServiceAccountMatch]) -> Result<Vec<ServiceAccountMatch>, Malformed> {
    let matches = wire.iter().map(|wire| {
        if wire.namespace.is_empty() || wire.service_account.is_empty() {
            return Err(Malformed::new(field, Flaw::Empty));
        }
        Ok(ServiceAccountMatch {
            namespace: wire.namespace.as_str().into(),
            service_account: wire.service_account.as_str().into(),
        })
    });
    matches.collect()
}
