//! Tokens whose keys a Service of the cluster publishes (`jwksUri`): it is asked only where a setting allows its address, and its keys
//! change.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use weir_tests::cluster::network::SERVICES;
use weir_tests::cluster::{CLIENT_NODE, Cluster, SERVER_NODE};
use weir_tests::tokens::{SigningKey, key_set};

use super::stage::{Actor, CURL, HTTPBIN, HTTPBIN_SERVED as SERVED, Role, Stage, curl_httpbin, server};
use crate::harness::{Case, Check};
use crate::mesh;

pub(super) const CASES: &[Case] = &[Case {
    name: "policy: keys of tokens come from a Service of the cluster once a setting allows it, and change with it",
    check: Check::Mesh(published),
}];

const NAMESPACE: &str = "published";
const ACTORS: [Actor; 3] =
    [CURL, HTTPBIN, Actor { role: Role::Files, is_in_mesh: false, ..server("keys", "keys", CLIENT_NODE) }];
const ISSUER: &str = "https://issuer.example";
const AUTHENTICATION: &str = "
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: published, namespace: published}
spec:
  selector: {matchLabels: {app: httpbin}}
  jwtRules: [{issuer: 'https://issuer.example', jwksUri: 'http://ADDRESS:8000/keys'}]
";
/// Settings of the agents. A key that is withdrawn counts for as long as the second says.
const ALLOW: &str = "WEIR_JWKS_ALLOW";
const REFRESH: (&str, &str) = ("WEIR_JWKS_REFRESH_SECONDS", "2");
/// How long a file in a pod may take to be written.
const WRITING: Duration = Duration::from_secs(20);

const NOT_FETCHED: &str = "401 Jwks remote fetch is failed";
const NO_KEY: &str = "401 Jwks doesn't have key to match kid or alg from Jwt";

fn published(cluster: &mut Cluster) -> Result<()> {
    let checked = with_setting(cluster);
    mesh::set_variables(cluster, &[(ALLOW, None), (REFRESH.0, None)])?;
    checked
}

fn with_setting(cluster: &Cluster) -> Result<()> {
    let (first, second) = (SigningKey::make("first")?, SigningKey::make("second")?);
    let stage = Stage::start(&cluster.kubectl, NAMESPACE, &ACTORS)?;
    let publish = |keys: &[&SigningKey]| {
        let script = format!("echo '{}' >/www/keys", key_set(keys));
        let written = cluster.kubectl.exec_output(WRITING, NAMESPACE, "keys", &["sh", "-c", &script])?;
        ensure!(written.success, "{}", written.summary());
        Ok(())
    };
    publish(&[&first])?;
    let bearer = |key: &SigningKey| anyhow::Ok(curl_httpbin().bearing(&key.token(ISSUER, "alice", &json!({}))?));
    let (by_first, by_second, plain) = (bearer(&first)?, bearer(&second)?, curl_httpbin());
    stage.apply(&AUTHENTICATION.replace("ADDRESS", stage.address("keys")?))?;
    stage.comes_to("its address is private", &[(by_first.clone(), NOT_FETCHED), (plain.clone(), SERVED)])?;
    let agent = mesh::agent_of(cluster, SERVER_NODE)?;
    let told = cluster.kubectl.exec(mesh::NAMESPACE, &agent.name, &["weir", "status", "--config"])?;
    ensure!(told.contains("is private and not asked: --jwks-allow allows it"), "{told}");
    mesh::set_variables(cluster, &[(ALLOW, Some(SERVICES)), (REFRESH.0, Some(REFRESH.1))])?;
    for (step, keys, expected) in [
        ("it may be asked", &[&first][..], [SERVED, NO_KEY]),
        ("a further key is published", &[&first, &second], [SERVED, SERVED]),
        ("the first one is withdrawn", &[&second], [NO_KEY, SERVED]),
    ] {
        publish(keys)?;
        let [of_first, of_second] = expected;
        stage
            .comes_to(step, &[(by_first.clone(), of_first), (by_second.clone(), of_second), (plain.clone(), SERVED)])?;
    }
    Ok(())
}
