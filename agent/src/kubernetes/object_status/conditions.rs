//! The conditions in an object's status, with the types and reasons of the Gateway API's policies: `Accepted`, whether the object counts,
//! and `ResolvedRefs`, whether there is all that it names.

use serde_json::{Value as Json, json};

use crate::compile::MissingReferences;

const ACCEPTED: &str = "Accepted";
const RESOLVED_REFS: &str = "ResolvedRefs";
const INVALID: &str = "Invalid";
const TARGET_NOT_FOUND: &str = "TargetNotFound";
const BACKEND_NOT_FOUND: &str = "BackendNotFound";
/// Bytes of a message, at most. An API server takes 32 KiB.
const MAX_MESSAGE_BYTES: usize = 4096;

/// What an agent says of one version of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    conditions: Vec<Condition>,
    is_missing_something: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Condition {
    kind: &'static str,
    holds: bool,
    reason: &'static str,
    message: String,
}

impl Verdict {
    /// The object is refused, and this is wrong with it: `field: reason`. What it names is not known then.
    pub(super) fn invalid(reason: &str) -> Self {
        let accepted = Condition { kind: ACCEPTED, holds: false, reason: INVALID, message: shortened(reason) };
        Self { conditions: vec![accepted], is_missing_something: false }
    }

    /// The object is valid, and there is none of these.
    pub(super) fn valid(missing: &MissingReferences) -> Self {
        let MissingReferences { targets, is_about_nobody, services } = missing;
        let accepted = if *is_about_nobody {
            Condition {
                kind: ACCEPTED,
                holds: false,
                reason: TARGET_NOT_FOUND,
                message: shortened(&targets.join("; ")),
            }
        } else {
            Condition { kind: ACCEPTED, holds: true, reason: ACCEPTED, message: "The object is valid.".to_owned() }
        };
        let all: Vec<&str> = targets.iter().chain(services).map(String::as_str).collect();
        let resolved = |holds, reason, message| Condition { kind: RESOLVED_REFS, holds, reason, message };
        let resolved = match all.as_slice() {
            [] => resolved(true, RESOLVED_REFS, "There is every Service that the object names.".to_owned()),
            all => {
                let reason = if targets.is_empty() { BACKEND_NOT_FOUND } else { TARGET_NOT_FOUND };
                resolved(false, reason, shortened(&all.join("; ")))
            }
        };
        Self { conditions: vec![accepted, resolved], is_missing_something: !all.is_empty() }
    }

    /// Something that the object names is not there, or not there yet.
    pub(super) fn is_missing_something(&self) -> bool {
        self.is_missing_something
    }

    /// Whether the conditions `told` in an object's status say just this of its generation.
    pub(super) fn is_told(&self, told: &[Json], generation: i64) -> bool {
        let is_told = |condition: &Condition| {
            let found = find(told, condition.kind);
            found.is_some_and(|found| {
                found["status"] == condition.status()
                    && found["reason"] == condition.reason
                    && found["message"] == *condition.message
                    && found["observedGeneration"] == generation
            })
        };
        let is_stale = |kind| find(told, kind).is_some() && !self.conditions.iter().any(|own| own.kind == kind);
        self.conditions.iter().all(is_told) && ![ACCEPTED, RESOLVED_REFS].into_iter().any(is_stale)
    }

    /// The conditions as a status has them. A condition whose status is the one `told` keeps the time since when that is so.
    pub(super) fn written(&self, told: &[Json], generation: i64, now: &str) -> Json {
        let conditions = self.conditions.iter().map(|condition| {
            let before = find(told, condition.kind).filter(|before| before["status"] == condition.status());
            let since = before.and_then(|before| before["lastTransitionTime"].as_str()).unwrap_or(now);
            json!({
                "type": condition.kind, "status": condition.status(), "observedGeneration": generation,
                "lastTransitionTime": since, "reason": condition.reason, "message": condition.message,
            })
        });
        conditions.collect()
    }
}

impl Condition {
    fn status(&self) -> &'static str {
        if self.holds { "True" } else { "False" }
    }
}

fn find<'a>(told: &'a [Json], kind: &str) -> Option<&'a Json> {
    told.iter().find(|condition| condition["type"] == kind)
}

fn shortened(message: &str) -> String {
    if message.len() <= MAX_MESSAGE_BYTES {
        return message.to_owned();
    }
    let end = message.floor_char_boundary(MAX_MESSAGE_BYTES - '…'.len_utf8());
    format!("{}…", &message[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(targets: &[&str], is_about_nobody: bool, services: &[&str]) -> MissingReferences {
        let owned = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect();
        MissingReferences { targets: owned(targets), is_about_nobody, services: owned(services) }
    }

    /// `type=status reason: message` of each.
    fn text(written: &Json) -> Vec<String> {
        let part = |condition: &Json, name: &str| condition[name].as_str().unwrap_or_default().to_owned();
        let one = |condition: &Json| {
            let [kind, status, reason, message] =
                ["type", "status", "reason", "message"].map(|name| part(condition, name));
            format!("{kind}={status} {reason}: {message}")
        };
        written.as_array().unwrap().iter().map(one).collect()
    }

    #[test]
    fn what_is_said_of_an_object() {
        const ALL_THERE: &str = "ResolvedRefs=True ResolvedRefs: There is every Service that the object names.";
        const VALID: &str = "Accepted=True Accepted: The object is valid.";
        for (verdict, expected) in [
            (
                Verdict::invalid("spec.limits[0].local.per: is needed"),
                vec!["Accepted=False Invalid: spec.limits[0].local.per: is needed"],
            ),
            (Verdict::valid(&missing(&[], false, &[])), vec![VALID, ALL_THERE]),
            (
                Verdict::valid(&missing(&["spec.targetRefs[0]: no a"], true, &[])),
                vec![
                    "Accepted=False TargetNotFound: spec.targetRefs[0]: no a",
                    "ResolvedRefs=False TargetNotFound: spec.targetRefs[0]: no a",
                ],
            ),
            (
                Verdict::valid(&missing(&["no a"], false, &["no limits"])),
                vec![VALID, "ResolvedRefs=False TargetNotFound: no a; no limits"],
            ),
            (
                Verdict::valid(&missing(&[], false, &["no limits"])),
                vec![VALID, "ResolvedRefs=False BackendNotFound: no limits"],
            ),
        ] {
            assert_eq!(text(&verdict.written(&[], 1, "now")), expected);
        }
    }

    #[test]
    fn a_condition_keeps_its_time_until_its_status_changes() {
        let since = |written: &Json| -> Vec<String> {
            let all = written.as_array().unwrap().iter();
            all.map(|condition| condition["lastTransitionTime"].as_str().unwrap().to_owned()).collect()
        };
        let good = Verdict::valid(&missing(&[], false, &[]));
        let first = good.written(&[], 1, "first");
        let told = first.as_array().unwrap();
        assert_eq!(since(&first), ["first", "first"]);
        assert_eq!(since(&good.written(told, 2, "second")), ["first", "first"], "another generation");
        let partly = Verdict::valid(&missing(&["no a"], false, &[]));
        assert_eq!(since(&partly.written(told, 2, "second")), ["first", "second"]);
        assert_eq!(since(&Verdict::invalid("x").written(told, 2, "second")), ["second"]);
    }

    #[test]
    fn what_is_told_is_this_only_if_all_of_it_is() {
        let good = Verdict::valid(&missing(&[], false, &[]));
        let written = good.written(&[], 7, "then");
        let told = written.as_array().unwrap().clone();
        assert!(good.is_told(&told, 7));
        assert!(!good.is_told(&told, 8), "of another generation");
        assert!(!good.is_told(&told[..1], 7), "one is missing");
        assert!(!Verdict::invalid("x").is_told(&told, 7));
        let mut others = told.clone();
        others.push(json!({"type": "Programmed", "status": "True"}));
        assert!(good.is_told(&others, 7), "those of others say nothing");
        let invalid = Verdict::invalid("x");
        let mut stale = invalid.written(&[], 7, "then").as_array().unwrap().clone();
        assert!(invalid.is_told(&stale, 7));
        stale.push(told[1].clone());
        assert!(!invalid.is_told(&stale, 7), "one of a former version is left");
    }

    #[test]
    fn a_message_has_bounds() {
        let long = "ä".repeat(MAX_MESSAGE_BYTES);
        let message = shortened(&long);
        assert!(message.len() <= MAX_MESSAGE_BYTES && message.ends_with("ä…"), "{}", message.len());
        assert_eq!(shortened("short"), "short");
    }
}
