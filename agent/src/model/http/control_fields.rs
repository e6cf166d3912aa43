//! Fields of requests that are between proxies: with them a client of an Envoy asks for what only a proxy that it trusts may ask
//! for, or is told what only such a proxy knows. Envoy removes them of requests from outside
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/header_sanitizing>), which all requests are to a sidecar
//! that knows no addresses as internal. No request is one from inside here: an address proves nothing.
//!
//! Each is removed also where it is spelt with `_`: an application behind CGI or its heirs reads both as one (RFC 3875 §4.1.18).

use super::head::HttpFields;

/// All names begin so, with either spelling of the hyphens.
const PREFIX: &[u8] = b"x-envoy-";
/// What the rest of the name is of those that nobody here reads.
const UNREAD: [&[u8]; 9] = [
    b"internal",
    b"force-trace",
    b"ip-tags",
    b"original-url",
    b"hedge-on-per-try-timeout",
    b"retriable-header-names",
    b"upstream-alt-stat-name",
    b"upstream-rq-timeout-alt-response",
    b"upstream-stream-duration-ms",
];
/// Of those that the agent of the client reads, for the pod whose requests it sends: see `timeouts` and `retry_fields`. At the
/// destination they come from somebody else.
const OF_THE_CLIENT: [&[u8]; 6] = [
    b"max-retries",
    b"retry-on",
    b"retry-grpc-on",
    b"retriable-status-codes",
    b"upstream-rq-timeout-ms",
    b"upstream-rq-per-try-timeout-ms",
];

/// Removes what a pod must not say, of a request that it sends. What it may ask its own agent for stays until that is read.
pub fn remove_of_own_pod(fields: &mut HttpFields) {
    remove_rests(fields, |rest| is_one_of(rest, &UNREAD));
}

/// Removes what a client must not say, of a request to a pod.
pub fn remove_of_client(fields: &mut HttpFields) {
    remove_rests(fields, |rest| is_one_of(rest, &UNREAD) || is_one_of(rest, &OF_THE_CLIENT));
}

/// Removes all spellings of a field whose name has hyphens.
pub(super) fn remove_spellings(fields: &mut HttpFields, name: &str) {
    fields.remove_if(|other, _| is_spelt(other, name.as_bytes()));
}

fn remove_rests(fields: &mut HttpFields, is_unwanted: impl Fn(&[u8]) -> bool) {
    let is_one = |name: &[u8]| {
        name.split_at_checked(PREFIX.len()).is_some_and(|(start, rest)| is_spelt(start, PREFIX) && is_unwanted(rest))
    };
    // Most requests have none, and nothing is moved then.
    if fields.iter().any(|(name, _)| is_one(name)) {
        fields.remove_if(|name, _| is_one(name));
    }
}

fn is_one_of(rest: &[u8], names: &[&[u8]]) -> bool {
    names.iter().any(|name| is_spelt(rest, name))
}

/// Whether a name, in lower case, is another one in which each `-` may be a `_`.
fn is_spelt(name: &[u8], other: &[u8]) -> bool {
    let same = |(one, other): (&u8, &u8)| one == other || (*one == b'_' && *other == b'-');
    name.len() == other.len() && name.iter().zip(other).all(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_a_trusted_proxy_may_say_is_removed() {
        let always =
            ["x-envoy-internal", "X-Envoy-Force-Trace", "x-envoy-ip-tags", "x_envoy_internal", "x-envoy_original-url"];
        let of_the_client = ["x-envoy-max-retries", "x-envoy-retry-on", "x_envoy-upstream_rq_timeout_ms"];
        let never = [
            "x-envoy-original-path",
            "x-envoy-attempt-count",
            "x-envoy-expected-rq-timeout-ms",
            "x-envoy-internals",
            "x-envoy-",
            "envoy-internal",
            "internal",
        ];
        let fields_of = |names: &[&str]| {
            let mut fields = HttpFields::default();
            names.iter().for_each(|name| fields.append(name.as_bytes(), b"1"));
            fields
        };
        let sent = fields_of(&[&always[..], &of_the_client, &never].concat());
        let mut of_own_pod = sent.clone();
        remove_of_own_pod(&mut of_own_pod);
        assert_eq!(of_own_pod, fields_of(&[&of_the_client[..], &never].concat()));
        let mut of_client = sent;
        remove_of_client(&mut of_client);
        assert_eq!(of_client, fields_of(&never));
    }
}
