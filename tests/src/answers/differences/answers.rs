//! What rules about requests come to: the answers that clients see, and how often servers are asked.

use super::difference::{BOTH, Difference, ROUTES};
use crate::answers::ask::Ask;
use crate::answers::mismatch::Mismatch;

/// What a preflight's answer says beside the origin.
const OF_A_PERMISSION: [&str; 4] = [
    "header access-control-allow-credentials",
    "header access-control-allow-headers",
    "header access-control-allow-methods",
    "header access-control-max-age",
];
/// What of an answer tells how asking servers went.
const OF_AN_OUTCOME: [&str; 4] = ["answer", "content", "flags", "header content-length"];

pub(super) const KNOWN: &[Difference] = &[
    Difference { name: "`server`", subjects: BOTH, explains: |seen| seen.aspect == "header server" },
    Difference {
        name: "own answers to HEAD",
        subjects: ROUTES,
        explains: |seen| seen.ask.is_head() && seen.is("header transfer-encoding", Some("chunked"), None),
    },
    Difference {
        name: "HEAD to a server of HTTP/2",
        subjects: ROUTES,
        explains: |seen| {
            let is_broken = seen.all.0.get("ending").is_some_and(|ending| ending == "Broken");
            let aspects = ["ending", "flags", "header content-length"];
            seen.ask.is_head() && is_broken && aspects.contains(&seen.aspect)
        },
    },
    Difference {
        name: "`location` with the port of its scheme",
        subjects: ROUTES,
        explains: |seen| {
            let without = seen.envoy.map(|envoy| envoy.replacen(":80/", "/", 1));
            seen.aspect == "header location" && seen.ask.group().name == "filters" && without.as_deref() == seen.weir
        },
    },
    Difference {
        name: "fields that `connection` of a response names",
        subjects: ROUTES,
        explains: |seen| seen.is("header x-two", Some("1"), None),
    },
    Difference {
        name: "preflights of origins that are not allowed",
        subjects: ROUTES,
        explains: |seen| {
            seen.ask.method == "OPTIONS"
                && !seen.all.0.contains_key("header access-control-allow-origin")
                && OF_A_PERMISSION.contains(&seen.aspect)
                && seen.weir.is_none()
        },
    },
    Difference {
        name: "a kept connection that ends as a request comes",
        subjects: ROUTES,
        explains: |seen| seen.aspect == "arrivals" && seen.ask.wishes.starts_with("reset=") && is_once_more(seen),
    },
    Difference {
        name: "second attempts after `expect: 100-continue`",
        subjects: ROUTES,
        explains: |seen| {
            let is_tried_again = ["retries", "times"].contains(&seen.ask.group().name);
            is_tried_again && expects(seen.ask) && OF_AN_OUTCOME.contains(&seen.aspect)
        },
    },
    Difference {
        name: "a response that breaks off",
        subjects: ROUTES,
        explains: |seen| seen.ask.wishes == "reset=midway" && seen.is("flags", Some("UPE"), Some("UR")),
    },
];

fn expects(ask: &Ask) -> bool {
    ask.fields.iter().any(|(name, value)| name == "expect" && value.eq_ignore_ascii_case("100-continue"))
}

/// Whether a request has arrived at a server once more through Weir than through Envoy.
fn is_once_more(seen: &Mismatch<'_>) -> bool {
    let split = |text: Option<&str>| {
        let (count, server) = text?.split_once(" at ")?;
        Some((count.parse::<u64>().ok()?, server.to_owned()))
    };
    match (split(seen.envoy), split(seen.weir)) {
        (Some((envoy, at)), Some((weir, same))) => at == same && weir == envoy + 1,
        _ => false,
    }
}
