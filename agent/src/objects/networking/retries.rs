//! `retries` of a rule, and the same message as the mesh's default (`istio.networking.v1.HTTPRetry`).

use std::time::Duration;

use super::values;
use crate::model::http::policies::RetryOn;
use crate::objects::reading::{Fields, Place};

/// What is tried again. What is `None` is not set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Retries {
    /// Beyond the first try; 0 switches retries off.
    pub attempts: u32,
    pub per_try_timeout: Option<Duration>,
    pub on: Option<RetryConditions>,
    pub backoff: Option<Duration>,
    pub ignore_previous_hosts: Option<bool>,
}

/// `retryOn`: conditions, and statuses beside them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RetryConditions {
    pub on: RetryOn,
    pub codes: Vec<u16>,
}

impl RetryConditions {
    /// As `retryOn` has them.
    #[must_use]
    pub fn text(&self) -> String {
        // Statuses imply the condition that is about them.
        let is_implied = |condition: RetryOn| !self.codes.is_empty() && condition == RetryOn::RETRIABLE_STATUS_CODES;
        let words = RetryOn::NAMES.iter().filter(|(_, condition)| self.on.has(*condition) && !is_implied(*condition));
        let words = words.map(|(word, _)| (*word).to_owned());
        words.chain(self.codes.iter().map(ToString::to_string)).collect::<Vec<_>>().join(",")
    }
}

/// Conditions of Envoy that nothing here can meet.
const NEVER_MET: [&str; 2] = ["retriable-headers", "http3-post-connect-failure"];

/// Reads the block.
pub(in crate::objects) fn read(mut fields: Fields<'_>) -> Retries {
    let retry_on = fields.text("retryOn").filter(|text| !text.is_empty());
    let place = fields.place().field("retryOn");
    let found = Retries {
        attempts: fields.number("attempts", 0..=i128::from(i32::MAX)).unwrap_or(0),
        per_try_timeout: values::duration(&mut fields, "perTryTimeout"),
        on: retry_on.map(|text| conditions(&text, &place)),
        backoff: values::duration(&mut fields, "backoff"),
        ignore_previous_hosts: fields.flag("retryIgnorePreviousHosts"),
    };
    fields.without_effect("retryRemoteLocalities", "has no effect: every retry considers all endpoints");
    fields.finish();
    found
}

/// Reads conditions and status codes, separated by commas; they stand at `place`.
pub(in crate::objects) fn conditions(text: &str, place: &Place<'_>) -> RetryConditions {
    let mut found = RetryConditions::default();
    for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        if let Some((_, condition)) = RetryOn::NAMES.iter().find(|(name, _)| *name == word) {
            found.on = found.on.and(*condition);
        } else if let Some(code) = word.parse().ok().filter(|code| (100..=599).contains(code)) {
            found.codes.push(code);
            found.on = found.on.and(RetryOn::RETRIABLE_STATUS_CODES);
        } else if NEVER_MET.contains(&word) {
            place.notice(format!("{word} has no effect: it is never met here"));
        } else {
            let known: Vec<&str> = RetryOn::NAMES.iter().map(|(name, _)| *name).collect();
            place.error(format!("unknown condition {word:?}: use status codes and {}", known.join(", ")));
        }
    }
    found
}
