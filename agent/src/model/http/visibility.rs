//! Who sees an object, and which hosts it names: `exportTo` and hosts with a leading wildcard, as Istio compares them.

use std::sync::Arc;

/// The namespaces whose pods an object is for (`exportTo`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ExportTo {
    #[default]
    Everyone,
    /// Empty: nobody.
    Namespaces(Vec<Arc<str>>),
}

impl ExportTo {
    #[must_use]
    pub fn includes(&self, namespace: &str) -> bool {
        match self {
            Self::Everyone => true,
            Self::Namespaces(names) => names.iter().any(|name| **name == *namespace),
        }
    }
}

/// A host as an object names it, in lower case and fully qualified.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    Exact(Arc<str>),
    /// What follows the leading `*`, compared as text: `*.b` matches `a.b` and `x.a.b`, and `*` everything.
    Wildcard(Arc<str>),
}

impl HostPattern {
    /// Reads a host: a `*` at its beginning is a wildcard. It becomes lower case.
    #[must_use]
    pub fn parse(host: &str) -> Self {
        let host = host.to_ascii_lowercase();
        match host.strip_prefix('*') {
            Some(suffix) => Self::Wildcard(suffix.into()),
            None => Self::Exact(host.into()),
        }
    }

    #[must_use]
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *host,
            Self::Wildcard(suffix) => host.ends_with(&**suffix),
        }
    }

    /// Whether every host that `other` stands for is among those of this one.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (pattern, Self::Exact(host)) => pattern.matches(host),
            (Self::Wildcard(ours), Self::Wildcard(theirs)) => theirs.ends_with(&**ours),
            (Self::Exact(_), Self::Wildcard(_)) => false,
        }
    }
}
