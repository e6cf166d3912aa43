//! Which requests a rule is for.

use super::case::Expected::Only;
use super::case::{HttpCase, STRANGER, ask, grpc_route, http_route, load, virtual_service};
use crate::harness::{Case, Check};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "http: a VirtualService matches path, method, headers and query",
        check: Check::Http(&HttpCase {
            services: "shop",
            older: &[],
            objects: &[virtual_service(
                "
  hosts: [WEB]
  http:
    - {match: [{uri: {exact: /exact}}], route: [{destination: {host: v1}}]}
    - {match: [{uri: {regex: '/r[0-9]+'}}], route: [{destination: {host: v2}}]}
    - {match: [{uri: {prefix: /CASE}, ignoreUriCase: true}], route: [{destination: {host: v3}}]}
    - {match: [{uri: {prefix: /method}, method: {exact: POST}}], route: [{destination: {host: v1}}]}
    - {match: [{uri: {prefix: /head}, headers: {x-user: {exact: eve}, x-team: {prefix: b}}}], route: [{destination: {host: v2}}]}
    - {match: [{uri: {prefix: /query}, queryParams: {a: {exact: '1'}, b: {regex: '[x-z]+'}}}], route: [{destination: {host: v3}}]}
    - match: [{uri: {prefix: /either}, method: {exact: PUT}}, {uri: {prefix: /either}, headers: {x-user: {exact: eve}}}]
      route: [{destination: {host: v1}}]",
            )],
            requests: &[
                ask("/exact?query").by("v1"),
                ask("/exact/").refused(404),
                ask("/r42").by("v2"),
                ask("/r42/").refused(404),
                ask("/cAsE/x").by("v3"),
                ask("/method").with(&["-XPOST"]).by("v1"),
                ask("/method").refused(404),
                ask("/head").with(&["-HX-User: eve", "-Hx-team: blue"]).by("v2"),
                ask("/head").with(&["-Hx-user: eve"]).refused(404),
                ask("/query?b=xyz&a=1").by("v3"),
                ask("/query?a=2&b=x").refused(404),
                ask("/either").with(&["-XPUT"]).by("v1"),
                ask("/either").with(&["-Hx-user: eve"]).by("v1"),
                ask("/either").refused(404),
            ],
        }),
    },
    Case {
        name: "http: a prefix is one of text in a VirtualService, and one of segments in an HTTPRoute",
        check: Check::Http(&HttpCase {
            services: "shop",
            older: &[],
            objects: &[
                virtual_service(
                    "{hosts: [WEB], http: [{match: [{uri: {prefix: /api}}], route: [{destination: {host: v1}}]}]}",
                ),
                http_route(
                    "
  parentRefs: [{group: '', kind: Service, name: ALT}]
  rules: [{matches: [{path: {type: PathPrefix, value: /api}}], backendRefs: [{name: v2, port: 80}]}]",
                ),
            ],
            requests: &[
                ask("/api/x").by("v1"),
                ask("/apix").by("v1"),
                ask("/api/x").alt().by("v2"),
                ask("/api").alt().by("v2"),
                ask("/apix").alt().refused(404),
            ],
        }),
    },
    Case {
        name: "http: a VirtualService's rules count in their order, an HTTPRoute's by how exact they are",
        check: Check::Http(&HttpCase {
            services: "shop",
            older: &[],
            objects: &[
                virtual_service(
                    "
  hosts: [WEB]
  http:
    - {match: [{uri: {prefix: /}}], route: [{destination: {host: v1}}]}
    - {match: [{uri: {exact: /x}}], route: [{destination: {host: v2}}]}",
                ),
                http_route(
                    "
  parentRefs: [{group: '', kind: Service, name: ALT}]
  rules:
    - {matches: [{path: {value: /}}], backendRefs: [{name: v1, port: 80}]}
    - {matches: [{path: {value: /x}}], backendRefs: [{name: v2, port: 80}]}
    - {matches: [{path: {type: Exact, value: /x}}], backendRefs: [{name: v3, port: 80}]}
    - {matches: [{path: {value: /x}, method: POST}], backendRefs: [{name: v1, port: 80}]}",
                ),
            ],
            requests: &[
                ask("/x").by("v1"),
                ask("/y").by("v1"),
                ask("/x").alt().by("v3"),
                ask("/x/y").alt().by("v2"),
                ask("/x/y").with(&["-XPOST"]).alt().by("v1"),
                ask("/y").alt().by("v1"),
            ],
        }),
    },
    Case {
        name: "http: a header can be asked to be there, or not to have a value",
        check: Check::Http(&HttpCase {
            services: "shop",
            older: &[],
            objects: &[virtual_service(
                "
  hosts: [WEB]
  http:
    - {match: [{headers: {x-there: {regex: '*'}}}], route: [{destination: {host: v1}}]}
    - {match: [{withoutHeaders: {x-user: {exact: eve}}}], route: [{destination: {host: v2}}]}",
            )],
            requests: &[
                ask("/").with(&["-Hx-there: anything", "-Hx-user: eve"]).by("v1"),
                ask("/").by("v2"),
                ask("/").with(&["-Hx-user: adam"]).by("v2"),
                ask("/").with(&["-Hx-user: eve"]).refused(404),
            ],
        }),
    },
    Case {
        name: "http: matches by port, labels of the source and gateways are decided for each pod",
        check: Check::Http(&HttpCase {
            services: "shop",
            older: &[],
            objects: &[virtual_service(
                "
  hosts: [WEB]
  http:
    - {match: [{port: 8082}], route: [{destination: {host: v3, port: {number: 80}}}]}
    - {match: [{uri: {prefix: /mine}, sourceLabels: {app: client}}], route: [{destination: {host: v1}}]}
    - {match: [{uri: {prefix: /namespace}, sourceNamespace: store}], route: [{destination: {host: v2}}]}
    - {match: [{uri: {prefix: /mesh}, gateways: [mesh], sourceLabels: {app: another}}], route: [{destination: {host: v2}}]}
    - {match: [{uri: {prefix: /gateway}, gateways: [edge]}], route: [{destination: {host: v1}}]}",
            )],
            requests: &[
                ask("/mine").by("v1"),
                ask("/mine").from(STRANGER).refused(404),
                ask("/namespace").refused(404),
                ask("/namespace").from(STRANGER).by("v2"),
                // A match that names gateways does not ask for labels.
                ask("/mesh").by("v2"),
                ask("/gateway").refused(404),
                // The port declares nothing; that a route names it makes it one of HTTP.
                ask("/any").port(8082).by("v3"),
            ],
        }),
    },
    Case {
        name: "http: the address that was dialled says which service it is, whatever Host says",
        check: Check::Http(&HttpCase {
            services: "shop",
            older: &[],
            objects: &[
                virtual_service(
                    "
  hosts: [WEB]
  http:
    - {match: [{authority: {exact: a.example}}], route: [{destination: {host: v2}}]}
    - {match: [{authority: {exact: 'a.example:9999'}}], route: [{destination: {host: v3}}]}
    - {route: [{destination: {host: v1}}]}",
                ),
                virtual_service("{hosts: [ALT], http: [{route: [{destination: {host: v3}}]}]}").named("ALT"),
            ],
            requests: &[
                ask("/").by("v1"),
                ask("/").with(&["-HHost: ALT.shop.svc.cluster.local"]).by("v1"),
                ask("/").with(&["-HHost: a.example"]).by("v2"),
                // It is compared as it was sent, with its port.
                ask("/").with(&["-HHost: a.example:9999"]).by("v3"),
                ask("/").with(&["-HHost: A.example"]).by("v1"),
                ask("/").alt().with(&["-HHost: WEB.shop.svc.cluster.local"]).by("v3"),
                // A port that declares nothing is no other.
                ask("/").port(8082).with(&["-HHost: ALT.shop.svc.cluster.local"]).by("v1"),
            ],
        }),
    },
    Case {
        name: "http: a GRPCRoute matches services and methods, and is merged with an HTTPRoute of the same Service",
        check: Check::Http(&HttpCase {
            services: "shop",
            older: &[],
            objects: &[
                grpc_route(
                    "
  parentRefs: [{group: '', kind: Service, name: WEB}]
  rules:
    - {matches: [{method: {service: shop.Cart, method: Add}}], backendRefs: [{name: v1, port: 9000}]}
    - {matches: [{method: {service: shop.Cart}}], backendRefs: [{name: v2, port: 9000}]}",
                ),
                http_route(
                    "
  parentRefs: [{group: '', kind: Service, name: WEB}]
  rules: [{matches: [{path: {value: /page}}], backendRefs: [{name: v3, port: 80}]}]",
                ),
            ],
            requests: &[
                ask("/shop.Cart/Add").by("v1"),
                ask("/shop.Cart/Remove").by("v2"),
                ask("/shop.Cart2/Add").refused(404),
                ask("/page/1").by("v3"),
                ask("/shop.Cart/Add").port(9000).with(&["--http2-prior-knowledge"]).by("v1"),
            ],
        }),
    },
    Case {
        name: "http: HTTPRoutes of one Service are one list, and one for a port is none of the others",
        check: Check::Http(&HttpCase {
            services: "shop",
            older: &[http_route(
                "
  parentRefs: [{group: '', kind: Service, name: WEB}]
  rules:
    - {matches: [{path: {value: /both}}], backendRefs: [{name: v1, port: 80}]}
    - {matches: [{path: {value: /a}}], backendRefs: [{name: v1, port: 80}]}",
            )
            .named("older-WEB")],
            objects: &[
                http_route(
                    "
  parentRefs: [{group: '', kind: Service, name: WEB}]
  rules:
    - {matches: [{path: {value: /both}}], backendRefs: [{name: v2, port: 80}]}
    - {matches: [{path: {value: /b}}], backendRefs: [{name: v2, port: 80}]}",
                )
                .named("a-WEB"),
                http_route(
                    "{parentRefs: [{group: '', kind: Service, name: ALT, port: 80}], rules: [{backendRefs: [{name: v3, port: 80}]}]}",
                )
                .named("ALT"),
            ],
            requests: &[
                ask("/a").by("v1"),
                ask("/b").by("v2"),
                // Of equal matches the older object's counts.
                ask("/both").by("v1"),
                ask("/c").refused(404),
                ask("/").alt().by("v3"),
                load(&["--http2"], Only(&["v1", "v2", "v3"])).alt().port(8081),
            ],
        }),
    },
];
