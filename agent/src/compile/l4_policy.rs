//! AuthorizationPolicy to an L4 policy that never allows more than the author did: what of it needs HTTP allows nothing,
//! and denies whatever the rest matches.
//!
//! Groups, clauses and matches are those of `istio.security.Authorization`, in the order in which istiod 1.31 writes them.

use super::matches;
use crate::model::authorization::{Action, Authorization, Clause, Group, Match, PolicyScope};
use crate::objects::{AuthorizationPolicy, Metadata, PolicyAction, PolicyTarget, RejectedPolicy, Rule, Source};

/// An AuthorizationPolicy compiled for L4.
#[derive(Debug)]
pub struct L4Policy {
    pub authorization: Authorization,
    /// istiod's own L4 form of the policy allows no more than its author did, so that it can be enforced as it is.
    pub is_istiods: bool,
}

/// Compiles a policy; `None` where nothing of it is enforced at L4. `note` is called, for the policy's author, with each part
/// that is not enforced as written.
pub fn l4_policy(
    root_namespace: &str,
    metadata: &Metadata,
    policy: &AuthorizationPolicy,
    mut note: impl FnMut(String),
) -> Option<L4Policy> {
    if policy.target == PolicyTarget::Elsewhere {
        note("targetRefs are a waypoint's business: not enforced at the workloads".to_owned());
        return None;
    }
    let action = match policy.action {
        PolicyAction::Allow => Action::Allow,
        PolicyAction::Deny => Action::Deny,
        PolicyAction::Audit => {
            note("action AUDIT decides nothing and is not acted on".to_owned());
            return None;
        }
        PolicyAction::Custom => {
            note("no external authorizer is asked at L4: what its rules match is denied".to_owned());
            Action::Deny
        }
    };
    let mut groups = Vec::new();
    let mut needs_http = false;
    for (at, rule) in policy.rules.iter().enumerate() {
        let http: Vec<&str> = rule.http_attributes().collect();
        if http.is_empty() {
            groups.extend(groups_of(rule));
            continue;
        }
        needs_http = true;
        let http = http.join(", ");
        if action == Action::Allow {
            note(format!("rules[{at}] needs HTTP ({http}) and is left out: it allows nothing"));
        } else {
            note(format!("rules[{at}] needs HTTP ({http}): it denies whatever the rest of the rule matches"));
            groups.extend(groups_of(rule));
        }
    }
    let namespace = &metadata.namespace;
    let authorization = Authorization {
        key: format!("{namespace}/{}", metadata.name).into(),
        namespace: namespace.as_str().into(),
        scope: scope(root_namespace, namespace, matches!(policy.target, PolicyTarget::Selector(_))),
        action,
        dry_run: policy.dry_run,
        groups,
        invalid: None,
    };
    let by_trust_domain =
        policy.rules.iter().flat_map(|rule| &rule.from).any(|from| !from.trust_domains.is_both_empty());
    let is_istiods = !needs_http && !by_trust_domain && !policy.dry_run && policy.action != PolicyAction::Custom;
    Some(L4Policy { authorization, is_istiods })
}

/// The policy, called `name`, that stands for a policy whose fields are not valid: it denies all connections to
/// the workloads that the original selects.
/// Its one group has no clauses and so matches everything, for those who are sent it without the reason.
#[must_use]
pub fn denial_of_rejected(
    root_namespace: &str,
    metadata: &Metadata,
    rejected: &RejectedPolicy,
    name: &str,
) -> Authorization {
    let namespace = &metadata.namespace;
    Authorization {
        key: format!("{namespace}/{name}").into(),
        namespace: namespace.as_str().into(),
        scope: scope(root_namespace, namespace, !rejected.selector.is_empty()),
        action: Action::Deny,
        dry_run: false,
        groups: vec![Group::default()],
        invalid: Some(rejected.reason.as_str().into()),
    }
}

fn scope(root_namespace: &str, namespace: &str, by_selector: bool) -> PolicyScope {
    if by_selector {
        PolicyScope::WorkloadSelector
    } else if namespace == root_namespace {
        PolicyScope::Global
    } else {
        PolicyScope::Namespace
    }
}

/// The groups of a rule: one, unless a source asks for a principal *and* a trust domain. Those are two conditions on the
/// same field, which need a clause each, so that every source gets a group of its own.
fn groups_of(rule: &Rule) -> Vec<Group> {
    let needs_two = |source: &Source| !source.principals.values.is_empty() && !source.trust_domains.values.is_empty();
    if !rule.from.iter().any(needs_two) {
        return vec![group(rule, clause(rule.from.iter().map(matches::source)), None)];
    }
    let own = |source: &Source| {
        let domains = needs_two(source).then(|| matches::trust_domains(source));
        group(
            rule,
            clause([matches::source(source)].into_iter()),
            domains.and_then(|domains| clause([domains].into_iter())),
        )
    };
    rule.from.iter().map(own).collect()
}

/// istiod's order: `to`, then `from`, then one clause per condition.
fn group(rule: &Rule, from: Option<Clause>, domains: Option<Clause>) -> Group {
    let to = clause(rule.to.iter().map(matches::operation));
    let when = rule.when.iter().filter_map(|condition| clause([matches::condition(condition)].into_iter()));
    Group { clauses: to.into_iter().chain(from).chain(domains).chain(when).collect() }
}

/// A clause of these matches. `None`, which is true of everything, without any; and also if one of them asks for nothing:
/// HTTP attributes were all it had, and a match without fields would never hold, which opens what a DENY was to close.
fn clause(matches: impl Iterator<Item = Match>) -> Option<Clause> {
    let matches: Vec<Match> = matches.collect();
    let says_nothing = matches.is_empty() || matches.contains(&Match::default());
    (!says_nothing).then_some(Clause { matches })
}
