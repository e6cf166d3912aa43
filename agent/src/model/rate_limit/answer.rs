//! What a client is told of a limit: `retry-after` (RFC 9110 §10.2.3), and the fields of draft-ietf-httpapi-ratelimit-headers-03 as Envoy
//! writes them.

use std::time::Duration;

use super::objects::{LimitResponse, QuotaHeaders};
use super::tokens::{Beyond, Quota};
use crate::model::http::head::HttpFields;

/// How long a client should wait where no time says when there is room again.
const UNKNOWN_WAIT: Duration = Duration::from_secs(1);

/// Adds what the answer to a request beyond a limit says.
pub fn answer_fields(response: &LimitResponse, beyond: &Beyond, is_grpc: bool, fields: &mut HttpFields) {
    if is_grpc {
        fields.append(b"grpc-status", response.grpc_status.to_string().as_bytes());
    }
    let wait = seconds(beyond.retry_after.unwrap_or(UNKNOWN_WAIT)).max(1);
    fields.append(b"retry-after", wait.to_string().as_bytes());
    // Conditions of retries name it.
    fields.append(b"x-envoy-ratelimited", b"true");
    if response.quota_headers != QuotaHeaders::Never {
        quota_fields(&beyond.quota, fields);
    }
    for (name, value) in &response.headers {
        fields.set(name, value.as_bytes());
    }
}

/// Adds what is left of a limit.
pub fn quota_fields(quota: &Quota, fields: &mut HttpFields) {
    let Quota { limit, remaining, reset } = quota;
    fields.set("x-ratelimit-limit", limit.to_string().as_bytes());
    fields.set("x-ratelimit-remaining", remaining.to_string().as_bytes());
    fields.set("x-ratelimit-reset", seconds(*reset).to_string().as_bytes());
}

/// Whole seconds that are not less.
fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_told_when_to_come_back_and_what_is_left() {
        let quota = Quota { limit: 10, remaining: 0, reset: Duration::from_millis(2500) };
        let beyond = |wait: Option<u64>| Beyond { quota, retry_after: wait.map(Duration::from_millis) };
        let response = |quota_headers| LimitResponse {
            quota_headers,
            headers: vec![("x-why".into(), "limit".into()), ("retry-after".into(), "60".into())],
            ..LimitResponse::default()
        };
        let text = |fields: &HttpFields| {
            let line = |(name, value): (&[u8], &[u8])| {
                format!("{}: {}", String::from_utf8_lossy(name), String::from_utf8_lossy(value))
            };
            fields.iter().map(line).collect::<Vec<_>>()
        };
        let all =
            ["x-envoy-ratelimited: true", "x-ratelimit-limit: 10", "x-ratelimit-remaining: 0", "x-ratelimit-reset: 3"];
        for (response, beyond, is_grpc, expected) in [
            (LimitResponse::default(), beyond(Some(100)), false, [&["retry-after: 1"], &all[..]].concat()),
            (
                LimitResponse::default(),
                beyond(Some(1001)),
                true,
                [&["grpc-status: 14", "retry-after: 2"], &all[..]].concat(),
            ),
            (LimitResponse::default(), beyond(None), false, [&["retry-after: 1"], &all[..]].concat()),
            (
                response(QuotaHeaders::Never),
                beyond(Some(100)),
                false,
                vec!["retry-after: 60", "x-envoy-ratelimited: true", "x-why: limit"],
            ),
        ] {
            let mut fields = HttpFields::default();
            answer_fields(&response, &beyond, is_grpc, &mut fields);
            let (mut seen, mut expected) = (text(&fields), expected);
            seen.sort_unstable();
            expected.sort_unstable();
            assert_eq!(seen, expected);
        }
    }
}
