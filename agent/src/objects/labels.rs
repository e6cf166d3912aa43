//! Labels: reading them, and the checks of their keys and values, with Istio's rules.

use std::collections::BTreeMap;

use super::fields::Fields;
use super::validate_names::{MAX_LABEL, has_alphanumeric_ends, object_name};

/// Labels or annotations.
pub type Labels = BTreeMap<String, String>;

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
    for (key, value) in &labels {
        let checked = if key.is_empty() {
            Err("empty key is not supported: name the label".to_owned())
        } else if key.contains('*') || value.contains('*') {
            Err("wildcard is not supported in a selector: write the label's exact value".to_owned())
        } else {
            label_key(key).and_then(|()| label_value(value))
        };
        if let Err(reason) = checked {
            fields.error(&format!("{name}[{key}]"), reason);
        }
    }
    labels
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
