//! What happens when an upstream is slow or fails, and what is made to fail on purpose.

use super::case::Expected::Shares;
use super::case::{HttpCase, arrived, ask, http_route, load, virtual_service};
use crate::harness::{Case, Check};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "http: retries ask as often as the policy says; without one a 503 of the application is the answer",
        check: Check::Http(&HttpCase {
            services: "shop",
            older: &[],
            objects: &[virtual_service(
                "
  hosts: [WEB]
  http:
    - match: [{uri: {prefix: /policy}}]
      retries: {attempts: 3, retryOn: '503,connect-failure'}
      route: [{destination: {host: v1}}]
    - {match: [{uri: {prefix: /off}}], retries: {attempts: 0, retryOn: '503'}, route: [{destination: {host: v1}}]}
    - {route: [{destination: {host: v1}}]}",
            )],
            requests: &[
                ask("/policy?key=succeeds-PASS&fail_first=2").by("v1"),
                arrived("/_count?key=succeeds-PASS", "{\"count\":3}"),
                ask("/policy?key=exhausted-PASS&status=503").is(503, Some("v1")),
                arrived("/_count?key=exhausted-PASS", "{\"count\":4}"),
                // A status that the policy does not name.
                ask("/policy?key=other-PASS&status=500").is(500, Some("v1")),
                arrived("/_count?key=other-PASS", "{\"count\":1}"),
                ask("/off?key=off-PASS&status=503").is(503, Some("v1")),
                arrived("/_count?key=off-PASS", "{\"count\":1}"),
                ask("/?key=none-PASS&status=503").is(503, Some("v1")),
                arrived("/_count?key=none-PASS", "{\"count\":1}"),
            ],
        }),
    },
    Case {
        name: "http: a slow upstream is answered 504 when the time-out is over, an HTTPRoute's backend time-out is one",
        check: Check::Http(&HttpCase {
            services: "shop",
            older: &[],
            objects: &[
                virtual_service(
                    "
  hosts: [WEB]
  http:
    - {match: [{uri: {prefix: /limited}}], timeout: 0.3s, route: [{destination: {host: v2}}]}
    - match: [{uri: {prefix: /try}}]
      retries: {attempts: 2, perTryTimeout: 0.3s, retryOn: gateway-error}
      timeout: 8s
      route: [{destination: {host: v2}}]
    - {route: [{destination: {host: v2}}]}",
                ),
                http_route(
                    "
  parentRefs: [{group: '', kind: Service, name: ALT}]
  rules:
    - {matches: [{path: {value: /request}}], timeouts: {request: 300ms}, backendRefs: [{name: v2, port: 80}]}
    - matches: [{path: {value: /backend}}]
      timeouts: {request: 8s, backendRequest: 300ms}
      backendRefs: [{name: v2, port: 80}]",
                ),
            ],
            requests: &[
                ask("/limited?delay_ms=5000").refused(504).body("upstream request timeout").takes(300, 5000),
                ask("/limited").by("v2"),
                ask("/try?key=try-PASS&delay_ms=5000").refused(504).takes(900, 5000),
                arrived("/_count?key=try-PASS", "{\"count\":3}"),
                // Without a time-out there is none.
                ask("/?delay_ms=1000").by("v2").takes(1000, u32::MAX),
                ask("/request?delay_ms=5000").alt().refused(504).takes(300, 5000),
                ask("/backend?delay_ms=5000").alt().refused(504).takes(300, 5000),
            ],
        }),
    },
    Case {
        name: "http: faults delay and abort the share that they say, and nothing where they say none",
        check: Check::Http(&HttpCase {
            services: "shop",
            older: &[],
            objects: &[virtual_service(
                "
  hosts: [WEB]
  http:
    - match: [{uri: {prefix: /abort}}]
      fault: {abort: {httpStatus: 418, percentage: {value: 100}}}
      route: [{destination: {host: v1}}]
    - match: [{uri: {prefix: /grpc}}]
      fault: {abort: {grpcStatus: UNAVAILABLE, percentage: {value: 100}}}
      route: [{destination: {host: v1}}]
    - match: [{uri: {prefix: /half}}]
      fault: {abort: {httpStatus: 418, percentage: {value: 50}}}
      route: [{destination: {host: v1}}]
    - match: [{uri: {prefix: /delay}}]
      fault: {delay: {fixedDelay: 0.6s, percentage: {value: 100}}}
      timeout: 0.5s
      route: [{destination: {host: v1}}]
    - match: [{uri: {prefix: /never}}]
      fault: {abort: {httpStatus: 418}, delay: {fixedDelay: 9s}}
      route: [{destination: {host: v1}}]",
            )],
            requests: &[
                ask("/abort").refused(418).body("fault filter abort"),
                ask("/grpc")
                    .port(9000)
                    .with(&["--http2-prior-knowledge", "-XPOST", "-Hcontent-type: application/grpc"])
                    .refused(200)
                    .headers(&[("grpc-status", Some("14"))]),
                ask("/never").by("v1").takes(0, 8000),
                load(&["--target=/half"], Shares(&[("418", 50), ("v1", 50)])),
                // The time-out begins after the delay.
                ask("/delay").by("v1").takes(600, u32::MAX),
            ],
        }),
    },
    Case {
        name: "http: a mirror gets every request, and its answers go nowhere",
        check: Check::Http(&HttpCase {
            services: "shop",
            older: &[],
            objects: &[
                virtual_service(
                    "
  hosts: [WEB]
  http:
    - {match: [{uri: {exact: /_count}}], route: [{destination: {host: v3}}]}
    - {route: [{destination: {host: v1}}], mirror: {host: v3}}",
                ),
                http_route(
                    "
  parentRefs: [{group: '', kind: Service, name: ALT}]
  rules:
    - {matches: [{path: {type: Exact, value: /_count}}], backendRefs: [{name: v3, port: 80}]}
    - filters: [{type: RequestMirror, requestMirror: {backendRef: {name: v3, port: 80}}}]
      backendRefs: [{name: v2, port: 80}]",
                ),
            ],
            requests: &[
                ask("/?key=mirror-PASS").with(&["--data-binary", "twice"]).by("v1"),
                ask("/?key=mirror-PASS&status=500&only=v3").by("v1"),
                ask("/?key=gateway-PASS").alt().by("v2"),
                // Copies arrive when they do: while these take half a second, they have.
                ask("/?delay_ms=500").by("v1"),
                arrived("/_count?key=mirror-PASS", "{\"count\":2}"),
                arrived("/_count?key=gateway-PASS", "{\"count\":1}").alt(),
            ],
        }),
    },
];
