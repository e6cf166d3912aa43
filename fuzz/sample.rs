//! Arbitrary policies, a workload and requests to it, out of a fuzzer's bytes. The values are few, so that they often meet.
//! Decides nothing.

use std::net::{IpAddr, SocketAddr};

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use weir::api::model::authorization::AccessRequest;
use weir::api::proto::istio::security as pb;
use weir::api::proto::istio::workload::Workload;

pub(crate) const UID: &str = "uid";
/// Namespace of the destination, of the sources, of policies.
const NAMESPACES: &[&str] = &["a", "b", "istio-system", "ab"];
const ACCOUNTS: &[&str] = &["x", "y", "default"];
const DOMAINS: &[&str] = &["cluster.local", "td"];
const PORTS: &[u16] = &[80, 81, 443, 0];
const TEXTS: &[&str] =
    &["a", "b", "ab", "x", "/sa/x", "cluster.local/ns/a/sa/x", "td/ns/b/sa/y", "cluster.local/", "td/", "local"];
const ADDRESSES: &[&str] = &["10.0.0.1", "10.0.0.2", "10.1.0.1", "::ffff:10.0.0.1", "fd00::1", "fd00::2", "::"];

/// A policy, and whether something in it must make it incomprehensible.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) wire: pb::Authorization,
    pub(crate) is_broken: bool,
}

#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) asked: AccessRequest,
    /// Trust domain, namespace and service account of the source.
    pub(crate) source: Option<[&'static str; 3]>,
}

#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) policies: Vec<Policy>,
    pub(crate) workload: Workload,
    pub(crate) requests: Vec<Request>,
}

pub(crate) fn sample(input: &mut Unstructured<'_>) -> Result<Sample> {
    let count = input.int_in_range(0..=4)?;
    let policies = (0..count).map(|number| policy(input, number)).collect::<Result<Vec<_>>>()?;
    let mut listed = Vec::new();
    for policy in &policies {
        if input.ratio(2, 3)? {
            listed.push(format!("{}/{}", policy.wire.namespace, policy.wire.name));
        }
    }
    if input.ratio(1, 16)? {
        listed.push("a/nobody-sent-it".to_owned());
    }
    let workload = Workload {
        uid: UID.to_owned(),
        name: "w".to_owned(),
        namespace: (*input.choose(NAMESPACES)?).to_owned(),
        authorization_policies: listed,
        ..Workload::default()
    };
    let requests = (0..4).map(|_| request(input)).collect::<Result<Vec<_>>>()?;
    Ok(Sample { policies, workload, requests })
}

fn request(input: &mut Unstructured<'_>) -> Result<Request> {
    let source = if input.ratio(3, 4)? {
        Some([*input.choose(DOMAINS)?, *input.choose(NAMESPACES)?, *input.choose(ACCOUNTS)?])
    } else {
        None
    };
    let identity = source.map(|[domain, namespace, account]| {
        format!("spiffe://{domain}/ns/{namespace}/sa/{account}").parse().expect("it is of the form")
    });
    let destination = SocketAddr::new(address(input)?, *input.choose(PORTS)?);
    Ok(Request { asked: AccessRequest { source: identity, source_ip: address(input)?, destination }, source })
}

fn policy(input: &mut Unstructured<'_>, number: usize) -> Result<Policy> {
    let mut is_broken = false;
    let groups = (0..input.int_in_range(0..=2)?)
        .map(|_| {
            let rules = (0..input.int_in_range(0..=2)?)
                .map(|_| {
                    let matches = (0..input.int_in_range(0..=2)?).map(|_| one_match(input, &mut is_broken));
                    Ok(pb::Rules { matches: matches.collect::<Result<_>>()? })
                })
                .collect::<Result<_>>()?;
            Ok(pb::Group { rules })
        })
        .collect::<Result<_>>()?;
    let wire = pb::Authorization {
        name: format!("p{number}"),
        namespace: (*input.choose(NAMESPACES)?).to_owned(),
        scope: input.int_in_range(0..=2)?,
        action: input.int_in_range(0..=1)?,
        dry_run: input.ratio(1, 8)?,
        groups,
    };
    Ok(Policy { wire, is_broken })
}

fn one_match(input: &mut Unstructured<'_>, is_broken: &mut bool) -> Result<pb::Match> {
    let mut one = pb::Match::default();
    // Most fields stay unset, so that those that are set decide.
    for _ in 0..input.int_in_range(0..=2)? {
        match input.int_in_range(0..=12)? {
            0 => one.namespaces.push(text(input, is_broken)?),
            1 => one.not_namespaces.push(text(input, is_broken)?),
            2 => one.principals.push(text(input, is_broken)?),
            3 => one.not_principals.push(text(input, is_broken)?),
            4 => one.source_ips.push(block(input, is_broken)?),
            5 => one.not_source_ips.push(block(input, is_broken)?),
            6 => one.destination_ips.push(block(input, is_broken)?),
            7 => one.not_destination_ips.push(block(input, is_broken)?),
            8 => one.destination_ports.push(port(input, is_broken)?),
            9 => one.not_destination_ports.push(port(input, is_broken)?),
            10 => one.service_accounts.push(account(input, is_broken)?),
            11 => one.not_service_accounts.push(account(input, is_broken)?),
            _ => {
                if input.ratio(1, 32)? {
                    *is_broken = true;
                    one.extensions.push(vec![1]);
                }
            }
        }
    }
    Ok(one)
}

fn text(input: &mut Unstructured<'_>, is_broken: &mut bool) -> Result<pb::StringMatch> {
    use pb::string_match::MatchType;
    let text = (*input.choose(TEXTS)?).to_owned();
    let match_type = match input.int_in_range(0..=15)? {
        0..=4 => Some(MatchType::Exact(text)),
        5..=8 => Some(MatchType::Prefix(text)),
        9..=12 => Some(MatchType::Suffix(text)),
        13..=14 => Some(MatchType::Presence(())),
        _ if input.ratio(1, 2)? => {
            *is_broken = true;
            None
        }
        _ => {
            *is_broken = true;
            Some(MatchType::Prefix(String::new()))
        }
    };
    Ok(pb::StringMatch { match_type })
}

fn block(input: &mut Unstructured<'_>, is_broken: &mut bool) -> Result<pb::Address> {
    let mut address = match (*input.choose(ADDRESSES)?).parse().expect("an address") {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let bits = u32::try_from(address.len() * 8).expect("128 at most");
    let length = *input.choose(&[0, 7, 8, 16, 31, 32, 64, 95, 96, 97, 104, 127, 128])?;
    if input.ratio(1, 32)? {
        address.pop();
    }
    *is_broken |= length > bits || address.len() % 4 != 0;
    Ok(pb::Address { address, length })
}

fn port(input: &mut Unstructured<'_>, is_broken: &mut bool) -> Result<u32> {
    if input.ratio(1, 32)? {
        *is_broken = true;
        return Ok(65_616);
    }
    Ok(u32::from(*input.choose(PORTS)?))
}

fn account(input: &mut Unstructured<'_>, is_broken: &mut bool) -> Result<pb::ServiceAccountMatch> {
    let namespace = if input.ratio(1, 32)? { "" } else { *input.choose(NAMESPACES)? };
    *is_broken |= namespace.is_empty();
    Ok(pb::ServiceAccountMatch {
        namespace: namespace.to_owned(),
        service_account: (*input.choose(ACCOUNTS)?).to_owned(),
    })
}

fn address(input: &mut Unstructured<'_>) -> Result<IpAddr> {
    Ok((*input.choose(ADDRESSES)?).parse().expect("an address"))
}
