//! What a rule of a VirtualService changes of requests and responses.

use crate::answers::group::{Group, get, virtual_service};

pub(super) const PATHS: Group = Group {
    name: "paths",
    objects: &[virtual_service(
        "
  hosts: [NAME]
  http:
  - {match: [{uri: {exact: /_ready}}], route: [{destination: {host: v3}}], headers: {response: {set: {x-ready: 'yes'}}}}
  - {match: [{uri: {exact: /exact}}], rewrite: {uri: /new}, route: [{destination: {host: v1}}]}
  - {match: [{uri: {prefix: /old/}}], rewrite: {uri: /}, route: [{destination: {host: v1}}]}
  - {match: [{uri: {prefix: /strip}}], rewrite: {uri: /}, route: [{destination: {host: v2}}]}
  - {match: [{uri: {prefix: /longer}}], rewrite: {uri: /much/longer/than}, route: [{destination: {host: v2}}]}
  - {match: [{uri: {regex: '/re/.*'}}], rewrite: {uri: /whole}, route: [{destination: {host: v3}}]}
  - match: [{uri: {prefix: /rx}}]
    rewrite: {uriRegexRewrite: {match: '^/rx/([^/]+)/(.*)$', rewrite: '/\\2/by/\\1'}}
    route: [{destination: {host: v1}}]
  - match: [{uri: {prefix: /each}}]
    rewrite: {uriRegexRewrite: {match: 'a', rewrite: 'bb'}}
    route: [{destination: {host: v1}}]
  - {match: [{uri: {prefix: /ICASE}, ignoreUriCase: true}], rewrite: {uri: /icase2}, route: [{destination: {host: v2}}]}
  - {match: [{uri: {prefix: /host}}], rewrite: {authority: other.example}, route: [{destination: {host: v2}}]}
  - {match: [{uri: {prefix: /hport}}], rewrite: {authority: 'other.example:8080', uri: /rewritten}, route: [{destination: {host: v3}}]}
  - {match: [{uri: {prefix: /set-host}}], headers: {request: {set: {host: set.example}}}, route: [{destination: {host: v3}}]}
  - {match: [{uri: {prefix: /pass}}], route: [{destination: {host: v3}}]}",
    )],
    templates: &[
        get("/exact"),
        get("/exact?a=1"),
        get("/old/"),
        get("/old/a/b?c=d"),
        get("/strip"),
        get("/strip/a"),
        get("/stripped"),
        get("/longer/a"),
        get("/re/x?y=z"),
        get("/rx/one/two"),
        get("/rx/one/two/three?q=/rx/a/b"),
        get("/rx/one"),
        get("/each/banana?banana"),
        get("/iCaSe/x"),
        get("/host"),
        get("/hport/x"),
        get("/set-host"),
        get("/pass").method("POST").content("content"),
    ],
};

pub(super) const FIELDS: Group = Group {
    name: "fields",
    objects: &[virtual_service(
        "
  hosts: [NAME]
  http:
  - {match: [{uri: {exact: /_ready}}], route: [{destination: {host: v3}}], headers: {response: {set: {x-ready: 'yes'}}}}
  - match: [{uri: {prefix: /change}}]
    headers:
      request: {set: {x-set: by-rule, X-Case: Kept}, add: {x-add: by-rule, x-user: more}, remove: [x-gone, X-There]}
      response: {set: {x-set: by-rule, content-type: text/changed}, add: {x-pod: also, x-add: by-rule}, remove: [x-request]}
    route: [{destination: {host: v1}}]
  - match: [{uri: {prefix: /format}}]
    headers:
      request:
        set:
          x-path: '%REQ(:path)%'
          x-method: 'm %REQ(:METHOD)% m'
          x-none: '%REQ(x-none)%'
          x-other: '%REQ(x-none?:authority)%'
          x-short: '%REQ(x-user):2%'
          x-protocol: '%PROTOCOL%'
          x-percent: '100%%'
      response:
        set: {x-code: '%RESPONSE_CODE%', x-kind: '%RESP(content-type)%', x-asked: '%REQ(:path)%'}
    route: [{destination: {host: v2}}]
  - match: [{uri: {prefix: /levels}}]
    headers: {request: {set: {x-set: rule}, add: {x-add: rule}}, response: {add: {x-add: rule}}}
    route:
    - destination: {host: v3}
      headers: {request: {set: {x-set: destination}, add: {x-add: destination}}, response: {add: {x-add: destination}, set: {x-set: destination}}}
  - match: [{uri: {prefix: /shares}}]
    headers: {request: {set: {x-set: rule}, add: {x-add: rule}}, response: {set: {x-set: rule}}}
    route:
    - destination: {host: v1}
      weight: 100
      headers: {request: {set: {x-set: destination}, add: {x-add: destination}, remove: [x-gone]}, response: {set: {x-set: destination}, remove: [x-request]}}
    - {destination: {host: v2}, weight: 0}
  - match: [{uri: {prefix: /own}}]
    headers: {request: {set: {user-agent: routed, x-forwarded-proto: https, accept: ''}, remove: [accept-encoding, cookie]}}
    route: [{destination: {host: v3}}]
  - {match: [{uri: {prefix: /asis}}], route: [{destination: {host: v1}}]}",
    )],
    templates: &[
        get("/change"),
        get("/change").with(&[("x-set", "sent"), ("x-add", "sent"), ("x-gone", "sent"), ("x-user", "eve")]),
        get("/change").with(&[("x-gone", "a"), ("x-gone", "b"), ("x-there", "c")]),
        get("/format?a=1"),
        get("/format").with(&[("x-user", "adam")]),
        get("/format").method("POST").content("content").wishes("status=404"),
        get("/levels").with(&[("x-set", "sent"), ("x-add", "sent")]),
        get("/shares").with(&[("x-set", "sent"), ("x-add", "sent"), ("x-gone", "sent")]),
        get("/own").with(&[("user-agent", "sent"), ("cookie", "a=b"), ("accept", "text/plain")]),
        get("/asis").with(&[("x-a", "1"), ("X-B", "2"), ("x-a", "3")]),
        get("/asis").wishes("field=server:own&field=x-two:1&field=x-two:2"),
        get("/asis").wishes("field=connection:x-two&field=x-two:1"),
        get("/asis").wishes("status=204"),
        get("/asis").wishes("status=304"),
        get("/asis").wishes("size=5000"),
        get("/asis").wishes("interim=103"),
        get("/asis").wishes("trailers=1"),
        get("/asis").wishes("reset=midway"),
    ],
};
