//! Labels and label selectors: reading them, and the checks of their keys and values, with Istio's rules.

use super::reading::names::{MAX_LABEL, has_alphanumeric_ends, object_name};
use super::reading::{Fields, Place};

pub use crate::model::peer_authentication::Labels;

/// A Kubernetes label selector: all parts must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LabelSelector {
    pub match_labels: Labels,
    pub match_expressions: Vec<LabelRequirement>,
}

/// An item of `matchExpressions`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelRequirement {
    pub key: String,
    pub operator: LabelOperator,
    pub values: Vec<String>,
}

/// How a label is compared with the values of its requirement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelOperator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

impl LabelSelector {
    /// True if these labels satisfy the selector.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        let holds = |requirement: &LabelRequirement| {
            let value = labels.get(&requirement.key);
            match requirement.operator {
                LabelOperator::In => value.is_some_and(|value| requirement.values.contains(value)),
                LabelOperator::NotIn => !value.is_some_and(|value| requirement.values.contains(value)),
                LabelOperator::Exists => value.is_some(),
                LabelOperator::DoesNotExist => value.is_none(),
            }
        };
        self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(holds)
    }
}

/// Reads `labels` of an object and checks keys and values.
pub(super) fn read(fields: &mut Fields<'_>, name: &'static str) -> Labels {
    let labels = fields.text_map(name);
    for (key, value) in &labels {
        if let Err(reason) = label_key(key).and_then(|()| label_value(value)) {
            fields.error(&format!("{name}[{key}]"), reason);
        }
    }
    labels
}

/// Reads a selector's labels: no stars, no empty keys.
pub(super) fn read_selector(fields: &mut Fields<'_>, name: &'static str) -> Labels {
    let labels = fields.text_map(name);
    check_selector(&labels, &fields.place().field(name));
    labels
}

/// Checks the labels of a policy's selector, which stands at `selector`.
pub(super) fn check_policy_selector(labels: &Labels, selector: &Place<'_>) {
    let match_labels = selector.field("matchLabels");
    check_selector(labels, &match_labels);
    if labels.is_empty() {
        match_labels.notice("a selector without labels stands for the whole namespace: remove it to say so");
    }
}

fn check_selector(labels: &Labels, place: &Place<'_>) {
    for (key, value) in labels {
        let checked = if key.is_empty() {
            Err("empty key is not supported: name the label".to_owned())
        } else if key.contains('*') || value.contains('*') {
            Err("wildcard is not supported in a selector: write the label's exact value".to_owned())
        } else {
            label_key(key).and_then(|()| label_value(value))
        };
        if let Err(reason) = checked {
            place.entry(key).error(reason);
        }
    }
}

/// Reads a Kubernetes label selector.
pub(in crate::objects) fn selector(mut fields: Fields<'_>) -> LabelSelector {
    let report = fields.report();
    let match_labels = read(&mut fields, "matchLabels");
    let mut match_expressions = Vec::new();
    let operators = [
        ("In", LabelOperator::In),
        ("NotIn", LabelOperator::NotIn),
        ("Exists", LabelOperator::Exists),
        ("DoesNotExist", LabelOperator::DoesNotExist),
    ];
    for item in fields.items("matchExpressions") {
        let Some(mut requirement) = item.fields(report) else { continue };
        let key = requirement.text("key").unwrap_or_default();
        let operator = requirement.word("operator", &operators);
        let values = requirement.texts("values");
        let needs_values = matches!(operator, Some(LabelOperator::In | LabelOperator::NotIn));
        match operator {
            None if requirement.text("operator").is_none() => requirement.error("operator", "an operator is needed"),
            Some(_) if needs_values == values.is_empty() => {
                requirement.error("values", "In and NotIn need values, Exists and DoesNotExist have none");
            }
            _ => {}
        }
        requirement.finish();
        match_expressions.extend(operator.map(|operator| LabelRequirement { key, operator, values }));
    }
    fields.finish();
    LabelSelector { match_labels, match_expressions }
}

fn label_key(key: &str) -> Result<(), String> {
    let (prefix, name) = key.rsplit_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    if prefix.is_some_and(|prefix| object_name(prefix).is_err()) || name.is_empty() || !is_label_text(name) {
        return Err(format!("{key:?} is not a label key: use [domain/]name"));
    }
    Ok(())
}

fn label_value(value: &str) -> Result<(), String> {
    if value.is_empty() || is_label_text(value) {
        return Ok(());
    }
    Err(format!("{value:?} is not a label value: use at most {MAX_LABEL} letters, digits, -, _ and dots"))
}

fn is_label_text(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    text.len() <= MAX_LABEL && text.bytes().all(allowed) && has_alphanumeric_ends(text)
}
