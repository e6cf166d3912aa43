//! Which requests are taken for valid, and how their first line, `Host` and fields are read.

use super::difference::{BOTH, Difference, POLICIES, ROUTES};
use crate::answers::ask::Ask;

/// Methods that nobody has registered.
const UNREGISTERED: [&str; 2] = ["FOO", "get"];
/// What begins lines that Envoy takes and Weir does not: a folded field, a CR within a value, an LF as the end of a line.
const TAKEN_LINES: [&str; 3] = ["x-folded:", "x-return:", "x-feed:"];
/// What of the answer to a request that both refuse says why.
const OF_A_REFUSAL: [&str; 5] = ["content", "flags", "ending", "header content-length", "header content-type"];

pub(super) const KNOWN: &[Difference] = &[
    Difference { name: "HTTP/1.0", subjects: BOTH, explains: |seen| seen.ask.is_http10 },
    Difference {
        name: "what is no HTTP, at a pod",
        subjects: POLICIES,
        explains: |seen| seen.envoy_refuses() && seen.weir == Some("0 by nobody"),
    },
    Difference {
        name: "what is wrong with a request that is not valid",
        subjects: BOTH,
        explains: |seen| seen.is_refused_by_both() && OF_A_REFUSAL.contains(&seen.aspect),
    },
    Difference {
        name: "folded fields, and CR or LF alone",
        subjects: BOTH,
        explains: |seen| seen.weir_refuses() && TAKEN_LINES.iter().any(|line| seen.ask.lines.contains(line)),
    },
    Difference {
        name: "transfer codings other than `chunked`",
        subjects: BOTH,
        explains: |seen| seen.envoy_answers(&["501 by nobody"]) && seen.weir_refuses(),
    },
    Difference {
        name: "several fields `Host`, and what is no host",
        subjects: BOTH,
        explains: |seen| seen.weir_refuses() && !seen.ask.names_its_service(),
    },
    Difference {
        name: "`Host` names another service, or none",
        subjects: ROUTES,
        explains: |seen| !seen.ask.names_its_service() && !seen.is_refused_by_both() && !seen.weir_refuses(),
    },
    Difference {
        name: "methods that are not registered",
        subjects: BOTH,
        explains: |seen| UNREGISTERED.contains(&&*seen.ask.method) && seen.envoy_refuses(),
    },
    Difference {
        name: "targets beyond ASCII",
        subjects: ROUTES,
        explains: |seen| seen.weir_refuses() && !seen.ask.target.is_ascii(),
    },
    Difference {
        name: "targets without a path",
        subjects: BOTH,
        explains: |seen| {
            is_without_path(seen.ask)
                && (seen.envoy_answers(&["404 by nobody"])
                    || seen.is("flags", Some("-"), Some("NR"))
                    || seen.is("target", Some("/"), Some("*")))
        },
    },
    Difference {
        name: "white space around the values of fields in HTTP/2",
        subjects: POLICIES,
        explains: |seen| {
            let is_spaced = |(_, value): &(String, String)| value.trim() != value;
            seen.ask.is_http2 && seen.aspect == "answer" && seen.ask.fields.iter().any(is_spaced)
        },
    },
    Difference {
        name: "two fields `expect`",
        subjects: BOTH,
        explains: |seen| {
            seen.ask.fields.iter().filter(|(name, _)| name == "expect").count() > 1
                && seen.is("interim", Some("[]"), Some("[100]"))
        },
    },
];

/// Whether the target is an asterisk, or a URI that has nothing between its authority and its query.
fn is_without_path(ask: &Ask) -> bool {
    let rest = ask.target.split_once("://").map(|(_, rest)| rest.split(['?', '#']).next().unwrap_or_default());
    ask.target == "*" || rest.is_some_and(|rest| !rest.contains('/'))
}
