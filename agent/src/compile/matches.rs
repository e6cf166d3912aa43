//! Sources, operations and conditions of a rule, each to one match.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::objects::{Condition, Operation, ServiceAccountName, Source, Values};
use crate::proto::istio::security::{Address, Match, ServiceAccountMatch, StringMatch, string_match::MatchType};

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
        source_ips: blocks(&source.ip_blocks.values),
        not_source_ips: blocks(&source.ip_blocks.not_values),
        service_accounts: accounts(&source.service_accounts.values),
        not_service_accounts: accounts(&source.service_accounts.not_values),
        ..Match::default()
    }
}

/// Any principal of a source's trust domains.
pub(super) fn trust_domains(source: &Source) -> Match {
    Match { principals: in_trust_domains(&source.trust_domains.values), ..Match::default() }
}

pub(super) fn operation(operation: &Operation) -> Match {
    Match {
        destination_ports: ports(&operation.ports.values),
        not_destination_ports: ports(&operation.ports.not_values),
        ..Match::default()
    }
}

/// A condition that needs HTTP asks for nothing here.
pub(super) fn condition(condition: &Condition) -> Match {
    let mut found = Match::default();
    match condition {
        Condition::SourceIp(Values { values, not_values }) => {
            (found.source_ips, found.not_source_ips) = (blocks(values), blocks(not_values));
        }
        Condition::DestinationIp(Values { values, not_values }) => {
            (found.destination_ips, found.not_destination_ips) = (blocks(values), blocks(not_values));
        }
        Condition::DestinationPort(Values { values, not_values }) => {
            (found.destination_ports, found.not_destination_ports) = (ports(values), ports(not_values));
        }
        Condition::SourceNamespace(Values { values, not_values }) => {
            (found.namespaces, found.not_namespaces) = (strings(values), strings(not_values));
        }
        Condition::SourcePrincipal(Values { values, not_values }) => {
            (found.principals, found.not_principals) = (strings(values), strings(not_values));
        }
        Condition::Http(_) => {}
    }
    found
}

/// Matches every value that is there, such as any identity.
#[must_use]
pub fn presence() -> StringMatch {
    StringMatch { match_type: Some(MatchType::Presence(())) }
}

fn strings(texts: &[String]) -> Vec<StringMatch> {
    texts.iter().map(|text| string(text)).collect()
}

/// A star at the beginning is looked for first: `*x*` is the suffix `x*`.
fn string(text: &str) -> StringMatch {
    let match_type = match (text, text.strip_prefix('*'), text.strip_suffix('*')) {
        ("*", _, _) => MatchType::Presence(()),
        (_, Some(suffix), _) => MatchType::Suffix(suffix.to_owned()),
        (_, None, Some(prefix)) => MatchType::Prefix(prefix.to_owned()),
        (exact, None, None) => MatchType::Exact(exact.to_owned()),
    };
    StringMatch { match_type: Some(match_type) }
}

/// Principals begin with their trust domain and a slash.
fn in_trust_domains(domains: &[String]) -> Vec<StringMatch> {
    let principal = |domain: &String| match domain.strip_suffix('*') {
        Some("") => presence(),
        Some(prefix) => StringMatch { match_type: Some(MatchType::Prefix(prefix.to_owned())) },
        None => StringMatch { match_type: Some(MatchType::Prefix(format!("{domain}/"))) },
    };
    domains.iter().map(principal).collect()
}

/// Blocks keep the bits below their length, as istiod sends them.
fn blocks(blocks: &[IpNet]) -> Vec<Address> {
    let address = |block: &IpNet| Address { address: octets(block.addr()), length: block.prefix_len().into() };
    blocks.iter().map(address).collect()
}

fn ports(ports: &[u16]) -> Vec<u32> {
    ports.iter().map(|port| u32::from(*port)).collect()
}

fn accounts(accounts: &[ServiceAccountName]) -> Vec<ServiceAccountMatch> {
    let account = |account: &ServiceAccountName| ServiceAccountMatch {
        namespace: account.namespace.clone(),
        service_account: account.name.clone(),
    };
    accounts.iter().map(account).collect()
}

/// The bytes of an address, 4 or 16.
#[must_use]
pub fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}
