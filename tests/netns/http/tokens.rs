//! Tokens of requests (RequestAuthentication) at their destination.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use weir_tests::http_mesh::{Answer, HttpMesh, HttpService};
use weir_tests::mesh::NAMESPACE;
use weir_tests::objects::ForNow;
use weir_tests::program::Program;
use weir_tests::tokens::{SigningKey, key_set};
use weir_tests::wait;
use weir_tests::world::{FABRIC, N1};

use super::inbound::{ask_pod, comes_to, is_denied, policy};
use crate::harness::{Case, Check};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "jwt: a request with a token of the issuer passes, one with another token is answered 401, one without passes",
        check: Check::Http(tokens),
    },
    Case { name: "jwt: ALLOW asks for the principal and the claims of a token", check: Check::Http(required) },
    Case {
        name: "jwt: tokens are found in fields, parameters and cookies, and passed on only where the object says so",
        check: Check::Http(places),
    },
    Case {
        name: "jwt: claims and payload come as fields, and what the client sends under their names does not",
        check: Check::Http(claim_fields),
    },
    Case { name: "jwt: an object that is not valid refuses the requests in its scope", check: Check::Http(invalid) },
    Case {
        name: "jwt: keys are fetched, followed when the issuer has others, and kept while it is away",
        check: Check::Http(fetched),
    },
    Case {
        name: "jwt: a policy about claims that changes reaches the next request of a kept connection",
        check: Check::Http(kept),
    },
    Case {
        name: "jwt: an object reaches connections that were open before it, and ends none that it is not about",
        check: Check::Http(open_before),
    },
];

pub(super) const ISSUER: &str = "https://issuer.example.com";
/// Where the keys of an issuer are served.
const KEYS_PORT: u16 = 7080;
/// By when a change must have ended what it no longer allows.
pub(super) const ENDS_WITHIN: Duration = Duration::from_secs(10);

/// A RequestAuthentication about one version's pod. It goes when it is dropped.
pub(super) fn authentication<'a>(mesh: &'a HttpMesh, version: &str, rules: &str) -> Result<ForNow<'a>> {
    let yaml = format!(
        "apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {{name: tokens, namespace: {NAMESPACE}}}\nspec:\n  \
         selector: {{matchLabels: {{version: {version}}}}}\n  jwtRules: {rules}\n"
    );
    // An object of a former case would be taken for this one.
    is_calm(&mesh.version(version))?;
    mesh.control_plane.objects.put_for_now("tokens", &yaml)
}

/// Waits until no object about tokens is in force any more.
fn is_calm(service: &HttpService<'_>) -> Result<()> {
    let more = ["-HAuthorization: Bearer none"];
    service.comes_to("no token is verified any more", "/", &more, |answer| answer.status != 401).map(drop)
}

/// A rule for tokens of an issuer that has this key.
pub(super) fn rule(issuer: &str, key: &SigningKey, more: &str) -> String {
    format!("{{issuer: \"{issuer}\", jwks: '{}'{more}}}", key_set(&[key]))
}

pub(super) fn bearer(token: &str) -> String {
    format!("-HAuthorization: Bearer {token}")
}

/// Waits until tokens that are none are refused.
fn in_force(service: &HttpService<'_>) -> Result<()> {
    let more = ["-HAuthorization: Bearer none"];
    service.comes_to("tokens are verified", "/", &more, |answer| answer.status == 401).map(drop)
}

pub(super) fn is_refused(answer: &Answer, why: &str) -> bool {
    let challenge = answer.header("www-authenticate").unwrap_or_default();
    answer.status == 401
        && answer.body == why
        && challenge.starts_with("Bearer realm=\"http")
        && challenge.ends_with("\", error=\"invalid_token\"")
}

fn tokens(mesh: &HttpMesh) -> Result<()> {
    let (key, other) = (SigningKey::make("one")?, SigningKey::make("one")?);
    let none = json!({});
    for version in ["v2", "v1"] {
        let service = mesh.version(version);
        let rules = format!("[{}, {}]", rule(ISSUER, &key, ", audiences: [web]"), rule("second", &other, ""));
        let _object = authentication(mesh, version, &rules)?;
        in_force(&service)?;
        let rows = [
            ("of the issuer", key.token(ISSUER, "a", &json!({"aud": ["x", "web"]}))?, None),
            ("of the second issuer", other.token("second", "a", &none)?, None),
            ("for others", key.token(ISSUER, "a", &json!({"aud": "x"}))?, Some("Audiences in Jwt are not allowed")),
            ("expired", key.token(ISSUER, "a", &json!({"aud": "web", "exp": 1}))?, Some("Jwt is expired")),
            ("of nobody known", key.token("third", "a", &none)?, Some("Jwt issuer is not configured")),
            ("signed by another", other.token(ISSUER, "a", &json!({"aud": "web"}))?, Some("Jwt verification fails")),
        ];
        for (what, token, refused) in &rows {
            let token = bearer(token);
            let pod = mesh.pod(version);
            for (way, answer) in [
                ("HTTP/1", service.ask_at(service.vip(), 80, "/", &[&token])),
                ("again", service.ask_at(service.vip(), 80, "/", &[&token])),
                ("HTTP/2", service.ask_at(service.vip(), 8081, "/", &[&token, "--http2-prior-knowledge"])),
                ("as bytes to the client's agent", service.ask_at(service.vip6(), 8082, "/", &[&token])),
                ("plaintext", ask_pod(&mesh.world.nodes[N1].place, pod.ipv4(), "/", &[&token])),
            ] {
                let answer = answer?;
                let is_right = match refused {
                    None => answer.status == 200 && answer.echo()?.header("authorization").is_none(),
                    Some(why @ "Audiences in Jwt are not allowed") => answer.status == 403 && answer.body == *why,
                    Some(why) => is_refused(&answer, why),
                };
                ensure!(is_right, "{version}, {what}, {way}: {answer:?}");
            }
        }
        service.ask("/", &[])?.expect(200, Some(version))?;
        let basic = service.ask("/", &["-HAuthorization: Basic eDp5"])?;
        ensure!(basic.echo()?.header("authorization").as_deref() == Some("Basic eDp5"), "{basic:?}");
        let two = [bearer(&rows[0].1), bearer(&rows[5].1)];
        let both = service.ask("/", &[&two[0], &two[1]])?;
        ensure!(is_refused(&both, "Jwt verification fails"), "one of two is forged: {both:?}");
        let preflight = ["-XOPTIONS", "-HOrigin: http://a", "-HAccess-Control-Request-Method: GET", &two[1]];
        service.ask("/", &preflight)?.expect(200, Some(version))?;
    }
    Ok(())
}

fn required(mesh: &HttpMesh) -> Result<()> {
    let (service, key) = (mesh.version("v2"), SigningKey::make("one")?);
    let _object = authentication(mesh, "v2", &format!("[{}]", rule(ISSUER, &key, "")))?;
    in_force(&service)?;
    let groups = |groups: &[&str]| key.token(ISSUER, "alice", &json!({"groups": groups, "realm": {"role": "admin"}}));
    let (member, guest) = (groups(&["staff", "ops"])?, groups(&["guests"])?);
    let bob = key.token(ISSUER, "bob", &json!({"groups": "staff", "scope": "read write"}))?;
    let asked: [(&str, Option<&str>); 4] =
        [("member", Some(&member)), ("guest", Some(&guest)), ("bob", Some(&bob)), ("no token", None)];
    let principal = format!("{ISSUER}/alice");
    for (rules, expected) in [
        ("[{from: [{source: {requestPrincipals: [\"*\"]}}]}]".to_owned(), [200, 200, 200, 403]),
        (format!("[{{from: [{{source: {{requestPrincipals: [\"{principal}\"]}}}}]}}]"), [200, 200, 403, 403]),
        ("[{when: [{key: \"request.auth.claims[groups]\", values: [staff]}]}]".to_owned(), [200, 403, 200, 403]),
        ("[{when: [{key: \"request.auth.claims[realm][role]\", values: [admin]}]}]".to_owned(), [200, 200, 403, 403]),
        ("[{when: [{key: \"request.auth.claims[scope]\", values: [write]}]}]".to_owned(), [403, 403, 200, 403]),
    ] {
        let allowing = policy(mesh, "v2", "ALLOW", &rules)?;
        comes_to(&service, "/", 403)?;
        for ((who, token), status) in asked.iter().zip(expected) {
            let more: Vec<String> = token.iter().map(|token| bearer(token)).collect();
            let more: Vec<&str> = more.iter().map(String::as_str).collect();
            let what = format!("{who} under {rules} is answered {status}");
            let answer = service.comes_to(&what, "/", &more, |answer| answer.status == status)?;
            ensure!(status == 200 || is_denied(&answer), "{who} under {rules}: {answer:?}");
        }
        drop(allowing);
        comes_to(&service, "/", 200)?;
    }
    Ok(())
}

fn places(mesh: &HttpMesh) -> Result<()> {
    let (service, key) = (mesh.version("v2"), SigningKey::make("one")?);
    let _needed = policy(mesh, "v2", "ALLOW", "[{from: [{source: {requestPrincipals: [\"*\"]}}]}]")?;
    comes_to(&service, "/", 403)?;
    let token = key.token(ISSUER, "a", &json!({}))?;
    let from = ", fromHeaders: [{name: X-Token, prefix: \"T \"}], fromParams: [t], fromCookies: [session]";
    for (forwards, more) in [(false, ""), (true, ", forwardOriginalToken: true")] {
        let _object = authentication(mesh, "v2", &format!("[{}]", rule(ISSUER, &key, &format!("{from}{more}"))))?;
        let (field, target) = (format!("-HX-Token: T {token}"), format!("/p?a=1&t={token}&b=2"));
        let cookie = format!("-HCookie: a=1; session={token}; b=2");
        service.comes_to("the object is in force", "/", &[&field], |answer| {
            let seen = answer.echo().ok().map(|echo| echo.header("x-token").is_some());
            seen == Some(forwards)
        })?;
        let echo = service.ask(&target, &[])?.echo()?;
        ensure!(echo.target == if forwards { &*target } else { "/p?a=1&b=2" }, "{echo:?}");
        let echo = service.ask("/", &[&cookie])?.echo()?;
        let expected = if forwards { cookie.trim_start_matches("-HCookie: ") } else { "a=1; b=2" };
        ensure!(echo.header("cookie").as_deref() == Some(expected), "{echo:?}");
        let usual = service.ask("/", &[&bearer(&token)])?;
        ensure!(is_denied(&usual), "a place that the rule does not name: {usual:?}");
        let forged = service.ask("/?t=a.b.c", &[])?;
        ensure!(forged.status == 401, "{forged:?}");
    }
    Ok(())
}

fn claim_fields(mesh: &HttpMesh) -> Result<()> {
    let (service, key) = (mesh.version("v2"), SigningKey::make("one")?);
    let more = ", outputPayloadToHeader: X-Payload, outputClaimToHeaders: [{header: X-Sub, claim: sub}, {header: X-Role, claim: \
                realm.role}, {header: X-Age, claim: age}]";
    let _object = authentication(mesh, "v2", &format!("[{}]", rule(ISSUER, &key, more)))?;
    in_force(&service)?;
    let forged = ["-HX-Sub: root", "-HX_Sub: root", "-Hx-payload: e30", "-HX-Role: root", "-HX-Age: 1"];
    let names = ["x-sub", "x_sub", "x-payload", "x-role", "x-age"];
    let without = service.ask("/", &forged)?.echo()?;
    for name in names {
        ensure!(without.header(name).is_none(), "{name} is the client's: {without:?}");
    }
    let token = key.token(ISSUER, "alice", &json!({"realm": {"role": "a\r\nx-forged: 1"}, "age": 7}))?;
    let bearer = bearer(&token);
    let with = service.ask("/", &[&forged[..], &[&*bearer]].concat())?.echo()?;
    let payload = token.split('.').nth(1).unwrap_or_default();
    let expected = [Some("alice"), None, Some(payload), None, Some("7")];
    let found = names.map(|name| with.header(name));
    ensure!(found.each_ref().map(Option::as_deref) == expected, "{found:?}");
    ensure!(with.header("x-forged").is_none(), "{with:?}");
    Ok(())
}

fn invalid(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.version("v2");
    let object = authentication(mesh, "v2", "[{issuer: a, jwks: '{\"keys\": []}'}]")?;
    // What is refused whatever it asks has no connection, before any request.
    wait::until("nothing passes", ENDS_WITHIN, || {
        let passes = service.ask("/", &[]).is_ok_and(|answer| answer.status == 200);
        ensure!(!passes, "a request passes");
        Ok(())
    })?;
    mesh.version("v1").ask("/", &[])?.expect(200, Some("v1"))?;
    drop(object);
    comes_to(&service, "/", 200)
}

/// An issuer's server of keys beside the control plane, where agents reach it from their nodes.
struct Provider<'a> {
    mesh: &'a HttpMesh,
    program: Option<Program>,
}

impl<'a> Provider<'a> {
    fn new(mesh: &'a HttpMesh) -> Result<Self> {
        let provider = Self { mesh, program: None };
        std::fs::create_dir_all(provider.folder())?;
        Ok(provider)
    }

    fn folder(&self) -> std::path::PathBuf {
        self.mesh.world.run().folder().join("issuer")
    }

    fn publish(&self, keys: &[&SigningKey]) -> Result<()> {
        let (file, new) = (self.folder().join("keys.json"), self.folder().join("new"));
        std::fs::write(&new, key_set(keys))?;
        Ok(std::fs::rename(new, file)?)
    }

    fn start(&mut self) -> Result<()> {
        let (folder, port) = (self.folder().display().to_string(), KEYS_PORT.to_string());
        let address = FABRIC.to_string();
        let serve = ["python3", "-m", "http.server", "--bind", &address, "--directory", &folder, &port];
        let mut program = self.mesh.world.fabric.spawn(&serve)?;
        program.listens_on(KEYS_PORT)?;
        self.program = Some(program);
        Ok(())
    }
}

fn fetched(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.version("v2");
    let (first, second) = (SigningKey::make("first")?, SigningKey::make("second")?);
    let tokens = [first.token(ISSUER, "a", &json!({}))?, second.token(ISSUER, "a", &json!({}))?];
    let [by_first, by_second] = tokens.map(|token| bearer(&token));
    let mut provider = Provider::new(mesh)?;
    provider.publish(&[&first])?;
    let url = format!("http://{FABRIC}:{KEYS_PORT}/keys.json");
    let rules = format!(
        "[{{issuer: \"{ISSUER}\", jwksUri: \"{url}\"}}, {{issuer: private, jwksUri: \"http://169.254.169.254/keys\", timeout: 1s}}]"
    );
    let _object = authentication(mesh, "v2", &rules)?;
    service.comes_to("without keys no token counts", "/", &[&by_first], |answer| {
        is_refused(answer, "Jwks remote fetch is failed")
    })?;
    service.ask("/", &[])?.expect(200, Some("v2"))?;
    provider.start()?;
    let counts = |what: &str, token: &str, status: u16| {
        service.comes_to(what, "/", &[token], |answer| answer.status == status).map(drop)
    };
    counts("its keys are fetched once it is there", &by_first, 200)?;
    let agent = mesh.agent_of(mesh.pod("v2"));
    let said = agent.weir(&["status", "--config"])?.stdout;
    for text in [&*format!("keys of {ISSUER} from {url}: 1, fetched"), "keys of private", "is private and not asked"] {
        ensure!(said.contains(text), "{text} is missing in:\n{said}");
    }
    counts("no key has that name", &by_second, 401)?;
    provider.publish(&[&first, &second])?;
    counts("a further key is found", &by_second, 200)?;
    provider.publish(&[&second])?;
    counts("a key that is withdrawn counts no longer, though its token was verified before", &by_first, 401)?;
    counts("the other one still does", &by_second, 200)?;
    provider.program = None;
    wait::until("the agent notices that the issuer is away", Duration::from_secs(15), || {
        let said = agent.weir(&["status", "--config"])?.stdout;
        ensure!(said.contains("does not answer"), "{said}");
        Ok(())
    })?;
    counts("what it gave last counts on while it is away", &by_second, 200)
}

fn kept(mesh: &HttpMesh) -> Result<()> {
    let (service, key) = (mesh.version("v2"), SigningKey::make("one")?);
    let _object = authentication(mesh, "v2", &format!("[{}]", rule(ISSUER, &key, "")))?;
    in_force(&service)?;
    let token = bearer(&key.token(ISSUER, "alice", &json!({"group": "staff"}))?);
    let by_group = |group: &str| {
        let rules = format!("[{{when: [{{key: \"request.auth.claims[group]\", values: [{group}]}}]}}]");
        policy(mesh, "v2", "DENY", &rules)
    };
    let vip = service.vip().to_string();
    let url = format!("http://{vip}:8082/s?stream=100000&pause_ms=20");
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let mut streaming = mesh.client.place.spawn(&["curl", "-sSN", version, "--max-time", "60", &token, &url])?;
        let _other = by_group("guests")?;
        service.comes_to("the token passes", "/", &[&token], |answer| answer.status == 200)?;
        ensure!(streaming.is_running(), "{version}: a stream that is allowed has ended");
        let denying = by_group("staff")?;
        service.comes_to("the token is denied", "/", &[&token], is_denied)?;
        wait::until("a stream that is denied by now ends", ENDS_WITHIN, || {
            ensure!(!streaming.is_running(), "{version}: it goes on");
            Ok(())
        })?;
        drop(denying);
        service.comes_to("the token passes again", "/", &[&token], |answer| answer.status == 200)?;
    }
    Ok(())
}

fn open_before(mesh: &HttpMesh) -> Result<()> {
    let (v2, v3, key) = (mesh.version("v2"), mesh.version("v3"), SigningKey::make("one")?);
    let streaming = |service: &HttpService<'_>| {
        let url = format!("http://{}:8082/s?stream=100000&pause_ms=20", service.vip());
        mesh.client.place.spawn(&["curl", "-sSN", "--max-time", "60", &url])
    };
    // Connections of a former object's time would be read already.
    is_calm(&v2)?;
    let (mut about, mut other) = (streaming(&v2)?, streaming(&v3)?);
    wait::until("both stream", ENDS_WITHIN, || {
        ensure!(!about.stdout().is_empty() && !other.stdout().is_empty(), "not yet");
        Ok(())
    })?;
    let _object = authentication(mesh, "v2", &format!("[{}]", rule(ISSUER, &key, "")))?;
    wait::until("a connection that nobody reads ends", ENDS_WITHIN, || {
        ensure!(!about.is_running(), "it goes on");
        Ok(())
    })?;
    ensure!(other.is_running(), "the object is not about it");
    in_force(&v2)
}
