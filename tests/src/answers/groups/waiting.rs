//! Time-outs and second attempts.

use crate::answers::group::{Group, call, get, virtual_service};

pub(super) const TIMES: Group = Group {
    name: "times",
    objects: &[virtual_service(
        "
  hosts: [NAME]
  http:
  - {match: [{uri: {exact: /_ready}}], route: [{destination: {host: v3}}], headers: {response: {set: {x-ready: 'yes'}}}}
  - {match: [{uri: {prefix: /limited}}], timeout: 0.4s, route: [{destination: {host: v1}}]}
  - {match: [{uri: {prefix: /none}}], route: [{destination: {host: v2}}]}
  - {match: [{uri: {prefix: /long}}], timeout: 1.2s, route: [{destination: {host: v2}}]}
  - {match: [{uri: {prefix: /try}}], timeout: 5s, retries: {attempts: 1, perTryTimeout: 0.3s, retryOn: '5xx', backoff: 1ms}, route: [{destination: {host: v1}}]}
  - {match: [{uri: {prefix: /once}}], retries: {attempts: 2, perTryTimeout: 0.3s, retryOn: connect-failure}, route: [{destination: {host: v1}}]}
  - {route: [{destination: {host: v3}}]}",
    )],
    templates: &[
        get("/limited"),
        get("/limited").wishes("delay_ms=3000"),
        get("/limited").wishes("status=503"),
        get("/limited").method("POST").content("content").wishes("delay_ms=3000"),
        get("/none").wishes("delay_ms=1000").slow(),
        get("/long").wishes("delay_ms=3000").slow(),
        get("/try").wishes("delay_ms=3000"),
        get("/try"),
        get("/once").wishes("delay_ms=3000"),
        get("/any").wishes("delay_ms=1000").slow(),
        call("/limited").port(9000).wishes("delay_ms=3000"),
        call("/limited").port(9000).wishes("grpc_status=5"),
    ],
};

pub(super) const RETRIES: Group = Group {
    name: "retries",
    objects: &[virtual_service(
        "
  hosts: [NAME]
  http:
  - {match: [{uri: {exact: /_ready}}], route: [{destination: {host: v3}}], headers: {response: {set: {x-ready: 'yes'}}}}
  - {match: [{uri: {prefix: /503}}], retries: {attempts: 3, retryOn: '503,connect-failure', backoff: 1ms}, route: [{destination: {host: v1}}]}
  - {match: [{uri: {prefix: /5xx}}], retries: {attempts: 2, retryOn: 5xx, backoff: 1ms}, route: [{destination: {host: v1}}]}
  - {match: [{uri: {prefix: /gateway}}], retries: {attempts: 2, retryOn: gateway-error, backoff: 1ms}, route: [{destination: {host: v2}}]}
  - {match: [{uri: {prefix: /reset}}], retries: {attempts: 2, retryOn: reset, backoff: 1ms}, route: [{destination: {host: v2}}]}
  - {match: [{uri: {prefix: /before}}], retries: {attempts: 2, retryOn: reset-before-request, backoff: 1ms}, route: [{destination: {host: v2}}]}
  - {match: [{uri: {prefix: /4xx}}], retries: {attempts: 2, retryOn: retriable-4xx, backoff: 1ms}, route: [{destination: {host: v3}}]}
  - {match: [{uri: {prefix: /codes}}], retries: {attempts: 1, retryOn: '404,418,refused-stream', backoff: 1ms}, route: [{destination: {host: v3}}]}
  - {match: [{uri: {prefix: /limited}}], retries: {attempts: 1, retryOn: envoy-ratelimited, backoff: 1ms}, route: [{destination: {host: v3}}]}
  - {match: [{uri: {prefix: /off}}], retries: {attempts: 0, retryOn: '503'}, route: [{destination: {host: v1}}]}
  - {match: [{uri: {prefix: /plain}}], retries: {attempts: 2}, route: [{destination: {host: v1}}]}
  - {match: [{uri: {prefix: /same}}], retries: {attempts: 2, retryOn: '503', retryIgnorePreviousHosts: false, backoff: 1ms}, route: [{destination: {host: v1}}]}
  - {match: [{uri: {prefix: /grpc}}], retries: {attempts: 2, retryOn: 'unavailable,cancelled', backoff: 1ms}, route: [{destination: {host: v2}}]}
  - {route: [{destination: {host: v1}}]}",
    )],
    templates: &[
        get("/503").wishes("fail_first=2"),
        get("/503").wishes("status=503"),
        get("/503").wishes("status=500"),
        get("/503").method("POST").content("again").wishes("fail_first=1"),
        get("/5xx").wishes("fail_first=1&status=500"),
        get("/5xx").wishes("status=504"),
        get("/5xx").wishes("reset=before"),
        get("/5xx").wishes("status=404"),
        get("/gateway").wishes("fail_first=1&status=502"),
        get("/gateway").wishes("status=500"),
        get("/gateway").wishes("reset=before"),
        get("/reset").wishes("reset=before"),
        get("/reset").wishes("status=503"),
        get("/before").wishes("reset=before"),
        get("/4xx").wishes("fail_first=1&status=409"),
        get("/4xx").wishes("status=404"),
        get("/codes").wishes("fail_first=1&status=418"),
        get("/codes").wishes("status=404"),
        get("/codes").wishes("status=503"),
        get("/limited").wishes("fail_first=1&field=x-envoy-ratelimited:true&status=429"),
        get("/off").wishes("status=503"),
        get("/plain").wishes("status=503"),
        get("/plain").wishes("reset=before"),
        get("/same").wishes("fail_first=1"),
        get("/default").wishes("status=503"),
        get("/default").wishes("reset=before"),
        get("/default").wishes("reset=midway"),
        call("/grpc").port(9000).wishes("grpc_status=14"),
        call("/grpc").port(9000).wishes("grpc_status=5"),
        call("/grpc").port(9000).wishes("status=503"),
        call("/503").port(9000).wishes("fail_first=1"),
        call("/grpc").port(9000).wishes("reset=before"),
    ],
};
