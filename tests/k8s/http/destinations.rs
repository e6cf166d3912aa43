//! Which destination of a rule a request goes to, and which endpoint of it.

use super::case::Expected::{OnePod, Only, Shares};
use super::case::{HttpCase, ask, destination_rule, http_route, load, virtual_service};
use crate::harness::{Case, Check};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "http: weights split requests, 30 to 70 and 80 to 20; a weight of 0 gets nothing",
        check: Check::Http(&HttpCase {
            services: "shop",
            older: &[],
            objects: &[
                virtual_service(
                    "
  hosts: [WEB]
  http:
    - match: [{uri: {prefix: /none}}]
      route: [{destination: {host: v1}, weight: 0}, {destination: {host: v2}, weight: 100}]
    - {match: [{uri: {prefix: /single}}], route: [{destination: {host: v3}, weight: 0}]}
    - route: [{destination: {host: v1}, weight: 30}, {destination: {host: v2}, weight: 70}]",
                ),
                http_route(
                    "
  parentRefs: [{group: '', kind: Service, name: ALT}]
  rules: [{backendRefs: [{name: v1, port: 80, weight: 8}, {name: v2, port: 80, weight: 2}]}]",
                ),
            ],
            requests: &[
                load(&[], Shares(&[("v1", 30), ("v2", 70)])),
                load(&["--target=/none"], Only(&["v2"])),
                // A single destination's weight does not count.
                load(&["--target=/single"], Only(&["v3"])),
                load(&[], Shares(&[("v1", 80), ("v2", 20)])).alt(),
            ],
        }),
    },
    Case {
        name: "http: a destination or subset that is not there is answered 503, a backend that is not there 500",
        check: Check::Http(&HttpCase {
            services: "shop",
            older: &[],
            objects: &[
                destination_rule("{host: WEB, subsets: [{name: empty, labels: {version: v9}}]}"),
                virtual_service(
                    "
  hosts: [WEB]
  http:
    - {match: [{uri: {prefix: /host}}], route: [{destination: {host: nobody}}]}
    - {match: [{uri: {prefix: /subset}}], route: [{destination: {host: WEB, subset: unknown}}]}
    - {match: [{uri: {prefix: /empty}}], route: [{destination: {host: WEB, subset: empty}}]}
    - {route: [{destination: {host: v1}}]}",
                ),
                http_route(
                    "
  parentRefs: [{group: '', kind: Service, name: ALT}]
  rules:
    - {matches: [{path: {value: /unknown}}], backendRefs: [{name: nobody, port: 80}]}
    - {matches: [{path: {value: /port}}], backendRefs: [{name: v1, port: 4242}]}
    - {matches: [{path: {value: /zero}}], backendRefs: [{name: v1, port: 80, weight: 0}]}
    - {matches: [{path: {value: /half}}], backendRefs: [{name: nobody, port: 80}, {name: v2, port: 80}]}
    - {backendRefs: [{name: v3, port: 80}]}",
                ),
            ],
            requests: &[
                ask("/host").refused(503).body(""),
                ask("/subset").refused(503).body(""),
                ask("/empty").refused(503).body("no healthy upstream"),
                ask("/").by("v1"),
                ask("/unknown").alt().refused(500),
                ask("/port").alt().refused(500),
                ask("/zero").alt().refused(500),
                load(&["--target=/half"], Shares(&[("500", 50), ("v2", 50)])).alt(),
                ask("/").alt().by("v3"),
            ],
        }),
    },
    Case {
        name: "http: subsets are told apart by the label version, on both nodes",
        check: Check::Http(&HttpCase {
            services: "shop",
            older: &[destination_rule("{host: WEB, subsets: [{name: one, labels: {version: v1}}]}").named("one-WEB")],
            objects: &[
                // Of two rules of one host, the subsets of both count; a name that both have is the older one's.
                destination_rule(
                    "{host: WEB, subsets: [{name: one, labels: {version: v2}}, {name: three, labels: {version: v3}}]}",
                )
                .named("a-WEB"),
                virtual_service(
                    "
  hosts: [WEB]
  http:
    - {match: [{uri: {prefix: /one}}], route: [{destination: {host: WEB, subset: one}}]}
    - {match: [{uri: {prefix: /three}}], route: [{destination: {host: WEB, subset: three}}]}
    - {route: [{destination: {host: WEB}}]}",
                ),
            ],
            requests: &[
                load(&["--target=/one"], Only(&["v1"])),
                load(&["--target=/three"], Only(&["v3"])),
                load(&[], Only(&["v1", "v2", "v3"])),
            ],
        }),
    },
    Case {
        name: "http: a consistent hash keeps a key at its pod; settings of a port stand in the place of those of all",
        check: Check::Http(&HttpCase {
            services: "shop",
            older: &[],
            objects: &[destination_rule(
                "
  host: WEB
  trafficPolicy:
    loadBalancer: {consistentHash: {httpHeaderName: x-user}}
    portLevelSettings: [{port: {number: 8081}, loadBalancer: {simple: RANDOM}}]",
            )],
            requests: &[
                load(&["--field=x-user: user-2"], OnePod),
                load(&["--field=x-user: user-3"], OnePod),
                load(&["--field=x-user: user-4"], OnePod),
                load(&["--field=x-user: user-2", "--http2"], Only(&["v1", "v2", "v3"])).port(8081),
                // Without the key a request goes anywhere.
                load(&[], Only(&["v1", "v2", "v3"])),
            ],
        }),
    },
    Case {
        name: "http: an endpoint that only fails is ejected, where so many may be",
        check: Check::Http(&HttpCase {
            services: "shop",
            older: &[],
            objects: &[
                destination_rule(
                    "
  host: WEB
  trafficPolicy:
    outlierDetection: {consecutive5xxErrors: 3, interval: 0.2s, baseEjectionTime: 60s, maxEjectionPercent: 100}",
                ),
                // A tenth of three pods, which is the default, is nobody.
                destination_rule(
                    "{host: ALT, trafficPolicy: {outlierDetection: {consecutive5xxErrors: 3, interval: 0.2s, baseEjectionTime: 60s}}}",
                )
                .named("ALT"),
            ],
            requests: &[
                load(&["--target=/?status=500&only=v2"], Only(&["v1", "v3"])),
                load(&["--target=/?status=500&only=v2"], Only(&["v1", "v2", "v3"])).alt(),
            ],
        }),
    },
];
