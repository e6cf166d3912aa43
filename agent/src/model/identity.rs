//! SPIFFE identities: who a workload is, as its certificate says.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The trust domain that Istio uses when nothing else is configured.
pub const DEFAULT_TRUST_DOMAIN: &str = "cluster.local";

/// The authority of a SPIFFE id, such as `cluster.local`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// Takes a trust domain name as configured. An empty name means [`DEFAULT_TRUST_DOMAIN`], as in the workload API.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(if name.is_empty() { DEFAULT_TRUST_DOMAIN.into() } else { name.into() })
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text itself, to be shared with equal ones.
    pub(super) fn text_mut(&mut self) -> &mut Arc<str> {
        &mut self.0
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A workload's identity in Istio's SPIFFE form, `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    pub trust_domain: TrustDomain,
    pub namespace: Arc<str>,
    pub service_account: Arc<str>,
}

impl Identity {
    /// Builds an identity; an empty service account means `default`, as in the workload API.
    #[must_use]
    pub fn new(trust_domain: TrustDomain, namespace: &str, service_account: &str) -> Self {
        let service_account = if service_account.is_empty() { "default" } else { service_account };
        Self { trust_domain, namespace: namespace.into(), service_account: service_account.into() }
    }

    /// The form that authorization policies compare with: the SPIFFE id without its scheme.
    #[must_use]
    pub fn principal(&self) -> String {
        format!("{}/ns/{}/sa/{}", self.trust_domain, self.namespace, self.service_account)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Piece by piece: access lines show two, and this is the shortest way.
        let parts = ["spiffe://", self.trust_domain.as_str(), "/ns/", &self.namespace, "/sa/", &self.service_account];
        parts.iter().try_for_each(|part| f.write_str(part))
    }
}

/// Why a text is not an identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not of the form spiffe://<trust domain>/ns/<namespace>/sa/<service account>")]
pub struct InvalidIdentity(pub String);

impl FromStr for Identity {
    type Err = InvalidIdentity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidIdentity(text.to_owned());
        let path = text.strip_prefix("spiffe://").ok_or_else(invalid)?;
        let mut parts = path.split('/');
        let (Some(trust_domain), Some("ns"), Some(namespace), Some("sa"), Some(service_account), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(invalid());
        };
        if trust_domain.is_empty() || namespace.is_empty() || service_account.is_empty() {
            return Err(invalid());
        }
        Ok(Self::new(TrustDomain::new(trust_domain), namespace, service_account))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_reads_back_what_it_prints() {
        let identity = Identity::new(TrustDomain::new(""), "bookinfo", "");
        assert_eq!(identity.to_string(), "spiffe://cluster.local/ns/bookinfo/sa/default");
        assert_eq!(identity.to_string().parse(), Ok(identity));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "cluster.local/ns/a/sa/b",
            "spiffe://cluster.local",
            "spiffe:///ns/a/sa/b",
            "spiffe://td/ns//sa/b",
            "spiffe://td/ns/a/sa/",
            "spiffe://td/ns/a/sa/b/",
            "spiffe://td/sa/b/ns/a",
        ] {
            assert_eq!(text.parse::<Identity>(), Err(InvalidIdentity(text.to_owned())), "{text}");
        }
    }
}
