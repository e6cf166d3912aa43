//! Which objects count for a client: by age, namespace, export, host and kind.

use super::case::{HttpCase, STRANGER, ask, destination_rule, http_route, sidecar, virtual_service};
use crate::harness::{Case, Check};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "http: of two public VirtualServices of one host the older one counts alone",
        check: Check::Http(&HttpCase {
            services: "shop",
            older: &[virtual_service(
                "{hosts: [WEB.shop.svc.cluster.local], http: [{match: [{uri: {prefix: /a}}], route: [{destination: {host: v2.shop.svc.cluster.local}}]}]}",
            )
            .of("store")],
            objects: &[virtual_service("{hosts: [WEB], http: [{route: [{destination: {host: v1}}]}]}").named("a-WEB")],
            requests: &[
                ask("/a").by("v2"),
                // It is not merged with the younger one.
                ask("/b").refused(404),
                ask("/a").from(STRANGER).by("v2"),
            ],
        }),
    },
    Case {
        name: "http: a client's own namespace goes first with what it exports to itself alone",
        check: Check::Http(&HttpCase {
            services: "shop",
            older: &[virtual_service(
                "{hosts: [WEB.shop.svc.cluster.local], http: [{route: [{destination: {host: v2.shop.svc.cluster.local}}]}]}",
            )
            .of("store")],
            objects: &[
                virtual_service("{hosts: [WEB], exportTo: ['.'], http: [{route: [{destination: {host: v1}}]}]}"),
                virtual_service("{hosts: [ALT], exportTo: [store], http: [{route: [{destination: {host: v3}}]}]}")
                    .named("ALT"),
            ],
            requests: &[
                ask("/").by("v1"),
                ask("/").from(STRANGER).by("v2"),
                ask("/").alt().from(STRANGER).by("v3"),
            ],
        }),
    },
    Case {
        name: "http: a VirtualService for a gateway alone is none of a pod's",
        check: Check::Http(&HttpCase {
            services: "shop",
            older: &[virtual_service(
                "{hosts: [WEB], gateways: [shop/edge], http: [{route: [{destination: {host: v2}}]}]}",
            )],
            objects: &[virtual_service(
                "{hosts: [WEB], gateways: [shop/edge, mesh], http: [{route: [{destination: {host: v3}}]}]}",
            )
            .named("both-WEB")],
            requests: &[ask("/").by("v3")],
        }),
    },
    Case {
        name: "http: an HTTPRoute of the client's namespace goes before the service's own, one of a third counts for nobody",
        check: Check::Http(&HttpCase {
            services: "store",
            older: &[http_route(
                "
  parentRefs: [{group: '', kind: Service, name: WEB, namespace: store}]
  rules: [{backendRefs: [{name: v3, namespace: shop, port: 80}]}]",
            )
            .of("third")],
            objects: &[
                http_route(
                    "
  parentRefs: [{group: '', kind: Service, name: WEB}]
  rules: [{matches: [{path: {value: /a}}], backendRefs: [{name: v2, namespace: shop, port: 80}]}]",
                )
                .of("store"),
                http_route(
                    "
  parentRefs: [{group: '', kind: Service, name: WEB, namespace: store}]
  rules: [{matches: [{path: {value: /b}}], backendRefs: [{name: v1, port: 80}]}]",
                ),
            ],
            requests: &[
                ask("/b").by("v1"),
                // The rules of both are not merged.
                ask("/a").refused(404),
                ask("/a").from(STRANGER).by("v2"),
                ask("/b").from(STRANGER).refused(404),
                ask("/").alt().by("s1"),
            ],
        }),
    },
    Case {
        name: "http: an HTTPRoute of a namespace that is neither the service's nor the client's does nothing",
        check: Check::Http(&HttpCase {
            services: "store",
            older: &[],
            objects: &[
                http_route(
                    "
  parentRefs: [{group: '', kind: Service, name: WEB, namespace: store}]
  rules: [{backendRefs: [{name: v3, namespace: shop, port: 80}]}]",
                )
                .of("third"),
                // Once this one counts, the other would.
                http_route(
                    "
  parentRefs: [{group: '', kind: Service, name: ALT, namespace: store}]
  rules: [{backendRefs: [{name: v3, port: 80}]}]",
                ),
            ],
            requests: &[ask("/").alt().by("v3"), ask("/").by("s1"), ask("/").from(STRANGER).by("s1")],
        }),
    },
    Case {
        name: "http: an exact host goes before a wildcard, also where it yields no rule",
        check: Check::Http(&HttpCase {
            services: "store",
            older: &[virtual_service(
                "{hosts: ['*.store.svc.cluster.local'], http: [{route: [{destination: {host: v2}}]}]}",
            )],
            objects: &[
                virtual_service(
                    "{hosts: [WEB.store.svc.cluster.local], http: [{match: [{sourceLabels: {app: nobody}}], route: [{destination: {host: v3}}]}]}",
                )
                .named("exact-WEB"),
                virtual_service(
                    "{hosts: [s1.store.svc.cluster.local], http: [{route: [{destination: {host: v3}}]}]}",
                )
                .named("exact-s1-WEB"),
            ],
            requests: &[ask("/").alt().by("v2"), ask("/").by("s1")],
        }),
    },
    Case {
        name: "http: short names of a VirtualService are those of its own namespace",
        check: Check::Http(&HttpCase {
            services: "store",
            older: &[],
            objects: &[virtual_service(
                "
  hosts: [WEB]
  http:
    - {match: [{uri: {prefix: /there}}], route: [{destination: {host: ALT}}], headers: {response: {set: {x-rule: there}}}}
    - {match: [{uri: {prefix: /nowhere}}], route: [{destination: {host: v1}}]}",
            )
            .of("store")],
            requests: &[
                ask("/there").is(200, Some("s1")).headers(&[("x-rule", Some("there"))]),
                ask("/nowhere").refused(503),
            ],
        }),
    },
    Case {
        name: "http: a VirtualService of two hosts counts for both, where a Sidecar imports one of them",
        check: Check::Http(&HttpCase {
            services: "shop",
            older: &[],
            objects: &[
                sidecar(
                    "
  workloadSelector: {labels: {app: client}}
  egress: [{hosts: [./WEB.shop.svc.cluster.local, ./v1.shop.svc.cluster.local]}]",
                ),
                virtual_service("{hosts: [WEB, ALT], http: [{route: [{destination: {host: v1}}]}]}"),
                virtual_service("{hosts: [v3], http: [{route: [{destination: {host: v2}}]}]}").named("unseen-WEB"),
            ],
            requests: &[
                ask("/").by("v1"),
                ask("/").alt().by("v1"),
                // What the Sidecar does not import counts for other pods alone.
                ask("/").to("v3").by("v3"),
                ask("/").to("v3").from(STRANGER).by("v2"),
            ],
        }),
    },
    Case {
        name: "http: a delegate's rules stand where the root names it, as far as the root's match lets them",
        check: Check::Http(&HttpCase {
            services: "shop",
            older: &[],
            objects: &[
                virtual_service(
                    "
  hosts: [WEB]
  http:
    - {match: [{uri: {prefix: /a}}], delegate: {name: part-WEB, namespace: store}, timeout: 0.3s}
    - {match: [{uri: {prefix: /c}}], delegate: {name: missing}}
    - {match: [{uri: {prefix: /d}}], route: [{destination: {host: v1}}]}",
                ),
                virtual_service(
                    "
  http:
    - {match: [{uri: {prefix: /b}}], route: [{destination: {host: v2.shop.svc.cluster.local}}]}
    - {match: [{uri: {prefix: /a/b}}], route: [{destination: {host: v3.shop.svc.cluster.local}}]}",
                )
                .named("part-WEB")
                .of("store"),
            ],
            requests: &[
                ask("/a/b").by("v3"),
                ask("/b").refused(404),
                // The root's time-out is the delegate's, too.
                ask("/a/b?delay_ms=5000").refused(504),
                ask("/c").refused(404),
                ask("/d").by("v1"),
            ],
        }),
    },
    Case {
        name: "http: the client's DestinationRule hides the service's, though that one's host is more exact",
        check: Check::Http(&HttpCase {
            services: "store",
            older: &[],
            objects: &[
                destination_rule(
                    "{host: WEB.store.svc.cluster.local, subsets: [{name: theirs, labels: {version: s1}}]}",
                )
                .of("store"),
                destination_rule(
                    "{host: '*.store.svc.cluster.local', subsets: [{name: ours, labels: {version: s1}}]}",
                ),
                virtual_service(
                    "
  hosts: [WEB.store.svc.cluster.local]
  http:
    - {match: [{uri: {prefix: /ours}}], route: [{destination: {host: WEB.store.svc.cluster.local, subset: ours}}]}
    - {match: [{uri: {prefix: /theirs}}], route: [{destination: {host: WEB.store.svc.cluster.local, subset: theirs}}]}",
                ),
            ],
            requests: &[
                ask("/ours").by("s1"),
                ask("/theirs").refused(503),
                ask("/ours").from(STRANGER).refused(503),
                ask("/theirs").from(STRANGER).by("s1"),
            ],
        }),
    },
    Case {
        name: "http: a DestinationRule that is exported to its own namespace alone is no other's",
        check: Check::Http(&HttpCase {
            services: "store",
            older: &[],
            objects: &[
                destination_rule("{host: WEB, exportTo: ['.'], subsets: [{name: mine, labels: {version: s1}}]}")
                    .of("store"),
                virtual_service("{hosts: [WEB], http: [{route: [{destination: {host: WEB, subset: mine}}]}]}")
                    .of("store"),
            ],
            requests: &[ask("/").from(STRANGER).by("s1"), ask("/").refused(503)],
        }),
    },
];
