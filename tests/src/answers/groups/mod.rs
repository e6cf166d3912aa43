//! All groups, and what they are about.

mod answering;
mod changing;
mod choosing;
mod gateway;
mod matching;
mod policies;
mod waiting;

use std::fmt;
use std::str::FromStr;

use super::group::Group;

/// What routes do with requests of a client. The order gives each its address.
const ROUTES: &[Group] = &[
    matching::VIRTUAL_SERVICE,
    changing::PATHS,
    changing::FIELDS,
    answering::ANSWERS,
    answering::FAULTS,
    answering::ORIGINS,
    waiting::TIMES,
    waiting::RETRIES,
    choosing::DESTINATIONS,
    choosing::COPIES,
    choosing::PLAIN,
    gateway::MATCHES,
    gateway::FILTERS,
    gateway::CALLS,
];

/// What policies do with requests at a pod.
const POLICIES: &[Group] = &[policies::GUARDED];

/// What groups are about, and so where they are asked: which side a sidecar is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// At the client: VirtualServices, DestinationRules, HTTPRoutes, GRPCRoutes.
    Routes,
    /// At the server: AuthorizationPolicies, RequestAuthentications.
    Policies,
}

impl Subject {
    /// Its groups.
    #[must_use]
    pub const fn groups(self) -> &'static [Group] {
        match self {
            Self::Routes => ROUTES,
            Self::Policies => POLICIES,
        }
    }
}

impl FromStr for Subject {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "routes" => Ok(Self::Routes),
            "policies" => Ok(Self::Policies),
            _ => Err("routes or policies".to_owned()),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Routes => "routes",
            Self::Policies => "policies",
        })
    }
}
