//! `response` of a RateLimit: what clients are answered beyond a limit.

use crate::model::rate_limit::objects::{DEFAULT_GRPC_STATUS, LimitResponse, QuotaHeaders, RESOURCE_EXHAUSTED};
use crate::objects::networking::values::{field_name, literal_field_value};
use crate::objects::reading::Fields;

/// Bytes of `body`, at most.
const MAX_BODY_BYTES: usize = 4096;
/// Entries of `headers`, at most.
const MAX_HEADERS: usize = 16;
/// Fields that say what the body is, or that the agent fills in.
const RESERVED: [&str; 3] = ["content-length", "transfer-encoding", "connection"];

/// Reads `response`.
pub(super) fn read(mut fields: Fields<'_>) -> LimitResponse {
    let default = LimitResponse::default();
    let body = fields.text("body");
    if body.as_ref().is_some_and(|body| body.len() > MAX_BODY_BYTES) {
        fields.error("body", format!("is longer than {MAX_BODY_BYTES} bytes: shorten it"));
    }
    let statuses = [("UNAVAILABLE", DEFAULT_GRPC_STATUS), ("RESOURCE_EXHAUSTED", RESOURCE_EXHAUSTED)];
    let words = [("never", QuotaHeaders::Never), ("limited", QuotaHeaders::Limited), ("always", QuotaHeaders::Always)];
    let response = LimitResponse {
        status: fields.number::<u16>("status", 400..=599).unwrap_or(default.status),
        grpc_status: fields.word("grpcStatus", &statuses).unwrap_or(default.grpc_status),
        body: body.map(Into::into),
        headers: headers(&mut fields),
        quota_headers: fields.word("quotaHeaders", &words).unwrap_or_default(),
    };
    fields.finish();
    response
}

fn headers(fields: &mut Fields<'_>) -> Vec<(Box<str>, Box<str>)> {
    let map = fields.text_map("headers");
    if map.len() > MAX_HEADERS {
        fields.error("headers", format!("may not have more than {MAX_HEADERS} entries"));
    }
    for (name, value) in &map {
        let checked = field_name(name).and_then(|()| literal_field_value(value));
        let is_reserved = RESERVED.contains(&&*name.to_ascii_lowercase());
        let checked = if is_reserved { Err("is not for an object to say: remove it".to_owned()) } else { checked };
        if let Err(reason) = checked {
            fields.error(&format!("headers[{name}]"), reason);
        }
    }
    map.into_iter().map(|(name, value)| (name.to_ascii_lowercase().into(), value.into())).collect()
}
