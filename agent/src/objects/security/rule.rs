//! The rules of an AuthorizationPolicy, checked with Istio's rules; the items of `when` are in `condition`.
//!
//! What only an HTTP proxy can see is in the form in which the model compares it with requests.

use ipnet::IpNet;

use super::condition::Condition;
use super::values::{ServiceAccountName, ip_block, path, pattern, port, request_principal, text_match, trust_domain};
use crate::model::authorization::{RequestCondition, Values};
use crate::objects::reading::{Place, Text};

/// All parts must hold; a part without entries is absent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rule {
    /// Any source suffices.
    pub from: Vec<Source>,
    /// Any operation suffices.
    pub to: Vec<Operation>,
    /// Every condition must hold.
    pub when: Vec<Condition>,
}

impl Rule {
    /// True if the rule has a condition, and none of its conditions can be decided without reading HTTP.
    #[must_use]
    pub fn is_http_only(&self) -> bool {
        let parts = self.from.len() + self.to.len() + self.when.len();
        let http = self.from.iter().all(|source| source.is_http_only())
            && self.to.iter().all(|operation| operation.ports.is_both_empty())
            && self.when.iter().all(|condition| matches!(condition, Condition::Request { .. }));
        parts > 0 && http
    }

    /// Names of the HTTP attributes in this rule, in order of appearance.
    pub fn http_attributes(&self) -> Vec<&str> {
        let from = self.from.iter().flat_map(Source::http_attributes);
        let to = self.to.iter().flat_map(|operation| &operation.request).flat_map(field_names);
        let when = self.when.iter().filter_map(|condition| match condition {
            Condition::Request { key, .. } => Some(key.as_str()),
            _ => None,
        });
        let mut names: Vec<&str> = from.chain(to).collect();
        names.extend(when);
        names
    }
}

/// All fields that are set must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Source {
    pub principals: Values<String>,
    pub namespaces: Values<String>,
    pub ip_blocks: Values<IpNet>,
    pub service_accounts: Values<ServiceAccountName>,
    pub trust_domains: Values<String>,
    /// The fields that need HTTP.
    pub request: Vec<RequestCondition>,
}

/// The fields of a `source` before their values are checked.
#[derive(Debug)]
pub(super) struct WrittenSource<'t> {
    pub(super) principals: Values<Text<'t>>,
    pub(super) request_principals: Values<Text<'t>>,
    pub(super) namespaces: Values<Text<'t>>,
    pub(super) ip_blocks: Values<Text<'t>>,
    pub(super) remote_ip_blocks: Values<Text<'t>>,
    pub(super) service_accounts: Values<Text<'t>>,
    pub(super) trust_domains: Values<Text<'t>>,
}

impl Source {
    /// Checks the source that stands at `place`, of a policy in `namespace`.
    pub(super) fn checked(written: &WrittenSource<'_>, namespace: &str, place: &Place<'_>) -> Self {
        /// Of `serviceAccounts`, and of `notServiceAccounts`; as in Istio's schema.
        const MAX_SERVICE_ACCOUNTS: usize = 16;
        let (accounts, principals, namespaces) = (&written.service_accounts, &written.principals, &written.namespaces);
        for (name, texts) in [("serviceAccounts", &accounts.values), ("notServiceAccounts", &accounts.not_values)] {
            if texts.len() > MAX_SERVICE_ACCOUNTS {
                let reason = format!("may not have more than {MAX_SERVICE_ACCOUNTS} values: use several sources");
                place.field(name).error(reason);
            }
        }
        let source = Self {
            principals: principals.checked(pattern),
            namespaces: namespaces.checked(pattern),
            ip_blocks: written.ip_blocks.checked(ip_block),
            service_accounts: accounts.checked(|text| ServiceAccountName::of(text, namespace)),
            trust_domains: written.trust_domains.checked(trust_domain),
            request: set([
                RequestCondition::RequestPrincipal(written.request_principals.checked(request_principal)),
                RequestCondition::RemoteIp(written.remote_ip_blocks.checked(ip_block)),
            ]),
        };
        if source == Self::default() && !place.has_errors() {
            place.field("principals").error("a source must not be empty: set at least one of its fields");
        }
        let beside = !principals.values.is_empty() || !namespaces.values.is_empty();
        if beside && !accounts.values.is_empty() {
            let reason = "cannot stand beside principals or namespaces: use another source";
            place.field("serviceAccounts").error(reason);
        }
        let beside = !principals.not_values.is_empty() || !namespaces.not_values.is_empty();
        if beside && !accounts.not_values.is_empty() {
            let reason = "cannot stand beside notPrincipals or notNamespaces: use another rule";
            place.field("notServiceAccounts").error(reason);
        }
        source
    }

    /// Names of its fields that need HTTP, as far as they are set.
    pub fn http_attributes(&self) -> impl Iterator<Item = &'static str> {
        self.request.iter().flat_map(field_names)
    }

    /// True if none of its conditions can be decided without reading HTTP.
    #[must_use]
    pub fn is_http_only(&self) -> bool {
        self.principals.is_both_empty()
            && self.namespaces.is_both_empty()
            && self.ip_blocks.is_both_empty()
            && self.service_accounts.is_both_empty()
            && self.trust_domains.is_both_empty()
    }
}

/// All fields that are set must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Operation {
    pub ports: Values<u16>,
    /// The fields that need HTTP.
    pub request: Vec<RequestCondition>,
}

/// The fields of an `operation` before their values are checked.
#[derive(Debug)]
pub(super) struct WrittenOperation<'t> {
    pub(super) hosts: Values<Text<'t>>,
    pub(super) ports: Values<Text<'t>>,
    pub(super) methods: Values<Text<'t>>,
    pub(super) paths: Values<Text<'t>>,
}

impl Operation {
    /// Checks the operation that stands at `place`.
    pub(super) fn checked(written: &WrittenOperation<'_>, place: &Place<'_>) -> Self {
        let operation = Self {
            ports: written.ports.checked(port),
            request: set([
                RequestCondition::Method(written.methods.checked(text_match)),
                RequestCondition::Path(written.paths.checked(path)),
                RequestCondition::Host(written.hosts.checked(text_match)),
            ]),
        };
        if operation == Self::default() && !place.has_errors() {
            place.field("ports").error("an operation must not be empty: set at least one of its fields");
        }
        operation
    }
}

/// Those conditions that are one.
fn set<const N: usize>(conditions: [RequestCondition; N]) -> Vec<RequestCondition> {
    conditions.into_iter().filter(|condition| field_names(condition).next().is_some()).collect()
}

/// The names of the fields of a source or an operation that a condition comes from.
fn field_names(condition: &RequestCondition) -> impl Iterator<Item = &'static str> {
    fn both<T>(values: &Values<T>, names: [&'static str; 2]) -> [Option<&'static str>; 2] {
        let is_set = [!values.values.is_empty(), !values.not_values.is_empty()];
        [is_set[0].then_some(names[0]), is_set[1].then_some(names[1])]
    }
    let names = match condition {
        RequestCondition::Method(values) => both(values, ["methods", "notMethods"]),
        RequestCondition::Path(values) => both(values, ["paths", "notPaths"]),
        RequestCondition::Host(values) => both(values, ["hosts", "notHosts"]),
        RequestCondition::RequestPrincipal(values) => both(values, ["requestPrincipals", "notRequestPrincipals"]),
        RequestCondition::RemoteIp(values) => both(values, ["remoteIpBlocks", "notRemoteIpBlocks"]),
        RequestCondition::Header { .. } | RequestCondition::Claim { .. } | RequestCondition::Unseen => [None, None],
    };
    names.into_iter().flatten()
}
