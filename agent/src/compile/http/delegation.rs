//! Delegation between VirtualServices: a rule that names another VirtualService, one without hosts, stands for the rules of
//! that one, within what the rule itself matches. As istiod merges them (`mergeHTTPRoutes`).

use std::borrow::Cow;

use crate::model::http::pattern::TextMatch;
use crate::objects::{ExportTo, HttpMatch, HttpRule, Metadata, VirtualService};

/// Conditions on fields or parameters, by their names.
type NamedMatches = Vec<(String, TextMatch)>;

/// The rules of a VirtualService with those of its delegates in their places; `find` looks a VirtualService up. A rule whose
/// delegate cannot be used is left out.
pub(super) fn in_place<'s>(
    metadata: &Metadata,
    service: &'s VirtualService,
    find: impl Fn(&str, &str) -> Option<(&'s Metadata, &'s VirtualService)>,
    mut note: impl FnMut(String),
) -> Cow<'s, [HttpRule]> {
    if service.http.iter().all(|rule| rule.delegate.is_none()) {
        return Cow::Borrowed(&service.http);
    }
    let own = metadata.namespace.as_str();
    let mut rules = Vec::new();
    for (at, rule) in service.http.iter().enumerate() {
        let Some(delegate) = &rule.delegate else {
            rules.push(rule.clone());
            continue;
        };
        let namespace = if delegate.namespace.is_empty() { own } else { &delegate.namespace };
        let found = find(namespace, &delegate.name);
        let usable = found.filter(|(of_delegate, service)| {
            service.hosts.is_empty() && service.export_to.is_visible_to(own, &of_delegate.namespace, &ExportTo::Unset)
        });
        match usable {
            Some((_, service)) => rules.extend(service.http.iter().filter_map(|inner| merged(rule, inner))),
            None => note(format!(
                "spec.http[{at}].delegate: the rule has no effect: there is no VirtualService {namespace}/{} without hosts \
                 that is exported to {own}",
                delegate.name
            )),
        }
    }
    Cow::Owned(rules)
}

/// A rule of a delegate in the place of `root`; `None` where no request can match both.
fn merged(root: &HttpRule, delegate: &HttpRule) -> Option<HttpRule> {
    let matches = merged_matches(&root.matches, &delegate.matches)?;
    let name = match (root.name.as_str(), delegate.name.as_str()) {
        (name, "") | ("", name) => name.to_owned(),
        (root, delegate) => format!("{root}-{delegate}"),
    };
    let or_root = |own: &HttpRule| HttpRule {
        rewrite: own.rewrite.clone().or_else(|| root.rewrite.clone()),
        direct_response: own.direct_response.clone().or_else(|| root.direct_response.clone()),
        timeout: own.timeout.or(root.timeout),
        retries: own.retries.clone().or_else(|| root.retries.clone()),
        fault: own.fault.clone().or_else(|| root.fault.clone()),
        mirrors: if own.mirrors.is_empty() { root.mirrors.clone() } else { own.mirrors.clone() },
        cors: own.cors.clone().or_else(|| root.cors.clone()),
        headers: if own.headers == Default::default() { root.headers.clone() } else { own.headers.clone() },
        ..own.clone()
    };
    Some(HttpRule { name, matches, ..or_root(delegate) })
}

/// Every pair of matches that one request can meet both of; `None` where there is none.
fn merged_matches(root: &[HttpMatch], delegate: &[HttpMatch]) -> Option<Vec<HttpMatch>> {
    match (root, delegate) {
        ([], only) | (only, []) => return Some(only.to_vec()),
        _ => {}
    }
    let pairs = delegate.iter().flat_map(|inner| root.iter().map(move |outer| (outer, inner)));
    let found: Vec<HttpMatch> =
        pairs.filter(|(outer, inner)| !has_conflict(outer, inner)).map(|(outer, inner)| both(outer, inner)).collect();
    (!found.is_empty()).then_some(found)
}

/// A match that holds where both do; the delegate's part counts where both say something.
fn both(root: &HttpMatch, delegate: &HttpMatch) -> HttpMatch {
    let united = |ours: &[(String, TextMatch)], root: &[(String, TextMatch)]| {
        let mut all = ours.to_vec();
        all.extend(root.iter().filter(|(name, _)| !ours.iter().any(|(known, _)| known == name)).cloned());
        all
    };
    let name = match (root.name.as_str(), delegate.name.as_str()) {
        (name, "") | ("", name) => name.to_owned(),
        (root, delegate) => format!("{root}-{delegate}"),
    };
    let mut source_labels = root.source_labels.clone();
    source_labels.extend(delegate.source_labels.clone());
    HttpMatch {
        name,
        uri: delegate.uri.clone().or_else(|| root.uri.clone()),
        ignore_uri_case: delegate.ignore_uri_case || root.ignore_uri_case,
        scheme: delegate.scheme.clone().or_else(|| root.scheme.clone()),
        method: delegate.method.clone().or_else(|| root.method.clone()),
        authority: delegate.authority.clone().or_else(|| root.authority.clone()),
        headers: united(&delegate.headers, &root.headers),
        without_headers: united(&delegate.without_headers, &root.without_headers),
        query_params: united(&delegate.query_params, &root.query_params),
        port: delegate.port.or(root.port),
        source_labels,
        source_namespace: delegate.source_namespace.clone().or_else(|| root.source_namespace.clone()),
        gateways: if delegate.gateways.is_empty() { root.gateways.clone() } else { delegate.gateways.clone() },
    }
}

/// True where istiod finds that no request meets both, or that the delegate reaches beyond the root.
fn has_conflict(root: &HttpMatch, delegate: &HttpMatch) -> bool {
    let texts = [
        (&root.uri, &delegate.uri),
        (&root.scheme, &delegate.scheme),
        (&root.method, &delegate.method),
        (&root.authority, &delegate.authority),
    ];
    let named = [
        (&root.headers, &delegate.headers),
        (&root.without_headers, &delegate.without_headers),
        (&root.query_params, &delegate.query_params),
    ];
    let differ = |(ours, theirs): (&NamedMatches, &NamedMatches)| {
        let pairs = ours.iter().filter_map(|(name, root)| {
            theirs.iter().find(|(known, _)| known == name).map(|(_, delegate)| (root, delegate))
        });
        { pairs }.any(|(root, delegate)| text_conflict(root, delegate))
    };
    let label_differs = root
        .source_labels
        .iter()
        .any(|(key, value)| delegate.source_labels.get(key).is_some_and(|other| other != value));
    texts.into_iter().any(|pair| matches!(pair, (Some(root), Some(delegate)) if text_conflict(root, delegate)))
        || named.into_iter().any(differ)
        || root.ignore_uri_case != delegate.ignore_uri_case && root.uri.is_some() && delegate.uri.is_some()
        || matches!((root.port, delegate.port), (Some(root), Some(delegate)) if root != delegate)
        || root.source_namespace.is_some() && root.source_namespace != delegate.source_namespace
        || label_differs
        || !root.gateways.is_empty() && delegate.gateways.iter().any(|gateway| !root.gateways.contains(gateway))
}

fn text_conflict(root: &TextMatch, delegate: &TextMatch) -> bool {
    match (root, delegate) {
        (TextMatch::Present, _) => false,
        (TextMatch::Regex(_), _) | (_, TextMatch::Regex(_)) => true,
        (TextMatch::Exact(root), TextMatch::Exact(delegate)) => root != delegate,
        (TextMatch::Exact(_), _) => true,
        (TextMatch::Prefix(root), TextMatch::Exact(delegate) | TextMatch::Prefix(delegate)) => {
            !delegate.starts_with(&**root)
        }
        (TextMatch::Prefix(_) | TextMatch::Suffix(_), _) => true,
    }
}
