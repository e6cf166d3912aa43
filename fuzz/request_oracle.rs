//! The plainest reading of AuthorizationPolicies for requests: from the message as its author wrote it, text by text, without the
//! agent's code.

use std::net::IpAddr;

use weir::api::model::authorization::{ClaimValue, Claims};
use weir::api::model::http::RequestHead;
use weir::api::proto::istio::security::v1beta1 as pb;

use crate::request_paths;
use crate::request_sample::{APPS, NAMESPACES, Policy, Request, Sample};

/// What policies say of one request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    /// A CUSTOM policy whose provider has not allowed the request matches it.
    pub(crate) needs_authorizer: bool,
    pub(crate) is_allowed: bool,
    /// An AUDIT policy matches it.
    pub(crate) is_audited: bool,
}

/// What a policy is asked about.
struct Asked<'r> {
    request: &'r Request,
    head: &'r RequestHead,
    claims: Option<&'r Claims>,
    /// Whether it is asked by an ALLOW policy.
    opens: bool,
}

pub(crate) fn decide(sample: &Sample, request: &Request) -> Expected {
    use pb::authorization_policy::Action;
    let [own, root, _] = NAMESPACES;
    let is_selected =
        |policy: &Policy| policy.spec.selector.as_ref().is_none_or(|selector| selector.match_labels["app"] == APPS[0]);
    let in_force: Vec<&Policy> = sample
        .policies
        .iter()
        .filter(|policy| [own, root].contains(&policy.namespace) && is_selected(policy))
        .collect();
    let (mut needs_authorizer, mut is_closed, mut is_audited) = (false, false, false);
    let (mut has_allow, mut is_opened) = (false, false);
    for policy in in_force {
        let spec = &policy.spec;
        let action = spec.action();
        if action == Action::Custom && spec.rules.iter().any(is_about_tokens) {
            // It cannot be understood.
            is_closed = true;
            continue;
        }
        let asked = Asked {
            request,
            head: if action == Action::Custom { &request.before_token } else { &request.head },
            claims: request.claims.as_ref().filter(|_| action != Action::Custom),
            opens: action == Action::Allow,
        };
        let matches = spec.rules.iter().any(|rule| asked.meets_rule(rule));
        match action {
            Action::Allow => (has_allow, is_opened) = (true, is_opened || matches),
            Action::Deny => is_closed |= matches,
            Action::Audit => is_audited |= matches,
            Action::Custom => {
                let Some(pb::authorization_policy::ActionDetail::Provider(provider)) = &spec.action_detail else {
                    unreachable!("each has one")
                };
                needs_authorizer |= matches && !request.allowed_by.iter().any(|name| **name == *provider.name);
            }
        }
    }
    let is_allowed = !needs_authorizer && !is_closed && (!has_allow || is_opened);
    Expected { needs_authorizer, is_allowed, is_audited }
}

fn is_about_tokens(rule: &pb::Rule) -> bool {
    let sources = rule.from.iter().filter_map(|from| from.source.as_ref());
    let by_source =
        |source: &pb::Source| !source.request_principals.is_empty() || !source.not_request_principals.is_empty();
    sources.into_iter().any(by_source) || rule.when.iter().any(|condition| condition.key.starts_with("request.auth."))
}

/// Whether a field holds, given which of its texts are met.
fn field(values: &[String], not_values: &[String], is: impl Fn(&str) -> bool) -> bool {
    (values.is_empty() || values.iter().any(|value| is(value))) && !not_values.iter().any(|value| is(value))
}

impl Asked<'_> {
    fn meets_rule(&self, rule: &pb::Rule) -> bool {
        let from = rule.from.iter().filter_map(|from| from.source.as_ref());
        let to = rule.to.iter().filter_map(|to| to.operation.as_ref());
        (rule.from.is_empty() || from.into_iter().any(|source| self.meets_source(source)))
            && (rule.to.is_empty() || to.into_iter().any(|operation| self.meets_operation(operation)))
            && rule.when.iter().all(|condition| self.meets_condition(condition))
    }

    fn meets_source(&self, source: &pb::Source) -> bool {
        field(&source.principals, &source.not_principals, |text| self.has_principal(text))
            && field(&source.namespaces, &source.not_namespaces, |text| star(text, self.namespace()))
            && field(&source.ip_blocks, &source.not_ip_blocks, |text| within(text, self.request.access.source_ip))
            && field(&source.remote_ip_blocks, &source.not_remote_ip_blocks, |text| within(text, self.remote_ip()))
            && field(&source.request_principals, &source.not_request_principals, |text| self.has_token_of(text))
    }

    fn meets_operation(&self, operation: &pb::Operation) -> bool {
        let path = String::from_utf8_lossy(&self.head.target);
        let path = path.split('?').next().unwrap_or_default();
        field(&operation.hosts, &operation.not_hosts, |text| {
            let authority = String::from_utf8_lossy(&self.head.authority).to_lowercase();
            !authority.is_empty() && star(&text.to_lowercase(), &authority)
        }) && field(&operation.ports, &operation.not_ports, |text| self.has_port(text))
            && field(&operation.methods, &operation.not_methods, |text| star(text, &self.method()))
            && request_paths::meets(&operation.paths, &operation.not_paths, path, self.opens)
    }

    fn meets_condition(&self, condition: &pb::Condition) -> bool {
        field(&condition.values, &condition.not_values, |text| match &*condition.key {
            "request.headers[X-Tag]" => {
                let mut values = self.head.fields.values("x-tag").map(String::from_utf8_lossy);
                values.any(|value| text == "*" || star(text, &value))
            }
            "request.headers[:method]" => star(text, &self.method()),
            "request.headers[host]" => star(text, &String::from_utf8_lossy(&self.head.authority)),
            "request.auth.claims[groups]" => self.has_claim(&["groups"], text),
            "request.auth.claims[org][team]" => self.has_claim(&["org", "team"], text),
            "request.auth.claims[scope]" => self.has_claim(&["scope"], text),
            "request.auth.audiences" => self.has_claim(&["aud"], text),
            "request.auth.principal" => self.has_token_of(text),
            "source.ip" => within(text, self.request.access.source_ip),
            "remote.ip" => within(text, self.remote_ip()),
            "destination.port" => self.has_port(text),
            "source.namespace" => star(text, self.namespace()),
            key => unreachable!("{key}"),
        })
    }

    fn method(&self) -> String {
        String::from_utf8_lossy(&self.head.method).into_owned()
    }

    fn namespace(&self) -> &str {
        self.request.source.map_or("", |[_, namespace, _]| namespace)
    }

    fn has_port(&self, text: &str) -> bool {
        text == self.request.access.destination.port().to_string()
    }

    /// The mesh has no other names for its trust domain.
    fn has_principal(&self, text: &str) -> bool {
        let Some([domain, namespace, account]) = self.request.source else { return false };
        star(text, &format!("{domain}/ns/{namespace}/sa/{account}"))
    }

    fn remote_ip(&self) -> IpAddr {
        let last = self.head.fields.values("x-forwarded-for").last().map(String::from_utf8_lossy);
        let last = last.as_deref().and_then(|list| list.rsplit(',').next()?.trim().parse().ok());
        last.unwrap_or(self.request.access.source_ip)
    }

    fn text_claim(&self, name: &str) -> Option<&str> {
        match self.claims?.0.get(name)? {
            ClaimValue::Text(text) => Some(text),
            _ => None,
        }
    }

    fn has_token_of(&self, wanted: &str) -> bool {
        let (Some(issuer), Some(subject)) = (self.text_claim("iss"), self.text_claim("sub")) else { return false };
        if wanted == "*" {
            return !issuer.is_empty() && !subject.is_empty();
        }
        match wanted.rsplit_once('/') {
            // A star at the front is the issuer's, one at the end the subject's.
            Some((of_issuer, of_subject)) if wanted.starts_with('*') => {
                star(of_issuer, issuer) && of_subject == subject
            }
            Some((of_issuer, of_subject)) => of_issuer == issuer && star(of_subject, subject),
            None if wanted.starts_with('*') => !issuer.is_empty() && star(wanted, subject),
            None => star(wanted, issuer) && !subject.is_empty(),
        }
    }

    fn has_claim(&self, path: &[&str], wanted: &str) -> bool {
        let Some(claims) = self.claims else { return false };
        let Some(mut value) = claims.0.get(path[0]) else { return false };
        for name in &path[1..] {
            let ClaimValue::Map(map) = value else { return false };
            let Some(inner) = map.get(*name) else { return false };
            value = inner;
        }
        match value {
            ClaimValue::Text(text) if path == ["scope"] => text.split_whitespace().any(|word| star(wanted, word)),
            ClaimValue::Text(text) => star(wanted, text),
            ClaimValue::List(list) => {
                list.iter().any(|one| matches!(one, ClaimValue::Text(text) if star(wanted, text)))
            }
            _ => false,
        }
    }
}

/// Whether a text with one star at an end matches, by trying every way to fill the star; `*` alone asks for something.
fn star(pattern: &str, text: &str) -> bool {
    if pattern == "*" {
        return !text.is_empty();
    }
    let Some((front, back)) = pattern.split_once('*') else { return pattern == text };
    (0..=text.len())
        .any(|start| (start..=text.len()).any(|end| text.get(..start) == Some(front) && text.get(end..) == Some(back)))
}

/// Whether an address is in a block, bit by bit. IPv4 in IPv6 is IPv4.
fn within(block: &str, ip: IpAddr) -> bool {
    let bits = |ip: IpAddr| -> Vec<bool> {
        let bytes = match ip {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1)).collect()
    };
    let (address, length) = block.split_once('/').unwrap_or((block, ""));
    let address: IpAddr = address.parse().expect("an address");
    let length = length.parse().unwrap_or(bits(address).len());
    let mapped = bits("::ffff:0.0.0.0".parse().expect("an address"))[..96].to_vec();
    let plain =
        |bits: Vec<bool>| if bits.len() == 128 && bits.starts_with(&mapped) { bits[96..].to_vec() } else { bits };
    let (whole, wanted, found) = (bits(address).len(), plain(bits(address)), plain(bits(ip)));
    let length = length - (whole - wanted.len());
    wanted.len() == found.len() && wanted[..length] == found[..length]
}
