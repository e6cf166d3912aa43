//! What an `http` rule of a VirtualService does with a request besides sending it somewhere.

use std::time::Duration;

use super::destination::{self, Destination};
use super::values;
use crate::model::http::head::Scheme;
use crate::model::http::pattern::{Substitution, TextMatch};
use crate::model::http::policies::{Abort, Cors, Fault, Share};
use crate::model::http::route::{DirectResponse, Redirect, RedirectPath, RedirectPort};
use crate::objects::reading::{Fields, base64};

/// Bytes that the body of a direct response may have.
const MAX_DIRECT_BODY: usize = 1024 * 1024;
/// Statuses of a redirect.
pub(in crate::objects) const REDIRECT_STATUSES: [u16; 5] = [301, 302, 303, 307, 308];

/// `rewrite`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rewrite {
    /// Replaces what a prefix match matched, or the whole path.
    pub uri: Option<String>,
    pub authority: Option<String>,
    pub regex: Option<Substitution>,
}

/// A service that gets a copy of requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    pub destination: Destination,
    pub share: Share,
}

pub(super) fn redirect(mut fields: Fields<'_>) -> Redirect {
    let text = |text: Option<String>| text.filter(|text| !text.is_empty());
    let (uri, prefix) = (text(fields.text("uri")), text(fields.text("prefixRewrite")));
    if uri.is_some() && prefix.is_some() {
        fields.error("prefixRewrite", "a redirect has uri or prefixRewrite, not both");
    }
    let ports = [("FROM_PROTOCOL_DEFAULT", RedirectPort::OfScheme), ("FROM_REQUEST_PORT", RedirectPort::Dialled)];
    let derived = fields.word("derivePort", &ports);
    let number = fields.number("port", 0..=65_535).filter(|port| *port != 0);
    let status = fields.number("redirectCode", 0..=999).filter(|code| *code != 0).unwrap_or(301);
    if !REDIRECT_STATUSES.contains(&status) {
        fields.error("redirectCode", format!("{status} is not supported: use 301, 302, 303, 307 or 308"));
    }
    // The form that a control plane sends for the Gateway API's ReplacePrefixMatch.
    let path = uri.map(|uri| match uri.strip_prefix("%PREFIX()%") {
        Some(prefix) => RedirectPath::Prefix(prefix.into()),
        None => RedirectPath::Full(uri.into()),
    });
    let schemes = [("http", Scheme::Http), ("https", Scheme::Https)];
    let found = Redirect {
        path: path.or(prefix.map(|prefix| RedirectPath::Prefix(prefix.into()))),
        authority: text(fields.text("authority")).map(Box::from),
        scheme: if text(fields.text("scheme")).is_some() { fields.word("scheme", &schemes) } else { None },
        port: number.map(RedirectPort::Number).or(derived).unwrap_or_default(),
        status,
    };
    fields.finish();
    found
}

pub(super) fn direct_response(mut fields: Fields<'_>) -> DirectResponse {
    let status = fields.number("status", 0..=599).unwrap_or(0);
    if status < 200 && !fields.place().has_errors() {
        fields.error("status", "a direct response needs a status, 200..599");
    }
    let mut bytes = Vec::new();
    if let Some(mut body) = fields.fields("body") {
        let (text, encoded) = (body.text("string"), body.text("bytes"));
        if text.is_some() && encoded.is_some() {
            body.error("bytes", "a body is string or bytes, not both");
        }
        if let Some(encoded) = encoded {
            match base64::decode(&encoded) {
                Some(decoded) => bytes = decoded,
                None => body.error("bytes", "is not base64"),
            }
        }
        if let Some(text) = text {
            bytes = text.into_bytes();
        }
        body.finish();
    }
    if bytes.len() > MAX_DIRECT_BODY {
        fields.error("body", format!("is larger than {MAX_DIRECT_BODY} bytes"));
    }
    fields.finish();
    DirectResponse { status, body: bytes.into() }
}

pub(super) fn rewrite(mut fields: Fields<'_>) -> Rewrite {
    let text = |text: Option<String>| text.filter(|text| !text.is_empty());
    let regex = fields.fields("uriRegexRewrite").and_then(|mut regex| {
        let [pattern, with] = ["match", "rewrite"].map(|name| regex.text(name).unwrap_or_default());
        let place = regex.place().field("match");
        regex.finish();
        match Substitution::new(&pattern, &with) {
            _ if pattern.is_empty() => place.error("a regular expression is needed"),
            Err(error) => place.error(error.to_string()),
            Ok(substitution) => return Some(substitution),
        }
        None
    });
    let found = Rewrite { uri: text(fields.text("uri")), authority: text(fields.text("authority")), regex };
    if found.uri.is_some() && found.regex.is_some() {
        fields.error("uriRegexRewrite", "a rewrite has uri or uriRegexRewrite, not both");
    }
    if found == Rewrite::default() && !fields.place().has_errors() {
        fields.error("uri", "a rewrite needs uri, uriRegexRewrite or authority");
    }
    fields.finish();
    found
}

pub(super) fn fault(mut fields: Fields<'_>) -> Fault {
    let found = Fault { delay: fields.fields("delay").and_then(delay), abort: fields.fields("abort").and_then(abort) };
    if fields.get("delay").is_none() && fields.get("abort").is_none() {
        fields.error("delay", "a fault needs delay or abort");
    }
    fields.finish();
    found
}

fn delay(mut fields: Fields<'_>) -> Option<(Share, Duration)> {
    let share = values::percentage(&mut fields, "percentage").or(values::whole_percentage(&mut fields, "percent"));
    let fixed = values::duration(&mut fields, "fixedDelay");
    if fields.get("exponentialDelay").is_some() {
        fields.error("exponentialDelay", "is not supported: use fixedDelay");
    } else if fixed.is_none() && fields.get("fixedDelay").is_none() {
        fields.error("fixedDelay", "a delay needs its length");
    }
    if share.is_none() {
        fields.notice("percentage", "is not set: no request is delayed");
    }
    fields.finish();
    Some((share.unwrap_or(Share::NONE), fixed?))
}

fn abort(mut fields: Fields<'_>) -> Option<(Share, Abort)> {
    let share = values::percentage(&mut fields, "percentage");
    let http = fields.number("httpStatus", 200..=599).map(Abort::Http);
    let grpc = fields.text("grpcStatus");
    if http.is_some() && grpc.is_some() {
        fields.error("grpcStatus", "an abort has httpStatus or grpcStatus, not both");
    }
    let code = grpc.as_deref().and_then(grpc_code);
    if let (Some(name), None) = (&grpc, code) {
        fields.error("grpcStatus", format!("{name:?} is not a status of gRPC: use a name such as UNAVAILABLE"));
    }
    if fields.get("http2Error").is_some() {
        fields.error("http2Error", "is not supported: use httpStatus or grpcStatus");
    }
    let kind = http.or(code.map(Abort::Grpc));
    if kind.is_none() && !fields.place().has_errors() {
        fields.error("httpStatus", "an abort needs httpStatus or grpcStatus");
    }
    if share.is_none() {
        fields.notice("percentage", "is not set: no request is aborted");
    }
    fields.finish();
    Some((share.unwrap_or(Share::NONE), kind?))
}

/// A status code by its name, or by its number.
fn grpc_code(name: &str) -> Option<u16> {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    let by_name = NAMES.iter().position(|known| known.eq_ignore_ascii_case(name));
    let code = by_name.or_else(|| name.parse::<usize>().ok().filter(|code| *code < NAMES.len()))?;
    u16::try_from(code).ok()
}

pub(super) fn mirrors(fields: &mut Fields<'_>) -> Vec<Mirror> {
    let report = fields.report();
    let share = values::percentage(fields, "mirrorPercentage").or(values::whole_percentage(fields, "mirrorPercent"));
    let single = fields.fields("mirror").map(destination::read);
    let single = single.map(|destination| Mirror { destination, share: share.unwrap_or(Share::ALL) });
    let mut found: Vec<Mirror> = single.into_iter().collect();
    let items = fields.items("mirrors");
    if !found.is_empty() && !items.is_empty() {
        fields.error("mirrors", "a rule has mirror or mirrors, not both");
    }
    for item in items {
        let Some(mut mirror) = item.fields(report) else { continue };
        let share = values::percentage(&mut mirror, "percentage").unwrap_or(Share::ALL);
        match mirror.fields("destination").map(destination::read) {
            Some(destination) => found.push(Mirror { destination, share }),
            None => mirror.error("destination", "a mirror needs its destination"),
        }
        mirror.finish();
    }
    found
}

pub(super) fn cors(mut fields: Fields<'_>) -> Cors {
    let report = fields.report();
    let origins = fields.items("allowOrigins");
    let mut allow_origins: Vec<TextMatch> =
        origins.iter().filter_map(|item| values::string_match(item.fields(report)?)).collect();
    // The older form, which Istio reads only where the newer one is not there.
    let older = fields.texts("allowOrigin");
    if allow_origins.is_empty() {
        let any = |origin: String| if origin == "*" { TextMatch::Present } else { TextMatch::Exact(origin.into()) };
        allow_origins.extend(older.into_iter().map(any));
    }
    let words = [("UNSPECIFIED", true), ("FORWARD", true), ("IGNORE", false)];
    let mut joined = |name| Box::from(fields.texts(name).join(","));
    let [allow_methods, allow_headers, expose_headers] =
        ["allowMethods", "allowHeaders", "exposeHeaders"].map(&mut joined);
    let found = Cors {
        allow_origins,
        allow_methods,
        allow_headers,
        expose_headers,
        max_age: values::duration(&mut fields, "maxAge"),
        allow_credentials: fields.flag("allowCredentials").unwrap_or(false),
        forwards_unmatched_preflights: fields.word("unmatchedPreflights", &words).unwrap_or(true),
    };
    fields.finish();
    found
}
