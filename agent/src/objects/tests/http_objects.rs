//! What is rejected or only remarked on in objects about requests, field by field.

use super::load_text;

/// Spec, field of the one error (`E`) or the one notice (`W`), part of the reason.
type Case = (&'static str, &'static str, &'static str);

const VIRTUAL_SERVICE: &[Case] = &[
    ("hosts: ['*'], http: [{route: [{destination: {host: a}}]}]", "E spec.hosts[0]", "cannot be routed"),
    ("hosts: [a, a], http: [{route: [{destination: {host: a}}]}]", "E spec.hosts[1]", "listed twice"),
    ("hosts: [a_b.c], http: [{route: [{destination: {host: a}}]}]", "E spec.hosts[0]", "invalid part"),
    ("hosts: [a], exportTo: [A], http: [{route: [{destination: {host: a}}]}]", "E spec.exportTo[0]", "not a namespace"),
    ("hosts: [a], gateways: [''], http: [{route: [{destination: {host: a}}]}]", "E spec.gateways[0]", "not a gateway"),
    ("hosts: [a]", "E spec.http", "at least one"),
    ("gateways: [g], http: [{route: [{destination: {host: a}}]}]", "E spec.gateways", "a delegate"),
    ("http: [{delegate: {name: x}}]", "E spec.http[0].delegate", "cannot delegate further"),
    ("hosts: [a], http: [{delegate: {}}]", "E spec.http[0].delegate.name", "is needed"),
    (
        "hosts: [a], http: [{delegate: {name: x}, match: [{uri: {regex: a}}]}]",
        "E spec.http[0].match",
        "regular expressions",
    ),
    ("hosts: [a], tcp: [{route: [{destination: {host: a}}]}]", "W spec.tcp", "only http rules"),
    ("hosts: [a], http: [{}]", "E spec.http[0].route", "needs one of"),
    (
        "hosts: [a], http: [{route: [{destination: {host: a}}], rewrites: {}}]",
        "E spec.http[0].rewrites",
        "unknown field",
    ),
    (
        "hosts: [a], http: [{route: [{destination: {host: a}}], redirect: {uri: /}}]",
        "E spec.http[0].route",
        "remove one",
    ),
    (
        "hosts: [a], http: [{redirect: {uri: /}, directResponse: {status: 200}}]",
        "E spec.http[0].directResponse",
        "remove one",
    ),
    ("hosts: [a], http: [{redirect: {redirectCode: 300}}]", "E spec.http[0].redirect.redirectCode", "use 301"),
    ("hosts: [a], http: [{redirect: {port: 70000}}]", "E spec.http[0].redirect.port", "out of range"),
    ("hosts: [a], http: [{redirect: {scheme: ftp}}]", "E spec.http[0].redirect.scheme", "use one of http"),
    ("hosts: [a], http: [{directResponse: {status: 100}}]", "E spec.http[0].directResponse.status", "200..599"),
    (
        "hosts: [a], http: [{directResponse: {status: 200, body: {bytes: '!'}}}]",
        "E spec.http[0].directResponse.body.bytes",
        "base64",
    ),
    (
        "hosts: [a], http: [{route: [{destination: {host: a}}, {destination: {host: b}}]}]",
        "E spec.http[0].route",
        "add up to 0",
    ),
    ("hosts: [a], http: [{route: [{weight: 1}]}]", "E spec.http[0].route[0].destination", "is needed"),
    (
        "hosts: [a], http: [{route: [{destination: {host: '*'}}]}]",
        "E spec.http[0].route[0].destination.host",
        "name the service",
    ),
    (
        "hosts: [a], http: [{route: [{destination: {host: a, port: {number: 0}}}]}]",
        "E spec.http[0].route[0].destination.port.number",
        "out of range",
    ),
    (
        "hosts: [a], http: [{route: [{destination: {host: a}}], match: [{uri: {exact: a, prefix: b}}]}]",
        "E spec.http[0].match[0].uri.exact",
        "only one of",
    ),
    (
        "hosts: [a], http: [{route: [{destination: {host: a}}], match: [{headers: {x: {regex: '('}}}]}]",
        "E spec.http[0].match[0].headers[x].regex",
        "no regular expression",
    ),
    (
        "hosts: [a], http: [{route: [{destination: {host: a}}], match: [{headers: {'a b': {exact: x}}}]}]",
        "E spec.http[0].match[0].headers[a b]",
        "not a name of a header",
    ),
    (
        "hosts: [a], http: [{route: [{destination: {host: a}}], match: [{headers: {'@request.auth.claims.x': {exact: x}}}]}]",
        "W spec.http[0].match[0].headers[@request.auth.claims.x]",
        "matches no request",
    ),
    (
        "hosts: [a], http: [{route: [{destination: {host: a}}], match: [{statPrefix: x}]}]",
        "W spec.http[0].match[0].statPrefix",
        "no effect",
    ),
    (
        "hosts: [a], http: [{route: [{destination: {host: a}}], headers: {request: {set: {x: '%FOO%'}}}}]",
        "W spec.http[0].headers.request.set[x]",
        "removed and not set",
    ),
    (
        "hosts: [a], http: [{route: [{destination: {host: a}}], headers: {response: {add: {x: '%RESPONSE_FLAGS%'}}}}]",
        "W spec.http[0].headers.response.add[x]",
        "not added",
    ),
    (
        "hosts: [a], http: [{route: [{destination: {host: a}}], headers: {request: {set: {x: '100%'}}}}]",
        "E spec.http[0].headers.request.set[x]",
        "%%",
    ),
    (
        "hosts: [a], http: [{route: [{destination: {host: a}}], timeout: 3}]",
        "E spec.http[0].timeout",
        "put it in quotes",
    ),
    (
        "hosts: [a], http: [{route: [{destination: {host: a}}], timeout: 3x}]",
        "E spec.http[0].timeout",
        "write it as 3s",
    ),
    (
        "hosts: [a], http: [{route: [{destination: {host: a}}], retries: {attempts: 1, retryOn: 'reset,foo'}}]",
        "E spec.http[0].retries.retryOn",
        "unknown condition \"foo\"",
    ),
    (
        "hosts: [a], http: [{route: [{destination: {host: a}}], fault: {delay: {fixedDelay: 1s}}}]",
        "W spec.http[0].fault.delay.percentage",
        "no request is delayed",
    ),
    (
        "hosts: [a], http: [{route: [{destination: {host: a}}], fault: {abort: {percentage: {value: 101}, httpStatus: 500}}}]",
        "E spec.http[0].fault.abort.percentage.value",
        "0 to 100",
    ),
    (
        "hosts: [a], http: [{route: [{destination: {host: a}}], fault: {abort: {percentage: {value: 1}, grpcStatus: BAD}}}]",
        "E spec.http[0].fault.abort.grpcStatus",
        "UNAVAILABLE",
    ),
    (
        "hosts: [a], http: [{route: [{destination: {host: a}}], mirror: {host: b}, mirrors: [{destination: {host: c}}]}]",
        "E spec.http[0].mirrors",
        "not both",
    ),
    ("hosts: [a], http: [{route: [{destination: {host: a}}], rewrite: {}}]", "E spec.http[0].rewrite.uri", "needs uri"),
    (
        "hosts: [a], http: [{route: [{destination: {host: a}}], rewrite: {uriRegexRewrite: {match: '(a)', rewrite: '\\2'}}}]",
        "E spec.http[0].rewrite.uriRegexRewrite.match",
        "group",
    ),
];

const DESTINATION_RULE: &[Case] = &[
    ("trafficPolicy: {}", "E spec.host", "is needed"),
    ("host: a, subsets: [{labels: {a: b}}]", "E spec.subsets[0].name", "needs its name"),
    ("host: a, subsets: [{name: v1}]", "W spec.subsets[0].labels", "all endpoints"),
    (
        "host: a, trafficPolicy: {loadBalancer: {simple: RANDOM, warmup: {duration: 10s}}}",
        "W spec.trafficPolicy.loadBalancer.warmup",
        "only LEAST_REQUEST",
    ),
    (
        "host: a, trafficPolicy: {loadBalancer: {localityLbSetting: {distribute: [{from: eu, to: {us: 50}}]}}}",
        "E spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[0].to",
        "must be 100",
    ),
    (
        "host: a, trafficPolicy: {loadBalancer: {localityLbSetting: {distribute: [{from: eu, to: {us: 100}}], failover: [{from: a, to: b}]}}}",
        "E spec.trafficPolicy.loadBalancer.localityLbSetting.distribute",
        "remove one",
    ),
    (
        "host: a, trafficPolicy: {loadBalancer: {localityLbSetting: {failover: [{from: eu, to: eu}]}}}",
        "E spec.trafficPolicy.loadBalancer.localityLbSetting.failover[0].to",
        "another region",
    ),
    (
        "host: a, trafficPolicy: {connectionPool: {http: {http2KeepAlive: {timeout: 1s}}}}",
        "W spec.trafficPolicy.connectionPool.http.http2KeepAlive.timeout",
        "no effect",
    ),
    (
        "host: a, trafficPolicy: {tls: {mode: SIMPLE, credentialName: b}}",
        "W spec.trafficPolicy.tls.credentialName",
        "fail with 503",
    ),
    (
        "host: a, trafficPolicy: {portLevelSettings: [{port: {number: 80}, tls: {mode: MUTUAL, credentialName: b}}]}",
        "W spec.trafficPolicy.portLevelSettings[0].tls.credentialName",
        "fail with 503",
    ),
    (
        "host: a, trafficPolicy: {tls: {mode: ISTIO_MUTUAL, caCrl: /a.pem}}",
        "W spec.trafficPolicy.tls.caCrl",
        "has no effect",
    ),
    (
        "host: a, trafficPolicy: {tls: {mode: MUTUAL, privateKey: /a}}",
        "E spec.trafficPolicy.tls.clientCertificate",
        "needs it",
    ),
    (
        "host: a, subsets: [{name: v1, labels: {a: b}}, {name: v1, labels: {a: c}}]",
        "E spec.subsets[1]",
        "already defined",
    ),
    (
        "host: a, trafficPolicy: {loadBalancer: {simple: FASTEST}}",
        "E spec.trafficPolicy.loadBalancer.simple",
        "LEAST_REQUEST",
    ),
    (
        "host: a, trafficPolicy: {loadBalancer: {consistentHash: {}}}",
        "E spec.trafficPolicy.loadBalancer.consistentHash",
        "exactly one of",
    ),
    (
        "host: a, trafficPolicy: {connectionPool: {tcp: {tcpKeepalive: {time: soon}}}}",
        "E spec.trafficPolicy.connectionPool.tcp.tcpKeepalive.time",
        "is not a duration",
    ),
    (
        "host: a, trafficPolicy: {connectionPool: {http: {http2KeepAlive: {interval: 10ms}}}}",
        "W spec.trafficPolicy.connectionPool.http.http2KeepAlive.interval",
        "counts as 1s",
    ),
    (
        "host: a, trafficPolicy: {outlierDetection: {maxEjectionPercent: 101}}",
        "E spec.trafficPolicy.outlierDetection.maxEjectionPercent",
        "out of range 0..100",
    ),
    (
        "host: a, trafficPolicy: {tls: {mode: MUTUAL, privateKey: /k}}",
        "E spec.trafficPolicy.tls.clientCertificate",
        "needs it",
    ),
    (
        "host: a, trafficPolicy: {portLevelSettings: [{tls: {}}]}",
        "E spec.trafficPolicy.portLevelSettings[0].port",
        "is needed",
    ),
    ("host: a, trafficPolicy: {tunnel: {}}", "W spec.trafficPolicy.tunnel", "no effect"),
];

const HTTP_ROUTE: &[Case] = &[
    ("parentRefs: [{kind: Service, group: ''}]", "E spec.parentRefs[0].name", "is needed"),
    ("parentRefs: [{kind: Service, group: '', name: a}], hostnames: [x]", "W spec.hostnames", "no effect for services"),
    ("rules: [{filters: [{type: ExtensionRef}]}]", "W spec.rules[0].filters[0].type", "answered 500"),
    (
        "rules: [{backendRefs: [{name: a, port: 1, filters: [{type: ExternalAuth, externalAuth: {}}]}]}]",
        "W spec.rules[0].backendRefs[0].filters[0].type",
        "answered 500",
    ),
    ("rules: [{matches: [{path: {value: a}}]}]", "E spec.rules[0].matches[0].path.value", "begin with /"),
    ("rules: [{matches: [{path: {type: Glob}}]}]", "E spec.rules[0].matches[0].path.type", "PathPrefix"),
    ("rules: [{backendRefs: [{name: a}]}]", "W spec.rules[0].backendRefs[0].port", "answered 500"),
    ("rules: [{backendRefs: [{kind: X, name: a}]}]", "W spec.rules[0].backendRefs[0].kind", "answered 500"),
    ("rules: [{timeouts: {request: 1}}]", "E spec.rules[0].timeouts.request", "put it in quotes"),
    ("rules: [{retry: {codes: [200]}}]", "E spec.rules[0].retry.codes[0]", "out of range"),
    (
        "rules: [{filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath}}}]}]",
        "E spec.rules[0].filters[0].urlRewrite.path.type",
        "replaceFullPath",
    ),
];

const SIDECAR: &[Case] = &[
    ("egress: [{}]", "E spec.egress[0].hosts", "needs hosts"),
    ("egress: [{hosts: [a]}]", "E spec.egress[0].hosts[0]", "namespace/host"),
    ("egress: [{hosts: ['./*']}], ingress: [{}]", "W spec.ingress", "no effect"),
];

const TELEMETRY: &[Case] = &[
    (
        "accessLogging: [{filter: {expression: 'response.code >'}}]",
        "E spec.accessLogging[0].filter.expression",
        "ends where",
    ),
    (
        "accessLogging: [{filter: {expression: request.method}}]",
        "E spec.accessLogging[0].filter.expression",
        "true or false",
    ),
    ("accessLogging: [{providers: [{}]}]", "E spec.accessLogging[0].providers[0].name", "needs its name"),
    (
        "accessLogging: [{match: {mode: OUTBOUND}}]",
        "E spec.accessLogging[0].match.mode",
        "use one of CLIENT_AND_SERVER",
    ),
    (
        "metrics: [{overrides: [{tagOverrides: {a: {value: request.nothing}}}]}]",
        "E spec.metrics[0].overrides[0].tagOverrides[a].value",
        "\"request.nothing\": the attribute request.nothing is not known here",
    ),
    (
        "metrics: [{overrides: [{tagOverrides: {a: {}}}]}]",
        "E spec.metrics[0].overrides[0].tagOverrides[a].value",
        "UPSERT needs an expression",
    ),
    (
        "metrics: [{overrides: [{tagOverrides: {a-b: {operation: REMOVE}}}]}]",
        "E spec.metrics[0].overrides[0].tagOverrides[a-b]",
        "not the name of a label",
    ),
    (
        "metrics: [{overrides: [{match: {metric: REQUESTS}}]}]",
        "E spec.metrics[0].overrides[0].match.metric",
        "REQUEST_COUNT",
    ),
    (
        "metrics: [{overrides: [{match: {customMetric: x}}]}]",
        "W spec.metrics[0].overrides[0].match.customMetric",
        "standard metrics only",
    ),
    ("metrics: [{reportingInterval: 5s}]", "W spec.metrics[0].reportingInterval", "no effect"),
    ("tracing: [{randomSamplingPercentage: 101}]", "E spec.tracing[0].randomSamplingPercentage", "between 0 and 100"),
    ("tracing: [{customTags: {a: {}}}]", "E spec.tracing[0].customTags[a]", "one of literal"),
    (
        "tracing: [{customTags: {a: {environment: {name: X, defaultValue: y}}}}]",
        "W spec.tracing[0].customTags[a].environment.name",
        "the default counts",
    ),
    ("tracing: [{customTags: {a: {formatter: {value: x}}}}]", "W spec.tracing[0].customTags[a].formatter", "no effect"),
    ("targetRefs: [{kind: Gateway, name: x}]", "W spec.targetRefs", "counts for no pod"),
];

#[test]
fn each_rule_names_its_field() {
    let tables = [
        ("networking.istio.io/v1", "VirtualService", VIRTUAL_SERVICE),
        ("networking.istio.io/v1beta1", "DestinationRule", DESTINATION_RULE),
        ("networking.istio.io/v1alpha3", "Sidecar", SIDECAR),
        ("gateway.networking.k8s.io/v1beta1", "HTTPRoute", HTTP_ROUTE),
        ("telemetry.istio.io/v1alpha1", "Telemetry", TELEMETRY),
    ];
    let mut wrong = Vec::new();
    for (version, kind, (spec, expected, reason)) in
        tables.into_iter().flat_map(|(version, kind, cases)| cases.iter().map(move |case| (version, kind, case)))
    {
        let text =
            format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{name: o, namespace: n}}\nspec: {{{spec}}}\n");
        let loaded = load_text(&text);
        let rejects = expected.starts_with('E');
        let found = if rejects { &loaded.problems } else { &loaded.notices };
        let is_it = matches!(&found[..], [one] if one.field == expected[2..] && one.reason.contains(reason));
        if !is_it || rejects != loaded.objects.is_empty() {
            let all = loaded.problems.iter().chain(&loaded.notices);
            let all: Vec<String> = all.map(|problem| format!("{}: {}", problem.field, problem.reason)).collect();
            wrong.push(format!("{kind} {spec}: expected {expected}: {reason}, found {all:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn providers_of_mesh_config_are_read_and_what_is_not_supported_is_told() {
    mesh_configs(&[
        ("extensionProviders: [{name: a, prometheus: {}}]", "", ""),
        ("extensionProviders: [{name: a, envoyFileAccessLog: {path: /dev/stdout, logFormat: {text: x}}}]", "", ""),
        (
            "extensionProviders: [{name: a, opentelemetry: {service: obs/otel.obs.svc.cluster.local, port: 4317}}]",
            "",
            "",
        ),
        ("defaultProviders: {metrics: [prometheus], accessLogging: [envoy], tracing: [a]}", "", ""),
        ("defaultConfig: {tracing: {sampling: 12.5}}", "", ""),
        ("extensionProviders: [{prometheus: {}}]", "E spec.extensionProviders[0].name", "needs its name"),
        (
            "extensionProviders: [{name: a, opentelemetry: {service: '', port: 4317}}]",
            "E spec.extensionProviders[0].opentelemetry.service",
            "",
        ),
        (
            "extensionProviders: [{name: a, opentelemetry: {service: otel.obs, port: 0}}]",
            "E spec.extensionProviders[0].opentelemetry.port",
            "out of range",
        ),
        ("extensionProviders: [{name: a, zipkin: {}}]", "W spec.extensionProviders[0].zipkin", "not supported"),
        (
            "extensionProviders: [{name: a, envoyOtelAls: {}}]",
            "W spec.extensionProviders[0].envoyOtelAls",
            "not supported",
        ),
        (
            "extensionProviders: [{name: a, envoyFileAccessLog: {path: /tmp/x}}]",
            "W spec.extensionProviders[0].envoyFileAccessLog.path",
            "is not written",
        ),
        (
            "extensionProviders: [{name: a, opentelemetry: {service: otel.obs, port: 1, http: {path: /}}}]",
            "W spec.extensionProviders[0].opentelemetry.http",
            "over gRPC",
        ),
        ("enableTracing: true", "W spec.enableTracing", "name a provider"),
    ]);
}

#[test]
fn the_name_that_clients_are_told_is_read() {
    mesh_configs(&[
        ("defaultConfig: {proxyHeaders: {server: {value: mesh}}}", "", ""),
        ("defaultConfig: {proxyHeaders: {server: {disabled: true}}}", "", ""),
        (
            "defaultConfig: {proxyHeaders: {server: {disabled: false}}}",
            "W spec.defaultConfig.proxyHeaders.server.disabled",
            "without a value",
        ),
        (
            "defaultConfig: {proxyHeaders: {server: {value: \"a\\nb\"}}}",
            "E spec.defaultConfig.proxyHeaders.server.value",
            "control characters",
        ),
    ]);
}

#[test]
fn authorizers_among_the_providers_are_read_and_what_is_wrong_is_told() {
    mesh_configs(&[
        ("extensionProviders: [{name: a, envoyExtAuthzGrpc: {service: n/a.b, port: 9000, failOpen: true}}]", "", ""),
        (
            "extensionProviders: [{name: a, envoyExtAuthzHttp: {service: a.b, port: 80, timeout: 1s, pathPrefix: /x, statusOnError: '503', \
             includeRequestHeadersInCheck: [x-*], includeRequestBodyInCheck: {maxRequestBytes: 10, packAsBytes: true}}}]",
            "",
            "",
        ),
        (
            "extensionProviders: [{name: Upper, envoyExtAuthzGrpc: {service: a.b, port: 9000}}]",
            "E spec.extensionProviders[0].envoyExtAuthzGrpc.name",
            "lower-case",
        ),
        (
            "extensionProviders: [{name: a, envoyExtAuthzGrpc: {service: a.b, port: 0}}]",
            "E spec.extensionProviders[0].envoyExtAuthzGrpc.port",
            "is no port",
        ),
        (
            "extensionProviders: [{name: a, envoyExtAuthzGrpc: {service: a.b, port: 1, statusOnError: '99'}}]",
            "E spec.extensionProviders[0].envoyExtAuthzGrpc.statusOnError",
            "no status",
        ),
        (
            "extensionProviders: [{name: a, envoyExtAuthzHttp: {service: a.b, port: 1, pathPrefix: x}}]",
            "E spec.extensionProviders[0].envoyExtAuthzHttp.pathPrefix",
            "slash",
        ),
        (
            "extensionProviders: [{name: a, envoyExtAuthzHttp: {service: a.b, port: 1, headersToUpstreamOnAllow: ['*']}}]",
            "E spec.extensionProviders[0].envoyExtAuthzHttp.headersToUpstreamOnAllow",
            "prefix",
        ),
        (
            "extensionProviders: [{name: a, envoyExtAuthzGrpc: {service: a.b, port: 1, clearRouteCache: true}}]",
            "W spec.extensionProviders[0].envoyExtAuthzGrpc.clearRouteCache",
            "no route",
        ),
    ]);
}

#[test]
fn what_is_said_of_mesh_config_where_it_has_no_effect() {
    mesh_configs(&[
        ("outboundTrafficPolicy: {mode: ALLOW_ANY}", "", ""),
        (
            "outboundTrafficPolicy: {mode: ALLOW_ANY_DYNAMIC_DNS}",
            "W spec.outboundTrafficPolicy.mode",
            "counts as ALLOW_ANY",
        ),
        (
            "outboundTrafficPolicy: {mode: ALLOW_ANY_DYNAMIC_DNS, tls: {mode: SIMPLE, sni: a.example}}",
            "W spec.outboundTrafficPolicy.mode",
            "counts as REGISTRY_ONLY",
        ),
        (
            "outboundTrafficPolicy: {mode: ALLOW_ANY, tls: {mode: SIMPLE}}",
            "W spec.outboundTrafficPolicy.tls",
            "this mode",
        ),
        ("outboundTrafficPolicy: {mode: ALLOW_SOME}", "E spec.outboundTrafficPolicy.mode", "unknown value"),
        (
            "defaultConfig: {tracing: {sampling: 10, customTags: {a: {header: {name: x-a}}}, enableIstioTags: false}}",
            "",
            "",
        ),
        (
            "defaultConfig: {tracing: {maxPathTagLength: 9}}",
            "W spec.defaultConfig.tracing.maxPathTagLength",
            "256 bytes",
        ),
        (
            "defaultConfig: {tracing: {zipkin: {address: 'a:1'}}}",
            "W spec.defaultConfig.tracing.zipkin",
            "opentelemetry",
        ),
        ("defaultConfig: {tracing: {sampled: 1}}", "E spec.defaultConfig.tracing.sampled", "unknown field"),
        ("defaultConfig: {tracing: {sampling: 101}}", "E spec.defaultConfig.tracing.sampling", "between 0 and 100"),
        ("hboneIdleTimeout: 1s", "W spec.hboneIdleTimeout", "no effect"),
        (
            "serviceEntryVisibility: {defaultVisibility: PUBLIC, applyToSidecars: true}",
            "W spec.serviceEntryVisibility.applyToSidecars",
            "no effect",
        ),
    ]);
}

/// Reads the spec of a MeshConfig each, which is right where no problem is expected.
fn mesh_configs(rows: &[(&str, &str, &str)]) {
    for (spec, expected, reason) in rows {
        let text = format!(
            "apiVersion: mesh.istio.io/v1alpha1\nkind: MeshConfig\nmetadata: {{name: mesh}}\nspec: {{{spec}}}\n"
        );
        let loaded = load_text(&text);
        let shown = |sort: &str, problems: &[crate::objects::Problem]| {
            problems.iter().map(|found| (format!("{sort} {}", found.field), found.reason.clone())).collect::<Vec<_>>()
        };
        let found = [shown("E", &loaded.problems), shown("W", &loaded.notices)].concat();
        match &found[..] {
            [] => assert_eq!(*expected, "", "{spec}"),
            [(field, why)] => assert!(field == expected && why.contains(reason), "{spec}: {field}: {why}"),
            more => panic!("{spec}: {more:#?}"),
        }
    }
}
