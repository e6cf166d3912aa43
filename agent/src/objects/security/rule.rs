//! The rules of an AuthorizationPolicy, checked with Istio's rules; the items of `when` are in `condition`.
//!
//! What only an HTTP proxy can see is kept by name alone: the rule's meaning without it is decided in `compile`.

use ipnet::IpNet;

use super::condition::Condition;
use super::values::{ServiceAccountName, Values, ip_block, is_not_empty, pattern, port, trust_domain};
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
            && self.when.iter().all(|condition| matches!(condition, Condition::Http(_)));
        parts > 0 && http
    }

    /// Names of the HTTP attributes in this rule, in order of appearance.
    pub fn http_attributes(&self) -> impl Iterator<Item = &str> {
        let from = self.from.iter().flat_map(|source| source.http.iter().copied());
        let to = self.to.iter().flat_map(|operation| operation.http.iter().copied());
        let when = self.when.iter().filter_map(|condition| match condition {
            Condition::Http(key) => Some(key.as_str()),
            _ => None,
        });
        from.chain(to).chain(when)
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
    /// Names of the fields set that need HTTP.
    pub http: Vec<&'static str>,
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
            http: http_fields(&[
                ("requestPrincipals", &written.request_principals.values),
                ("notRequestPrincipals", &written.request_principals.not_values),
                ("remoteIpBlocks", &written.remote_ip_blocks.values),
                ("notRemoteIpBlocks", &written.remote_ip_blocks.not_values),
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
    /// Names of the fields set that need HTTP.
    pub http: Vec<&'static str>,
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
            http: http_fields(&[
                ("hosts", &written.hosts.values),
                ("notHosts", &written.hosts.not_values),
                ("methods", &written.methods.values),
                ("notMethods", &written.methods.not_values),
                ("paths", &written.paths.values),
                ("notPaths", &written.paths.not_values),
            ]),
        };
        if operation == Self::default() && !place.has_errors() {
            place.field("ports").error("an operation must not be empty: set at least one of its fields");
        }
        operation
    }
}

/// The names of those fields that are set.
fn http_fields(fields: &[(&'static str, &Vec<Text<'_>>)]) -> Vec<&'static str> {
    let mut set = Vec::new();
    for (name, texts) in fields {
        if texts.iter().filter(|text| is_not_empty(text)).count() > 0 {
            set.push(*name);
        }
    }
    set
}
