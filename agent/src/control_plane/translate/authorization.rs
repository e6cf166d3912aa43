//! The L4 form of a policy to `istio.security.Authorization`, as the workload API carries it.

use ipnet::IpNet;

use super::fields::octets;
use crate::model::authorization::{
    Action, Authorization, Clause, Group, Match, PolicyScope, ServiceAccountMatch, StringMatch,
};
use crate::proto::istio::security as pb;

pub(super) fn authorization(policy: &Authorization) -> pb::Authorization {
    let name = policy.key.split_once('/').map_or(&*policy.key, |(_, name)| name);
    pb::Authorization {
        name: name.to_owned(),
        namespace: policy.namespace.to_string(),
        scope: match policy.scope {
            PolicyScope::Global => pb::Scope::Global,
            PolicyScope::Namespace => pb::Scope::Namespace,
            PolicyScope::WorkloadSelector => pb::Scope::WorkloadSelector,
        }
        .into(),
        action: match policy.action {
            Action::Allow => pb::Action::Allow,
            // An L4 form has neither of the others.
            Action::Deny | Action::Audit | Action::Custom => pb::Action::Deny,
        }
        .into(),
        groups: policy.groups.iter().map(group).collect(),
        dry_run: policy.dry_run,
    }
}

fn group(group: &Group) -> pb::Group {
    pb::Group { rules: group.clauses.iter().map(clause).collect() }
}

fn clause(clause: &Clause) -> pb::Rules {
    pb::Rules { matches: clause.matches.iter().map(one_match).collect() }
}

fn one_match(one: &Match) -> pb::Match {
    pb::Match {
        namespaces: strings(&one.namespaces),
        not_namespaces: strings(&one.not_namespaces),
        principals: strings(&one.principals),
        not_principals: strings(&one.not_principals),
        source_ips: blocks(&one.source_ips),
        not_source_ips: blocks(&one.not_source_ips),
        destination_ips: blocks(&one.destination_ips),
        not_destination_ips: blocks(&one.not_destination_ips),
        destination_ports: ports(&one.destination_ports),
        not_destination_ports: ports(&one.not_destination_ports),
        service_accounts: accounts(&one.service_accounts),
        not_service_accounts: accounts(&one.not_service_accounts),
        extensions: Vec::new(),
    }
}

fn strings(patterns: &[StringMatch]) -> Vec<pb::StringMatch> {
    use pb::string_match::MatchType;
    let string = |pattern: &StringMatch| match pattern {
        StringMatch::Exact(text) => MatchType::Exact(text.to_string()),
        StringMatch::Prefix(text) => MatchType::Prefix(text.to_string()),
        StringMatch::Suffix(text) => MatchType::Suffix(text.to_string()),
        StringMatch::Presence => MatchType::Presence(()),
    };
    patterns.iter().map(|pattern| pb::StringMatch { match_type: Some(string(pattern)) }).collect()
}

/// Blocks keep the bits below their length, as istiod sends them.
fn blocks(blocks: &[IpNet]) -> Vec<pb::Address> {
    let address = |block: &IpNet| pb::Address { address: octets(block.addr()), length: block.prefix_len().into() };
    blocks.iter().map(address).collect()
}

fn ports(ports: &[u16]) -> Vec<u32> {
    ports.iter().map(|port| u32::from(*port)).collect()
}

fn accounts(accounts: &[ServiceAccountMatch]) -> Vec<pb::ServiceAccountMatch> {
    let account = |account: &ServiceAccountMatch| pb::ServiceAccountMatch {
        namespace: account.namespace.to_string(),
        service_account: account.service_account.to_string(),
    };
    accounts.iter().map(account).collect()
}
