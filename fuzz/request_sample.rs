//! Arbitrary AuthorizationPolicies with conditions of HTTP, and requests, out of a fuzzer's bytes. The values are few, so that they
//! often meet. Decides nothing.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use weir::api::model::authorization::{AccessRequest, ClaimValue, Claims};
use weir::api::model::http::{PathNormalization, RequestHead};
use weir::api::proto::istio::security::v1beta1 as pb;
use weir::api::proto::istio::r#type::v1beta1::WorkloadSelector;

/// The namespace of the pod, the root namespace, and another one.
pub(crate) const NAMESPACES: [&str; 3] = ["a", "istio-system", "b"];
/// Who is asked by CUSTOM policies.
pub(crate) const PROVIDERS: [&str; 2] = ["one", "two"];
/// The label `app` of the pod, and another one.
pub(crate) const APPS: [&str; 2] = ["w", "v"];

const METHODS: &[&str] = &["GET", "PUT", "POST"];
const AUTHORITIES: &[&str] = &["a.b", "A.B", "a.b:80", ""];
/// A target is a slash and some of these.
const TARGET_PARTS: &[&str] =
    &["/", "a", "b", "c", "/a", "/b", "/..", "/.", ";v=1", "%2F", "%61", "\\", "%", "%5c", "?q=/b", "%2e", "%2", "5"];
const FORWARDED: &[&str] = &["1.2.3.4", "1.2.3.4, 10.0.0.1", "junk", "10.0.0.1,fd00::1", "::ffff:1.2.3.4", ""];
const ADDRESSES: &[&str] = &["10.0.0.1", "10.1.0.1", "::ffff:10.0.0.1", "fd00::1"];
const CLAIM_TEXTS: &[&str] = &["iss", "sub", "s", "staff", "ops", "read write", ""];
const TAGS: &[&str] = &["x", "y", "xy", ""];

/// The values that a policy may name, each of which something matches.
const PRINCIPALS: &[&str] = &["cluster.local/ns/a/sa/x", "cluster.local/ns/a*", "*/sa/y", "*", "td/ns/a/sa/x"];
const NAMESPACE_TEXTS: &[&str] = &["a", "b", "a*", "*b", "*"];
const BLOCKS: &[&str] = &["10.0.0.0/8", "10.0.0.1", "1.2.3.4", "fd00::/8", "0.0.0.0/0", "::ffff:10.0.0.0/104"];
const TOKEN_PRINCIPALS: &[&str] = &["*", "iss/sub", "iss/*", "*/sub", "is*", "*ub", "iss/s*", "*s/sub"];
const HOSTS: &[&str] = &["a.b", "A.*", "*B", "*", "a.b:*"];
const PORTS: &[&str] = &["80", "81"];
const METHOD_TEXTS: &[&str] = &["GET", "P*", "*T", "*"];
const PATHS: &[&str] =
    &["/a", "/a*", "*b", "*", "/{*}", "/a/{**}", "/{*}/b", "/a/{**}/c", "/a%2Fb", "/a;v=1*", "/", "/a/b", "//*"];
const VALUES: &[&str] = &["x", "x*", "*y", "*"];
const CLAIM_VALUES: &[&str] = &["staff", "s*", "*b", "*", "read", "iss"];
const CONDITIONS: &[(&str, &[&str])] = &[
    ("request.headers[X-Tag]", VALUES),
    ("request.headers[:method]", METHOD_TEXTS),
    ("request.headers[host]", &["a.b", "*", "A.*"]),
    ("request.auth.claims[groups]", CLAIM_VALUES),
    ("request.auth.claims[org][team]", CLAIM_VALUES),
    ("request.auth.claims[scope]", CLAIM_VALUES),
    ("request.auth.audiences", CLAIM_VALUES),
    ("request.auth.principal", TOKEN_PRINCIPALS),
    ("source.ip", BLOCKS),
    ("remote.ip", BLOCKS),
    ("destination.port", PORTS),
    ("source.namespace", NAMESPACE_TEXTS),
];

/// A policy as its author wrote it.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) namespace: &'static str,
    pub(crate) spec: pb::AuthorizationPolicy,
}

#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) access: AccessRequest,
    /// Trust domain, namespace and service account of the source.
    pub(crate) source: Option<[&'static str; 3]>,
    /// As external authorizers are asked about it.
    pub(crate) before_token: RequestHead,
    /// As the application gets it: with the same method, authority and path.
    pub(crate) head: RequestHead,
    pub(crate) claims: Option<Claims>,
    /// Those that have allowed it.
    pub(crate) allowed_by: Vec<Arc<str>>,
}

#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) policies: Vec<Policy>,
    pub(crate) requests: Vec<Request>,
}

pub(crate) fn sample(input: &mut Unstructured<'_>) -> Result<Sample> {
    let policies = (0..input.int_in_range(0..=3)?).map(|_| policy(input)).collect::<Result<_>>()?;
    let requests = (0..3).map(|_| request(input)).collect::<Result<Vec<_>>>()?;
    Ok(Sample { policies, requests: requests.into_iter().flatten().collect() })
}

fn policy(input: &mut Unstructured<'_>) -> Result<Policy> {
    let action = input.int_in_range(0..=3)?;
    let provider = pb::authorization_policy::ExtensionProvider { name: (*input.choose(&PROVIDERS)?).to_owned() };
    let is_custom = action == i32::from(pb::authorization_policy::Action::Custom);
    let selector = if input.ratio(1, 3)? {
        let labels = [("app".to_owned(), (*input.choose(&APPS)?).to_owned())];
        Some(WorkloadSelector { match_labels: labels.into() })
    } else {
        None
    };
    let mut rules = (0..input.int_in_range(1..=2)?).map(|_| rule(input)).collect::<Result<Vec<_>>>()?;
    // Of one without conditions of HTTP the control plane's form is enforced, which nobody sends here.
    let methods = pb::Operation { methods: texts(input, METHOD_TEXTS, 1)?, ..pb::Operation::default() };
    rules[0].to.push(pb::rule::To { operation: Some(methods) });
    let spec = pb::AuthorizationPolicy {
        selector,
        rules,
        action,
        action_detail: is_custom.then_some(pb::authorization_policy::ActionDetail::Provider(provider)),
        ..pb::AuthorizationPolicy::default()
    };
    Ok(Policy { namespace: *input.choose(&NAMESPACES)?, spec })
}

fn rule(input: &mut Unstructured<'_>) -> Result<pb::Rule> {
    let from = (0..input.int_in_range(0..=2)?).map(|_| Ok(pb::rule::From { source: Some(source(input)?) }));
    let from = from.collect::<Result<_>>()?;
    let to = (0..input.int_in_range(0..=2)?).map(|_| Ok(pb::rule::To { operation: Some(operation(input)?) }));
    let to = to.collect::<Result<_>>()?;
    let when = (0..input.int_in_range(0..=2)?).map(|_| condition(input)).collect::<Result<_>>()?;
    Ok(pb::Rule { from, to, when })
}

fn texts(input: &mut Unstructured<'_>, of: &[&str], least: usize) -> Result<Vec<String>> {
    (0..input.int_in_range(least..=2)?).map(|_| Ok((*input.choose(of)?).to_owned())).collect()
}

/// One to three fields of it are set.
fn source(input: &mut Unstructured<'_>) -> Result<pb::Source> {
    let mut source = pb::Source::default();
    for _ in 0..input.int_in_range(1..=3)? {
        match input.int_in_range(0..=9)? {
            0 => source.principals = texts(input, PRINCIPALS, 1)?,
            1 => source.not_principals = texts(input, PRINCIPALS, 1)?,
            2 => source.request_principals = texts(input, TOKEN_PRINCIPALS, 1)?,
            3 => source.not_request_principals = texts(input, TOKEN_PRINCIPALS, 1)?,
            4 => source.namespaces = texts(input, NAMESPACE_TEXTS, 1)?,
            5 => source.not_namespaces = texts(input, NAMESPACE_TEXTS, 1)?,
            6 => source.ip_blocks = texts(input, BLOCKS, 1)?,
            7 => source.not_ip_blocks = texts(input, BLOCKS, 1)?,
            8 => source.remote_ip_blocks = texts(input, BLOCKS, 1)?,
            _ => source.not_remote_ip_blocks = texts(input, BLOCKS, 1)?,
        }
    }
    Ok(source)
}

fn operation(input: &mut Unstructured<'_>) -> Result<pb::Operation> {
    let mut operation = pb::Operation::default();
    for _ in 0..input.int_in_range(1..=3)? {
        match input.int_in_range(0..=7)? {
            0 => operation.hosts = texts(input, HOSTS, 1)?,
            1 => operation.not_hosts = texts(input, HOSTS, 1)?,
            2 => operation.ports = texts(input, PORTS, 1)?,
            3 => operation.not_ports = texts(input, PORTS, 1)?,
            4 => operation.methods = texts(input, METHOD_TEXTS, 1)?,
            5 => operation.not_methods = texts(input, METHOD_TEXTS, 1)?,
            6 => operation.paths = texts(input, PATHS, 1)?,
            _ => operation.not_paths = texts(input, PATHS, 1)?,
        }
    }
    Ok(operation)
}

fn condition(input: &mut Unstructured<'_>) -> Result<pb::Condition> {
    let (key, values) = *input.choose(CONDITIONS)?;
    let [least, least_not] = *input.choose(&[[1, 0], [0, 1], [1, 1]])?;
    let (values, not_values) = (texts(input, values, least)?, texts(input, values, least_not)?);
    Ok(pb::Condition { key: key.to_owned(), values, not_values })
}

/// `None` where its path has no normal form.
fn request(input: &mut Unstructured<'_>) -> Result<Option<Request>> {
    let source = if input.ratio(3, 4)? {
        Some([*input.choose(&["cluster.local", "td"])?, *input.choose(&["a", "b", "ab"])?, *input.choose(&["x", "y"])?])
    } else {
        None
    };
    let identity = source.map(|[domain, namespace, account]| {
        format!("spiffe://{domain}/ns/{namespace}/sa/{account}").parse().expect("it is of the form")
    });
    let address = |text: &str| text.parse::<IpAddr>().expect("an address");
    let source_ip = address(input.choose(ADDRESSES)?);
    let destination = SocketAddr::new(address("10.0.0.9"), *input.choose(&[80, 81])?);
    let parts = (0..input.int_in_range(0..=6)?).map(|_| input.choose(TARGET_PARTS).copied());
    let parts = parts.collect::<Result<String>>()?;
    let mut head = RequestHead {
        method: (*input.choose(METHODS)?).into(),
        target: format!("/{parts}").into(),
        authority: (*input.choose(AUTHORITIES)?).into(),
        ..RequestHead::default()
    };
    if PathNormalization::Base.apply(&mut head).is_err() {
        return Ok(None);
    }
    let (mut before_token, mut after) = (head.clone(), head);
    for head in [&mut before_token, &mut after] {
        for _ in 0..input.int_in_range(0..=3)? {
            let (name, values) = *input.choose(&[("x-tag", TAGS), ("x-forwarded-for", FORWARDED)])?;
            head.fields.append(name.as_bytes(), input.choose(values)?.as_bytes());
        }
    }
    Ok(Some(Request {
        access: AccessRequest { source: identity, source_ip, destination },
        source,
        before_token,
        head: after,
        claims: if input.ratio(2, 3)? { Some(claims(input)?) } else { None },
        allowed_by: PROVIDERS
            .iter()
            .filter(|_| input.ratio(1, 2).unwrap_or(false))
            .map(|name| (*name).into())
            .collect(),
    }))
}

fn claims(input: &mut Unstructured<'_>) -> Result<Claims> {
    let mut claims = Claims::default();
    for name in ["iss", "sub", "groups", "aud", "scope", "org"] {
        if input.ratio(1, 4)? {
            continue;
        }
        let mut value = match input.int_in_range(0..=3)? {
            0 => ClaimValue::Integer(3),
            1 => ClaimValue::List(vec![text_claim(input)?, text_claim(input)?, ClaimValue::Bool(true)]),
            _ if input.ratio(2, 3)? && name.len() == 3 => ClaimValue::Text(name.into()),
            _ => text_claim(input)?,
        };
        if name == "org" && input.ratio(2, 3)? {
            value = ClaimValue::Map([("team".into(), value)].into());
        }
        claims.0.insert(name.into(), value);
    }
    Ok(claims)
}

fn text_claim(input: &mut Unstructured<'_>) -> Result<ClaimValue> {
    Ok(ClaimValue::Text((*input.choose(CLAIM_TEXTS)?).into()))
}
