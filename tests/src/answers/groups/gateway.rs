//! Routes of the Gateway API.

use crate::answers::group::{Group, call, get, grpc_route, http_route};

pub(super) const MATCHES: Group = Group {
    name: "segments",
    objects: &[http_route(
        "
  parentRefs: [{group: '', kind: Service, name: NAME, port: 80}]
  rules:
  - matches: [{path: {type: Exact, value: /_ready}}]
    filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-ready, value: 'yes'}]}}]
    backendRefs: [{name: v3, port: 80}]
  - {matches: [{path: {type: PathPrefix, value: /api}}], backendRefs: [{name: v1, port: 80}]}
  - {matches: [{path: {type: PathPrefix, value: /api/v2/}}], backendRefs: [{name: v2, port: 80}]}
  - {matches: [{path: {type: Exact, value: /api/v2}}], backendRefs: [{name: v3, port: 80}]}
  - {matches: [{path: {type: RegularExpression, value: '/r[0-9]+'}}], backendRefs: [{name: v1, port: 80}]}
  - {matches: [{path: {value: /head}, headers: [{name: x-user, value: eve}]}], backendRefs: [{name: v2, port: 80}]}
  - {matches: [{path: {value: /head}, headers: [{name: X-User, type: RegularExpression, value: '[a-z]+[0-9]'}]}], backendRefs: [{name: v3, port: 80}]}
  - {matches: [{path: {value: /head}}], backendRefs: [{name: v1, port: 80}]}
  - {matches: [{path: {value: /query}, queryParams: [{name: a, value: '1'}]}], backendRefs: [{name: v2, port: 80}]}
  - {matches: [{path: {value: /query}, queryParams: [{name: b, type: RegularExpression, value: '[x-z]+'}]}], backendRefs: [{name: v3, port: 80}]}
  - {matches: [{path: {value: /method}, method: POST}, {path: {value: /method}, method: PUT}], backendRefs: [{name: v1, port: 80}]}
  - {matches: [{path: {value: /shares}}], backendRefs: [{name: v1, port: 80, weight: 0}, {name: v2, port: 80, weight: 1}]}
  - {matches: [{path: {value: /nobody}}], backendRefs: [{name: v1, port: 80, weight: 0}]}
  - {matches: [{path: {value: /missing}}], backendRefs: [{name: missing, port: 80}]}
  - {matches: [{path: {value: /noport}}], backendRefs: [{name: v1, port: 81}]}",
    )],
    templates: &[
        get("/api"),
        get("/api/"),
        get("/api/x"),
        get("/apix"),
        get("/api/v2"),
        get("/api/v2/x"),
        get("/r42"),
        get("/head").with(&[("x-user", "eve")]),
        get("/head").with(&[("x-user", "bob7")]),
        get("/head"),
        get("/query?a=1"),
        get("/query?b=xyz"),
        get("/query"),
        get("/method").method("POST").content("content"),
        get("/method"),
        get("/shares"),
        get("/nobody"),
        get("/missing"),
        get("/noport"),
    ],
};

pub(super) const FILTERS: Group = Group {
    name: "filters",
    objects: &[http_route(
        "
  parentRefs: [{group: '', kind: Service, name: NAME, port: 80}]
  rules:
  - matches: [{path: {type: Exact, value: /_ready}}]
    filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-ready, value: 'yes'}]}}]
    backendRefs: [{name: v3, port: 80}]
  - matches: [{path: {value: /change}}]
    filters:
    - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-set, value: by-rule}], add: [{name: x-add, value: by-rule}], remove: [x-gone]}}
    - {type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-set, value: by-rule}], add: [{name: x-add, value: by-rule}], remove: [x-request]}}
    backendRefs: [{name: v1, port: 80}]
  - matches: [{path: {value: /backend}}]
    backendRefs:
    - name: v2
      port: 80
      filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-set, value: by-backend}]}}]
  - matches: [{path: {value: /old}}]
    filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}}]
    backendRefs: [{name: v1, port: 80}]
  - matches: [{path: {value: /strip}}]
    filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}]
    backendRefs: [{name: v1, port: 80}]
  - matches: [{path: {value: /full}}]
    filters: [{type: URLRewrite, urlRewrite: {hostname: other.example, path: {type: ReplaceFullPath, replaceFullPath: /whole}}}]
    backendRefs: [{name: v2, port: 80}]
  - matches: [{path: {value: /to}}]
    filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplaceFullPath, replaceFullPath: /new}, statusCode: 301}}]
  - matches: [{path: {value: /prefix}}]
    filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}}]
  - matches: [{path: {value: /secure}}]
    filters: [{type: RequestRedirect, requestRedirect: {scheme: https, statusCode: 308}}]
  - matches: [{path: {value: /port}}]
    filters: [{type: RequestRedirect, requestRedirect: {port: 8080, hostname: other.example, statusCode: 307}}]
  - matches: [{path: {value: /copy}}]
    filters: [{type: RequestMirror, requestMirror: {backendRef: {name: v3, port: 80}}}]
    backendRefs: [{name: v1, port: 80}]
  - matches: [{path: {value: /some}}]
    filters: [{type: RequestMirror, requestMirror: {backendRef: {name: v3, port: 80}, percent: 0}}]
    backendRefs: [{name: v1, port: 80}]
  - matches: [{path: {value: /origin}}]
    filters:
    - type: CORS
      cors: {allowOrigins: ['https://shop.example'], allowMethods: [GET, PUT], allowHeaders: [x-user], exposeHeaders: [x-pod], maxAge: 60, allowCredentials: true}
    backendRefs: [{name: v1, port: 80}]
  - {matches: [{path: {value: /limited}}], timeouts: {request: 200ms}, backendRefs: [{name: v2, port: 80}]}
  - {matches: [{path: {value: /late}}], timeouts: {request: 5s, backendRequest: 200ms}, backendRefs: [{name: v2, port: 80}]}
  - {matches: [{path: {value: /unlimited}}], timeouts: {request: 0s}, backendRefs: [{name: v2, port: 80}]}",
    )],
    templates: &[
        get("/change").with(&[("x-set", "sent"), ("x-add", "sent"), ("x-gone", "sent")]),
        get("/backend").with(&[("x-set", "sent")]),
        get("/old"),
        get("/old/"),
        get("/old/x?a=1"),
        get("/older"),
        get("/strip"),
        get("/strip/x"),
        get("/strip//x"),
        get("/full/x?a=1"),
        get("/to/x?a=1"),
        get("/prefix/x?a=1"),
        get("/prefix"),
        get("/secure/x"),
        get("/port/x"),
        get("/copy").method("POST").content("twice"),
        get("/some"),
        get("/origin").with(&[("origin", "https://shop.example")]),
        get("/origin").method("OPTIONS").with(&[("origin", "https://shop.example"), ("access-control-request-method", "PUT")]),
        get("/origin").method("OPTIONS").with(&[("origin", "https://evil.example"), ("access-control-request-method", "PUT")]),
        get("/limited").wishes("delay_ms=3000"),
        get("/late").wishes("delay_ms=3000"),
        get("/unlimited").wishes("delay_ms=1000").slow(),
    ],
};

pub(super) const CALLS: Group = Group {
    name: "calls",
    objects: &[
        http_route(
            "
  parentRefs: [{group: '', kind: Service, name: NAME, port: 80}]
  rules:
  - matches: [{path: {type: Exact, value: /_ready}}]
    filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-ready, value: 'yes'}]}}]
    backendRefs: [{name: v3, port: 80}]",
        ),
        grpc_route(
            "
  parentRefs: [{group: '', kind: Service, name: NAME, port: 9000}]
  rules:
  - {matches: [{method: {service: shop.Cart, method: Add}}], backendRefs: [{name: v1, port: 9000}]}
  - {matches: [{method: {service: shop.Cart}}], backendRefs: [{name: v2, port: 9000}]}
  - {matches: [{method: {method: List}}], backendRefs: [{name: v3, port: 9000}]}
  - {matches: [{headers: [{name: x-user, value: eve}]}], backendRefs: [{name: v1, port: 9000}]}
  - {matches: [{method: {service: shop.Lost}}], backendRefs: [{name: missing, port: 9000}]}",
        ),
    ],
    templates: &[
        call("/shop.Cart/Add").port(9000),
        call("/shop.Cart/Remove").port(9000),
        call("/shop.Cart2/Add").port(9000),
        call("/shop.Any/List").port(9000),
        call("/shop.Any/Other").port(9000),
        call("/shop.Any/Other").port(9000).with(&[("x-user", "eve")]),
        call("/shop.Lost/Any").port(9000),
        call("/shop.Cart/Add").port(9000).wishes("grpc_status=14"),
    ],
};
