//! AuthorizationPolicy to L4 authorization in a form that never allows more than the author did: what of it needs HTTP
//! allows nothing, and denies whatever the rest matches. Head and structure; what a single match says is in `matches`.
//!
//! istiod's naming: a policy has groups (any suffices), a group has rules, here called clauses (all must hold), a clause
//! has matches (any suffices).

use super::matches;
use crate::objects::{AuthorizationPolicy, Metadata, PolicyAction, PolicyTarget, RejectedPolicy, Rule, Source};
use crate::proto::istio::security::{Action, Authorization, Group, Match, Rules as Clause, Scope};

/// A policy at L4.
#[derive(Debug)]
pub struct Form {
    pub authorization: Authorization,
    /// istiod's own form of it allows as much as its author did, no more.
    pub is_istiods: bool,
}

/// What a policy becomes; `None` where it says nothing at L4. What it does not do as written is told.
pub fn form(
    root_namespace: &str,
    metadata: &Metadata,
    policy: &AuthorizationPolicy,
    mut tell: impl FnMut(String),
) -> Option<Form> {
    if policy.target == PolicyTarget::References {
        tell("targetRefs are a waypoint's business: not enforced at the workloads".to_owned());
        return None;
    }
    let action = match policy.action {
        PolicyAction::Allow => Action::Allow,
        PolicyAction::Deny => Action::Deny,
        PolicyAction::Audit => {
            tell("action AUDIT decides nothing and is not acted on".to_owned());
            return None;
        }
        PolicyAction::Custom => {
            tell("no external authorizer is asked at L4: what its rules match is denied".to_owned());
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
            tell(format!("rules[{at}] needs HTTP ({http}) and is left out: it allows nothing"));
        } else {
            tell(format!("rules[{at}] needs HTTP ({http}): it denies whatever the rest of the rule matches"));
            groups.extend(groups_of(rule));
        }
    }
    let namespace = &metadata.namespace;
    let authorization = Authorization {
        name: metadata.name.clone(),
        namespace: namespace.clone(),
        scope: scope(root_namespace, namespace, matches!(policy.target, PolicyTarget::Selector(_))).into(),
        action: action.into(),
        groups,
        dry_run: policy.dry_run,
    };
    let by_trust_domain =
        policy.rules.iter().flat_map(|rule| &rule.from).any(|from| !from.trust_domains.is_both_empty());
    let is_istiods = !needs_http && !by_trust_domain && !policy.dry_run && policy.action != PolicyAction::Custom;
    Some(Form { authorization, is_istiods })
}

/// The refusal that stands for a policy which cannot be understood: one group without clauses, which matches everything.
#[must_use]
pub fn refusal(root_namespace: &str, metadata: &Metadata, policy: &RejectedPolicy, name: String) -> Authorization {
    Authorization {
        name,
        namespace: metadata.namespace.clone(),
        scope: scope(root_namespace, &metadata.namespace, !policy.selector.is_empty()).into(),
        action: Action::Deny.into(),
        groups: vec![Group::default()],
        dry_run: false,
    }
}

fn scope(root_namespace: &str, namespace: &str, by_selector: bool) -> Scope {
    if by_selector {
        Scope::WorkloadSelector
    } else if namespace == root_namespace {
        Scope::Global
    } else {
        Scope::Namespace
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
    Group { rules: to.into_iter().chain(from).chain(domains).chain(when).collect() }
}

/// A clause of these matches. `None`, which is true of everything, without any; and also if one of them asks for nothing:
/// HTTP attributes were all it had, and a match without fields would never hold, which opens what a DENY was to close.
fn clause(matches: impl Iterator<Item = Match>) -> Option<Clause> {
    let matches: Vec<Match> = matches.collect();
    let says_nothing = matches.is_empty() || matches.contains(&Match::default());
    (!says_nothing).then_some(Clause { matches })
}
