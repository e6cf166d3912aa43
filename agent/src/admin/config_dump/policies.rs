//! Authorization policies in ztunnel's form.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};

use crate::model::authorization::{
    Action, Authorization, Clause, Group, Match, PolicyScope, ServiceAccountMatch, StringMatch,
};
use crate::model::policy_object::PolicyObject;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PolicyView<'a> {
    name: &'a str,
    namespace: &'a str,
    scope: &'static str,
    action: &'static str,
    /// Groups of clauses of matches.
    rules: Vec<Vec<Vec<MatchView<'a>>>>,
    dry_run: bool,
    /// Why the policy could not be understood and denies its scope.
    #[serde(skip_serializing_if = "Option::is_none")]
    invalid: Option<&'a str>,
    /// What of it is not enforced as written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    not_as_written: Vec<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MatchView<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    namespaces: Vec<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    not_namespaces: Vec<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    principals: Vec<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    not_principals: Vec<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    service_accounts: Vec<AccountView<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    not_service_accounts: Vec<AccountView<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    source_ips: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    not_source_ips: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    destination_ips: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    not_destination_ips: Vec<String>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    destination_ports: &'a [u16],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    not_destination_ports: &'a [u16],
    /// What is asked of requests, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    request: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AccountView<'a> {
    namespace: &'a str,
    service_account: &'a str,
}

impl<'a> PolicyView<'a> {
    /// `objects` are sorted by key.
    pub(super) fn new(policy: &'a Authorization, objects: &'a [Arc<PolicyObject>]) -> Self {
        let object = objects.binary_search_by(|object| object.key.cmp(&policy.key)).ok().map(|at| &objects[at]);
        let formed = object.filter(|object| object.own_form.is_some());
        Self {
            not_as_written: formed.iter().flat_map(|object| object.notes.iter().map(|note| &**note)).collect(),
            name: policy.key.rsplit_once('/').map_or(&*policy.key, |(_namespace, name)| name),
            namespace: &policy.namespace,
            scope: match policy.scope {
                PolicyScope::Global => "Global",
                PolicyScope::Namespace => "Namespace",
                PolicyScope::WorkloadSelector => "WorkloadSelector",
            },
            action: match policy.action {
                Action::Allow => "Allow",
                Action::Deny => "Deny",
                Action::Audit => "Audit",
                Action::Custom => "Custom",
            },
            rules: policy.groups.iter().map(clauses).collect(),
            dry_run: policy.dry_run,
            invalid: policy.invalid.as_deref(),
        }
    }
}

fn clauses(group: &Group) -> Vec<Vec<MatchView<'_>>> {
    group.clauses.iter().map(matches).collect()
}

fn matches(clause: &Clause) -> Vec<MatchView<'_>> {
    clause.matches.iter().map(MatchView::new).collect()
}

impl<'a> MatchView<'a> {
    fn new(of: &'a Match) -> Self {
        Self {
            namespaces: strings(&of.namespaces),
            not_namespaces: strings(&of.not_namespaces),
            principals: strings(&of.principals),
            not_principals: strings(&of.not_principals),
            service_accounts: accounts(&of.service_accounts),
            not_service_accounts: accounts(&of.not_service_accounts),
            source_ips: texts(&of.source_ips),
            not_source_ips: texts(&of.not_source_ips),
            destination_ips: texts(&of.destination_ips),
            not_destination_ips: texts(&of.not_destination_ips),
            destination_ports: &of.destination_ports,
            not_destination_ports: &of.not_destination_ports,
            request: of.request.iter().map(ToString::to_string).collect(),
        }
    }
}

fn strings(matches: &[StringMatch]) -> Vec<Value> {
    matches
        .iter()
        .map(|one| match one {
            StringMatch::Exact(text) => json!({ "Exact": &**text }),
            StringMatch::Prefix(text) => json!({ "Prefix": &**text }),
            StringMatch::Suffix(text) => json!({ "Suffix": &**text }),
            StringMatch::Presence => json!({ "Presence": {} }),
        })
        .collect()
}

fn accounts(matches: &[ServiceAccountMatch]) -> Vec<AccountView<'_>> {
    matches.iter().map(|one| AccountView { namespace: &one.namespace, service_account: &one.service_account }).collect()
}

fn texts(values: &[impl ToString]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}
