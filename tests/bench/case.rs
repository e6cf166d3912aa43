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

/// All cases, in the order they run.
pub(crate) const CASES: &[Case] = &[
    Case { name: "bulk1", about: "iperf3, 1 stream", load: Load::Bulk(1) },
    Case { name: "bulk8", about: "iperf3, 8 streams", load: Load::Bulk(8) },
    Case { name: "keepalive1", about: "wrk, 1 connection that stays", load: Load::KeepAlive(1) },
    Case { name: "keepalive16", about: "wrk, 16 connections that stay", load: Load::KeepAlive(16) },
    Case { name: "keepalive64", about: "wrk, 64 connections that stay", load: Load::KeepAlive(64) },
    Case { name: "newconn1", about: "wrk, a connection per request, 1 client", load: Load::NewConnections(1) },
    Case { name: "newconn16", about: "wrk, a connection per request, 16 clients", load: Load::NewConnections(16) },
];

/// The cases of these names; all if none is given.
pub(crate) fn selected(names: &[String]) -> Result<Vec<Case>> {
    for name in names {
        let known = || CASES.iter().map(|case| case.name).collect::<Vec<_>>().join(", ");
        ensure!(CASES.iter().any(|case| case.name == name), "no case is called {name:?}; there are {}", known());
    }
    let wanted = |case: &&Case| names.is_empty() || names.iter().any(|name| name == case.name);
    Ok(CASES.iter().filter(wanted).copied().collect())
}
