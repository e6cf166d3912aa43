//! What is answered without a server, or made to fail on purpose.

use crate::answers::group::{Group, call, get, virtual_service};

pub(super) const ANSWERS: Group = Group {
    name: "answers",
    objects: &[virtual_service(
        "
  hosts: [NAME]
  http:
  - {match: [{uri: {exact: /_ready}}], route: [{destination: {host: v3}}], headers: {response: {set: {x-ready: 'yes'}}}}
  - {match: [{uri: {exact: /to}}], redirect: {uri: /new}}
  - {match: [{uri: {prefix: /302}}], redirect: {uri: /new, redirectCode: 302}}
  - {match: [{uri: {prefix: /303}}], redirect: {authority: other.example, redirectCode: 303}}
  - {match: [{uri: {prefix: /307}}], redirect: {scheme: https, redirectCode: 307}}
  - {match: [{uri: {prefix: /308}}], redirect: {uri: '/new?own=query', redirectCode: 308}}
  - {match: [{uri: {prefix: /port}}], redirect: {port: 8443}}
  - {match: [{uri: {prefix: /same}}], redirect: {derivePort: FROM_REQUEST_PORT, authority: other.example}}
  - {match: [{uri: {prefix: /default}}], redirect: {derivePort: FROM_PROTOCOL_DEFAULT, scheme: https}}
  - {match: [{uri: {prefix: /all}}], redirect: {scheme: https, authority: 'other.example', port: 444, uri: /new, redirectCode: 301}}
  - {match: [{uri: {prefix: /pfx/}}], redirect: {prefixRewrite: /other/}}
  - {match: [{uri: {prefix: /fields}}], redirect: {uri: /new}, headers: {response: {set: {x-set: by-rule}, remove: [location]}}}
  - {match: [{uri: {prefix: /teapot}}], directResponse: {status: 418, body: {string: short and stout}}}
  - {match: [{uri: {prefix: /empty}}], directResponse: {status: 204}}
  - {match: [{uri: {prefix: /bytes}}], directResponse: {status: 200, body: {bytes: aGVsbG8=}}}
  - {match: [{uri: {prefix: /busy}}], directResponse: {status: 503, body: {string: later}}, headers: {response: {set: {retry-after: '5'}, add: {x-add: a}}}}
  - {match: [{uri: {prefix: /kind}}], directResponse: {status: 200, body: {string: '{}'}}, headers: {response: {set: {content-type: application/json}}}}
  - {match: [{uri: {prefix: /400}}], directResponse: {status: 400, body: {string: a}}}
  - {match: [{uri: {prefix: /401}}], directResponse: {status: 401, body: {string: b}}}
  - {match: [{uri: {prefix: /403}}], directResponse: {status: 403, body: {string: c}}}
  - {match: [{uri: {prefix: /429}}], directResponse: {status: 429, body: {string: d}}}
  - {match: [{uri: {prefix: /500}}], directResponse: {status: 500, body: {string: e}}}",
    )],
    templates: &[
        get("/to"),
        get("/to?a=1"),
        get("/302/x?a=1"),
        get("/303/x?a=1"),
        get("/307/x"),
        get("/308/x?a=1"),
        get("/port/x"),
        get("/same/x"),
        get("/same/x").port(9000),
        get("/default/x"),
        get("/all"),
        get("/pfx/x?a=1"),
        get("/fields"),
        get("/teapot"),
        get("/teapot").method("POST").content("tea"),
        get("/empty"),
        get("/bytes"),
        get("/busy"),
        get("/kind"),
        get("/none"),
        call("/400").port(9000),
        call("/401").port(9000),
        call("/403").port(9000),
        call("/429").port(9000),
        call("/500").port(9000),
        call("/teapot").port(9000),
        call("/busy").port(9000),
        call("/none").port(9000),
        call("/to").port(9000),
        call("/400"),
    ],
};

pub(super) const FAULTS: Group = Group {
    name: "faults",
    objects: &[virtual_service(
        "
  hosts: [NAME]
  http:
  - {match: [{uri: {exact: /_ready}}], route: [{destination: {host: v3}}], headers: {response: {set: {x-ready: 'yes'}}}}
  - {match: [{uri: {prefix: /abort}}], fault: {abort: {httpStatus: 418, percentage: {value: 100}}}, route: [{destination: {host: v1}}]}
  - {match: [{uri: {prefix: /never}}], fault: {abort: {httpStatus: 418}, delay: {fixedDelay: 9s}}, route: [{destination: {host: v1}}]}
  - {match: [{uri: {prefix: /zero}}], fault: {abort: {httpStatus: 418, percentage: {value: 0}}}, route: [{destination: {host: v1}}]}
  - {match: [{uri: {prefix: /grpc}}], fault: {abort: {grpcStatus: RESOURCE_EXHAUSTED, percentage: {value: 100}}}, route: [{destination: {host: v1}}]}
  - match: [{uri: {prefix: /fields}}]
    fault: {abort: {httpStatus: 503, percentage: {value: 100}}}
    headers: {response: {set: {x-set: by-rule}}}
    retries: {attempts: 2, retryOn: '503'}
    route: [{destination: {host: v1}}]
  - {match: [{uri: {prefix: /delay}}], fault: {delay: {fixedDelay: 1.2s, percentage: {value: 100}}}, timeout: 0.5s, route: [{destination: {host: v1}}]}
  - match: [{uri: {prefix: /both}}]
    fault: {delay: {fixedDelay: 1.2s, percentage: {value: 100}}, abort: {httpStatus: 500, percentage: {value: 100}}}
    route: [{destination: {host: v2}}]",
    )],
    templates: &[
        get("/abort"),
        get("/abort").method("POST").content("content"),
        get("/never"),
        get("/zero"),
        get("/grpc"),
        get("/fields"),
        get("/delay").slow(),
        get("/both").slow(),
        call("/abort").port(9000),
        call("/grpc").port(9000),
        call("/fields").port(9000),
    ],
};

pub(super) const ORIGINS: Group = Group {
    name: "origins",
    objects: &[virtual_service(
        "
  hosts: [NAME]
  http:
  - {match: [{uri: {exact: /_ready}}], route: [{destination: {host: v3}}], headers: {response: {set: {x-ready: 'yes'}}}}
  - match: [{uri: {prefix: /exact}}]
    corsPolicy:
      allowOrigins: [{exact: 'https://shop.example'}]
      allowMethods: [GET, PUT]
      allowHeaders: [x-user, x-set]
      exposeHeaders: [x-pod, x-add]
      maxAge: 600s
      allowCredentials: true
    route: [{destination: {host: v1}}]
  - match: [{uri: {prefix: /some}}]
    corsPolicy: {allowOrigins: [{prefix: 'http://a'}, {regex: 'https://[a-z]+\\.example'}], allowMethods: [GET]}
    route: [{destination: {host: v2}}]
  - match: [{uri: {prefix: /ignore}}]
    corsPolicy: {allowOrigins: [{exact: 'https://shop.example'}], unmatchedPreflights: IGNORE}
    route: [{destination: {host: v3}}]
  - match: [{uri: {prefix: /forward}}]
    corsPolicy: {allowOrigins: [{exact: 'https://shop.example'}], unmatchedPreflights: FORWARD, allowCredentials: false}
    route: [{destination: {host: v3}}]
  - match: [{uri: {prefix: /aborted}}]
    corsPolicy: {allowOrigins: [{exact: 'https://shop.example'}]}
    fault: {abort: {httpStatus: 418, percentage: {value: 100}}}
    route: [{destination: {host: v3}}]
  - match: [{uri: {prefix: /moved}}]
    corsPolicy: {allowOrigins: [{exact: 'https://shop.example'}]}
    redirect: {uri: /new}
  - match: [{uri: {prefix: /removed}}]
    corsPolicy: {allowOrigins: [{exact: 'https://shop.example'}]}
    headers: {request: {remove: [origin]}}
    route: [{destination: {host: v3}}]
  - match: [{uri: {prefix: /any}}]
    corsPolicy: {allowOrigins: [{exact: '*'}], allowMethods: ['*']}
    route: [{destination: {host: v1}}]",
    )],
    templates: &[
        get("/exact"),
        get("/exact").with(&[("origin", "https://shop.example")]),
        get("/exact").with(&[("origin", "https://other.example")]),
        get("/exact")
            .method("OPTIONS")
            .with(&[("origin", "https://shop.example"), ("access-control-request-method", "PUT")]),
        get("/exact")
            .method("OPTIONS")
            .with(&[("origin", "https://evil.example"), ("access-control-request-method", "PUT")]),
        get("/exact").method("OPTIONS").with(&[("origin", "https://shop.example")]),
        get("/exact").method("OPTIONS").with(&[
            ("origin", "https://shop.example"),
            ("access-control-request-method", "GET"),
            ("access-control-request-headers", "x-user"),
        ]),
        get("/some").with(&[("origin", "http://a.test")]),
        get("/some")
            .method("OPTIONS")
            .with(&[("origin", "https://shop.example"), ("access-control-request-method", "GET")]),
        get("/ignore")
            .method("OPTIONS")
            .with(&[("origin", "https://evil.example"), ("access-control-request-method", "GET")]),
        get("/ignore")
            .method("OPTIONS")
            .with(&[("origin", "https://shop.example"), ("access-control-request-method", "GET")]),
        get("/forward")
            .method("OPTIONS")
            .with(&[("origin", "https://evil.example"), ("access-control-request-method", "GET")]),
        get("/forward").with(&[("origin", "https://shop.example")]),
        get("/any").with(&[("origin", "https://any.example")]),
        get("/exact").with(&[("origin", "https://shop.example")]).wishes("reset=before"),
        get("/aborted")
            .method("OPTIONS")
            .with(&[("origin", "https://shop.example"), ("access-control-request-method", "GET")]),
        get("/moved").with(&[("origin", "https://shop.example")]),
        get("/removed").with(&[("origin", "https://shop.example")]),
        get("/any").method("OPTIONS").with(&[("origin", "null"), ("access-control-request-method", "GET")]),
        get("/exact").with(&[("origin", "https://shop.example")]).wishes("field=access-control-allow-origin:own"),
    ],
};
