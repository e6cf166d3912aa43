//! The cases by name: what is measured.

use anyhow::{Result, ensure};

use crate::load::Load;

/// A case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// In words.
    pub(crate) about: &'static str,
    pub(crate) load: Load,
}

const fn case(name: &'static str, about: &'static str, load: Load) -> Case {
    Case { name, about, load }
}

/// All cases, in the order they run.
pub(crate) const CASES: &[Case] = &[
    case("resident0", "resident memory of a node's proxy, fresh", Load::Resident(0)),
    case("resident1000", "the same with 1,000 open connections", Load::Resident(1_000)),
    case("resident10000", "the same with 10,000 open connections", Load::Resident(10_000)),
    case("bulk1", "iperf3, 1 stream", Load::Bulk(1)),
    case("bulk8", "iperf3, 8 streams", Load::Bulk(8)),
    case("keepalive1", "wrk, 1 connection that stays", Load::KeepAlive(1)),
    case("keepalive16", "wrk, 16 connections that stay", Load::KeepAlive(16)),
    case("keepalive64", "wrk, 64 connections that stay", Load::KeepAlive(64)),
    case("rate2000", "2,000 requests/s in an open loop, over 16 connections that stay", Load::Rate(2_000)),
    case("http16", "wrk, 16 connections that stay, to a port that declares HTTP", Load::Http(16)),
    case("http-rate2000", "2,000 requests/s in an open loop, to such a port", Load::HttpRate(2_000)),
    case("grpc16", "h2load, unary calls over one connection, 16 at a time", Load::Grpc(16)),
    case(
        "policy16",
        "wrk, 16 connections that stay, to a pod whose policy decides about each request",
        Load::Policy(16),
    ),
    case(
        "jwt-rate1000",
        "1,000 requests/s with RS256 tokens of 100 users, to a pod that verifies them",
        Load::Tokens(1_000),
    ),
    case("newconn1", "wrk, a connection per request, 1 client", Load::NewConnections(1)),
    case("newconn16", "wrk, a connection per request, 16 clients", Load::NewConnections(16)),
];

impl Case {
    /// Whether it needs proxies that have done nothing yet, and yields the same however long it runs.
    pub(crate) fn is_resident(&self) -> bool {
        matches!(self.load, Load::Resident(_))
    }
}

/// The cases of these names; all if none is given.
pub(crate) fn selected(names: &[String]) -> Result<Vec<Case>> {
    for name in names {
        let known = || CASES.iter().map(|case| case.name).collect::<Vec<_>>().join(", ");
        ensure!(CASES.iter().any(|case| case.name == name), "no case is called {name:?}; there are {}", known());
    }
    let wanted = |case: &&Case| names.is_empty() || names.iter().any(|name| name == case.name);
    Ok(CASES.iter().filter(wanted).copied().collect())
}
