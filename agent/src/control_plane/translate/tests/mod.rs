//! Translation against a real istiod, and as tables of behaviours. What the tables share is here.

mod golden;
mod kubernetes;
mod peer;
mod policies;
mod services;
mod vips;

use super::{Options, Resources, VipAllocations, translate};
use crate::objects::{self, Objects};
use crate::proto::istio::security::{Action, Authorization, Match, Scope, StringMatch, string_match::MatchType};
use crate::proto::istio::workload::{Service, Workload, address};

/// The objects of a YAML text, all of which must be valid.
fn objects_of(yaml: &str) -> Objects {
    let loaded = loaded(yaml);
    assert!(loaded.problems.is_empty(), "{:#?}", loaded.problems);
    loaded.objects
}

fn loaded(yaml: &str) -> objects::Loaded {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let file = folder.path().join("objects.yaml");
    std::fs::write(&file, yaml).expect("the folder was just made");
    objects::load(&file)
}

fn translated(yaml: &str) -> Resources {
    translate(&objects_of(yaml), &Options::default(), &mut VipAllocations::default())
}

/// The service of that key.
fn service(resources: &Resources, key: &str) -> Service {
    match resources.addresses.get(key).and_then(|address| address.r#type.clone()) {
        Some(address::Type::Service(service)) => service,
        other => panic!("{key} is {other:?}, not a service; there are {:?}", resources.addresses.keys()),
    }
}

/// The workload of that uid, the cluster's part of it left out.
fn workload(resources: &Resources, uid: &str) -> Workload {
    let uid = format!("Kubernetes/networking.istio.io/{uid}");
    match resources.addresses.get(&uid).and_then(|address| address.r#type.clone()) {
        Some(address::Type::Workload(workload)) => workload,
        other => panic!("{uid} is {other:?}, not a workload; there are {:?}", resources.addresses.keys()),
    }
}

/// An authorization in one line: `DENY NAMESPACE {ports 80} & {ns a | ip 10.0.0.0/8} ; {…}`. Groups are separated by `;`,
/// `{}` is a clause, and a group without clauses is `everything`.
fn shown(authorization: &Authorization) -> String {
    let action = Action::try_from(authorization.action).expect("an action that exists").as_str_name();
    let scope = Scope::try_from(authorization.scope).expect("a scope that exists").as_str_name();
    let groups = authorization.groups.iter().map(|group| {
        let clauses = group.rules.iter().map(|clause| {
            let matches: Vec<String> = clause.matches.iter().map(shown_match).collect();
            format!("{{{}}}", matches.join(" | "))
        });
        if group.rules.is_empty() { "everything".to_owned() } else { clauses.collect::<Vec<_>>().join(" & ") }
    });
    format!("{action} {scope} {}", groups.collect::<Vec<_>>().join(" ; ")).trim_end().to_owned()
}

fn shown_match(found: &Match) -> String {
    let mut parts = Vec::new();
    let mut add = |name: &str, values: Vec<String>| {
        if !values.is_empty() {
            parts.push(format!("{name} {}", values.join(",")));
        }
    };
    let strings = |values: &[StringMatch]| values.iter().map(shown_string).collect::<Vec<_>>();
    let ports = |values: &[u32]| values.iter().map(u32::to_string).collect::<Vec<_>>();
    let ip = |block: &crate::proto::istio::security::Address| match <[u8; 4]>::try_from(block.address.as_slice()) {
        Ok(v4) => format!("{}/{}", std::net::Ipv4Addr::from(v4), block.length),
        Err(_) => {
            let v6 = <[u8; 16]>::try_from(block.address.as_slice()).expect("an address has 4 or 16 bytes");
            format!("{}/{}", std::net::Ipv6Addr::from(v6), block.length)
        }
    };
    let accounts = |values: &[crate::proto::istio::security::ServiceAccountMatch]| {
        values.iter().map(|account| format!("{}/{}", account.namespace, account.service_account)).collect::<Vec<_>>()
    };
    add("ns", strings(&found.namespaces));
    add("!ns", strings(&found.not_namespaces));
    add("id", strings(&found.principals));
    add("!id", strings(&found.not_principals));
    add("ip", found.source_ips.iter().map(ip).collect());
    add("!ip", found.not_source_ips.iter().map(ip).collect());
    add("to", found.destination_ips.iter().map(ip).collect());
    add("!to", found.not_destination_ips.iter().map(ip).collect());
    add("port", ports(&found.destination_ports));
    add("!port", ports(&found.not_destination_ports));
    add("sa", accounts(&found.service_accounts));
    add("!sa", accounts(&found.not_service_accounts));
    parts.join(" ")
}

/// `=` exact, `x*` prefix, `*x` suffix, `*` presence.
fn shown_string(found: &StringMatch) -> String {
    match found.match_type.as_ref().expect("istiod always sets one") {
        MatchType::Exact(text) => format!("={text}"),
        MatchType::Prefix(text) => format!("{text}*"),
        MatchType::Suffix(text) => format!("*{text}"),
        MatchType::Presence(()) => "*".to_owned(),
    }
}
