//! Which requests pods accept, by policies of their namespace and of the root namespace. Istio's own tasks, step by step, are in
//! `policy`.

use super::case::{HttpCase, Object, STRANGER, ask, authorization_policy, connection};
use crate::harness::{Case, Check};

const DENIED: &str = "RBAC: access denied";
/// A client of gRPC.
const GRPC: &[&str] = &["--http2-prior-knowledge", "-XPOST", "-Hcontent-type: application/grpc"];
/// What a browser asks before it sends a request to another origin.
const PREFLIGHT: &[&str] = &["-XOPTIONS", "-HOrigin: https://a.example", "-HAccess-Control-Request-Method: PUT"];

/// A policy of the root namespace.
const fn of_root(name: &'static str, spec: &'static str) -> Object {
    authorization_policy(spec).of("istio-system").named(name)
}

pub(super) const CASES: &[Case] = &[
    Case {
        name: "http policy: one of the root namespace that allows nothing closes the pods of all namespaces",
        check: Check::Http(&HttpCase {
            services: "shop",
            older: &[],
            objects: &[of_root("deny-all-WEB", "{}")],
            requests: &[
                ask("/").to("v1").refused(403).body(DENIED),
                ask("/").to("v2").refused(403).body(DENIED),
                ask("/").to("s1").refused(403).body(DENIED),
                ask("/").from(STRANGER).refused(403).body(DENIED),
                ask("/").with(&["-XPOST"]).refused(403).body(DENIED),
                ask("/shop.Cart/Add").port(9000).with(GRPC).refused(200).headers(&[("grpc-status", Some("7"))]),
                connection(7001, false).to("v1"),
                connection(7001, false).to("v2"),
            ],
        }),
    },
    Case {
        name: "http policy: DENY of the root namespace by path closes that path in all namespaces, and no other request",
        check: Check::Http(&HttpCase {
            services: "shop",
            older: &[],
            objects: &[of_root("no-admin-WEB", "{action: DENY, rules: [{to: [{operation: {paths: ['/admin*']}}]}]}")],
            requests: &[
                ask("/admin").to("v1").refused(403).body(DENIED),
                ask("/admin/users?a=b").to("v2").refused(403).body(DENIED),
                ask("/x/../admin").to("s1").refused(403).body(DENIED),
                ask("/admin").from(STRANGER).refused(403).body(DENIED),
                ask("/admin").port(8082).refused(403).body(DENIED),
                ask("/admin.Users/List").port(9000).with(GRPC).refused(200).headers(&[("grpc-status", Some("7"))]),
                ask("/").to("v1").by("v1"),
                ask("/public/admin").to("v2").by("v2"),
                ask("/").to("s1").by("s1"),
                ask("/?path=/admin").to("v2").with(&["-XDELETE"]).by("v2"),
                ask("/").to("v2").port(8082).by("v2"),
                ask("/").to("v1").port(8081).with(&["--http2-prior-knowledge"]).by("v1"),
                ask("/").from(STRANGER).to("v1").by("v1"),
                // A port that declares TCP has no paths: Istio has what asks for one deny there.
                connection(7001, false).to("v2"),
            ],
        }),
    },
    Case {
        name: "http policy: DENY of the root namespace that names a port leaves the others alone, whatever they carry",
        check: Check::Http(&HttpCase {
            services: "shop",
            older: &[],
            objects: &[of_root(
                "no-admin-WEB",
                "{action: DENY, rules: [{to: [{operation: {paths: ['/admin*'], ports: ['8080']}}]}]}",
            )],
            requests: &[
                ask("/admin").to("v1").refused(403).body(DENIED),
                ask("/admin").to("s1").refused(403).body(DENIED),
                ask("/").to("v1").by("v1"),
                ask("/").to("s1").by("s1"),
                connection(7001, true).to("v1"),
                connection(7001, true).to("v2"),
                connection(7001, true).to("v1").from(STRANGER),
            ],
        }),
    },
    Case {
        name: "http policy: what a request does not have meets a condition that forbids a value",
        check: Check::Http(&HttpCase {
            services: "shop",
            older: &[],
            objects: &[
                authorization_policy(
                    "
  selector: {matchLabels: {version: v1}}
  rules:
  - to: [{operation: {paths: ['/a/*']}}]
    when: [{key: 'request.headers[x-role]', notValues: [guest]}]",
                ),
                authorization_policy(
                    "
  selector: {matchLabels: {version: v2}}
  action: DENY
  rules: [{from: [{source: {notRequestPrincipals: ['*']}}]}]",
                )
                .named("tokens-WEB"),
            ],
            requests: &[
                ask("/a/x").to("v1").by("v1"),
                ask("/a/x").to("v1").with(&["-Hx-role: owner"]).by("v1"),
                ask("/a/x").to("v1").with(&["-Hx-role: guest"]).refused(403).body(DENIED),
                ask("/b").to("v1").refused(403).body(DENIED),
                // A request without a token has no principal, and a preflight is one.
                ask("/").to("v2").refused(403).body(DENIED),
                ask("/").to("v2").with(PREFLIGHT).refused(403).body(DENIED),
                ask("/").to("v3").by("v3"),
            ],
        }),
    },
    Case {
        name: "http policy: hosts are compared in any case, and with their port",
        check: Check::Http(&HttpCase {
            services: "shop",
            older: &[],
            objects: &[authorization_policy(
                "{selector: {matchLabels: {version: v3}}, rules: [{to: [{operation: {hosts: [a.example, 'b.example:*']}}]}]}",
            )],
            requests: &[
                ask("/").to("v3").with(&["-HHost: a.example"]).by("v3"),
                ask("/").to("v3").with(&["-HHost: A.Example"]).by("v3"),
                ask("/").to("v3").with(&["-HHost: a.example:80"]).refused(403).body(DENIED),
                ask("/").to("v3").with(&["-HHost: b.example:8080"]).by("v3"),
                ask("/").to("v3").refused(403).body(DENIED),
            ],
        }),
    },
    Case {
        name: "http policy: one by method closes a port that carries no HTTP, whether it allows or denies",
        check: Check::Http(&HttpCase {
            services: "shop",
            older: &[],
            objects: &[
                authorization_policy(
                    "{selector: {matchLabels: {version: v1}}, rules: [{to: [{operation: {methods: [GET]}}]}]}",
                ),
                authorization_policy(
                    "{selector: {matchLabels: {version: v2}}, action: DENY, rules: [{to: [{operation: {methods: [PUT]}}]}]}",
                )
                .named("deny-WEB"),
            ],
            requests: &[
                ask("/").to("v1").by("v1"),
                ask("/").to("v1").with(&["-XPUT"]).refused(403).body(DENIED),
                ask("/").to("v2").by("v2"),
                ask("/").to("v2").with(&["-XPUT"]).refused(403).body(DENIED),
                connection(7001, false).to("v1"),
                connection(7001, false).to("v2"),
                connection(7001, true).to("v3"),
            ],
        }),
    },
];
