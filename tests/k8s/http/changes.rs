//! What routes change on the way, and answers that no pod gives.

use super::case::{HttpCase, ask, http_route, virtual_service};
use crate::harness::{Case, Check};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "http: fields are changed by the rule and by its destination, which goes last",
        check: Check::Http(&HttpCase {
            services: "shop",
            older: &[],
            objects: &[virtual_service(
                "
  hosts: [WEB]
  http:
    - headers:
        request: {set: {x-set: rule, x-one: rule}, add: {x-add: rule}, remove: [x-gone]}
        response: {set: {x-back: rule}}
      route:
        - destination: {host: v2}
          headers:
            request: {set: {x-set: destination}}
            response: {add: {x-more: '1'}, remove: [x-hidden]}",
            )],
            requests: &[ask("/")
                .with(&["-Hx-set: client", "-Hx-add: client", "-Hx-gone: client", "-Hx-echo: field=x-hidden:1"])
                .by("v2")
                .received(&[
                    ("x-set", Some("destination")),
                    ("x-one", Some("rule")),
                    ("x-add", Some("client, rule")),
                    ("x-gone", None),
                ])
                .headers(&[("x-back", Some("rule")), ("x-more", Some("1")), ("x-hidden", None)])],
        }),
    },
    Case {
        name: "http: filters of an HTTPRoute change fields, for a rule and for one backend",
        check: Check::Http(&HttpCase {
            services: "shop",
            older: &[],
            objects: &[http_route(
                "
  parentRefs: [{group: '', kind: Service, name: WEB}]
  rules:
    - filters:
        - type: RequestHeaderModifier
          requestHeaderModifier: {set: [{name: x-set, value: rule}], add: [{name: x-add, value: rule}], remove: [x-gone]}
        - type: ResponseHeaderModifier
          responseHeaderModifier: {set: [{name: x-back, value: rule}], remove: [x-hidden]}
      backendRefs:
        - name: v1
          port: 80
          filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-backend, value: one}]}}]",
            )],
            requests: &[ask("/")
                .with(&["-Hx-set: client", "-Hx-add: client", "-Hx-gone: client", "-Hx-echo: field=x-hidden:1"])
                .by("v1")
                .received(&[
                    ("x-set", Some("rule")),
                    ("x-add", Some("client, rule")),
                    ("x-gone", None),
                    ("x-backend", Some("one")),
                ])
                .headers(&[("x-back", Some("rule")), ("x-hidden", None)])],
        }),
    },
    Case {
        name: "http: path and authority are rewritten",
        check: Check::Http(&HttpCase {
            services: "shop",
            older: &[],
            objects: &[
                virtual_service(
                    "
  hosts: [WEB]
  http:
    - {match: [{uri: {prefix: /old/}}], rewrite: {uri: /new/}, route: [{destination: {host: v1}}]}
    - {match: [{uri: {exact: /exact}}], rewrite: {uri: /whole}, route: [{destination: {host: v1}}]}
    - match: [{uri: {prefix: /regex}}]
      rewrite: {uriRegexRewrite: {match: '/regex/([a-z]+)/', rewrite: '/\\1-'}}
      route: [{destination: {host: v1}}]
    - {match: [{uri: {prefix: /host}}], rewrite: {authority: other.example}, route: [{destination: {host: v1}}]}
    - {match: [{uri: {prefix: /set}}], headers: {request: {set: {Host: set.example}}}, route: [{destination: {host: v1}}]}",
                ),
                http_route(
                    "
  parentRefs: [{group: '', kind: Service, name: ALT}]
  rules:
    - matches: [{path: {value: /old}}]
      filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}}]
      backendRefs: [{name: v2, port: 80}]
    - matches: [{path: {value: /strip}}]
      filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}]
      backendRefs: [{name: v2, port: 80}]
    - matches: [{path: {value: /full}}]
      filters: [{type: URLRewrite, urlRewrite: {hostname: other.example, path: {type: ReplaceFullPath, replaceFullPath: /one}}}]
      backendRefs: [{name: v2, port: 80}]",
                ),
            ],
            requests: &[
                ask("/old/a/b?q=1").by("v1").target("/new/a/b?q=1").host("WEB.shop.svc.cluster.local"),
                ask("/exact?q=/old/").by("v1").target("/whole?q=/old/"),
                ask("/regex/abc/1").by("v1").target("/abc-1"),
                ask("/host/x").by("v1").target("/host/x").host("other.example"),
                // To set Host is to rewrite the authority.
                ask("/set/x").by("v1").target("/set/x").host("set.example"),
                ask("/old/a?q=1").alt().by("v2").target("/new/a?q=1").host("ALT.shop.svc.cluster.local"),
                ask("/strip").alt().by("v2").target("/"),
                ask("/strip/a").alt().by("v2").target("/a"),
                ask("/full/a?q=1").alt().by("v2").target("/one?q=1").host("other.example"),
            ],
        }),
    },
    Case {
        name: "http: redirects carry the status and the location that the route says",
        check: Check::Http(&HttpCase {
            services: "shop",
            older: &[],
            objects: &[
                virtual_service(
                    "
  hosts: [WEB]
  http:
    - {match: [{uri: {prefix: /uri}}], redirect: {uri: /new, redirectCode: 308}}
    - {match: [{uri: {prefix: /authority}}], redirect: {authority: other.example, scheme: https}}
    - {match: [{uri: {prefix: /port}}], redirect: {port: 8443}}",
                ),
                http_route(
                    "
  parentRefs: [{group: '', kind: Service, name: ALT}]
  rules:
    - matches: [{path: {value: /host}}]
      filters: [{type: RequestRedirect, requestRedirect: {hostname: other.example}}]
    - matches: [{path: {value: /code}}]
      filters: [{type: RequestRedirect, requestRedirect: {statusCode: 301, path: {type: ReplaceFullPath, replaceFullPath: /one}}}]
    - matches: [{path: {value: /prefix}}]
      filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}}]
    - matches: [{path: {value: /scheme}}]
      filters: [{type: RequestRedirect, requestRedirect: {scheme: https}}]",
                ),
            ],
            requests: &[
                ask("/uri/a?q=1").refused(308).headers(&[("location", Some("http://WEB.shop.svc.cluster.local/new?q=1"))]),
                ask("/authority/a").refused(301).headers(&[("location", Some("https://other.example/authority/a"))]),
                ask("/port").refused(301).headers(&[("location", Some("http://WEB.shop.svc.cluster.local:8443/port"))]),
                ask("/host/a?q=1").alt().refused(302).headers(&[("location", Some("http://other.example/host/a?q=1"))]),
                ask("/code/a?q=1")
                    .alt()
                    .refused(301)
                    .headers(&[("location", Some("http://ALT.shop.svc.cluster.local/one?q=1"))]),
                ask("/prefix/a")
                    .alt()
                    .refused(302)
                    .headers(&[("location", Some("http://ALT.shop.svc.cluster.local/new/a"))]),
                ask("/scheme")
                    .alt()
                    .refused(302)
                    .headers(&[("location", Some("https://ALT.shop.svc.cluster.local/scheme"))]),
            ],
        }),
    },
    Case {
        name: "http: a direct response asks no pod",
        check: Check::Http(&HttpCase {
            services: "shop",
            older: &[],
            objects: &[virtual_service(
                "
  hosts: [WEB]
  http:
    - match: [{uri: {prefix: /teapot}}]
      directResponse: {status: 418, body: {string: short and stout}}
      headers: {response: {set: {x-kind: direct}}}
    - {route: [{destination: {host: v1}}]}",
            )],
            requests: &[
                ask("/teapot")
                    .refused(418)
                    .body("short and stout")
                    .headers(&[("x-kind", Some("direct")), ("content-type", Some("text/plain"))]),
                ask("/").by("v1"),
            ],
        }),
    },
    Case {
        name: "http: preflights of allowed origins are answered, and allowed origins told",
        check: Check::Http(&HttpCase {
            services: "shop",
            older: &[],
            objects: &[
                virtual_service(
                    "
  hosts: [WEB]
  http:
    - corsPolicy:
        allowOrigins: [{exact: 'https://good.example'}]
        allowMethods: [GET, PUT]
        allowHeaders: [x-one, x-two]
        exposeHeaders: [x-pod]
        maxAge: 60s
        allowCredentials: true
      route: [{destination: {host: v1}}]",
                ),
                http_route(
                    "
  parentRefs: [{group: '', kind: Service, name: ALT}]
  rules:
    - filters: [{type: CORS, cors: {allowOrigins: ['https://good.example'], allowMethods: [GET, PUT], maxAge: 60}}]
      backendRefs: [{name: v2, port: 80}]",
                ),
            ],
            requests: &[
                ask("/")
                    .with(&["-XOPTIONS", "-HOrigin: https://good.example", "-HAccess-Control-Request-Method: PUT"])
                    .refused(200)
                    .headers(&[
                        ("access-control-allow-origin", Some("https://good.example")),
                        ("access-control-allow-methods", Some("GET,PUT")),
                        ("access-control-allow-headers", Some("x-one,x-two")),
                        ("access-control-max-age", Some("60")),
                        ("access-control-allow-credentials", Some("true")),
                    ]),
                // One of another origin is the application's to answer.
                ask("/")
                    .with(&["-XOPTIONS", "-HOrigin: https://bad.example", "-HAccess-Control-Request-Method: PUT"])
                    .by("v1")
                    .headers(&[("access-control-allow-origin", None)]),
                ask("/").with(&["-HOrigin: https://good.example"]).by("v1").headers(&[
                    ("access-control-allow-origin", Some("https://good.example")),
                    ("access-control-expose-headers", Some("x-pod")),
                ]),
                ask("/")
                    .alt()
                    .with(&["-XOPTIONS", "-HOrigin: https://good.example", "-HAccess-Control-Request-Method: PUT"])
                    .refused(200)
                    .headers(&[("access-control-allow-origin", Some("https://good.example"))]),
                // The Gateway API has it answered here, without a word about origins.
                ask("/")
                    .alt()
                    .with(&["-XOPTIONS", "-HOrigin: https://bad.example", "-HAccess-Control-Request-Method: PUT"])
                    .refused(200)
                    .headers(&[("access-control-allow-origin", None)]),
            ],
        }),
    },
];
