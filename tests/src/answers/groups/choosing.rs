//! Which destination answers: shares, subsets, and what is not there; copies of requests.

use crate::answers::group::{Group, call, destination_rule, get, virtual_service};

pub(super) const DESTINATIONS: Group = Group {
    name: "choose",
    objects: &[
        destination_rule(
            "
  host: NAME
  subsets:
  - {name: one, labels: {version: v1}}
  - {name: two, labels: {version: v2}}
  - {name: nobody, labels: {version: v9}}",
        ),
        virtual_service(
            "
  hosts: [NAME]
  http:
  - {match: [{uri: {exact: /_ready}}], route: [{destination: {host: NAME, subset: two}}], headers: {response: {set: {x-ready: 'yes'}}}}
  - {match: [{uri: {prefix: /one}}], route: [{destination: {host: NAME, subset: one}}]}
  - {match: [{uri: {prefix: /two}}], route: [{destination: {host: NAME, subset: two}, weight: 100}, {destination: {host: NAME, subset: one}, weight: 0}]}
  - {match: [{uri: {prefix: /zero}}], route: [{destination: {host: v3}, weight: 0}]}
  - {match: [{uri: {prefix: /last}}], route: [{destination: {host: v1}, weight: 0}, {destination: {host: v2}, weight: 0}, {destination: {host: v3}, weight: 1}]}
  - {match: [{uri: {prefix: /nobody}}], route: [{destination: {host: NAME, subset: nobody}}]}
  - {match: [{uri: {prefix: /unknown}}], route: [{destination: {host: NAME, subset: unknown}}]}
  - {match: [{uri: {prefix: /missing}}], route: [{destination: {host: missing}}]}
  - {match: [{uri: {prefix: /other}}], route: [{destination: {host: v2, port: {number: 9000}}}]}
  - {match: [{uri: {prefix: /noport}}], route: [{destination: {host: v2, port: {number: 81}}}]}
  - {match: [{uri: {prefix: /full}}], route: [{destination: {host: v1.answers.svc.cluster.local}}]}
  - {match: [{uri: {prefix: /empty}}], route: [{destination: {host: empty}}]}",
        ),
    ],
    templates: &[
        get("/one"),
        get("/two"),
        get("/two").method("POST").content("content"),
        get("/zero"),
        get("/last"),
        get("/nobody"),
        get("/unknown"),
        get("/missing"),
        get("/other"),
        get("/noport"),
        get("/full"),
        get("/empty"),
        call("/nobody").port(9000),
        call("/unknown").port(9000),
        call("/one").port(9000),
    ],
};

pub(super) const COPIES: Group = Group {
    name: "copies",
    objects: &[virtual_service(
        "
  hosts: [NAME]
  http:
  - {match: [{uri: {exact: /_ready}}], route: [{destination: {host: v3}}], headers: {response: {set: {x-ready: 'yes'}}}}
  - {match: [{uri: {prefix: /one}}], route: [{destination: {host: v1}}], mirror: {host: v3}}
  - {match: [{uri: {prefix: /all}}], route: [{destination: {host: v1}}], mirrors: [{destination: {host: v2}}, {destination: {host: v3}, percentage: {value: 100}}]}
  - {match: [{uri: {prefix: /off}}], route: [{destination: {host: v1}}], mirror: {host: v3}, mirrorPercentage: {value: 0}}
  - {match: [{uri: {prefix: /lost}}], route: [{destination: {host: v2}}], mirror: {host: missing}}
  - {match: [{uri: {prefix: /rewrite}}], route: [{destination: {host: v2}}], rewrite: {uri: /new}, mirror: {host: v3}}
  - {match: [{uri: {prefix: /redirect}}], redirect: {uri: /new}}",
    )],
    templates: &[
        get("/one"),
        get("/one").method("POST").content("twice"),
        get("/one").wishes("status=500&only=v3"),
        get("/all"),
        get("/off"),
        get("/lost"),
        get("/rewrite"),
        get("/redirect"),
    ],
};

pub(super) const PLAIN: Group = Group {
    name: "plain",
    objects: &[
        destination_rule(" {host: NAME, subsets: [{name: three, labels: {version: v3}}]}"),
        virtual_service(
            "
  hosts: [NAME]
  http:
  - {match: [{uri: {exact: /_ready}}], route: [{destination: {host: NAME, subset: three}}], headers: {response: {set: {x-ready: 'yes'}}}}
  - {route: [{destination: {host: NAME, subset: three}}]}",
        ),
    ],
    templates: &[
        get("/"),
        get("/a/b/c?d=e&f"),
        get("/").method("POST").content("content"),
        get("/").method("OPTIONS"),
        get("/").method("HEAD"),
        get("/").wishes("close=1"),
        get("/").wishes("status=500"),
        get("/").wishes("stream=3&pause_ms=1"),
        get("/").wishes("unread=1").method("POST").content("unread"),
        get("/").with(&[("accept", "text/html"), ("accept", "text/plain")]),
        call("/shop.Cart/Add").port(9000),
        call("/shop.Cart/Add").port(9000).wishes("grpc_status=3"),
    ],
};
