//! The forms of objects about routes: the fields that each kind has, and for each a few values, of which some are not valid.

use crate::yaml_forms::Form::{self, Any, Choice, Fields, List, Named, One};

/// Version, kind and the form of `spec`.
pub(crate) const KINDS: &[(&str, &str, &Form)] = &[
    ("networking.istio.io/v1", "VirtualService", VIRTUAL_SERVICE),
    ("gateway.networking.k8s.io/v1", "HTTPRoute", HTTP_ROUTE),
    ("networking.istio.io/v1", "DestinationRule", DESTINATION_RULE),
    ("gateway.networking.k8s.io/v1", "GRPCRoute", GRPC_ROUTE),
    ("networking.istio.io/v1", "Sidecar", SIDECAR),
];

const HOST: &Form = &One(&[
    "s",
    "s.a.svc.cluster.local",
    "t",
    "s.b.svc.cluster.local",
    "\"*.a.svc.cluster.local\"",
    "\"*.svc.cluster.local\"",
    "x.example",
    "\"*.example\"",
    "S",
    "s.a",
    "\"*\"",
]);
const PATH: &Form = &One(&["/", "/a", "/a/", "/a/b", "/b", "/A", "\"\"", "/ab", "\"/a.B/c\"", "\"/a?x\"", "\"/é\""]);
const TEXT: &Form = &One(&["a", "b", "ab", "\"\"", "\"*\"", "A"]);
const REGEX: &Form =
    &One(&["\".*\"", "\"/[a-c]+\"", "a|b", "\"/(a|b)/?\"", "\"(\"", "\"\\\\d+\"", "\"[[:alpha:]]\"", "\"(?i)A\""]);
const FIELD_NAME: &Form = &One(&["x-a", "x-b", "X-A", "host", "\":path\"", "content-length", "\"a b\""]);
const FIELD_VALUE: &Form = &One(&["a", "\"\"", "\"%REQ(x-a)%\"", "\"%\"", "\"%%\"", "\"%DOWNSTREAM_REMOTE_ADDRESS%\""]);
const METHOD: &Form = &One(&["GET", "POST", "OPTIONS", "\"\""]);
const PORT: &Form = &One(&["80", "8080", "0", "65536"]);
const FLAG: &Form = &One(&["true", "false"]);
const NUMBER: &Form = &One(&["1", "0", "2", "100", "4294967295"]);
const DURATION: &Form = &One(&["1s", "0s", "1ms", "1h", "\"0.5s\"", "1"]);
const PERCENT: &Form = &Fields(&[("value", &One(&["50", "100", "0", "0.1", "101"]))], &[]);
const STATUS: &Form = &One(&["200", "503", "301", "302", "404", "99"]);
const LABELS: &Form = &One(&["{app: a}", "{}", "{app: b}", "{app: a, version: v1}"]);
const SUBSET: &Form = &One(&["v1", "v2", "\"\""]);
const EXPORT_TO: &Form = &One(&["[\"*\"]", "[.]", "[b]", "[\"~\"]", "[a, b]"]);

const STRING_MATCH: &Form = &Choice(&[("exact", TEXT), ("prefix", TEXT), ("regex", REGEX)]);
const PATH_MATCH: &Form = &Choice(&[("prefix", PATH), ("exact", PATH), ("regex", REGEX)]);
const FIELD_MATCHES: &Form = &Named(&["x-a", "cookie", "\":authority\""], STRING_MATCH);
const DESTINATION: &Form =
    &Fields(&[("host", HOST)], &[("subset", SUBSET), ("port", &Fields(&[("number", PORT)], &[]))]);
const OPERATIONS: &Form = &Fields(
    &[],
    &[
        ("set", &Named(&["x-a", "x-b", "host"], FIELD_VALUE)),
        ("add", &Named(&["x-b", "x-a"], FIELD_VALUE)),
        ("remove", &List(FIELD_NAME)),
    ],
);
const CHANGES: &Form = &Fields(&[], &[("request", OPERATIONS), ("response", OPERATIONS)]);

const VIRTUAL_SERVICE: &Form = &Fields(
    &[("hosts", &List(HOST)), ("http", &List(HTTP_RULE))],
    &[("exportTo", EXPORT_TO), ("gateways", &One(&["[mesh]", "[a/gateway]", "[mesh, gateway]", "[]"]))],
);
const HTTP_RULE: &Form = &Any(&[
    &Fields(&[("match", HTTP_MATCHES), ("route", ROUTE)], &[]),
    &Fields(
        &[("route", ROUTE)],
        &[("match", HTTP_MATCHES), ("rewrite", REWRITE), ("retries", RETRIES), ("headers", CHANGES)],
    ),
    &Fields(
        &[("route", ROUTE)],
        &[
            ("match", HTTP_MATCHES),
            ("timeout", DURATION),
            ("fault", FAULT),
            ("mirror", DESTINATION),
            ("mirrors", MIRRORS),
            ("corsPolicy", CORS),
        ],
    ),
    &Fields(&[("redirect", REDIRECT)], &[("match", HTTP_MATCHES), ("headers", CHANGES), ("route", ROUTE)]),
    &Fields(
        &[("directResponse", DIRECT_RESPONSE)],
        &[("match", HTTP_MATCHES), ("headers", CHANGES), ("corsPolicy", CORS)],
    ),
    &Fields(&[("delegate", DELEGATE)], &[("match", HTTP_MATCHES), ("timeout", DURATION), ("headers", CHANGES)]),
]);
const ROUTE: &Form = &List(&Fields(&[("destination", DESTINATION)], &[("weight", NUMBER), ("headers", CHANGES)]));
const REDIRECT: &Form = &Fields(&[], &[("uri", PATH), ("authority", HOST), ("redirectCode", STATUS), ("port", PORT)]);
const DIRECT_RESPONSE: &Form =
    &Fields(&[("status", STATUS)], &[("body", &Choice(&[("string", TEXT), ("bytes", TEXT)]))]);
const DELEGATE: &Form = &Fields(&[("name", &One(&["o1", "o2", "o0"]))], &[("namespace", &One(&["a", "b"]))]);
const REWRITE: &Form = &Fields(
    &[],
    &[
        ("uri", PATH),
        ("authority", HOST),
        (
            "uriRegexRewrite",
            &Fields(&[("match", REGEX), ("rewrite", &One(&["/b", "\"\\\\1\"", "\"\\\\0\"", "\"\\\\\""]))], &[]),
        ),
    ],
);
const RETRIES: &Form = &Fields(
    &[],
    &[
        ("attempts", NUMBER),
        ("perTryTimeout", DURATION),
        ("retryOn", &One(&["5xx", "\"gateway-error,503\"", "\"\"", "none", "\"connect-failure,reset,cancelled\""])),
    ],
);
const FAULT: &Form = &Fields(
    &[],
    &[
        ("delay", &Fields(&[("fixedDelay", DURATION)], &[("percentage", PERCENT)])),
        ("abort", &Fields(&[("httpStatus", STATUS)], &[("percentage", PERCENT), ("grpcStatus", TEXT)])),
    ],
);
const MIRRORS: &Form = &List(&Fields(&[("destination", DESTINATION)], &[("percentage", PERCENT)]));
const CORS: &Form = &Fields(
    &[],
    &[
        ("allowOrigins", &List(STRING_MATCH)),
        ("allowMethods", &List(METHOD)),
        ("maxAge", DURATION),
        ("allowCredentials", FLAG),
    ],
);
const HTTP_MATCHES: &Form = &List(HTTP_MATCH);
const HTTP_MATCH: &Form = &Fields(
    &[],
    &[
        ("uri", PATH_MATCH),
        ("ignoreUriCase", FLAG),
        ("method", &Choice(&[("exact", METHOD), ("regex", REGEX)])),
        ("scheme", STRING_MATCH),
        ("authority", STRING_MATCH),
        ("headers", FIELD_MATCHES),
        ("withoutHeaders", FIELD_MATCHES),
        ("queryParams", &Named(&["x", "y"], STRING_MATCH)),
        ("port", PORT),
        ("sourceLabels", LABELS),
        ("sourceNamespace", &One(&["a", "b", "\"\""])),
        ("gateways", &One(&["[mesh]", "[gateway]"])),
    ],
);

const PARENTS: &Form = &List(&Fields(
    &[("group", &One(&["\"\"", "networking.istio.io"])), ("name", &One(&["s", "t", "u"]))],
    &[("kind", &One(&["Service", "ServiceEntry", "Gateway"])), ("namespace", &One(&["a", "b"])), ("port", PORT)],
));
const BACKENDS: &Form = &List(&Fields(
    &[("name", &One(&["s", "t", "u", "x.example"])), ("port", PORT)],
    &[
        ("weight", NUMBER),
        ("kind", &One(&["Service", "Hostname", "Secret"])),
        ("group", &One(&["\"\"", "networking.istio.io"])),
        ("namespace", &One(&["a", "b"])),
        ("filters", FILTERS),
    ],
));
const NAMED_MATCHES: &Form = &List(&Fields(
    &[("name", &One(&["x-a", "x", "cookie"])), ("value", TEXT)],
    &[("type", &One(&["Exact", "RegularExpression"]))],
));
const HTTP_ROUTE: &Form =
    &Fields(&[("parentRefs", PARENTS), ("rules", &List(&Any(&[SIMPLE_RULE, GATEWAY_RULE])))], &[]);
const SIMPLE_RULE: &Form = &Fields(&[("matches", &List(GATEWAY_MATCH)), ("backendRefs", BACKENDS)], &[]);
const GATEWAY_RULE: &Form = &Fields(
    &[],
    &[
        ("matches", &List(GATEWAY_MATCH)),
        ("backendRefs", BACKENDS),
        ("filters", FILTERS),
        ("timeouts", &Fields(&[], &[("request", DURATION), ("backendRequest", DURATION)])),
        ("retry", &Fields(&[], &[("attempts", NUMBER), ("codes", &List(STATUS)), ("backoff", DURATION)])),
    ],
);
const GATEWAY_MATCH: &Form = &Fields(
    &[],
    &[
        ("path", &Fields(&[("value", PATH)], &[("type", &One(&["Exact", "PathPrefix", "RegularExpression"]))])),
        ("headers", NAMED_MATCHES),
        ("queryParams", NAMED_MATCHES),
        ("method", METHOD),
    ],
);
const GRPC_ROUTE: &Form = &Fields(
    &[("parentRefs", PARENTS)],
    &[(
        "rules",
        &List(&Fields(
            &[("backendRefs", BACKENDS)],
            &[
                (
                    "matches",
                    &List(&Fields(
                        &[],
                        &[
                            (
                                "method",
                                &Fields(
                                    &[],
                                    &[
                                        ("service", &One(&["a.B", "a"])),
                                        ("method", &One(&["c", "b"])),
                                        ("type", &One(&["Exact", "RegularExpression"])),
                                    ],
                                ),
                            ),
                            ("headers", NAMED_MATCHES),
                        ],
                    )),
                ),
                ("filters", FILTERS),
            ],
        )),
    )],
);
/// Each of them has its type and, sometimes, what belongs to that.
const FILTERS: &Form = &List(&Fields(
    &[(
        "type",
        &One(&[
            "RequestHeaderModifier",
            "ResponseHeaderModifier",
            "RequestRedirect",
            "URLRewrite",
            "RequestMirror",
            "CORS",
            "ExtensionRef",
        ]),
    )],
    &[
        ("requestHeaderModifier", MODIFIER),
        ("responseHeaderModifier", MODIFIER),
        (
            "requestRedirect",
            &Fields(&[], &[("path", PATH_MODIFIER), ("hostname", HOST), ("statusCode", STATUS), ("port", PORT)]),
        ),
        ("urlRewrite", &Fields(&[], &[("path", PATH_MODIFIER), ("hostname", HOST)])),
        (
            "requestMirror",
            &Fields(
                &[("backendRef", &Fields(&[("name", &One(&["s", "t"])), ("port", PORT)], &[]))],
                &[("percent", NUMBER)],
            ),
        ),
        (
            "cors",
            &Fields(
                &[],
                &[
                    ("allowOrigins", &One(&["[\"*\"]", "[\"http://*.a\"]", "[http://a]"])),
                    ("allowMethods", &List(METHOD)),
                ],
            ),
        ),
    ],
));
const MODIFIER: &Form = &Fields(
    &[],
    &[
        ("set", &List(&Fields(&[("name", FIELD_NAME), ("value", FIELD_VALUE)], &[]))),
        ("add", &List(&Fields(&[("name", FIELD_NAME), ("value", FIELD_VALUE)], &[]))),
        ("remove", &List(FIELD_NAME)),
    ],
);
const PATH_MODIFIER: &Form = &Choice(&[
    ("type: ReplaceFullPath, replaceFullPath", PATH),
    ("type: ReplacePrefixMatch, replacePrefixMatch", PATH),
    ("type", TEXT),
]);

const DESTINATION_RULE: &Form = &Fields(
    &[("host", HOST)],
    &[
        ("trafficPolicy", TRAFFIC_POLICY),
        ("subsets", &List(&Fields(&[("name", SUBSET)], &[("labels", LABELS), ("trafficPolicy", TRAFFIC_POLICY)]))),
        ("exportTo", EXPORT_TO),
        ("workloadSelector", &Fields(&[("matchLabels", LABELS)], &[])),
    ],
);
const TRAFFIC_POLICY: &Form = &Fields(
    &[],
    &[
        (
            "loadBalancer",
            &Choice(&[
                ("simple", &One(&["ROUND_ROBIN", "RANDOM", "LEAST_REQUEST", "PASSTHROUGH"])),
                (
                    "consistentHash",
                    &Choice(&[
                        ("httpHeaderName", TEXT),
                        ("useSourceIp", FLAG),
                        ("httpCookie", &Fields(&[("name", TEXT)], &[("ttl", DURATION)])),
                    ]),
                ),
            ]),
        ),
        (
            "connectionPool",
            &Fields(
                &[],
                &[
                    (
                        "http",
                        &Fields(
                            &[],
                            &[("http1MaxPendingRequests", NUMBER), ("maxRetries", NUMBER), ("idleTimeout", DURATION)],
                        ),
                    ),
                    ("tcp", &Fields(&[], &[("maxConnections", NUMBER), ("connectTimeout", DURATION)])),
                ],
            ),
        ),
        (
            "outlierDetection",
            &Fields(&[], &[("consecutive5xxErrors", NUMBER), ("interval", DURATION), ("maxEjectionPercent", NUMBER)]),
        ),
        ("tls", &Fields(&[("mode", &One(&["SIMPLE", "ISTIO_MUTUAL", "DISABLE", "MUTUAL"]))], &[("sni", HOST)])),
    ],
);

const SIDECAR: &Form = &Fields(
    &[],
    &[
        (
            "egress",
            &List(&Fields(
                &[(
                    "hosts",
                    &List(&One(&[
                        "\"./*\"",
                        "\"*/*\"",
                        "\"a/*\"",
                        "\"*/s.a.svc.cluster.local\"",
                        "\"~/*\"",
                        "\"./s.a.svc.cluster.local\"",
                    ])),
                )],
                &[("port", &Fields(&[("number", PORT)], &[]))],
            )),
        ),
        ("workloadSelector", &Fields(&[("labels", LABELS)], &[])),
        ("outboundTrafficPolicy", &Fields(&[("mode", &One(&["REGISTRY_ONLY", "ALLOW_ANY"]))], &[])),
    ],
);
