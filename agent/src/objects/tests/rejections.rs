//! What is rejected or only remarked on, field by field: Istio's rules.

use super::{load_text, object};

/// Rest of the metadata, spec, field of the one error (`E`) or the one notice (`W`), part of the reason.
type Case = (&'static str, &'static str, &'static str, &'static str);

const SERVICE_ENTRY: &[Case] = &[
    ("", "", "E spec.hosts", "at least one host"),
    ("", "hosts: ['*']", "E spec.hosts[0]", "invalid host"),
    ("", "hosts: [a, a]", "E spec.hosts[1]", "already listed"),
    ("", "hosts: [a_b.com]", "E spec.hosts[0]", "invalid part"),
    ("", "hosts: ['a.*.com']", "E spec.hosts[0]", "star only"),
    ("", "hosts: ['*a.com']", "W spec.hosts[0]", "partial wildcard"),
    (
        "",
        "hosts: [a], resolution: STATIC, workloadSelector: {labels: {a: b}}, endpoints: [{address: 1.1.1.1}]",
        "E spec.endpoints",
        "only one of",
    ),
    (
        "",
        "hosts: [a], resolution: STATIC, workloadSelector: {labels: {'*': b}}",
        "E spec.workloadSelector.labels[*]",
        "wildcard",
    ),
    (
        "",
        "hosts: [a], resolution: STATIC, workloadSelector: {labels: {'': b}}",
        "E spec.workloadSelector.labels[]",
        "empty key",
    ),
    ("", "hosts: [a], resolution: STATIC, workloadSelector: {}", "W spec.workloadSelector.labels", "selects nothing"),
    ("", "hosts: [a], addresses: [nonsense]", "E spec.addresses[0]", "not a valid IP"),
    ("", "hosts: [a], resolution: DNS, addresses: [10.0.0.0/8]", "E spec.addresses", "CIDR"),
    (
        "",
        "hosts: [a], ports: [{number: 1, name: a}, {number: 2, name: a}], resolution: DNS",
        "E spec.ports[1].name",
        "already defined",
    ),
    (
        "",
        "hosts: [a], ports: [{number: 1, name: a}, {number: 1, name: b}], resolution: DNS",
        "E spec.ports[1].number",
        "already defined",
    ),
    ("", "hosts: [a], ports: [{number: 0, name: a}], resolution: DNS", "E spec.ports[0].number", "1..65535"),
    ("", "hosts: [a], ports: [{number: 65536, name: a}], resolution: DNS", "E spec.ports[0].number", "1..65535"),
    ("", "hosts: [a], ports: [{name: a}], resolution: DNS", "E spec.ports[0].number", "needs its number"),
    ("", "hosts: [a], ports: [{number: '80', name: a}], resolution: DNS", "E spec.ports[0].number", "without quotes"),
    ("", "hosts: [a], ports: [{number: 1, name: A_b}], resolution: DNS", "E spec.ports[0].name", "invalid port name"),
    (
        "",
        "hosts: [a], ports: [{number: 1, name: a, protocol: SCTP}], resolution: DNS",
        "E spec.ports[0].protocol",
        "unsupported protocol",
    ),
    ("", "hosts: [a], ports: [{number: 1, name: a, protocol: TCP}]", "W spec.addresses", "required for TCP"),
    ("", "hosts: [a], endpoints: [{address: 1.1.1.1}]", "E spec.endpoints", "NONE has no endpoints"),
    ("", "hosts: [a], workloadSelector: {labels: {a: b}}", "W spec.workloadSelector", "no effect"),
    (
        "",
        "hosts: [a], resolution: STATIC, endpoints: [{address: a.com}]",
        "E spec.endpoints[0].address",
        "not a valid IP",
    ),
    (
        "",
        "hosts: [a], resolution: STATIC, endpoints: [{address: 1.1.1.1, ports: {b: 1}}]",
        "E spec.endpoints[0].ports[b]",
        "not defined",
    ),
    (
        "",
        "hosts: [a], resolution: DNS, endpoints: [{address: 'a b'}]",
        "E spec.endpoints[0].address",
        "neither an IP address nor",
    ),
    ("", "hosts: ['*.a.com'], resolution: DNS", "E spec.hosts[0]", "complete names"),
    (
        "",
        "hosts: [a], resolution: DNS_ROUND_ROBIN, endpoints: [{address: 1.1.1.1}, {address: 1.1.1.2}]",
        "E spec.endpoints",
        "at most one",
    ),
    ("", "hosts: [a], resolution: DYNAMIC_DNS", "E spec.hosts[0]", "wildcard hosts"),
    ("", "hosts: ['*.a'], resolution: DYNAMIC_DNS, addresses: [1.1.1.1]", "E spec.addresses", "no addresses"),
    (
        "",
        "hosts: ['*.a'], resolution: DYNAMIC_DNS, endpoints: [{address: 1.1.1.1}]",
        "E spec.endpoints",
        "no endpoints",
    ),
    (
        "",
        "hosts: ['*.a'], resolution: DYNAMIC_DNS, ports: [{number: 1, name: a, protocol: TCP}]",
        "E spec.ports[0].protocol",
        "needs HTTP",
    ),
    (
        ", labels: {istio.io/use-waypoint: w}",
        "hosts: ['*.a'], resolution: DYNAMIC_DNS, location: MESH_INTERNAL",
        "E spec.location",
        "MESH_EXTERNAL",
    ),
    (
        "",
        "hosts: [a, b], resolution: DNS, ports: [{number: 1, name: a, protocol: TCP}]",
        "E spec.hosts",
        "several hosts",
    ),
    ("", "hosts: [a], exportTo: ['.', '.']", "E spec.exportTo[1]", "already listed"),
    ("", "hosts: [a], exportTo: ['*', 'b']", "E spec.exportTo[0]", "stand alone"),
    ("", "hosts: [a], exportTo: ['B!']", "E spec.exportTo[0]", "not a namespace"),
    ("", "hosts: [a], exportTo: ['.']", "W spec.exportTo", "does not limit"),
    ("", "hosts: [a], resolution: SOMETIMES", "E spec.resolution", "use one of NONE"),
];

const WORKLOAD_ENTRY: &[Case] = &[
    ("", "", "E spec.address", "an address is needed"),
    ("", "network: x", "W spec.address", "gateway"),
    ("", "address: 'not an address'", "E spec.address", "neither an IP address nor"),
    ("", "address: 'unix:///x', ports: {a: 1}", "E spec.ports", "no ports"),
    ("", "address: 1.1.1.1, ports: {a: 0}", "E spec.ports[a]", "out of range"),
    ("", "address: 1.1.1.1, labels: {'a b': c}", "E spec.labels[a b]", "label key"),
    ("", "address: 1.1.1.1, locality: a/b/c/d", "E spec.locality", "region/zone/subzone"),
    (
        ", annotations: {weir.dev/addresses: '10.0.0.1,x'}",
        "address: 10.0.0.1",
        "E metadata.annotations[weir.dev/addresses]",
        "IP addresses",
    ),
    (
        ", annotations: {weir.dev/addresses: '10.0.0.2'}",
        "address: 10.0.0.1",
        "E metadata.annotations[weir.dev/addresses]",
        "must contain",
    ),
];

const AUTHORIZATION_POLICY: &[Case] = &[
    ("", "selector: {matchLabels: {a: b}}, targetRefs: [{kind: Service, name: x}]", "E spec.selector", "only one of"),
    ("", "targetRefs: [{kind: Service}]", "E spec.targetRefs[0].name", "needs a name"),
    ("", "targetRefs: [{kind: Service, name: x, namespace: y}]", "E spec.targetRefs[0].namespace", "another namespace"),
    ("", "targetRef: {kind: Deployment, group: apps, name: x}", "E spec.targetRef.kind", "must be one of"),
    ("", "selector: {matchLabels: {'*': b}}", "E spec.selector.matchLabels[*]", "wildcard"),
    ("", "selector: {}", "W spec.selector.matchLabels", "whole namespace"),
    ("", "selector: {matchExpressions: []}", "E spec.selector.matchExpressions", "unknown field"),
    ("", "action: DENY", "E spec.rules", "never triggers"),
    ("", "action: CUSTOM, rules: [{}]", "E spec.provider", "provider.name"),
    ("", "provider: {name: x}", "E spec.provider", "CUSTOM only"),
    (
        "",
        "action: CUSTOM, provider: {name: x}, rules: [{from: [{source: {requestPrincipals: ['*']}}]}]",
        "E spec.rules[0].from[0].source.requestPrincipals",
        "not supported with action CUSTOM",
    ),
    (
        "",
        "action: CUSTOM, provider: {name: x}, rules: [{}, {from: [{source: {notRequestPrincipals: ['*']}}]}]",
        "E spec.rules[1].from[0].source.notRequestPrincipals",
        "not supported with action CUSTOM",
    ),
    (
        "",
        "action: CUSTOM, provider: {name: x}, rules: [{when: [{key: 'request.auth.claims[a]', notValues: [b]}]}]",
        "E spec.rules[0].when[0].key",
        "not supported with action CUSTOM",
    ),
    ("", "action: MAYBE", "E spec.action", "use one of ALLOW"),
    ("", "rules: [null]", "E spec.rules[0]", "must be a map"),
    ("", "rules: [{from: []}]", "E spec.rules[0].from", "must not be empty"),
    ("", "rules: [{to: null}]", "E spec.rules[0].to", "must not be empty"),
    ("", "rules: [{}, {from: [{source: null}]}]", "E spec.rules[1].from[0].source", "must not be empty"),
    ("", "rules: [{from: [{source: {}}]}]", "E spec.rules[0].from[0].source", "must not be empty"),
    (
        "",
        "rules: [{from: [{source: {principals: []}}]}]",
        "E spec.rules[0].from[0].source.principals",
        "must not be empty",
    ),
    ("", "rules: [{to: [{operation: {ports: []}}]}]", "E spec.rules[0].to[0].operation.ports", "must not be empty"),
    ("", "rules: [{to: [{}]}]", "E spec.rules[0].to[0].operation", "must not be empty"),
    (
        "",
        "rules: [{from: [{source: {serviceAccounts: [a], principals: ['*/sa/b']}}]}]",
        "E spec.rules[0].from[0].source.serviceAccounts",
        "cannot stand beside",
    ),
    (
        "",
        "rules: [{from: [{source: {notServiceAccounts: [a], notNamespaces: [b]}}]}]",
        "E spec.rules[0].from[0].source.notServiceAccounts",
        "cannot stand beside",
    ),
    (
        "",
        "rules: [{from: [{source: {serviceAccounts: [a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q]}}]}]",
        "E spec.rules[0].from[0].source.serviceAccounts",
        "more than 16",
    ),
    (
        "",
        "rules: [{from: [{source: {serviceAccounts: ['*']}}]}]",
        "E spec.rules[0].from[0].source.serviceAccounts[0]",
        "wildcard",
    ),
    (
        "",
        "rules: [{from: [{source: {serviceAccounts: [a/b/c]}}]}]",
        "E spec.rules[0].from[0].source.serviceAccounts[0]",
        "namespace/name",
    ),
    (
        "",
        "rules: [{from: [{source: {serviceAccounts: [/b]}}]}]",
        "E spec.rules[0].from[0].source.serviceAccounts[0]",
        "namespace/name",
    ),
    (
        "",
        "rules: [{from: [{source: {ipBlocks: [1.1.1.1, 1.1.1]}}]}]",
        "E spec.rules[0].from[0].source.ipBlocks[1]",
        "bad IP address",
    ),
    (
        "",
        "rules: [{from: [{source: {notIpBlocks: [1.1.1.1/33]}}]}]",
        "E spec.rules[0].from[0].source.notIpBlocks[0]",
        "bad IP address",
    ),
    ("", "rules: [{to: [{operation: {ports: [x]}}]}]", "E spec.rules[0].to[0].operation.ports[0]", "bad port"),
    ("", "rules: [{to: [{operation: {ports: [80]}}]}]", "E spec.rules[0].to[0].operation.ports[0]", "put it in quotes"),
    ("", "rules: [{to: [{operation: {ports: ['+80']}}]}]", "E spec.rules[0].to[0].operation.ports[0]", "bad port"),
    (
        "",
        "rules: [{from: [{source: {principals: ['']}}]}]",
        "E spec.rules[0].from[0].source.principals[0]",
        "empty value",
    ),
    ("", "rules: [{to: [{operation: {methods: ['']}}]}]", "E spec.rules[0].to[0].operation.methods[0]", "empty value"),
    (
        "",
        "rules: [{from: [{source: {trustDomains: [a/b]}}]}]",
        "E spec.rules[0].from[0].source.trustDomains[0]",
        "must not contain /",
    ),
    (
        "",
        "action: DENY, rules: [{from: [{source: {trustDomains: ['corp.example:8443']}}]}]",
        "E spec.rules[0].from[0].source.trustDomains[0]",
        "\"corp.example:8443\" is not a trust domain",
    ),
    (
        "",
        "rules: [{from: [{source: {trustDomains: ['a*b']}}]}]",
        "E spec.rules[0].from[0].source.trustDomains[0]",
        "cannot be enforced",
    ),
    (
        "",
        "rules: [{from: [{source: {notTrustDomains: ['*b']}}]}]",
        "E spec.rules[0].from[0].source.notTrustDomains[0]",
        "cannot be enforced",
    ),
    (
        "",
        "rules: [{from: [{source: {namespaces: ['a*b']}}]}]",
        "W spec.rules[0].from[0].source.namespaces[0]",
        "\"a*b\" matches nobody: a namespace is a name such as shop, with a star at one end at most",
    ),
    (
        "",
        "rules: [{from: [{source: {principals: ['a*b']}}]}]",
        "W spec.rules[0].from[0].source.principals[0]",
        "a star at one end at most",
    ),
    (
        "",
        "rules: [{from: [{source: {principals: ['spiffe://a/b']}}]}]",
        "W spec.rules[0].from[0].source.principals[0]",
        "without spiffe://",
    ),
    (
        "",
        "rules: [{from: [{source: {principals: ['td/ns/a/sa/b', 'td/ns/a/sa/b/']}}]}]",
        "W spec.rules[0].from[0].source.principals[1]",
        "\"td/ns/a/sa/b/\" matches nobody",
    ),
    (
        "",
        "rules: [{from: [{source: {notPrincipals: ['spiffe://td/ns/a/sa/b']}}]}]",
        "E spec.rules[0].from[0].source.notPrincipals[0]",
        "matches nobody",
    ),
    (
        "",
        "action: DENY, rules: [{from: [{source: {principals: ['ns/a/sa/b']}}]}]",
        "E spec.rules[0].from[0].source.principals[0]",
        "\"ns/a/sa/b\" matches nobody",
    ),
    (
        "",
        "action: DENY, rules: [{from: [{source: {notPrincipals: ['ns/a/sa/b']}}]}]",
        "W spec.rules[0].from[0].source.notPrincipals[0]",
        "matches nobody",
    ),
    (
        "",
        "action: DENY, rules: [{when: [{key: source.principal, values: ['*/sa/b/']}]}]",
        "E spec.rules[0].when[0].values[0]",
        "matches nobody",
    ),
    (
        "",
        "rules: [{from: [{source: {namespaces: ['*shop*']}}]}]",
        "W spec.rules[0].from[0].source.namespaces[0]",
        "\"*shop*\" matches nobody: a namespace is a name",
    ),
    (
        "",
        "rules: [{from: [{source: {notNamespaces: ['ns/shop']}}]}]",
        "E spec.rules[0].from[0].source.notNamespaces[0]",
        "\"ns/shop\" matches nobody",
    ),
    (
        "",
        "action: DENY, rules: [{from: [{source: {namespaces: ['shop', 'ns/shop']}}]}]",
        "E spec.rules[0].from[0].source.namespaces[1]",
        "\"ns/shop\" matches nobody",
    ),
    (
        "",
        "action: DENY, rules: [{when: [{key: source.namespace, values: ['shop/']}]}]",
        "E spec.rules[0].when[0].values[0]",
        "\"shop/\" matches nobody",
    ),
    (
        "",
        "action: DENY, rules: [{from: [{source: {serviceAccounts: ['system:serviceaccount:shop:web']}}]}]",
        "E spec.rules[0].from[0].source.serviceAccounts[0]",
        "is not a service account: write name or namespace/name",
    ),
    (
        "",
        "action: DENY, rules: [{to: [{operation: {ports: ['80', '0']}}]}]",
        "E spec.rules[0].to[0].operation.ports[1]",
        "\"0\" matches no connection: a port is 1 to 65535",
    ),
    (
        "",
        "action: DENY, rules: [{to: [{operation: {notPorts: ['0']}}]}]",
        "W spec.rules[0].to[0].operation.notPorts[0]",
        "matches no connection",
    ),
    (
        "",
        "rules: [{to: [{operation: {ports: ['0']}}]}]",
        "W spec.rules[0].to[0].operation.ports[0]",
        "matches no connection",
    ),
    (
        "",
        "rules: [{to: [{operation: {notPorts: ['0']}}]}]",
        "E spec.rules[0].to[0].operation.notPorts[0]",
        "matches no connection",
    ),
    (
        "",
        "action: DENY, rules: [{when: [{key: destination.port, values: ['0']}]}]",
        "E spec.rules[0].when[0].values[0]",
        "matches no connection",
    ),
    ("", "rules: [{when: [{values: [a]}]}]", "E spec.rules[0].when[0].key", "needs a key"),
    ("", "rules: [{when: [{key: source.ip}]}]", "E spec.rules[0].when[0].values", "needs values"),
    ("", "rules: [{when: [{key: source.port, values: ['1']}]}]", "E spec.rules[0].when[0].key", "unknown attribute"),
    (
        "",
        "rules: [{when: [{key: 'request.headers[a b]', values: [c]}]}]",
        "E spec.rules[0].when[0].key",
        "no name of a header",
    ),
    (
        "",
        "rules: [{when: [{key: 'request.headers[a][b]', values: [c]}]}]",
        "E spec.rules[0].when[0].key",
        "names one header",
    ),
    (
        "",
        "rules: [{when: [{key: 'request.auth.claims[a][]', values: [c]}]}]",
        "E spec.rules[0].when[0].key",
        "in brackets",
    ),
    (
        "",
        "rules: [{when: [{key: source.trustDomain, values: ['*x']}]}]",
        "E spec.rules[0].when[0].values[0]",
        "at the end only",
    ),
    (
        "",
        "rules: [{when: [{key: source.serviceAccount, values: [a/b/c]}]}]",
        "E spec.rules[0].when[0].values[0]",
        "namespace/name",
    ),
    (
        "",
        "rules: [{from: [{source: {remoteIpBlocks: [here]}}]}]",
        "E spec.rules[0].from[0].source.remoteIpBlocks[0]",
        "bad IP address",
    ),
    (
        "",
        "rules: [{to: [{operation: {paths: ['/a/{id}']}}]}]",
        "E spec.rules[0].to[0].operation.paths[0]",
        "braces stand only around",
    ),
    (
        "",
        "rules: [{to: [{operation: {notPaths: ['/{**}/{*}']}}]}]",
        "E spec.rules[0].to[0].operation.notPaths[0]",
        "last of the operators",
    ),
    (
        "",
        "action: DENY, rules: [{from: [{source: {namespaces: [a]}}], to: [{operation: {paths: [admin]}}]}]",
        "E spec.rules[0].to[0].operation.paths[0]",
        "matches no request: a path begins with /",
    ),
    (
        "",
        "rules: [{to: [{operation: {paths: ['/a?b=c']}}]}]",
        "W spec.rules[0].to[0].operation.paths[0]",
        "without query",
    ),
    (
        "",
        "rules: [{to: [{operation: {notPaths: [admin]}}]}]",
        "E spec.rules[0].to[0].operation.notPaths[0]",
        "matches no request",
    ),
    (
        "",
        "rules: [{to: [{operation: {notMethods: ['GET,PUT']}}]}]",
        "E spec.rules[0].to[0].operation.notMethods[0]",
        "a method is one word",
    ),
    (
        "",
        "rules: [{to: [{operation: {notHosts: ['https://a.b']}}]}]",
        "E spec.rules[0].to[0].operation.notHosts[0]",
        "a host is a name",
    ),
    (
        "",
        "rules: [{from: [{source: {notRequestPrincipals: [ann]}}]}]",
        "E spec.rules[0].from[0].source.notRequestPrincipals[0]",
        "<issuer>/<subject>",
    ),
    (
        "",
        "rules: [{when: [{key: 'destination.labels[a]', values: [b]}]}]",
        "E spec.rules[0].when[0].key",
        "replaced by the selector",
    ),
    ("", "rules: [{when: [{key: destination.user, values: [b]}]}]", "E spec.rules[0].when[0].key", "not supported"),
    ("", "rules: [{when: [{key: request.headers, values: [b]}]}]", "E spec.rules[0].when[0].key", "in brackets"),
    (
        "",
        "rules: [{when: [{key: destination.port, notValues: [http]}]}]",
        "E spec.rules[0].when[0].notValues[0]",
        "bad port",
    ),
    ("", "rules: [{form: [{source: {namespaces: [a]}}]}]", "E spec.rules[0].form", "unknown field"),
    ("", "action: DENY, rules: [{to: [{operation: {methods: [GET]}}]}]", "W spec.rules", "does not carry HTTP"),
    (
        ", annotations: {istio.io/dry-run: 'yes'}",
        "rules: [{}]",
        "E metadata.annotations[istio.io/dry-run]",
        "neither true nor false",
    ),
];

const PEER_AUTHENTICATION: &[Case] = &[
    ("", "portLevelMtls: {80: {mode: STRICT}}", "E spec.portLevelMtls", "needs a selector"),
    ("", "selector: {matchLabels: {a: b}}, portLevelMtls: {}", "E spec.portLevelMtls", "must not be empty"),
    (
        "",
        "selector: {matchLabels: {a: b}}, portLevelMtls: {0: {mode: STRICT}}",
        "E spec.portLevelMtls[0]",
        "not a port",
    ),
    (
        "",
        "selector: {matchLabels: {a: b}}, portLevelMtls: {65536: {mode: STRICT}}",
        "E spec.portLevelMtls[65536]",
        "not a port",
    ),
    ("", "selector: {matchLabels: {a: '*'}}", "E spec.selector.matchLabels[a]", "wildcard"),
    ("", "mtls: {mode: strict}", "E spec.mtls.mode", "use one of"),
    ("", "mtls: STRICT", "E spec.mtls", "must be a map"),
];

const MESH_CONFIG: &[Case] = &[
    ("", "trustDomain: ''", "E spec.trustDomain", "must not be empty"),
    ("", "trustDomain: 'a b'", "E spec.trustDomain", "invalid part"),
    ("", "trustDomainAliases: ['_']", "E spec.trustDomainAliases[0]", "invalid part"),
    ("", "trust_domain: a.b", "E spec.trust_domain", "did you mean trustDomain"),
    ("", "rootNamespace: 'A'", "E spec.rootNamespace", "not a valid name"),
    ("", "outboundTrafficPolicy: {mode: X}", "E spec.outboundTrafficPolicy.mode", "ALLOW_ANY"),
    (
        "",
        "discoverySelectors: [{matchExpressions: [{key: a, operator: In}]}]",
        "E spec.discoverySelectors[0].matchExpressions[0].values",
        "need values",
    ),
    ("", "accessLogFile: /var/log/access", "W spec.accessLogFile", "no effect as a path"),
    ("", "accessLogEncoding: XML", "E spec.accessLogEncoding", "JSON"),
    ("", "enableTracing: true", "W spec.enableTracing", "no effect"),
    ("", "caCertificates: [{pem: text}]", "E spec.caCertificates[0].pem", "holds no certificate"),
    (
        "",
        "caCertificates: [{pem: '-----BEGIN CERTIFICATE----- !! -----END CERTIFICATE-----'}]",
        "E spec.caCertificates[0].pem",
        "certificate 1 in it is not base64",
    ),
    (
        "",
        "caCertificates: [{pem: '-----BEGIN CERTIFICATE----- AAAA'}]",
        "E spec.caCertificates[0].pem",
        "certificate 1 in it has no end",
    ),
    (
        "",
        "caCertificates: [{pem: '-----BEGIN CERTIFICATE----- AAAA -----END CERTIFICATE-----', trustDomains: ['_']}]",
        "E spec.caCertificates[0].trustDomains[0]",
        "invalid part",
    ),
    ("", "caCertificates: [{spiffeBundleUrl: 'https://a'}]", "W spec.caCertificates[0].spiffeBundleUrl", "not fetched"),
];

#[test]
fn each_rule_names_its_field() {
    let tables = [
        ("ServiceEntry", SERVICE_ENTRY),
        ("WorkloadEntry", WORKLOAD_ENTRY),
        ("AuthorizationPolicy", AUTHORIZATION_POLICY),
        ("PeerAuthentication", PEER_AUTHENTICATION),
        ("MeshConfig", MESH_CONFIG),
    ];
    let cases = tables.into_iter().flat_map(|(kind, cases)| cases.iter().map(move |case| (kind, case)));
    for (kind, (metadata, spec, expected, reason)) in cases {
        let loaded = load_text(&object(kind, metadata, spec));
        let rejects = expected.starts_with('E');
        let found = if rejects { &loaded.problems } else { &loaded.notices };
        let case = format!("{kind} {metadata} {spec}: {:#?} {:#?}", loaded.problems, loaded.notices);
        assert_eq!(found.len(), 1, "{case}");
        assert_eq!(found[0].field, expected[2..], "{case}");
        assert!(found[0].reason.contains(reason), "{case}");
        assert!(rejects || loaded.problems.is_empty(), "{case}");
    }
}
