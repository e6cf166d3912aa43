//! What a request itself says about retries: the fields that Envoy reads of a client it trusts
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/router_filter>). Conditions add to those of the
//! rule; the number takes the place of the rule's. The agent of a pod trusts the pod's own applications, as for time-outs.

use super::head::RequestHead;
use super::policies::{BackOff, RetryOn, RetryPolicy};

/// All these fields begin so.
const PREFIX: &[u8] = b"x-envoy-";
const MAX_RETRIES: &str = "x-envoy-max-retries";
const ON: &str = "x-envoy-retry-on";
const GRPC_ON: &str = "x-envoy-retry-grpc-on";
const CODES: &str = "x-envoy-retriable-status-codes";
/// Attempts after the first where conditions are given and no number.
const DEFAULT_RETRIES: u32 = 1;

impl RetryPolicy {
    /// What counts for a request, of the rule's policy and its own fields. `None`: nothing is tried again.
    #[must_use]
    pub fn of(rule: Option<&Self>, request: &RequestHead) -> Option<Self> {
        let mut policy = rule.cloned();
        if !request.fields.iter().any(|(name, _)| name.starts_with(PREFIX)) {
            return policy;
        }
        let conditions = [ON, GRPC_ON].into_iter().filter_map(|name| text(request, name));
        let on = conditions.flat_map(conditions_of).fold(RetryOn::default(), RetryOn::and);
        if on != RetryOn::default() {
            let policy = policy.get_or_insert_with(Self::of_fields_alone);
            policy.on = policy.on.and(on);
        }
        let policy = policy.as_mut()?;
        policy.codes.extend(text(request, CODES).into_iter().flat_map(codes_of));
        if let Some(attempts) = text(request, MAX_RETRIES).and_then(|text| text.parse().ok()) {
            policy.attempts = attempts;
        }
        (policy.attempts > 0).then(|| policy.clone())
    }

    fn of_fields_alone() -> Self {
        Self {
            attempts: DEFAULT_RETRIES,
            per_try_timeout: None,
            on: RetryOn::default(),
            codes: Vec::new(),
            back_off: BackOff::default(),
            avoids_tried_endpoints: true,
        }
    }
}

/// Takes the fields out of a request: they are for this end.
pub fn remove(request: &mut RequestHead) {
    let is_one = |name: &[u8]| [MAX_RETRIES, ON, GRPC_ON, CODES].iter().any(|known| known.as_bytes() == name);
    if request.fields.iter().any(|(name, _)| name.starts_with(PREFIX)) {
        request.fields.remove_if(|name, _| is_one(name));
    }
}

fn text<'a>(request: &'a RequestHead, name: &str) -> Option<&'a str> {
    std::str::from_utf8(request.fields.first(name)?).ok()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim)
}

/// Words that are none of Envoy's, or never met here, count for nothing.
fn conditions_of(text: &str) -> impl Iterator<Item = RetryOn> {
    words(text).filter_map(|word| RetryOn::NAMES.iter().find(|(name, _)| *name == word).map(|(_, on)| *on))
}

fn codes_of(text: &str) -> impl Iterator<Item = u16> {
    words(text).filter_map(|word| word.parse().ok().filter(|code| (100..=599).contains(code)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::http::sample::get;

    fn rule(attempts: u32, on: RetryOn) -> RetryPolicy {
        RetryPolicy { attempts, on, ..RetryPolicy::of_fields_alone() }
    }

    #[test]
    fn a_request_adds_conditions_and_says_how_often() {
        /// The rule's attempts and conditions, fields, what comes out.
        type Row =
            (Option<(u32, RetryOn)>, &'static [(&'static str, &'static str)], Option<(u32, RetryOn, &'static [u16])>);
        let (reset, five_xx, codes) = (RetryOn::RESET, RetryOn::FIVE_XX, RetryOn::RETRIABLE_STATUS_CODES);
        let rows: [Row; 12] = [
            (None, &[], None),
            (Some((2, reset)), &[], Some((2, reset, &[]))),
            (Some((2, reset)), &[("x-envoy-original-path", "/a")], Some((2, reset, &[]))),
            (Some((2, reset)), &[(MAX_RETRIES, "5")], Some((5, reset, &[]))),
            (Some((2, reset)), &[(MAX_RETRIES, "0")], None),
            (Some((2, reset)), &[(MAX_RETRIES, "-1")], Some((2, reset, &[]))),
            (None, &[(MAX_RETRIES, "5")], None),
            (None, &[(ON, "5xx")], Some((1, five_xx, &[]))),
            (None, &[(ON, "5xx, reset"), (MAX_RETRIES, "3")], Some((3, five_xx.and(reset), &[]))),
            (Some((2, reset)), &[(GRPC_ON, "unavailable")], Some((2, reset.and(RetryOn::UNAVAILABLE), &[]))),
            (None, &[(ON, "unknown")], None),
            (None, &[(ON, "retriable-status-codes"), (CODES, "418, 99,503")], Some((1, codes, &[418, 503]))),
        ];
        for (rule, fields, expected) in rows {
            let mut request = get("/");
            request.fields = fields.iter().copied().collect();
            let rule = rule.map(|(attempts, on)| self::rule(attempts, on));
            let seen = RetryPolicy::of(rule.as_ref(), &request);
            let seen = seen.as_ref().map(|policy| (policy.attempts, policy.on, &policy.codes[..]));
            assert_eq!(seen, expected, "{fields:?}");
        }
    }

    #[test]
    fn the_upstream_does_not_get_the_fields() {
        let mut request = get("/");
        let all = [(MAX_RETRIES, "1"), (ON, "5xx"), (GRPC_ON, "internal"), (CODES, "418"), ("x-envoy-other", "1")];
        request.fields = all.into_iter().collect();
        remove(&mut request);
        assert_eq!(request.fields.iter().map(|(name, _)| name).collect::<Vec<_>>(), [b"x-envoy-other"]);
    }
}
