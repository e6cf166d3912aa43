//! `filters` of a rule, and of a backend, of a Gateway API route.

use std::time::Duration;

use super::route::{self, BackendMirror, Filters};
use crate::model::http::head::Scheme;
use crate::model::http::pattern::{Substitution, TextMatch};
use crate::model::http::policies::{Cors, Share};
use crate::model::http::route::{Redirect, RedirectPath, RedirectPort};
use crate::objects::networking::{HeaderChanges, HeaderOperations, Rewrite, values};
use crate::objects::reading::Fields;

/// What an origin has to look like where `*` stands for any: not `null`, and no empty text.
const ANY_ORIGIN: &str = "https?://.*";

/// Reads the filters of a rule. Without one that is not known the rule would do something else: no request goes on then.
pub(super) fn of_rule(fields: &mut Fields<'_>, own_namespace: &str) -> Filters {
    let report = fields.report();
    let mut found = Filters::default();
    for item in fields.items("filters") {
        let Some(mut filter) = item.fields(report) else { continue };
        let kind = filter.text("type").unwrap_or_default();
        match kind.as_str() {
            "RequestHeaderModifier" => modify(&mut filter, "requestHeaderModifier", &mut found.headers.request),
            "ResponseHeaderModifier" => modify(&mut filter, "responseHeaderModifier", &mut found.headers.response),
            "RequestMirror" => {
                found
                    .mirrors
                    .extend(filter.fields("requestMirror").and_then(|mirror| self::mirror(mirror, own_namespace)));
            }
            "RequestRedirect" => found.redirect = filter.fields("requestRedirect").map(redirect),
            "URLRewrite" => found.rewrite = filter.fields("urlRewrite").map(rewrite),
            "CORS" => found.cors = filter.fields("cors").map(cors),
            _ => {
                let known =
                    "RequestHeaderModifier, ResponseHeaderModifier, RequestMirror, RequestRedirect, URLRewrite, CORS";
                let effect = "requests of its rule are answered 500";
                filter.notice("type", format!("the filter {kind:?} is not supported: {effect}. Use one of {known}"));
                found.has_unknown = true;
                continue;
            }
        }
        filter.finish();
    }
    if found.redirect.is_some() && found.rewrite.is_some() {
        fields.error("filters", "a rule has RequestRedirect or URLRewrite, not both");
    }
    found
}

/// Reads the filters of a backend, which can change fields only. `None`: one is not known, and no request may go to the backend
/// without it.
pub(super) fn of_backend(fields: &mut Fields<'_>) -> Option<HeaderChanges> {
    let report = fields.report();
    let (mut found, mut has_unknown) = (HeaderChanges::default(), false);
    for item in fields.items("filters") {
        let Some(mut filter) = item.fields(report) else { continue };
        let kind = filter.text("type").unwrap_or_default();
        match kind.as_str() {
            "RequestHeaderModifier" => modify(&mut filter, "requestHeaderModifier", &mut found.request),
            "ResponseHeaderModifier" => modify(&mut filter, "responseHeaderModifier", &mut found.response),
            _ => {
                let known = "RequestHeaderModifier, ResponseHeaderModifier";
                let effect = "the backend's share of the requests is answered 500";
                filter.notice("type", format!("the filter {kind:?} is not supported: {effect}. Use one of {known}"));
                has_unknown = true;
                continue;
            }
        }
        filter.finish();
    }
    (!has_unknown).then_some(found)
}

fn modify(filter: &mut Fields<'_>, name: &'static str, operations: &mut HeaderOperations) {
    let Some(mut modifier) = filter.fields(name) else { return };
    let report = modifier.report();
    for (list, into) in [("set", &mut operations.set), ("add", &mut operations.add)] {
        for item in modifier.items(list) {
            let Some(mut header) = item.fields(report) else { continue };
            let (name, value) = (header.text("name").unwrap_or_default(), header.text("value").unwrap_or_default());
            if let Err(reason) = values::field_name(&name) {
                header.error("name", reason);
            } else if let Err(reason) = values::literal_field_value(&value) {
                header.error("value", reason);
            }
            header.finish();
            // Nothing in it is a format, as it would be in a VirtualService.
            into.push((name, value.replace('%', "%%")));
        }
    }
    operations.remove.extend(modifier.texts("remove"));
    modifier.finish();
}

fn mirror(mut fields: Fields<'_>, own_namespace: &str) -> Option<BackendMirror> {
    let target = fields.fields("backendRef").map(|mut backend| {
        let found = route::target(&mut backend, own_namespace);
        backend.finish();
        found
    });
    if target.is_none() {
        fields.error("backendRef", "the backend of a mirror is needed");
    }
    let mut share = fields.number::<u32>("percent", 0..=100).map(|percent| Share::of_fraction(percent, 100));
    if let Some(mut fraction) = fields.fields("fraction") {
        let numerator = fraction.number("numerator", 0..=i128::from(i32::MAX)).unwrap_or(0);
        let denominator = fraction.number("denominator", 1..=i128::from(i32::MAX)).unwrap_or(100);
        if share.is_some() {
            fraction.error("numerator", "a mirror has percent or fraction, not both");
        }
        fraction.finish();
        share = Some(Share::of_fraction(numerator, denominator));
    }
    fields.finish();
    let (target, port) = target?;
    Some(BackendMirror { target, port, share: share.unwrap_or(Share::ALL) })
}

/// What a filter does to a path.
enum PathModifier {
    Full(String),
    Prefix(String),
}

fn path_modifier(fields: &mut Fields<'_>) -> Option<PathModifier> {
    let mut path = fields.fields("path")?;
    let kind = path.text("type").unwrap_or_default();
    let (full, prefix) = (path.text("replaceFullPath"), path.text("replacePrefixMatch"));
    let found = match kind.as_str() {
        "ReplaceFullPath" => full.map(PathModifier::Full),
        "ReplacePrefixMatch" => prefix.map(PathModifier::Prefix),
        _ => None,
    };
    if found.is_none() {
        path.error("type", "use ReplaceFullPath with replaceFullPath, or ReplacePrefixMatch with replacePrefixMatch");
    }
    path.finish();
    found
}

fn redirect(mut fields: Fields<'_>) -> Redirect {
    let scheme = fields.word("scheme", &[("http", Scheme::Http), ("https", Scheme::Https)]);
    let path = path_modifier(&mut fields).map(|path| match path {
        PathModifier::Full(path) => RedirectPath::Full(path.into()),
        PathModifier::Prefix(prefix) => RedirectPath::Prefix(prefix.into()),
    });
    let number = fields.number("port", 1..=65_535).map(RedirectPort::Number);
    let status = fields.number("statusCode", 0..=599).unwrap_or(302);
    if !matches!(status, 301 | 302 | 303 | 307 | 308) {
        fields.error("statusCode", format!("{status} is not supported: use 301, 302, 303, 307 or 308"));
    }
    let derived = if scheme.is_some() { RedirectPort::OfScheme } else { RedirectPort::Dialled };
    let found = Redirect {
        path,
        authority: fields.text("hostname").map(Box::from),
        scheme,
        port: number.unwrap_or(derived),
        status,
    };
    fields.finish();
    found
}

fn rewrite(mut fields: Fields<'_>) -> Rewrite {
    let mut found = Rewrite { authority: fields.text("hostname"), ..Rewrite::default() };
    match path_modifier(&mut fields) {
        // What a control plane sends for it, so that it is the same from everywhere.
        Some(PathModifier::Full(path)) => {
            found.regex = Substitution::new("/.*", &path.replace('\\', r"\\")).ok();
        }
        Some(PathModifier::Prefix(prefix)) => {
            let trimmed = prefix.strip_suffix('/').unwrap_or(&prefix);
            found.uri = Some(if trimmed.is_empty() { "/".to_owned() } else { trimmed.to_owned() });
        }
        None => {}
    }
    fields.finish();
    found
}

fn cors(mut fields: Fields<'_>) -> Cors {
    let origins = fields.placed_texts("allowOrigins");
    let allow_origins = origins.iter().filter_map(|origin| match origin.text.split_once('*') {
        Some(("", "")) => values::regex(ANY_ORIGIN, &origin.place).map(TextMatch::Regex),
        Some((prefix, "")) => Some(TextMatch::Prefix(prefix.into())),
        Some(_) => {
            let parts: Vec<String> = origin.text.split('*').map(escaped).collect();
            values::regex(&parts.join(".*"), &origin.place).map(TextMatch::Regex)
        }
        None => Some(TextMatch::Exact(origin.text.into())),
    });
    let allow_origins = allow_origins.collect();
    let mut joined = |name| Box::from(fields.texts(name).join(","));
    let [allow_methods, allow_headers, expose_headers] =
        ["allowMethods", "allowHeaders", "exposeHeaders"].map(&mut joined);
    let found = Cors {
        allow_origins,
        allow_methods,
        allow_headers,
        expose_headers,
        max_age: fields.number("maxAge", 1..=i128::from(i32::MAX)).map(Duration::from_secs),
        allow_credentials: fields.flag("allowCredentials").unwrap_or(false),
        forwards_unmatched_preflights: false,
    };
    fields.finish();
    found
}

/// The text as a regular expression that matches it and nothing else.
pub(super) fn escaped(text: &str) -> String {
    let mut found = String::with_capacity(text.len());
    for c in text.chars() {
        if !c.is_ascii_alphanumeric() && c != '/' && c != '-' && c != ':' {
            found.push('\\');
        }
        found.push(c);
    }
    found
}
