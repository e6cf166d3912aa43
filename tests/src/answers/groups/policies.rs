//! Policies about requests at a pod, and tokens. `KEYS` stands for the keys of the issuer, `TOKEN-name` for one of its tokens.

use crate::answers::group::{Group, authorization_policy, get, request_authentication};

/// All rules are about the same pod: each has paths of its own.
pub(in crate::answers) const GUARDED: Group = Group {
    name: "guarded",
    objects: &[
        authorization_policy(
            "
  selector: {matchLabels: {kind: guarded}}
  action: DENY
  rules:
  - {to: [{operation: {paths: [/deny/exact, '/deny/prefix/*', '*/deny-suffix']}}]}
  - {to: [{operation: {paths: ['/method/*'], methods: [POST, PUT]}}]}
  - {to: [{operation: {paths: ['/not-method/*'], notMethods: [GET]}}]}
  - {to: [{operation: {paths: ['/host/*'], hosts: [denied.example, '*.wild.example', 'port.example:*']}}]}
  - {to: [{operation: {paths: ['/not-host/*'], notHosts: [guarded.answers.svc.cluster.local]}}]}
  - {to: [{operation: {paths: ['/not-path/*'], notPaths: [/not-path/open]}}]}
  - {to: [{operation: {paths: ['/template/{*}/end', '/deep/{**}']}}]}
  - {to: [{operation: {paths: ['/port/*'], ports: ['8080']}}]}
  - {to: [{operation: {paths: ['/field/*']}}], when: [{key: 'request.headers[x-user]', values: [eve, 'ad*', '*7']}]}
  - {to: [{operation: {paths: ['/not-field/*']}}], when: [{key: 'request.headers[x-user]', notValues: [eve]}]}
  - {to: [{operation: {paths: ['/there/*']}}], when: [{key: 'request.headers[x-there]', values: ['*']}]}
  - {to: [{operation: {paths: ['/token/*']}}], from: [{source: {notRequestPrincipals: ['*']}}]}
  - {to: [{operation: {paths: ['/alice/*']}}], from: [{source: {notRequestPrincipals: [issuer.test/alice]}}]}
  - {to: [{operation: {paths: ['/claim/*']}}], when: [{key: 'request.auth.claims[groups]', notValues: [admins]}]}
  - {to: [{operation: {paths: ['/nested/*']}}], when: [{key: 'request.auth.claims[org][unit]', notValues: ['dev*']}]}
  - {to: [{operation: {paths: ['/audience/*']}}], when: [{key: request.auth.audiences, notValues: [shop]}]}
  - {to: [{operation: {paths: ['/principal/*']}}], from: [{source: {notPrincipals: ['*']}}]}
  - {to: [{operation: {paths: ['/address/*']}}], from: [{source: {notIpBlocks: [10.251.0.0/16]}}]}",
        ),
        authorization_policy(
            "
  selector: {matchLabels: {kind: guarded}}
  action: ALLOW
  rules:
  - {to: [{operation: {notPaths: ['/allow/*', '/_closed']}}]}
  - {to: [{operation: {paths: ['/allow/get'], methods: [GET, HEAD]}}]}
  - {to: [{operation: {paths: ['/allow/field']}}], when: [{key: 'request.headers[x-user]', values: [eve], notValues: [adam]}]}
  - {to: [{operation: {paths: ['/allow/token']}}], from: [{source: {requestPrincipals: ['issuer.test/*']}}]}",
        ),
        request_authentication(
            "
  selector: {matchLabels: {kind: guarded}}
  jwtRules:
  - issuer: issuer.test
    jwks: 'KEYS'
    audiences: [shop, store]
    fromHeaders: [{name: authorization, prefix: 'Bearer '}, {name: x-token}]
    fromParams: [token]
    outputPayloadToHeader: x-payload
    outputClaimToHeaders: [{header: x-subject, claim: sub}, {header: x-groups, claim: groups}]",
        ),
    ],
    templates: &[
        get("/open"),
        get("/open").method("POST").content("content"),
        get("/open").with(&[("x-subject", "forged"), ("x-payload", "forged")]),
        get("/open").with(&[("authorization", "Bearer TOKEN-alice"), ("x-subject", "forged")]),
        get("/open").with(&[("authorization", "Bearer TOKEN-old")]),
        get("/open").with(&[("authorization", "Bearer TOKEN-stranger")]),
        get("/open").with(&[("authorization", "Bearer TOKEN-elsewhere")]),
        get("/open").with(&[("authorization", "Bearer not.a.token")]),
        get("/open").with(&[("authorization", "Bearer ")]),
        get("/open").with(&[("authorization", "Basic YTpi")]),
        get("/open").with(&[("x-token", "TOKEN-alice")]),
        get("/open?token=TOKEN-alice"),
        get("/open").with(&[("x-token", "TOKEN-alice"), ("authorization", "Bearer TOKEN-bob")]),
        get("/deny/exact"),
        get("/deny/prefix/x"),
        get("/deny/prefix"),
        get("/any/deny-suffix"),
        get("/method/x"),
        get("/method/x").method("POST").content("content"),
        get("/not-method/x"),
        get("/not-method/x").method("HEAD"),
        get("/host/x"),
        get("/not-host/x"),
        get("/not-path/open"),
        get("/not-path/closed"),
        get("/template/one/end"),
        get("/template/one/two/end"),
        get("/deep/a/b"),
        get("/port/x"),
        get("/field/x").with(&[("x-user", "eve")]),
        get("/field/x").with(&[("x-user", "adam")]),
        get("/field/x").with(&[("x-user", "bob7")]),
        get("/field/x"),
        get("/not-field/x"),
        get("/not-field/x").with(&[("x-user", "eve")]),
        get("/not-field/x").with(&[("x-user", "eve"), ("x-user", "adam")]),
        get("/there/x").with(&[("x-there", "")]),
        get("/there/x").with(&[("x-there", "a")]),
        get("/token/x"),
        get("/token/x").with(&[("authorization", "Bearer TOKEN-alice")]),
        get("/alice/x").with(&[("authorization", "Bearer TOKEN-alice")]),
        get("/alice/x").with(&[("authorization", "Bearer TOKEN-bob")]),
        get("/claim/x").with(&[("authorization", "Bearer TOKEN-alice")]),
        get("/claim/x").with(&[("authorization", "Bearer TOKEN-bob")]),
        get("/claim/x"),
        get("/nested/x").with(&[("authorization", "Bearer TOKEN-alice")]),
        get("/nested/x").with(&[("authorization", "Bearer TOKEN-bob")]),
        get("/audience/x").with(&[("authorization", "Bearer TOKEN-alice")]),
        get("/audience/x").with(&[("authorization", "Bearer TOKEN-bob")]),
        get("/principal/x"),
        get("/address/x"),
        get("/allow/get"),
        get("/allow/get").method("POST").content("content"),
        get("/allow/field").with(&[("x-user", "eve")]),
        get("/allow/field").with(&[("x-user", "eve"), ("x-user", "adam")]),
        get("/allow/token").with(&[("authorization", "Bearer TOKEN-bob")]),
        get("/allow/token"),
        get("/allow/other"),
        get("/_closed"),
    ],
};
