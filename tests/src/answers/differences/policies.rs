//! What policies and tokens come to.

use super::difference::{Difference, POLICIES};

pub(super) const KNOWN: &[Difference] = &[
    Difference {
        name: "`x-envoy-upstream-service-time` at the destination",
        subjects: POLICIES,
        explains: |seen| seen.is("header x-envoy-upstream-service-time", Some("a figure"), None),
    },
    Difference {
        name: "paths that servers read in several ways",
        subjects: POLICIES,
        explains: |seen| seen.aspect == "answer" && seen.weir == Some("403 by nobody") && seen.ask.target.contains(';'),
    },
    Difference {
        name: "claims that are lists",
        subjects: POLICIES,
        explains: |seen| seen.aspect == "received x-groups" && seen.weir.is_none(),
    },
    Difference {
        name: "several tokens",
        subjects: POLICIES,
        explains: |seen| {
            let in_fields = seen.ask.fields.iter().filter(|(_, value)| value.contains("TOKEN-")).count();
            let tokens = in_fields + usize::from(seen.ask.target.contains("TOKEN-"));
            tokens > 1 && ["received x-subject", "received x-payload"].contains(&seen.aspect)
        },
    },
    Difference {
        name: "what is wrong with a token",
        subjects: POLICIES,
        explains: |seen| {
            ["content", "header content-length"].contains(&seen.aspect) && seen.both_have("answer", "401 by nobody")
        },
    },
    Difference {
        name: "`realm` of `www-authenticate`",
        subjects: POLICIES,
        explains: |seen| {
            let realms = [seen.envoy, seen.weir];
            seen.aspect == "header www-authenticate" && realms.iter().all(Option::is_some)
        },
    },
];
