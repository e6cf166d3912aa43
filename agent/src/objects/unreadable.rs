//! A guess at what a document that is not YAML was meant to be. Only used to deny: a policy with a slip of the pen in it
//! must not open what it was written to close.

use super::kind::Kind;
use super::metadata::{Metadata, ObjectKey};

/// The policy that a text seems to define: its `kind`, and the first `name` and `namespace` after it or before it.
pub(super) fn policy_in(text: &str, document: usize) -> Option<(ObjectKey, Metadata)> {
    let is_separator = |c: char| c.is_whitespace() || "\"'{}[],:".contains(c);
    let words: Vec<&str> = text.split(is_separator).filter(|word| !word.is_empty()).collect();
    let after = |name: &str| words.windows(2).find(|pair| pair[0] == name).map(|pair| pair[1].to_owned());
    let kind = words.windows(2).find_map(|pair| match pair {
        ["kind", "AuthorizationPolicy"] => Some(Kind::AuthorizationPolicy),
        ["kind", "PeerAuthentication"] => Some(Kind::PeerAuthentication),
        _ => None,
    })?;
    let metadata = Metadata {
        name: after("name").unwrap_or_else(|| format!("unnamed-{document}-0")),
        namespace: after("namespace").unwrap_or_else(|| "default".to_owned()),
        ..Metadata::default()
    };
    Some((kind.key(&metadata.namespace, &metadata.name), metadata))
}
