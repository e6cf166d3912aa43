//! The policy matrix for requests: every way in which one reaches a pod, under policies about requests and under rate limits. What is expected is a
//! table, and what was seen is printed as one.

use std::fmt::Write as _;
use std::net::IpAddr;

use anyhow::{Result, ensure};
use serde_json::json;
use weir_tests::http_mesh::{Answer, HttpMesh};
use weir_tests::mesh::{NAMESPACE, principal};
use weir_tests::place::Place;
use weir_tests::tokens::{SigningKey, key_set};
use weir_tests::world::{N1, N2, Pod};

use super::external_authorization::{authorizers, is_denied_by_authorizer};
use super::inbound::{ask_pod, is_denied};
use crate::harness::{Case, Check, note};

pub(crate) const CASES: &[Case] = &[Case {
    name: "policy matrix: requests by every way are answered as each policy about requests says",
    check: Check::Http(matrix),
}];

/// Who asks, and so whom the pod's agent takes it for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    /// A pod of the mesh, on node n1.
    Member,
    /// A pod that the mesh does not know, on another node and on the same one.
    Stranger,
    Neighbour,
    /// A process of another node, and of the pod's.
    OtherNode,
    OwnNode,
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
enum To {
    /// A port of the service of v2, on node n2, or of v1, on node n1.
    V2(u16),
    V2Ipv6(u16),
    V1(u16),
    /// The address of v2's pod.
    Pod,
    PodIpv6,
}

const HTTP1: &str = "--http1.1";
const HTTP2: &str = "--http2-prior-knowledge";

/// A row: who asks what, in which version of HTTP. A port 8082 declares nothing: the client's agent moves bytes.
const WAYS: [(&str, From, To, &str); 17] = [
    ("HBONE from another node", From::Member, To::V2(80), HTTP1),
    ("HBONE from another node, HTTP/2", From::Member, To::V2(8081), HTTP2),
    ("HBONE from another node, as bytes", From::Member, To::V2(8082), HTTP1),
    ("HBONE from another node, HTTP/2 as bytes", From::Member, To::V2(8082), HTTP2),
    ("HBONE from another node, IPv6", From::Member, To::V2Ipv6(80), HTTP1),
    ("HBONE by the pod's address", From::Member, To::Pod, HTTP1),
    ("HBONE by the pod's address, IPv6, HTTP/2", From::Member, To::PodIpv6, HTTP2),
    ("mesh pod of the same node", From::Member, To::V1(80), HTTP1),
    ("mesh pod of the same node, HTTP/2", From::Member, To::V1(8081), HTTP2),
    ("plaintext from another node", From::Stranger, To::Pod, HTTP1),
    ("plaintext from another node, HTTP/2", From::Stranger, To::Pod, HTTP2),
    ("plaintext from another node, IPv6", From::Stranger, To::PodIpv6, HTTP1),
    ("plaintext of the same node", From::Neighbour, To::Pod, HTTP1),
    ("plaintext of the same node, HTTP/2", From::Neighbour, To::PodIpv6, HTTP2),
    ("hostNetwork, another node", From::OtherNode, To::Pod, HTTP1),
    ("hostNetwork, the pod's node", From::OwnNode, To::Pod, HTTP1),
    ("hostNetwork, the pod's node, HTTP/2", From::OwnNode, To::PodIpv6, HTTP2),
];

/// A column: a policy about all pods of `app: web`, and the request that is made under it.
struct Column {
    name: &'static str,
    action: &'static str,
    /// `CLIENT` stands for the principal of the member.
    rules: &'static str,
    path: &'static str,
    /// `STAFF`, `GUEST` and `FORGED` stand for tokens.
    more: &'static [&'static str],
    /// What requests of the member are answered, and those that come in plaintext. A client is refused without an answer whose
    /// requests the policy denies whatever they ask.
    answers: (&'static str, &'static str),
}

const fn column(
    name: &'static str,
    (action, rules): (&'static str, &'static str),
    (path, more): (&'static str, &'static [&'static str]),
    answers: (&'static str, &'static str),
) -> Column {
    Column { name, action, rules, path, more, answers }
}

/// Not an action of a policy, but a rate limit on what the rules match, which is used up.
const LIMIT: &str = "LIMIT";
const BY_PATH: &str = "[{to: [{operation: {paths: [/open]}}]}]";
const BY_METHOD: &str = "[{to: [{operation: {methods: [GET]}}]}]";
const BY_FIELD: &str = "[{when: [{key: \"request.headers[x-role]\", values: [guest]}]}]";
const BY_BOTH: &str = "[{from: [{source: {principals: [\"CLIENT\"]}}], to: [{operation: {paths: [/open]}}]}]";
const ANONYMOUS: &str = "[{from: [{source: {notPrincipals: [\"*\"]}}], to: [{operation: {paths: [/open]}}]}]";

/// The provider is the one of `external_authorization`, which allows what has its field.
const CUSTOM: &str = "CUSTOM\n  provider: {name: over-grpc}";

const BY_TOKEN: &str = "[{from: [{source: {requestPrincipals: [\"*\"]}}]}]";
const BY_CLAIM: &str = "[{when: [{key: \"request.auth.claims[group]\", values: [staff]}]}]";
const STAFF: &[&str] = &["-HAuthorization: Bearer STAFF"];
const GUEST: &[&str] = &["-HAuthorization: Bearer GUEST"];
const FORGED: &[&str] = &["-HAuthorization: Bearer FORGED"];

const COLUMNS: [Column; 19] = [
    column("ALLOW-path", ("ALLOW", BY_PATH), ("/open", &[]), ("200", "200")),
    column("ALLOW-other", ("ALLOW", BY_PATH), ("/x/../closed", &[]), ("403", "403")),
    column("DENY-path", ("DENY", BY_PATH), ("/x/../%6fpen", &[]), ("403", "403")),
    column("DENY-other", ("DENY", BY_PATH), ("/closed", &[]), ("200", "200")),
    column("ALLOW-GET", ("ALLOW", BY_METHOD), ("/", &["-XPUT"]), ("403", "403")),
    column("DENY-field", ("DENY", BY_FIELD), ("/", &["-Hx-role: admin", "-HX-Role: guest"]), ("403", "403")),
    column("DENY-nofield", ("DENY", BY_FIELD), ("/", &["-Hx-role: admin"]), ("200", "200")),
    column("ALLOW-id", ("ALLOW", BY_BOTH), ("/open", &[]), ("200", "refused")),
    column("ALLOW-idnot", ("ALLOW", BY_BOTH), ("/closed", &[]), ("403", "refused")),
    column("DENY-anon", ("DENY", ANONYMOUS), ("/open", &[]), ("200", "403")),
    column("limited", (LIMIT, BY_PATH), ("/x/../open", &[]), ("429", "429")),
    column("limit-other", (LIMIT, BY_PATH), ("/closed", &[]), ("200", "200")),
    column("CUSTOM-deny", (CUSTOM, BY_PATH), ("/x/../%6fpen", &[]), ("403", "403")),
    column("CUSTOM-allow", (CUSTOM, BY_PATH), ("/open", &["-Hx-ext-authz: allow"]), ("200", "200")),
    column("JWT-none", ("ALLOW", BY_TOKEN), ("/open", &[]), ("403", "403")),
    column("JWT-forged", ("ALLOW", BY_TOKEN), ("/open", FORGED), ("401", "401")),
    column("JWT", ("ALLOW", BY_TOKEN), ("/open", GUEST), ("200", "200")),
    column("CLAIM-other", ("ALLOW", BY_CLAIM), ("/open", GUEST), ("403", "403")),
    column("CLAIM", ("ALLOW", BY_CLAIM), ("/open", STAFF), ("200", "200")),
];

/// The places that ask.
struct Askers<'a> {
    mesh: &'a HttpMesh,
    /// Tokens, by what stands for them.
    tokens: [(&'static str, String); 3],
    stranger: Pod,
    neighbour: Pod,
}

impl Askers<'_> {
    fn place(&self, from: From) -> &Place {
        match from {
            From::Member => &self.mesh.client.place,
            From::Stranger => &self.stranger.place,
            From::Neighbour => &self.neighbour.place,
            From::OtherNode => &self.mesh.world.nodes[N1].place,
            From::OwnNode => &self.mesh.world.nodes[N2].place,
        }
    }

    fn ask(&self, (_, from, to, version): &(&str, From, To, &str), column: &Column) -> Result<Answer> {
        let (v1, v2) = (self.mesh.version("v1"), self.mesh.version("v2"));
        let named =
            |text: &&str| self.tokens.iter().fold((*text).to_owned(), |text, (name, token)| text.replace(name, token));
        let more: Vec<String> = column.more.iter().chain([version]).map(named).collect();
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        let pod = |address: IpAddr| ask_pod(self.place(*from), address, column.path, &more);
        match to {
            To::V2(port) => v2.ask_at(v2.vip(), *port, column.path, &more),
            To::V2Ipv6(port) => v2.ask_at(v2.vip6(), *port, column.path, &more),
            To::V1(port) => v1.ask_at(v1.vip(), *port, column.path, &more),
            To::Pod => pod(self.mesh.pod("v2").ipv4()),
            To::PodIpv6 => pod(self.mesh.pod("v2").ipv6()),
        }
    }
}

fn policy(name: &str, action: &str, rules: &str) -> String {
    if action == LIMIT {
        return format!(
            "apiVersion: weir.dev/v1alpha1\nkind: RateLimit\nmetadata: {{name: {name}, namespace: {NAMESPACE}}}\nspec:\n  limits: [{{name: \
             one, match: {rules}, local: {{requests: 1, per: hour}}}}]\n"
        );
    }
    format!(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: {name}, namespace: {NAMESPACE}}}\nspec:\n  \
         selector: {{matchLabels: {{app: web}}}}\n  action: {action}\n  rules: {rules}\n"
    )
}

fn matrix(mesh: &HttpMesh) -> Result<()> {
    let _authorizers = authorizers(mesh)?;
    let stranger = mesh.world.nodes[N1].pod("stranger")?;
    let neighbour = mesh.world.nodes[N2].pod("neighbour")?;
    let (key, other) = (SigningKey::make("key")?, SigningKey::make("key")?);
    let of_group = |key: &SigningKey, group: &str| key.token("issuer", "user", &json!({"group": group}));
    let tokens = [
        ("STAFF", of_group(&key, "staff")?),
        ("GUEST", of_group(&key, "guest")?),
        ("FORGED", of_group(&other, "staff")?),
    ];
    let authentication = format!(
        "---\napiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {{name: matrix, namespace: {NAMESPACE}}}\nspec:\n  \
         selector: {{matchLabels: {{app: web}}}}\n  jwtRules: [{{issuer: issuer, jwks: '{}'}}]\n",
        key_set(&[&key])
    );
    let askers = Askers { mesh, tokens, stranger, neighbour };
    let client = principal(&mesh.client);
    let (mut seen, mut differences) = (Vec::new(), Vec::new());
    for (number, column) in COLUMNS.iter().enumerate() {
        let rules = column.rules.replace("CLIENT", client.trim_start_matches("spiffe://"));
        // A second policy comes with it, which shows when both are in force.
        let mark = format!("/mark-{number}");
        let witness = policy("witness", "DENY", &format!("[{{to: [{{operation: {{paths: [{mark}]}}}}]}}]"));
        let mut both = format!("{}---\n{witness}", policy("matrix", column.action, &rules));
        let is_about_tokens = column.name.starts_with("JWT") || column.name.starts_with("CLAIM");
        if is_about_tokens {
            both.push_str(&authentication);
        }
        is_calm(mesh)?;
        let _policies = mesh.control_plane.objects.put_for_now("matrix", &both)?;
        for version in ["v1", "v2"] {
            let service = mesh.version(version);
            service.comes_to("the policy that came with it is in force", &mark, &[], is_denied)?;
            if column.action == LIMIT {
                service.comes_to("the limit is used up", "/open", &[], |answer| answer.status == 429)?;
            }
            if is_about_tokens {
                let none = ["-HAuthorization: Bearer none"];
                service.comes_to("tokens are verified", "/", &none, |answer| answer.status == 401)?;
            }
        }
        let mut cells = Vec::new();
        for way in &WAYS {
            let wanted = if way.1 == From::Member { column.answers.0 } else { column.answers.1 };
            let cell = seen_of(askers.ask(way, column));
            if cell != wanted {
                differences.push(format!("{} under {}: {wanted} expected, SEEN {cell}", way.0, column.name));
            }
            cells.push(cell);
        }
        seen.push(cells);
    }
    println!("{}", table(&seen)?);
    ensure!(differences.is_empty(), "{} cells differ:\n{}", differences.len(), differences.join("\n"));
    note(format!("{} ways of requests under {} policies, each as expected", WAYS.len(), COLUMNS.len()));
    is_calm(mesh)
}

/// A cell: the status of the answer, 403 only with Envoy's body or the authorizer's.
fn seen_of(asked: Result<Answer>) -> String {
    match asked {
        Ok(answer) if answer.status == 403 && !is_denied(&answer) && !is_denied_by_authorizer(&answer) => {
            format!("{answer:?}")
        }
        Ok(answer) => answer.status.to_string(),
        Err(error) => {
            let why = format!("{error:#}");
            // The last is how curl tells a reset that comes before it has looked who its peer is.
            let is_refused =
                ["Couldn't connect to server", "Connection reset by peer", "getpeername() failed with errno 107"];
            let is_refused = is_refused.iter().any(|text| why.contains(text));
            if is_refused { "refused".to_owned() } else { why }
        }
    }
}

/// Waits until no policy is in force.
fn is_calm(mesh: &HttpMesh) -> Result<()> {
    for version in ["v1", "v2"] {
        let service = mesh.version(version);
        for path in ["/", "/open"] {
            service.comes_to("no policy is in force any more", path, &[], |answer| answer.status == 200)?;
        }
    }
    Ok(())
}

/// Ways down, policies across.
fn table(seen: &[Vec<String>]) -> Result<String> {
    let mut text = format!("{:42}", "");
    for column in &COLUMNS {
        write!(text, " {:12}", column.name)?;
    }
    for (row, way) in WAYS.iter().enumerate() {
        write!(text, "\n{:42}", way.0)?;
        for cells in seen {
            write!(text, " {:12}", cells[row])?;
        }
    }
    Ok(text)
}
