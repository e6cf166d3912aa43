//! Istio's task "External Authorization", with its own sample as the authorizer, once over gRPC and once over HTTP. MeshConfig,
//! which istiod has from a file, names both as the task has it.

use anyhow::Result;
use weir_tests::cluster::{CLIENT_NODE, Cluster};

use super::stage::{
    Actor, CURL, DENIED as DENIED_BY_POLICY, HTTPBIN, HTTPBIN_SERVED as SERVED, Role, Stage, curl_httpbin, server,
};
use crate::harness::{Case, Check};

pub(super) const CASES: &[Case] = &[Case {
    name: "policy: Istio's task about external authorization: a provider of MeshConfig decides, over gRPC and over HTTP",
    check: Check::Mesh(task),
}];

const NAMESPACE: &str = "foo";
const ACTORS: [Actor; 3] =
    [CURL, HTTPBIN, Actor { role: Role::Authorizer, ..server("ext-authz", "ext-authz", CLIENT_NODE) }];
const EXT_AUTHZ: &str = "
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ext-authz, namespace: foo}
spec:
  selector: {matchLabels: {app: httpbin}}
  action: CUSTOM
  provider: {name: PROVIDER}
  rules: [{to: [{operation: {paths: [/headers]}}]}]
";
/// What the sample denies with.
const DENIED: &str = "403 denied by ext_authz for not found header `x-ext-authz: allow` in the request";

fn task(cluster: &mut Cluster) -> Result<()> {
    let stage = Stage::start(&cluster.kubectl, NAMESPACE, &ACTORS)?;
    let asked = || curl_httpbin().path("/headers");
    let (denied, allowed) = (asked().with("-Hx-ext-authz: deny"), asked().with("-Hx-ext-authz: allow"));
    for provider in ["sample-ext-authz-grpc", "sample-ext-authz-http"] {
        stage.apply(&EXT_AUTHZ.replace("PROVIDER", provider))?;
        let calls = [
            (denied.clone(), DENIED),
            (asked(), DENIED),
            (allowed.clone(), SERVED),
            // Nobody is asked about any other path.
            (curl_httpbin().path("/ip").with("-Hx-ext-authz: deny"), SERVED),
        ];
        stage.comes_to(provider, &calls)?;
    }
    // A provider that MeshConfig does not have denies what it would be asked about, and nothing else.
    stage.apply(&EXT_AUTHZ.replace("PROVIDER", "typo"))?;
    let calls = [(allowed, DENIED_BY_POLICY), (curl_httpbin().path("/ip"), SERVED)];
    stage.comes_to("a provider that is none", &calls)
}
