//! The rules of an AuthorizationPolicy: `from` and `to`, read and checked with Istio's rules; `when` is in
//! `condition`.
//!
//! What only an HTTP proxy can see is kept by name alone: the rule's meaning without it is the translation's decision.

use ipnet::IpNet;

use super::condition::{Condition, read_conditions};
use super::values::{Values, ip_blocks, patterns, ports, texts};
use crate::objects::metadata::Metadata;
use crate::objects::reading::Fields;
use crate::objects::reading::yaml::Value;

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
    /// True if the rule says something, and nothing of it can be seen without reading HTTP.
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

impl Source {
    /// True if nothing of it can be seen without reading HTTP.
    #[must_use]
    pub fn is_http_only(&self) -> bool {
        self.principals.is_both_empty()
            && self.namespaces.is_both_empty()
            && self.ip_blocks.is_both_empty()
            && self.service_accounts.is_both_empty()
            && self.trust_domains.is_both_empty()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAccountName {
    pub namespace: String,
    pub name: String,
}

/// All fields that are set must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Operation {
    pub ports: Values<u16>,
    /// Names of the fields set that need HTTP.
    pub http: Vec<&'static str>,
}

const HTTP_SOURCE: [&str; 4] = ["requestPrincipals", "notRequestPrincipals", "remoteIpBlocks", "notRemoteIpBlocks"];
const HTTP_OPERATION: [&str; 6] = ["hosts", "notHosts", "methods", "notMethods", "paths", "notPaths"];

/// Reads one rule.
pub(super) fn read(mut fields: Fields<'_>, metadata: &Metadata) -> Rule {
    let rule = Rule {
        from: read_parts(&mut fields, "from", "source", |source| read_source(source, metadata)),
        to: read_parts(&mut fields, "to", "operation", read_operation),
        when: read_conditions(&mut fields),
    };
    fields.finish();
    rule
}

/// Reads a list whose items are maps with the single field `inner`. A list that is there and empty is an error: it
/// would silently mean "anything".
fn read_parts<'n, T>(
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
    let errors = fields.report().errors();
    let source = Source {
        principals: Values {
            values: patterns(&mut fields, "principals"),
            not_values: patterns(&mut fields, "notPrincipals"),
        },
        namespaces: Values {
            values: patterns(&mut fields, "namespaces"),
            not_values: patterns(&mut fields, "notNamespaces"),
        },
        ip_blocks: Values {
            values: ip_blocks(&mut fields, "ipBlocks"),
            not_values: ip_blocks(&mut fields, "notIpBlocks"),
        },
        service_accounts: Values {
            values: service_accounts(&mut fields, "serviceAccounts", metadata),
            not_values: service_accounts(&mut fields, "notServiceAccounts", metadata),
        },
        trust_domains: Values {
            values: trust_domains(&mut fields, "trustDomains"),
            not_values: trust_domains(&mut fields, "notTrustDomains"),
        },
        http: http_fields(&mut fields, &HTTP_SOURCE),
    };
    if source == Source::default() && fields.are_all_known() && fields.report().errors() == errors {
        fields.error("principals", "a source must not be empty: set at least one of its fields");
    }
    let (principals, namespaces) = (&source.principals, &source.namespaces);
    let beside = !principals.values.is_empty() || !namespaces.values.is_empty();
    if beside && !source.service_accounts.values.is_empty() {
        fields.error("serviceAccounts", "cannot stand beside principals or namespaces: use another source");
    }
    let beside = !principals.not_values.is_empty() || !namespaces.not_values.is_empty();
    if beside && !source.service_accounts.not_values.is_empty() {
        fields.error("notServiceAccounts", "cannot stand beside notPrincipals or notNamespaces: use another rule");
    }
    fields.finish();
    source
}

fn read_operation(mut fields: Fields<'_>) -> Operation {
    let errors = fields.report().errors();
    let ports = Values { values: ports(&mut fields, "ports"), not_values: ports(&mut fields, "notPorts") };
    let operation = Operation { ports, http: http_fields(&mut fields, &HTTP_OPERATION) };
    if operation == Operation::default() && fields.are_all_known() && fields.report().errors() == errors {
        fields.error("ports", "an operation must not be empty: set at least one of its fields");
    }
    fields.finish();
    operation
}

fn http_fields(fields: &mut Fields<'_>, names: &[&'static str]) -> Vec<&'static str> {
    let mut set = Vec::new();
    for name in names {
        if !texts(fields, name).is_empty() {
            set.push(*name);
        }
    }
    set
}

fn trust_domains(fields: &mut Fields<'_>, name: &'static str) -> Vec<String> {
    let report = fields.report();
    let items = texts(fields, name);
    for item in &items {
        let text = item.text(report).unwrap_or_default();
        if text.contains('/') {
            item.error(report, format!("{text:?} is not a trust domain: it must not contain /"));
        } else if text != "*" && text.strip_suffix('*').unwrap_or(text).contains('*') {
            let reason = format!("{text:?} cannot be enforced: a star is allowed at the end only");
            item.error(report, reason);
        }
    }
    items.iter().filter_map(|item| item.text(report).map(str::to_owned)).collect()
}

fn service_accounts(fields: &mut Fields<'_>, name: &'static str, metadata: &Metadata) -> Vec<ServiceAccountName> {
    let report = fields.report();
    let items = texts(fields, name);
    if items.len() > 16 {
        fields.error(name, "may not have more than 16 values: use several sources");
    }
    let mut found = Vec::new();
    for item in items {
        let Some(text) = item.text(report) else { continue };
        let (namespace, account) = text.split_once('/').unwrap_or((&metadata.namespace, text));
        if text.contains('*') {
            item.error(report, "wildcard is not allowed here: use principals");
        } else if text.len() > 320 {
            item.error(report, "must not exceed 320 characters");
        } else if namespace.is_empty() || account.is_empty() || account.contains('/') {
            item.error(report, format!("{text:?} is not a service account: write name or namespace/name"));
        }
        found.push(ServiceAccountName { namespace: namespace.to_owned(), name: account.to_owned() });
    }
    found
}
