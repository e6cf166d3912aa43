//! What the application receives.

use super::difference::{BOTH, Difference, POLICIES, ROUTES};

pub(super) const KNOWN: &[Difference] = &[
    Difference {
        name: "`x-envoy-decorator-operation`",
        subjects: BOTH,
        explains: |seen| seen.aspect.ends_with(" x-envoy-decorator-operation"),
    },
    Difference {
        name: "`x-envoy-original-host`",
        subjects: ROUTES,
        explains: |seen| seen.aspect == "received x-envoy-original-host" && seen.weir.is_none(),
    },
    Difference {
        name: "a target with the scheme `https`",
        subjects: BOTH,
        explains: |seen| {
            let is_the_scheme = seen.is("received x-forwarded-proto", Some("http"), Some("https"));
            let without_port = seen.weir.map(|weir| weir.replacen(":80/", "/", 1));
            let is_the_port = seen.aspect == "header location" && without_port.as_deref() == seen.envoy;
            seen.ask.target.starts_with("https:") && (is_the_scheme || is_the_port)
        },
    },
    Difference {
        name: "fields that may be a list",
        subjects: BOTH,
        explains: |seen| {
            ["received accept", "received expect"].contains(&seen.aspect)
                && seen.weir.map(|weir| weir.replace(" | ", ",")).as_deref() == seen.envoy
        },
    },
    Difference {
        name: "no content: `content-length: 0`",
        subjects: BOTH,
        explains: |seen| {
            seen.is("received content-length", Some("0"), None)
                || (seen.ask.is_http2 && seen.is("header content-length", None, Some("0")))
        },
    },
    Difference {
        name: "`connection: te`",
        subjects: ROUTES,
        explains: |seen| seen.is("received connection", None, Some("te")),
    },
    Difference {
        name: "the version of HTTP at the destination",
        subjects: POLICIES,
        explains: |seen| seen.ask.is_http2 && seen.is("version", Some("HTTP/1.1"), Some("HTTP/2.0")),
    },
];
