//! AuthorizationPolicy to the policy that is enforced, as its author wrote it.
//!
//! Groups, clauses and matches are those of `istio.security.Authorization`, in the order in which istiod 1.31 writes them, with
//! what they ask of requests besides.

use super::matches;
use crate::model::authorization::{Action, Authorization, Clause, Group, Match, PolicyScope, RequestCondition};
use crate::objects::{
    AuthorizationPolicy, Condition, Metadata, PolicyAction, PolicyTarget, RejectedPolicy, Rule, Source,
};

/// An AuthorizationPolicy, compiled.
#[derive(Debug)]
pub struct CompiledPolicy {
    pub authorization: Authorization,
    /// istiod's own L4 form of the policy says the same, so that it can be enforced as it is.
    pub is_istiods: bool,
}

/// Compiles a policy; `None` where nothing of it is enforced at the workloads. `note` is called, for the policy's author, with
/// each part that is not enforced as written.
pub fn policy(
    root_namespace: &str,
    metadata: &Metadata,
    policy: &AuthorizationPolicy,
    mut note: impl FnMut(String),
) -> Option<CompiledPolicy> {
    if policy.target == PolicyTarget::Elsewhere {
        note("targetRefs are a waypoint's business: not enforced at the workloads".to_owned());
        return None;
    }
    let action = match policy.action {
        PolicyAction::Allow => Action::Allow,
        PolicyAction::Deny => Action::Deny,
        PolicyAction::Audit => Action::Audit,
        PolicyAction::Custom => Action::Custom,
    };
    if policy.dry_run && matches!(action, Action::Audit | Action::Custom) {
        note("a dry run of AUDIT or CUSTOM tells nothing and is not acted on".to_owned());
    }
    for (at, rule) in policy.rules.iter().enumerate() {
        unseen_keys(rule).for_each(|key| note(unseen_note(at, key, action)));
    }
    let namespace = &metadata.namespace;
    let authorization = Authorization {
        key: format!("{namespace}/{}", metadata.name).into(),
        namespace: namespace.as_str().into(),
        scope: scope(root_namespace, namespace, matches!(policy.target, PolicyTarget::Selector(_))),
        action,
        dry_run: policy.dry_run,
        provider: policy.provider.as_deref().unwrap_or_default().into(),
        groups: policy.rules.iter().enumerate().flat_map(|(at, rule)| groups_of(at, rule)).collect(),
        invalid: None,
    };
    let is_for_l4 = matches!(policy.action, PolicyAction::Allow | PolicyAction::Deny) && !policy.dry_run;
    let is_istiods = is_for_l4 && policy.rules.iter().all(is_read_by_istiod);
    Some(CompiledPolicy { authorization, is_istiods })
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
        provider: "".into(),
        groups: vec![Group::default()].into(),
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

/// Whether istiod's L4 form has all that a rule asks for. It leaves out what needs HTTP, and trust domains; and as conditions,
/// service accounts.
fn is_read_by_istiod(rule: &Rule) -> bool {
    rule.http_attributes().is_empty()
        && rule.from.iter().all(|source| source.trust_domains.is_both_empty())
        && !rule
            .when
            .iter()
            .any(|condition| matches!(condition, Condition::SourceTrustDomain(_) | Condition::SourceServiceAccount(_)))
}

fn unseen_keys(rule: &Rule) -> impl Iterator<Item = &str> {
    rule.when.iter().filter_map(|condition| match condition {
        Condition::Request { key, condition: RequestCondition::Unseen } => Some(key.as_str()),
        _ => None,
    })
}

fn unseen_note(at: usize, key: &str, action: Action) -> String {
    let effect = match action {
        Action::Allow => "the rule allows nothing",
        Action::Deny | Action::Audit | Action::Custom => "the rule matches without asking for it",
    };
    format!("rules[{at}]: no request has {key} here: {effect}")
}

/// The groups of a rule: one, unless a source asks for a principal *and* a trust domain. Those are two conditions on the
/// same field, which need a clause each, so that every source gets a group of its own.
pub(super) fn groups_of(at: usize, rule: &Rule) -> Vec<Group> {
    let needs_two = |source: &Source| !source.principals.values.is_empty() && !source.trust_domains.values.is_empty();
    if !rule.from.iter().any(needs_two) {
        return vec![group(at, rule, clause(rule.from.iter().map(matches::source)), None)];
    }
    let own = |source: &Source| {
        let domains = needs_two(source).then(|| matches::trust_domains(source));
        group(
            at,
            rule,
            clause([matches::source(source)].into_iter()),
            domains.and_then(|domains| clause([domains].into_iter())),
        )
    };
    rule.from.iter().map(own).collect()
}

/// istiod's order: `to`, then `from`, then one clause per condition.
fn group(at: usize, rule: &Rule, from: Option<Clause>, domains: Option<Clause>) -> Group {
    let to = clause(rule.to.iter().map(matches::operation));
    let when = rule.when.iter().filter_map(|condition| clause([matches::condition(condition)].into_iter()));
    Group { rule: at, clauses: to.into_iter().chain(from).chain(domains).chain(when).collect() }
}

/// A clause of these matches; `None`, which is true of everything, without any.
fn clause(matches: impl Iterator<Item = Match>) -> Option<Clause> {
    let matches: Vec<Match> = matches.collect();
    (!matches.is_empty()).then_some(Clause { matches })
}
