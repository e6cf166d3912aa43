//! Sources, operations and conditions of a rule, each to one match.

use crate::model::authorization::{Match, ServiceAccountMatch, StringMatch};
use crate::objects::{Condition, Operation, ServiceAccountName, Source, Values};

/// What a source asks for. Its trust domains are in `principals` where it names no principals itself; beside principals
/// they need a match of their own, [`trust_domains`].
pub(super) fn source(source: &Source) -> Match {
    let principals = if source.principals.values.is_empty() {
        in_trust_domains(&source.trust_domains.values)
    } else {
        strings(&source.principals.values)
    };
    let mut not_principals = strings(&source.principals.not_values);
    not_principals.extend(in_trust_domains(&source.trust_domains.not_values));
    Match {
        namespaces: strings(&source.namespaces.values),
        not_namespaces: strings(&source.namespaces.not_values),
        principals,
        not_principals,
        source_ips: source.ip_blocks.values.clone(),
        not_source_ips: source.ip_blocks.not_values.clone(),
        service_accounts: accounts(&source.service_accounts.values),
        not_service_accounts: accounts(&source.service_accounts.not_values),
        request: source.request.clone(),
        ..Match::default()
    }
}

/// Any principal of a source's trust domains.
pub(super) fn trust_domains(source: &Source) -> Match {
    Match { principals: in_trust_domains(&source.trust_domains.values), ..Match::default() }
}

pub(super) fn operation(operation: &Operation) -> Match {
    Match {
        destination_ports: operation.ports.values.clone(),
        not_destination_ports: operation.ports.not_values.clone(),
        request: operation.request.clone(),
        ..Match::default()
    }
}

pub(super) fn condition(condition: &Condition) -> Match {
    let mut found = Match::default();
    match condition {
        Condition::SourceIp(Values { values, not_values }) => {
            (found.source_ips, found.not_source_ips) = (values.clone(), not_values.clone());
        }
        Condition::DestinationIp(Values { values, not_values }) => {
            (found.destination_ips, found.not_destination_ips) = (values.clone(), not_values.clone());
        }
        Condition::DestinationPort(Values { values, not_values }) => {
            (found.destination_ports, found.not_destination_ports) = (values.clone(), not_values.clone());
        }
        Condition::SourceNamespace(Values { values, not_values }) => {
            (found.namespaces, found.not_namespaces) = (strings(values), strings(not_values));
        }
        Condition::SourcePrincipal(Values { values, not_values }) => {
            (found.principals, found.not_principals) = (strings(values), strings(not_values));
        }
        Condition::SourceServiceAccount(Values { values, not_values }) => {
            (found.service_accounts, found.not_service_accounts) = (accounts(values), accounts(not_values));
        }
        Condition::SourceTrustDomain(Values { values, not_values }) => {
            (found.principals, found.not_principals) = (in_trust_domains(values), in_trust_domains(not_values));
        }
        Condition::Request { condition, .. } => found.request = vec![condition.clone()],
    }
    found
}

fn strings(texts: &[String]) -> Vec<StringMatch> {
    texts.iter().map(|text| StringMatch::written(text)).collect()
}

/// Principals begin with their trust domain and a slash.
fn in_trust_domains(domains: &[String]) -> Vec<StringMatch> {
    let principal = |domain: &String| match domain.strip_suffix('*') {
        Some("") => StringMatch::Presence,
        Some(prefix) => StringMatch::Prefix(prefix.into()),
        None => StringMatch::Prefix(format!("{domain}/").into()),
    };
    domains.iter().map(principal).collect()
}

fn accounts(accounts: &[ServiceAccountName]) -> Vec<ServiceAccountMatch> {
    let account = |account: &ServiceAccountName| ServiceAccountMatch {
        namespace: account.namespace.as_str().into(),
        service_account: account.name.as_str().into(),
    };
    accounts.iter().map(account).collect()
}
