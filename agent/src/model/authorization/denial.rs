//! Why policy refuses a connection or a request.

use std::fmt;
use std::sync::Arc;

/// Why policy refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error("denied by policy {0}")]
    ByPolicy(Arc<str>),
    #[error("not matched by any of the ALLOW policies in force")]
    NoAllowMatched,
    #[error("policy {policy} cannot be understood ({reason}) and denies its scope")]
    InvalidPolicy { policy: Arc<str>, reason: Arc<str> },
    #[error("policy {0} is in force for the workload but not known")]
    UnknownPolicy(Arc<str>),
    #[error("policy {0} may be about the pod, which the mesh does not know yet: whom it selects is not known")]
    UnknownSelector(Arc<str>),
    #[error("policy {policy} needs the external authorizer {provider} to allow it, which it has not")]
    NotAllowedByProvider { policy: Arc<str>, provider: Arc<str> },
}

impl Denied {
    /// The key of the policy that refuses.
    #[must_use]
    pub fn policy(&self) -> Option<&str> {
        match self {
            Self::NoAllowMatched => None,
            Self::ByPolicy(policy)
            | Self::InvalidPolicy { policy, .. }
            | Self::UnknownPolicy(policy)
            | Self::UnknownSelector(policy)
            | Self::NotAllowedByProvider { policy, .. } => Some(policy),
        }
    }
}

/// Why policy refused a request, with the rule that did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestDenied {
    pub why: Denied,
    /// The position among the policy's `rules` of the one that matched.
    pub rule: Option<usize>,
}

impl RequestDenied {
    /// Whether an external authorizer's word would do.
    #[must_use]
    pub fn needs_provider(&self) -> bool {
        matches!(self.why, Denied::NotAllowedByProvider { .. })
    }

    /// The response code details with which Envoy records the refusal.
    #[must_use]
    pub fn details(&self) -> String {
        let (Denied::ByPolicy(policy) | Denied::NotAllowedByProvider { policy, .. }) = &self.why else {
            return "rbac_access_denied_matched_policy[none]".to_owned();
        };
        let (namespace, name) = policy.split_once('/').unwrap_or(("", policy));
        let rule = self.rule.unwrap_or_default();
        format!("rbac_access_denied_matched_policy[ns[{namespace}]-policy[{name}]-rule[{rule}]]")
    }
}

impl fmt::Display for RequestDenied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.why.fmt(f)?;
        self.rule.map_or(Ok(()), |rule| write!(f, " (rules[{rule}])"))
    }
}

impl std::error::Error for RequestDenied {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_policy_and_rule_as_envoy_does() {
        let by_rule = RequestDenied { why: Denied::ByPolicy("shop/no-admin".into()), rule: Some(2) };
        assert_eq!(by_rule.to_string(), "denied by policy shop/no-admin (rules[2])");
        assert_eq!(by_rule.details(), "rbac_access_denied_matched_policy[ns[shop]-policy[no-admin]-rule[2]]");
        let by_none = RequestDenied { why: Denied::NoAllowMatched, rule: None };
        assert_eq!(by_none.to_string(), "not matched by any of the ALLOW policies in force");
        assert_eq!(by_none.details(), "rbac_access_denied_matched_policy[none]");
    }
}
