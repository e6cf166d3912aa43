//! The messages of Envoy's rate limit service (`envoy.service.ratelimit.v3`): the question about a request, and what the answer means.
//! Whoever asks sends them.

use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;

use crate::model::http::head::HttpFields;
use crate::model::rate_limit::descriptor::SentDescriptor;
use crate::model::rate_limit::{Beyond, Quota};
use crate::proto::envoy::service::ratelimit::v3 as pb;

/// The method that is called.
pub const METHOD: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";
/// Bytes that an answer may have: fields of a head and a body among them.
pub const LONGEST_ANSWER: usize = 64 * 1024;

/// What a service says of a request.
#[derive(Debug, PartialEq, Eq)]
pub struct ServiceAnswer {
    /// Set where the request is beyond a limit.
    pub beyond: Option<Beyond>,
    /// Of the limit with the least left, where the service says.
    pub quota: Option<Quota>,
    /// What the application is told besides.
    pub request_fields: HttpFields,
    /// What the client is told besides.
    pub response_fields: HttpFields,
    /// The body of an answer to a request beyond a limit.
    pub body: Option<Bytes>,
}

/// Why an answer says nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    #[error("the answer is not of the rate limit service: {0}")]
    NotItsMessage(String),
    #[error("the service does not say whether the request is within its limits")]
    Unknown,
    #[error("the answer has a field that no message may have: {0}")]
    BadField(String),
}

/// The question, encoded.
#[must_use]
pub fn question(domain: &str, descriptors: Vec<SentDescriptor>) -> Vec<u8> {
    let entry = |(key, value): (std::sync::Arc<str>, String)| pb::rate_limit_descriptor::Entry {
        key: key.as_ref().to_owned(),
        value,
    };
    let descriptor = |sent: SentDescriptor| pb::RateLimitDescriptor { entries: sent.into_iter().map(entry).collect() };
    pb::RateLimitRequest {
        domain: domain.to_owned(),
        descriptors: descriptors.into_iter().map(descriptor).collect(),
        hits_addend: 0,
    }
    .encode_to_vec()
}

/// What an encoded answer means.
///
/// # Errors
/// When it is no answer.
pub fn answer(message: &[u8]) -> Result<ServiceAnswer, NoAnswer> {
    use pb::rate_limit_response::Code;
    let response =
        pb::RateLimitResponse::decode(message).map_err(|error| NoAnswer::NotItsMessage(error.to_string()))?;
    let code = response.overall_code();
    if code == Code::Unknown {
        return Err(NoAnswer::Unknown);
    }
    let quotas = response.statuses.iter().filter_map(quota);
    let quota = quotas.min_by_key(|quota| quota.remaining);
    let beyond = (code == Code::OverLimit).then(|| {
        let over = response.statuses.iter().filter(|status| status.code() == Code::OverLimit);
        let resets = over.filter_map(|status| status.duration_until_reset.as_ref()).map(duration);
        let quota = quota.unwrap_or(Quota { limit: 0, remaining: 0, reset: Duration::ZERO });
        Beyond { quota, retry_after: resets.max() }
    });
    Ok(ServiceAnswer {
        beyond,
        quota,
        request_fields: fields(&response.request_headers_to_add)?,
        response_fields: fields(&response.response_headers_to_add)?,
        body: Some(response.raw_body).filter(|body| !body.is_empty()).map(Bytes::from),
    })
}

fn quota(status: &pb::rate_limit_response::DescriptorStatus) -> Option<Quota> {
    Some(Quota {
        limit: status.current_limit.as_ref()?.requests_per_unit,
        remaining: status.limit_remaining,
        reset: status.duration_until_reset.as_ref().map(duration).unwrap_or_default(),
    })
}

/// A negative one is none.
fn duration(wire: &prost_types::Duration) -> Duration {
    Duration::new(u64::try_from(wire.seconds).unwrap_or(0), u32::try_from(wire.nanos).unwrap_or(0).min(999_999_999))
}

/// Fields that may be added to a head: names are tokens, none is about the framing, and values have no line breaks.
fn fields(wire: &[pb::HeaderValue]) -> Result<HttpFields, NoAnswer> {
    const RESERVED: [&str; 6] =
        ["content-length", "transfer-encoding", "connection", "upgrade", "host", "x-forwarded-client-cert"];
    let mut fields = HttpFields::default();
    for pb::HeaderValue { key, value, raw_value } in wire {
        let name = key.to_ascii_lowercase();
        let value = if value.is_empty() { &raw_value[..] } else { value.as_bytes() };
        let is_name = !name.is_empty() && name.bytes().all(crate::model::authorization::is_token_byte);
        let is_value = !value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
        if !is_name || !is_value || RESERVED.contains(&&*name) {
            return Err(NoAnswer::BadField(name));
        }
        fields.append(name.as_bytes(), value);
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: i32, limit: u32, remaining: u32, seconds: i64) -> pb::rate_limit_response::DescriptorStatus {
        pb::rate_limit_response::DescriptorStatus {
            code,
            current_limit: Some(pb::rate_limit_response::RateLimit { requests_per_unit: limit }),
            limit_remaining: remaining,
            duration_until_reset: Some(prost_types::Duration { seconds, nanos: 0 }),
        }
    }

    fn encoded(code: i32, statuses: Vec<pb::rate_limit_response::DescriptorStatus>, header: (&str, &str)) -> Vec<u8> {
        let header = pb::HeaderValue { key: header.0.to_owned(), value: header.1.to_owned(), raw_value: Vec::new() };
        let response = pb::RateLimitResponse {
            overall_code: code,
            statuses,
            response_headers_to_add: vec![header],
            ..Default::default()
        };
        response.encode_to_vec()
    }

    #[test]
    fn a_question_has_the_domain_and_each_descriptor() {
        let sent: Vec<SentDescriptor> =
            vec![vec![("tenant".into(), "blue".to_owned()), ("path".into(), "/a".to_owned())], vec![]];
        let decoded = pb::RateLimitRequest::decode(&*question("shop", sent)).unwrap();
        let pairs: Vec<Vec<(String, String)>> = decoded
            .descriptors
            .into_iter()
            .map(|descriptor| descriptor.entries.into_iter().map(|entry| (entry.key, entry.value)).collect())
            .collect();
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!((&*decoded.domain, pairs), ("shop", vec![vec![pair("tenant", "blue"), pair("path", "/a")], vec![]]));
    }

    #[test]
    fn an_answer_says_whether_a_request_is_within_its_limits() {
        let within = answer(&encoded(1, vec![status(1, 10, 7, 30), status(1, 5, 2, 60)], ("X-Tier", "gold"))).unwrap();
        let quota = Quota { limit: 5, remaining: 2, reset: Duration::from_secs(60) };
        assert_eq!((within.beyond, within.quota), (None, Some(quota)));
        assert_eq!(within.response_fields.first("x-tier"), Some(&b"gold"[..]));
        let beyond = answer(&encoded(2, vec![status(1, 10, 7, 30), status(2, 5, 0, 60)], ("x-a", "b"))).unwrap();
        let quota = Quota { limit: 5, remaining: 0, reset: Duration::from_secs(60) };
        assert_eq!(beyond.beyond, Some(Beyond { quota, retry_after: Some(Duration::from_secs(60)) }));
        let silent = answer(&encoded(2, vec![], ("x-a", "b"))).unwrap().beyond.unwrap();
        assert_eq!((silent.quota.limit, silent.retry_after), (0, None));
    }

    #[test]
    fn what_is_no_answer_is_known() {
        let none = |message: &[u8]| answer(message).unwrap_err().to_string();
        assert!(none(b"\xff\xff").contains("not of the rate limit service"));
        assert!(none(b"").contains("does not say"));
        assert!(none(&encoded(7, vec![], ("x-a", "b"))).contains("does not say"), "a code of a later version");
        for (name, value) in
            [("a b", "c"), ("", "c"), ("x-a", "b\r\nc: d"), ("Content-Length", "5"), (":status", "200")]
        {
            assert!(none(&encoded(1, vec![], (name, value))).contains("no message may have"), "{name}: {value:?}");
        }
    }
}
