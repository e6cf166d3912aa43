//! Principals as policies name them: `<trust domain>/ns/<namespace>/sa/<service account>`, without `spiffe://`.
//!
//! As in Envoy's mesh (istiod's `trustdomain.Bundle`), `cluster.local` in a policy means the mesh's own trust domain, and the
//! own trust domain and its aliases are one: a policy that names a workload under one of them is about that workload, under
//! whichever of them its certificate names it.

use super::string_match::StringMatch;
use crate::model::identity::{DEFAULT_TRUST_DOMAIN, Identity, TrustDomain};

/// The trust domains of the mesh.
#[derive(Debug, Clone, Copy)]
pub(in crate::model) struct TrustDomains<'a> {
    pub(in crate::model) own: &'a TrustDomain,
    pub(in crate::model) aliases: &'a [TrustDomain],
}

impl TrustDomains<'_> {
    fn contain(&self, domain: &TrustDomain) -> bool {
        self.own == domain || self.aliases.contains(domain)
    }
}

/// A peer's principal under every trust domain by which policies may name it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Principal<'a> {
    identity: &'a Identity,
    /// Those of the mesh, where the peer is of it.
    mesh: Option<TrustDomains<'a>>,
}

impl<'a> Principal<'a> {
    pub(super) fn new(identity: &'a Identity, domains: TrustDomains<'a>) -> Self {
        let mesh = domains.contain(&identity.trust_domain).then_some(domains);
        Self { identity, mesh }
    }

    /// Whether the pattern matches it under any of its trust domains. Nothing is put together for that.
    pub(super) fn matches(&self, pattern: &StringMatch) -> bool {
        match pattern {
            StringMatch::Exact(text) => {
                let domain = self.path().iter().rev().try_fold(&**text, |rest, piece| rest.strip_suffix(piece));
                domain.is_some_and(|wanted| self.is_under(|domain| domain == wanted))
            }
            StringMatch::Prefix(text) => self.is_under(|domain| {
                domain.starts_with(&**text) || text.strip_prefix(domain).is_some_and(|rest| self.path_starts_with(rest))
            }),
            StringMatch::Suffix(text) => {
                let mut rest = &**text;
                for piece in self.path().iter().rev() {
                    match rest.strip_suffix(piece) {
                        Some(front) => rest = front,
                        None => return piece.ends_with(rest),
                    }
                }
                self.is_under(|domain| domain.ends_with(rest))
            }
            StringMatch::Presence => true,
        }
    }

    /// `/ns/<namespace>/sa/<service account>`, which follows the trust domain, in pieces.
    fn path(&self) -> [&'a str; 4] {
        ["/ns/", &self.identity.namespace, "/sa/", &self.identity.service_account]
    }

    fn path_starts_with(&self, mut text: &str) -> bool {
        for piece in self.path() {
            match text.strip_prefix(piece) {
                Some(rest) => text = rest,
                None => return piece.starts_with(text),
            }
        }
        text.is_empty()
    }

    /// Whether `is` holds for any of its trust domains.
    fn is_under(&self, is: impl Fn(&str) -> bool) -> bool {
        is(self.identity.trust_domain.as_str())
            || self.mesh.is_some_and(|mesh| {
                is(mesh.own.as_str()) || is(DEFAULT_TRUST_DOMAIN) || mesh.aliases.iter().any(|alias| is(alias.as_str()))
            })
    }
}

impl StringMatch {
    /// Whether there is any principal that this pattern matches. `spiffe://td/ns/a/sa/b`, `td/ns/a/sa/b/` and `ns/a/sa/b` match
    /// nobody, whatever their author meant.
    #[must_use]
    pub fn can_match_a_principal(&self) -> bool {
        let (text, open_front, open_end) = match self {
            Self::Exact(text) => (text, false, false),
            Self::Prefix(text) => (text, false, true),
            Self::Suffix(text) => (text, true, false),
            Self::Presence => return true,
        };
        /// `<trust domain>`, `ns`, `<namespace>`, `sa`, `<service account>`
        const PARTS: usize = 5;
        let count = text.split('/').count();
        let fits = if open_front || open_end { count <= PARTS } else { count == PARTS };
        // The last part of a suffix is the last of a principal.
        let first = if open_front { PARTS.saturating_sub(count) } else { 0 };
        fits && text.split('/').enumerate().all(|(at, part)| {
            let cut_front = open_front && at == 0;
            let cut_end = open_end && at == count - 1;
            can_be(first + at, part, cut_front, cut_end)
        })
    }

    /// Whether there is any namespace that this pattern matches. `ns/shop`, `shop/` and `*shop*` match nobody.
    #[must_use]
    pub fn can_match_a_namespace(&self) -> bool {
        match self {
            Self::Exact(text) => can_be_a_name(text),
            Self::Prefix(text) | Self::Suffix(text) => text.is_empty() || can_be_a_name(text),
            Self::Presence => true,
        }
    }
}

/// Whether a text can be a namespace or a service account as a principal has it: one part of a path, without stars.
#[must_use]
pub fn can_be_a_name(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| matches!(c, '/' | ':' | '*') || c.is_whitespace())
}

/// Whether a part of a principal can be that text, of which the front or the end may be missing.
fn can_be(position: usize, part: &str, cut_front: bool, cut_end: bool) -> bool {
    let keyword = match position {
        1 => "ns",
        3 => "sa",
        _ => {
            return can_be_a_name(part) || (part.is_empty() && (cut_front || cut_end));
        }
    };
    part == keyword || (cut_front && keyword.ends_with(part)) || (cut_end && keyword.starts_with(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_trust_domain_aliases_and_cluster_local_are_one() {
        let (own, aliases) = (TrustDomain::new("corp.example"), [TrustDomain::new("old.example")]);
        let domains = TrustDomains { own: &own, aliases: &aliases };
        // What a policy says, and whether it is about a peer of the own domain, of an alias, of a foreign one.
        let rows = [
            ("corp.example/ns/a/sa/b", [true, true, false]),
            ("old.example/ns/a/sa/b", [true, true, false]),
            ("cluster.local/ns/a/sa/b", [true, true, false]),
            ("far.example/ns/a/sa/b", [false, false, true]),
            ("cluster.local/ns/a/sa/bb", [false, false, false]),
            ("cluster.local/ns/a/*", [true, true, false]),
            ("old.example/*", [true, true, false]),
            ("old.exam*", [true, true, false]),
            ("far*", [false, false, true]),
            ("cluster.local/ns/b/*", [false, false, false]),
            ("*/ns/a/sa/b", [true, true, true]),
            ("*/sa/b", [true, true, true]),
            ("*.local/ns/a/sa/b", [true, true, false]),
            ("*ld.example/ns/a/sa/b", [true, true, false]),
            ("*r.example/ns/a/sa/b", [false, false, true]),
            ("*", [true, true, true]),
            ("*b", [true, true, true]),
            ("*/a/sa/b", [true, true, true]),
            ("*x/a/sa/b", [false, false, false]),
            ("*xsa/b", [false, false, false]),
            ("corp.example/ns/a/sa/b*", [true, true, false]),
            ("corp.example/ns/a/sa/bb*", [false, false, false]),
            ("corp.example/n*", [true, true, false]),
            ("corp.examples/n*", [false, false, false]),
            ("/ns/a/sa/b", [false, false, false]),
        ];
        for (written, expected) in rows {
            let found = ["corp.example", "old.example", "far.example"].map(|domain| {
                let identity = Identity::new(TrustDomain::new(domain), "a", "b");
                Principal::new(&identity, domains).matches(&StringMatch::written(written))
            });
            assert_eq!(found, expected, "{written}");
        }
    }

    #[test]
    fn spellings_that_match_nobody_are_known() {
        let good = [
            "*",
            "td/ns/a/sa/b",
            "td/ns/a/sa/b*",
            "td/ns/a/sa/*",
            "td/ns/a/s*",
            "td/ns/*",
            "td/n*",
            "td/*",
            "t*",
            "*b",
            "*/b",
            "*a/b",
            "*/sa/b",
            "*a/sa/b",
            "*/ns/a/sa/b",
            "*s/a/sa/b",
            "*d/ns/a/sa/b",
        ];
        let bad = [
            "spiffe://td/ns/a/sa/b",
            "spiffe://td/*",
            "spiffe:*",
            "*://td/ns/a/sa/b",
            "td/ns/a/sa/b/",
            "*/sa/b/",
            "ns/a/sa/b",
            "/ns/a/sa/b",
            "sa/b",
            "b",
            "td/ns//sa/b",
            "td/ns/a/sa/",
            "td/a/b*",
            "td/ns/a/sa/b/*",
            "*/a/ns/a/sa/b",
            "*x/b",
            "td/ns/a/sa/*b",
            "*td/ns/*",
            "td/ns/a/sa/b ",
            "td/namespaces/a/sa/b",
        ];
        for (texts, expected) in [(good.as_slice(), true), (&bad, false)] {
            for text in texts {
                assert_eq!(StringMatch::written(text).can_match_a_principal(), expected, "{text}");
            }
        }
    }

    #[test]
    fn namespaces_that_nobody_has_are_known() {
        for good in ["*", "shop", "Shop", "shop*", "*shop", "a.b"] {
            assert!(StringMatch::written(good).can_match_a_namespace(), "{good}");
        }
        for bad in ["", "shop/", "ns/shop", "ns/shop*", "*/shop", "*shop*", "sh*p", "shop ", "spiffe:shop"] {
            assert!(!StringMatch::written(bad).can_match_a_namespace(), "{bad}");
        }
    }
}
