//! Who asks, who sees an object, and which hosts it names: `exportTo` and hosts with a leading wildcard, as Istio compares them.

use std::borrow::{Borrow, Cow};
use std::cmp::Reverse;
use std::sync::Arc;

use crate::model::peer_authentication::Labels;

/// What decisions depend on of the pod that sends a request.
#[derive(Debug, Clone, Copy)]
pub struct SourceView<'a> {
    pub namespace: &'a str,
    pub labels: &'a Labels,
}

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

/// A host as an object names it: in lower case and fully qualified, or `*` and how hosts end. What follows the `*` is compared
/// as text: `*.b` stands for `a.b` and `x.a.b`, and `*` for everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPattern(Arc<str>);

impl HostPattern {
    /// Reads a host; it becomes lower case.
    #[must_use]
    pub fn parse(host: &str) -> Self {
        Self(lower_case(host).into())
    }

    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }

    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with('*')
    }

    /// Whether it stands for a host, or for all hosts that another such text stands for.
    #[must_use]
    pub fn covers(&self, host: &str) -> bool {
        match self.0.strip_prefix('*') {
            Some(end) => host.ends_with(end),
            None => *self.0 == *host,
        }
    }

    /// Greater for more specific ones; of equally long ones, for the first by alphabet.
    pub(super) fn specificity(&self) -> (usize, Reverse<&str>) {
        (self.0.len(), Reverse(&self.0))
    }
}

impl Borrow<str> for HostPattern {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// A host as patterns are compared with it; most are in lower case already.
pub(super) fn lower_case(host: &str) -> Cow<'_, str> {
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}
