//! Which rule of a VirtualService a request takes.

use crate::answers::group::{Group, get, virtual_service};

pub(super) const VIRTUAL_SERVICE: Group = Group {
    name: "match",
    objects: &[virtual_service(
        "
  hosts: [NAME]
  http:
  - {match: [{uri: {exact: /_ready}}], route: [{destination: {host: v3}}], headers: {response: {set: {x-ready: 'yes'}}}}
  - {match: [{uri: {exact: /exact}}], route: [{destination: {host: v1}}]}
  - {match: [{uri: {prefix: /prefix/}}], route: [{destination: {host: v2}}]}
  - {match: [{uri: {prefix: /pre}}], route: [{destination: {host: v3}}]}
  - {match: [{uri: {regex: '/r[0-9]+(/.*)?'}}], route: [{destination: {host: v1}}]}
  - {match: [{uri: {prefix: /CASE}, ignoreUriCase: true}], route: [{destination: {host: v2}}]}
  - {match: [{uri: {exact: /Whole}, ignoreUriCase: true}], route: [{destination: {host: v3}}]}
  - {match: [{uri: {prefix: /method}, method: {exact: POST}}], route: [{destination: {host: v3}}]}
  - {match: [{uri: {prefix: /method}, method: {regex: 'P.*|DELETE'}}], route: [{destination: {host: v1}}]}
  - {match: [{uri: {prefix: /method}, method: {prefix: HE}}], route: [{destination: {host: v2}}]}
  - {match: [{uri: {prefix: /head}, headers: {x-user: {exact: eve}}}], route: [{destination: {host: v2}}]}
  - {match: [{uri: {prefix: /head}, headers: {x-user: {prefix: ad}}}], route: [{destination: {host: v3}}]}
  - {match: [{uri: {prefix: /head}, headers: {x-user: {regex: '[a-z]+[0-9]'}}}], route: [{destination: {host: v1}}]}
  - {match: [{uri: {prefix: /head}, headers: {x-there: {regex: '*'}, content-type: {prefix: text/}}}], route: [{destination: {host: v2}}]}
  - {match: [{uri: {prefix: /head}, headers: {x-there: {regex: '*'}}}], route: [{destination: {host: v1}}]}
  - {match: [{uri: {prefix: /without}, withoutHeaders: {x-user: {exact: eve}}}], route: [{destination: {host: v3}}]}
  - {match: [{uri: {prefix: /without}, withoutHeaders: {x-there: {}}}], route: [{destination: {host: v1}}]}
  - {match: [{uri: {prefix: /nothing}, withoutHeaders: {x-user: {regex: '.*'}}}], route: [{destination: {host: v2}}]}
  - {match: [{uri: {prefix: /query}, queryParams: {a: {exact: '1'}}}], route: [{destination: {host: v1}}]}
  - {match: [{uri: {prefix: /query}, queryParams: {b: {regex: '[x-z]+'}}}], route: [{destination: {host: v2}}]}
  - {match: [{uri: {prefix: /query}, queryParams: {c: {prefix: p}}}], route: [{destination: {host: v3}}]}
  - {match: [{uri: {prefix: /query}, queryParams: {d: {regex: '*'}}}], route: [{destination: {host: v1}}]}
  - {match: [{uri: {prefix: /authority}, authority: {exact: NAME.answers.svc.cluster.local}}], route: [{destination: {host: v1}}]}
  - {match: [{uri: {prefix: /authority}, authority: {prefix: 'NAME.'}}], route: [{destination: {host: v2}}]}
  - {match: [{uri: {prefix: /authority}, authority: {regex: '.*:[0-9]+'}}], route: [{destination: {host: v3}}]}
  - {match: [{uri: {prefix: /scheme}, scheme: {exact: https}}], route: [{destination: {host: v1}}]}
  - {match: [{uri: {prefix: /scheme}, scheme: {exact: http}}], route: [{destination: {host: v2}}]}
  - {match: [{uri: {prefix: /port}, port: 80}], route: [{destination: {host: v1}}]}
  - {match: [{uri: {prefix: /port}, port: 9000}], route: [{destination: {host: v2}}]}
  - {match: [{uri: {prefix: /labels}, sourceLabels: {app: client}}], route: [{destination: {host: v2}}]}
  - {match: [{uri: {prefix: /labels}, sourceLabels: {app: other}}], route: [{destination: {host: v3}}]}
  - match: [{uri: {prefix: /either}, method: {exact: PUT}}, {uri: {prefix: /either}, headers: {x-user: {exact: eve}}}]
    route: [{destination: {host: v1}}]",
    )],
    templates: &[
        get("/exact"),
        get("/exact?query=1"),
        get("/prefix/"),
        get("/prefix/a"),
        get("/prefix"),
        get("/pre"),
        get("/r42"),
        get("/r42/x"),
        get("/cAsE/x"),
        get("/WHOLE"),
        get("/method"),
        get("/method").method("POST").content("posted"),
        get("/method").method("DELETE"),
        get("/method").method("HEAD"),
        get("/head"),
        get("/head").with(&[("x-user", "eve")]),
        get("/head").with(&[("x-user", "adam")]),
        get("/head").with(&[("x-user", "bob7")]),
        get("/head").with(&[("x-there", "")]),
        get("/head").with(&[("x-there", "a"), ("content-type", "text/html")]),
        get("/head").with(&[("x-user", "eve"), ("x-user", "adam")]),
        get("/without"),
        get("/without").with(&[("x-user", "eve")]),
        get("/without").with(&[("x-user", "eve"), ("x-there", "a")]),
        get("/nothing"),
        get("/query"),
        get("/query?a=1"),
        get("/query?a=2&a=1"),
        get("/query?b=xyz&a=2"),
        get("/query?c=pq"),
        get("/query?d"),
        get("/query?d="),
        get("/query?A=1"),
        get("/query?a=%31"),
        get("/authority"),
        get("/scheme"),
        get("/port"),
        get("/port").port(9000),
        get("/labels"),
        get("/either").method("PUT").content("put"),
        get("/either").with(&[("x-user", "eve")]),
        get("/no-rule"),
        get("/"),
    ],
};
