//! Servers about whose requests policy decides one by one. Of two on the second node one pod verifies the tokens of its clients, and the
//! other does not ask for them; a third is like the other, on the first node. What they are asked, and what their servers get, is the same.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use weir_tests::mesh::NAMESPACE;
use weir_tests::place::Place;
use weir_tests::program::Program;
use weir_tests::tokens::{SigningKey, key_set};
use weir_tests::wait;
use weir_tests::world::{N1, N2, Pod};

use crate::subject::{Judged, address};
use crate::testbed::{HTTP, Testbed, serve_http};

const ISSUER: &str = "https://issuer.example.com";
/// Clients, with a token each.
const USERS: usize = 100;

/// See the module. Fields are in the order in which they must go.
#[derive(Debug)]
pub(crate) struct TokenPods {
    _servers: Vec<Program>,
    verifying: Pod,
    indifferent: Pod,
    beside: Pod,
    key: SigningKey,
    /// The clients' tokens, one in each line.
    tokens: PathBuf,
}

impl TokenPods {
    /// Sets the pods up, and makes the tokens.
    pub(crate) fn set_up(testbed: &Testbed) -> Result<Self> {
        let (nodes, folder) = (&testbed.world.nodes, testbed.world.run().folder());
        let (verifying, indifferent) = (nodes[N2].pod("verifying")?, nodes[N2].pod("indifferent")?);
        let beside = nodes[N1].pod("beside")?;
        let servers = [&verifying, &indifferent, &beside].map(|pod| serve_http(&pod.place, &folder));
        let key = SigningKey::make_rsa("bench")?;
        let mut text = String::new();
        for user in 0..USERS {
            let more = json!({
                "aud": ["orders", "billing"], "groups": ["staff", "readers"], "email": format!("user-{user}@example.com"),
            });
            let _ = writeln!(text, "{}", key.token(ISSUER, &format!("user-{user}"), &more)?);
        }
        let tokens = folder.join("tokens");
        fs::write(&tokens, text)?;
        let servers = servers.into_iter().collect::<Result<_>>()?;
        Ok(Self { _servers: servers, verifying, indifferent, beside, key, tokens })
    }

    /// All pods, with the index of the node of each.
    pub(crate) fn all(&self) -> [(usize, &Pod); 3] {
        [(N2, &self.verifying), (N2, &self.indifferent), (N1, &self.beside)]
    }

    /// The policies about them. Both allow what they are asked by what only a request says.
    pub(crate) fn objects(&self) -> Result<String> {
        let policy = |pod: &Pod, from: &str| {
            let name = pod.name();
            format!(
                "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: {name}, namespace: \
                 {NAMESPACE}}}\nspec:\n  selector: {{matchLabels: {{app: {name}}}}}\n  rules: [{{{from}to: [{{operation: \
                 {{methods: [GET]}}}}]}}]\n"
            )
        };
        let rules =
            format!("[{{issuer: \"{ISSUER}\", jwks: '{}', forwardOriginalToken: true}}]", key_set(&[&self.key]));
        let name = self.verifying.name();
        let authentication = format!(
            "---\napiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {{name: {name}, namespace: \
             {NAMESPACE}}}\nspec:\n  selector: {{matchLabels: {{app: {name}}}}}\n  jwtRules: {rules}\n"
        );
        let with_token = "from: [{source: {requestPrincipals: [\"*\"]}}], ";
        Ok(policy(&self.verifying, with_token)
            + &policy(&self.indifferent, "")
            + &policy(&self.beside, "")
            + &authentication)
    }

    /// Waits until the policies count: otherwise what is measured would be bytes that nobody reads.
    pub(crate) fn are_in_force(&self, client: &Place) -> Result<()> {
        let tokens = fs::read_to_string(&self.tokens)?;
        let token = format!("-HAuthorization: Bearer {}", tokens.lines().next().unwrap_or_default());
        for (pod, more, expected) in [
            (&self.verifying, vec![], "403"),
            (&self.verifying, vec![&*token], "200"),
            (&self.verifying, vec![&*token, "-XPUT"], "403"),
            (&self.indifferent, vec![&*token, "-XPUT"], "403"),
            (&self.indifferent, vec![&*token], "200"),
            (&self.beside, vec!["-XPUT"], "403"),
            (&self.beside, vec![], "200"),
        ] {
            let url = format!("http://{}/", address(pod, HTTP));
            let command =
                [&["curl", "-sS", "-o/dev/null", "-w%{http_code}", "--max-time", "5"], &*more, &[&*url]].concat();
            wait::until("policy decides about requests", Duration::from_secs(15), || {
                let status = client.run(&command)?;
                ensure!(status.trim() == expected, "{} answers {status} in place of {expected}", pod.name());
                Ok(())
            })?;
        }
        Ok(())
    }

    /// The one that verifies tokens.
    pub(crate) fn verifying(&self) -> Judged {
        Judged { address: address(&self.verifying, HTTP), tokens: self.tokens.clone() }
    }

    /// The one beside the client.
    pub(crate) fn beside(&self) -> SocketAddr {
        address(&self.beside, HTTP)
    }

    /// The one that does not ask for them.
    pub(crate) fn indifferent(&self) -> Judged {
        Judged { address: address(&self.indifferent, HTTP), tokens: self.tokens.clone() }
    }
}
