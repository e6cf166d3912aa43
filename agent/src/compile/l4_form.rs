//! A policy as a data plane can enforce it that reads no requests: it never allows more than the author did. What of it needs
//! HTTP allows nothing, and denies whatever the rest matches.

use crate::model::authorization::{Action, Authorization, Clause, Group};
use crate::objects::{AuthorizationPolicy, PolicyAction};

/// The L4 form of a compiled policy; `None` where nothing of it is enforced at L4. `note` is called, for the policy's author,
/// with each part that this form does not have as it was written.
pub fn l4_form(
    policy: &AuthorizationPolicy,
    compiled: Authorization,
    mut note: impl FnMut(String),
) -> Option<Authorization> {
    if policy.action == PolicyAction::Audit {
        note("action AUDIT decides nothing at L4 and is not sent".to_owned());
        return None;
    }
    let is_allow = policy.action == PolicyAction::Allow;
    for (at, rule) in policy.rules.iter().enumerate() {
        let http = rule.http_attributes();
        if !http.is_empty() {
            let http = http.join(", ");
            note(if is_allow {
                format!("rules[{at}] needs HTTP ({http}) and is left out at L4: it allows nothing")
            } else {
                format!("rules[{at}] needs HTTP ({http}): at L4 it denies whatever the rest of the rule matches")
            });
        }
    }
    let groups = if is_allow {
        compiled.groups.into_iter().filter(|group| !asks_requests(group)).collect()
    } else {
        compiled.groups.into_iter().map(without_requests).collect()
    };
    let action = if is_allow { Action::Allow } else { Action::Deny };
    Some(Authorization { action, provider: "".into(), groups, ..compiled })
}

fn asks_requests(group: &Group) -> bool {
    group.clauses.iter().flat_map(|clause| &clause.matches).any(|one| !one.request.is_empty())
}

/// Where one match of a clause asks for nothing else, the clause is true of everything: a match without fields would never
/// hold, which opens what a DENY was to close.
fn without_requests(mut group: Group) -> Group {
    group.clauses.retain(|clause| !clause.matches.iter().any(|one| one.asks_no_connection()));
    for Clause { matches } in &mut group.clauses {
        matches.iter_mut().for_each(|one| one.request.clear());
    }
    group
}
