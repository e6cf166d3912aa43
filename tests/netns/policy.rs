//! Authorization and peer authentication, as the client feels them and as the agents count them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use weir_tests::agent::binary;
use weir_tests::mesh::{Mesh, NAMESPACE, principal};
use weir_tests::objects::{authorization_policy, peer_authentication};
use weir_tests::program::Program;
use weir_tests::test_app::{self, BANNER, ECHO};
use weir_tests::wait;
use weir_tests::world::Pod;

use crate::count::{CLOSED, Counter};
use crate::harness::{Case, Check, note};

pub(crate) const CASES: &[Case] = &[
    Case { name: "policy: DENY by identity refuses that client and no other", check: Check::Mesh(deny_identity) },
    Case { name: "policy: ALLOW by identity refuses everybody else", check: Check::Mesh(allow_identity) },
    Case { name: "policy: ALLOW by port leaves the other ports closed", check: Check::Mesh(allow_port) },
    Case { name: "policy: DENY by namespace and by source address", check: Check::Mesh(deny_namespace_and_address) },
    Case { name: "policy: an ALLOW without rules refuses everybody", check: Check::Mesh(allow_nothing) },
    Case { name: "policy: a dry run decides nothing", check: Check::Mesh(dry_run) },
    Case { name: "policy: plaintext is accepted unless PeerAuthentication is STRICT", check: Check::Mesh(strict) },
    Case {
        name: "policy: denied plaintext is reset, also where the client says nothing",
        check: Check::Mesh(denied_is_reset),
    },
    Case {
        name: "policy: plaintext has no identity, so ALLOW by identity refuses it",
        check: Check::Mesh(plaintext_identity),
    },
    Case { name: "policy: a change is in force at once, for and against", check: Check::Mesh(live_change) },
    Case { name: "policy: what cannot be understood denies", check: Check::Mesh(not_understood) },
    Case {
        name: "policy: a client is meant under each of the mesh's trust domains",
        check: Check::Mesh(trust_domain_aliases),
    },
    Case {
        name: "policy: a DENY that can match nobody denies everybody, and is told",
        check: Check::Mesh(matches_nobody),
    },
    Case {
        name: "policy: what is open ends when policy no longer allows it",
        check: Check::Mesh(open_connections_end),
    },
    Case { name: "policy: it holds on one node as between two", check: Check::Mesh(same_node) },
];

/// By when a change of the objects must be in force, on however busy a machine. How soon it is, `live_change` tells.
const IN_FORCE_WITHIN: Duration = Duration::from_secs(10);
/// For how long a policy is watched that must change nothing.
const WATCHED: Duration = Duration::from_secs(1);

fn refuses(from: &Pod, to: &Pod, port: u16) -> Result<()> {
    let seen = test_app::probe(&from.place, to.ipv4(), port, "let me in")?;
    ensure!(seen.refused(), "{} got through to {} port {port}: {seen:?}", from.name(), to.name());
    Ok(())
}

fn accepts(from: &Pod, to: &Pod, port: u16) -> Result<()> {
    let seen = test_app::probe(&from.place, to.ipv4(), port, "let me in")?;
    ensure!(!seen.received.is_empty(), "{} did not get through to {} port {port}: {seen:?}", from.name(), to.name());
    Ok(())
}

/// Waits until no policy of a former case is in force any more.
fn calm(mesh: &Mesh) -> Result<()> {
    wait::until("everybody is let in everywhere", Duration::from_secs(5), || {
        for to in [&mesh.near, &mesh.far] {
            accepts(&mesh.client, to, ECHO)?;
            accepts(&mesh.outsider, to, ECHO)?;
        }
        accepts(&mesh.near, &mesh.far, BANNER)
    })
}

/// Waits for a change that was just made.
fn soon(what: &str, check: impl FnMut() -> Result<()>) -> Result<()> {
    wait::until(what, IN_FORCE_WITHIN, check)
}

fn rule_from(pod: &Pod) -> String {
    let id = principal(pod);
    format!("[{{from: [{{source: {{principals: [\"{}\"]}}}}]}}]", id.trim_start_matches("spiffe://"))
}

fn policy(app: &str, action: &str, rules: &str) -> String {
    authorization_policy("case", NAMESPACE, app, action, rules)
}

fn deny_identity(mesh: &Mesh) -> Result<()> {
    calm(mesh)?;
    let denied =
        Counter::of(mesh.agent_of(&mesh.far), CLOSED, &[("reporter", "destination"), ("response_flags", "DENY")])?;
    let agent = mesh.agent_of(&mesh.far);
    let (logged, served) = (agent.log().len(), || mesh.servers.far.stdout());
    {
        let yaml = policy("far", "DENY", &rule_from(&mesh.client));
        let _policy = mesh.control_plane.objects.put_for_now("case", &yaml)?;
        soon("the client is refused", || refuses(&mesh.client, &mesh.far, test_app::WATCH))
            .with_context(|| mesh.logs())?;
        accepts(&mesh.near, &mesh.far, ECHO)?;
        accepts(&mesh.outsider, &mesh.far, ECHO)?;
        accepts(&mesh.client, &mesh.near, ECHO)?;
        // Probes from before the policy was in force did reach the server, and are in its log once they have ended.
        accepts(&mesh.near, &mesh.far, test_app::WATCH)?;
        let before = settled(served)?;
        let refused = Counter::of(agent, CLOSED, &[("reporter", "destination"), ("response_flags", "DENY")])?;
        refuses(&mesh.client, &mesh.far, test_app::WATCH)?;
        refused.grows_by(1.0)?;
        let after = settled(served)?;
        ensure!(after == before, "what is denied reached the server: {:?}", after.strip_prefix(&before));
    }
    denied.grows_by(1.0)?;
    soon("the client is let in again", || accepts(&mesh.client, &mesh.far, ECHO))?;
    agent.logs_line(logged, &["denied by policy shop/case", &principal(&mesh.client)]).map(drop)
}

/// What a server has printed, once it prints no more: it tells of a connection when that has ended.
fn settled(printed: impl Fn() -> String) -> Result<String> {
    let mut last = String::new();
    wait::until_every(Duration::from_millis(200), "the server prints no more", Duration::from_secs(10), || {
        let before = std::mem::replace(&mut last, printed());
        ensure!(!last.is_empty() && last == before, "it goes on");
        Ok(last.clone())
    })
}

fn allow_identity(mesh: &Mesh) -> Result<()> {
    calm(mesh)?;
    let _policy = mesh.control_plane.objects.put_for_now("case", &policy("far", "ALLOW", &rule_from(&mesh.near)))?;
    soon("the client is refused", || refuses(&mesh.client, &mesh.far, ECHO))?;
    accepts(&mesh.near, &mesh.far, ECHO)?;
    refuses(&mesh.outsider, &mesh.far, ECHO)
}

fn allow_port(mesh: &Mesh) -> Result<()> {
    calm(mesh)?;
    let yaml = policy("far", "ALLOW", &format!("[{{to: [{{operation: {{ports: [\"{ECHO}\"]}}}}]}}]"));
    let _policy = mesh.control_plane.objects.put_for_now("case", &yaml)?;
    soon("the other port is refused", || refuses(&mesh.client, &mesh.far, BANNER))?;
    accepts(&mesh.client, &mesh.far, ECHO)?;
    refuses(&mesh.outsider, &mesh.far, BANNER)?;
    accepts(&mesh.outsider, &mesh.far, ECHO)
}

fn deny_namespace_and_address(mesh: &Mesh) -> Result<()> {
    calm(mesh)?;
    {
        let yaml = policy("far", "DENY", "[{from: [{source: {namespaces: [\"shop\"]}}]}]");
        let _policy = mesh.control_plane.objects.put_for_now("case", &yaml)?;
        soon("the namespace is refused", || refuses(&mesh.client, &mesh.far, ECHO))?;
        refuses(&mesh.near, &mesh.far, ECHO)?;
        accepts(&mesh.outsider, &mesh.far, ECHO)?;
    }
    let rules = format!("[{{from: [{{source: {{ipBlocks: [\"{}\"]}}}}]}}]", mesh.outsider.ipv4());
    let _policy = mesh.control_plane.objects.put_for_now("case", &policy("far", "DENY", &rules))?;
    soon("the address is refused", || refuses(&mesh.outsider, &mesh.far, ECHO))?;
    soon("the namespace is let in again", || accepts(&mesh.client, &mesh.far, ECHO))
}

fn allow_nothing(mesh: &Mesh) -> Result<()> {
    calm(mesh)?;
    let _policy = mesh.control_plane.objects.put_for_now("case", &policy("far", "ALLOW", "[]"))?;
    soon("everybody is refused", || refuses(&mesh.client, &mesh.far, ECHO))?;
    refuses(&mesh.near, &mesh.far, ECHO)?;
    refuses(&mesh.outsider, &mesh.far, ECHO)
}

fn dry_run(mesh: &Mesh) -> Result<()> {
    calm(mesh)?;
    let yaml = policy("far", "DENY", "[{}]")
        .replace("  name: case\n", "  name: case\n  annotations:\n    istio.io/dry-run: \"true\"\n");
    let _policy = mesh.control_plane.objects.put_for_now("case", &yaml)?;
    // A policy that comes after it: once that is in force, so is what came before.
    let rules = format!("[{{to: [{{operation: {{ports: [\"{BANNER}\"]}}}}]}}]");
    let later = authorization_policy("later", NAMESPACE, "far", "DENY", &rules);
    let _later = mesh.control_plane.objects.put_for_now("later", &later)?;
    soon("the policies have arrived", || refuses(&mesh.client, &mesh.far, BANNER))?;
    wait::throughout("the client is let in", WATCHED, || accepts(&mesh.client, &mesh.far, ECHO))
}

fn denied_is_reset(mesh: &Mesh) -> Result<()> {
    calm(mesh)?;
    let yaml = peer_authentication("case", NAMESPACE, Some("far"), "STRICT");
    let _strict = mesh.control_plane.objects.put_for_now("case", &yaml)?;
    soon("plaintext is refused", || refuses(&mesh.outsider, &mesh.far, ECHO))?;
    let silent = test_app::probe(&mesh.outsider.place, mesh.far.ipv4(), ECHO, "")?;
    // The reset may overtake the client's connect(2).
    ensure!([&silent.connect, &silent.end].iter().any(|end| *end == "ConnectionReset"), "{silent:?}");
    Ok(())
}

fn strict(mesh: &Mesh) -> Result<()> {
    calm(mesh)?;
    accepts(&mesh.outsider, &mesh.far, ECHO)?;
    {
        let yaml = peer_authentication("case", NAMESPACE, Some("far"), "STRICT");
        let _strict = mesh.control_plane.objects.put_for_now("case", &yaml)?;
        soon("plaintext is refused", || refuses(&mesh.outsider, &mesh.far, ECHO))?;
        accepts(&mesh.client, &mesh.far, ECHO)?;
        accepts(&mesh.outsider, &mesh.near, ECHO)?;
    }
    soon("plaintext is accepted again", || accepts(&mesh.outsider, &mesh.far, ECHO))?;
    let whole = peer_authentication("case", NAMESPACE, None, "STRICT");
    let _strict = mesh.control_plane.objects.put_for_now("case", &whole)?;
    soon("the whole namespace is strict", || refuses(&mesh.outsider, &mesh.near, ECHO))?;
    accepts(&mesh.client, &mesh.near, ECHO)
}

fn plaintext_identity(mesh: &Mesh) -> Result<()> {
    calm(mesh)?;
    let _policy = mesh.control_plane.objects.put_for_now("case", &policy("far", "ALLOW", &rule_from(&mesh.client)))?;
    soon("plaintext is refused", || refuses(&mesh.outsider, &mesh.far, ECHO))?;
    accepts(&mesh.client, &mesh.far, ECHO)
}

fn live_change(mesh: &Mesh) -> Result<()> {
    calm(mesh)?;
    let yaml = policy("far", "DENY", &rule_from(&mesh.client));
    let (mut to_deny, mut to_allow) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..5 {
        let start = Instant::now();
        let guard = mesh.control_plane.objects.put_for_now("case", &yaml)?;
        soon("the policy is in force", || refuses(&mesh.client, &mesh.far, ECHO))?;
        to_deny = to_deny.max(start.elapsed());
        let start = Instant::now();
        drop(guard);
        soon("its removal is in force", || accepts(&mesh.client, &mesh.far, ECHO))?;
        to_allow = to_allow.max(start.elapsed());
    }
    note(format!(
        "slowest of five: denied after {} ms, allowed after {} ms",
        to_deny.as_millis(),
        to_allow.as_millis()
    ));
    Ok(())
}

/// A policy whose meaning is lost must not let anybody in, whatever it was meant to do.
fn not_understood(mesh: &Mesh) -> Result<()> {
    calm(mesh)?;
    let rules = [
        "[{from: [{source: {ipBlocks: [\"not an address\"]}}]}]",
        "[{to: [{operation: {ports: [\"no port\"]}}]}]",
        "[{from: [{source: {nobodyKnowsThisField: [\"x\"]}}]}]",
    ];
    for rules in rules {
        for action in ["ALLOW", "DENY"] {
            let _policy = mesh.control_plane.objects.put_for_now("case", &policy("far", action, rules))?;
            soon("everybody is refused", || refuses(&mesh.near, &mesh.far, ECHO))
                .with_context(|| format!("{action} {rules}"))?;
        }
        soon("everybody is let in again", || accepts(&mesh.near, &mesh.far, ECHO))?;
    }
    Ok(())
}

fn open_connections_end(mesh: &Mesh) -> Result<()> {
    calm(mesh)?;
    let app = binary("weir-test-app")?.display().to_string();
    let address = SocketAddr::new(mesh.far.ipv4(), ECHO).to_string();
    let hold = |pod: &Pod| -> Result<Program> {
        let held = pod.place.spawn(&[app.as_str(), "hold", &address])?;
        soon("the connection is open", || {
            ensure!(held.stdout().contains("open"), "it is not: {}", held.tail());
            Ok(())
        })?;
        Ok(held)
    };
    let (mut denied, mut allowed) = (hold(&mesh.client)?, hold(&mesh.near)?);
    let _policy = mesh.control_plane.objects.put_for_now("case", &policy("far", "DENY", &rule_from(&mesh.client)))?;
    denied.ended(IN_FORCE_WITHIN).context("the connection that is denied now ends")?;
    ensure!(denied.stdout().contains("\"end\""), "{}", denied.tail());
    ensure!(allowed.is_running(), "the other connection goes on: {}", allowed.tail());
    Ok(())
}

fn same_node(mesh: &Mesh) -> Result<()> {
    calm(mesh)?;
    {
        let _policy =
            mesh.control_plane.objects.put_for_now("case", &policy("near", "DENY", &rule_from(&mesh.client)))?;
        soon("the client is refused", || refuses(&mesh.client, &mesh.near, ECHO))?;
        accepts(&mesh.far, &mesh.near, ECHO)?;
    }
    soon("the client is let in again", || accepts(&mesh.client, &mesh.near, ECHO))
}

const ALIASES: &str = "\
apiVersion: mesh.istio.io/v1alpha1
kind: MeshConfig
metadata: {name: mesh, namespace: istio-system}
spec: {trustDomainAliases: [old.example]}
";

fn trust_domain_aliases(mesh: &Mesh) -> Result<()> {
    calm(mesh)?;
    let objects = &mesh.control_plane.objects;
    let _aliases = objects.put_for_now("mesh-config", ALIASES)?;
    let client = format!("/ns/{NAMESPACE}/sa/{}", mesh.client.name());
    for written in [
        format!("old.example{client}"),
        format!("old.example{}*", &client[..client.len() - 1]),
        "old.example/*".to_owned(),
    ] {
        let rules = format!("[{{from: [{{source: {{principals: [\"{written}\"]}}}}]}}]");
        {
            let _deny = objects.put_for_now("case", &policy("far", "DENY", &rules))?;
            soon(&format!("DENY {written} refuses the client"), || refuses(&mesh.client, &mesh.far, ECHO))?;
            accepts(&mesh.outsider, &mesh.far, ECHO)?;
        }
        let _allow = objects.put_for_now("case", &policy("far", "ALLOW", &rules))?;
        soon(&format!("ALLOW {written} refuses those without an identity"), || {
            refuses(&mesh.outsider, &mesh.far, ECHO)
        })?;
        soon(&format!("ALLOW {written} lets the client in"), || accepts(&mesh.client, &mesh.far, ECHO))?;
    }
    Ok(())
}

fn matches_nobody(mesh: &Mesh) -> Result<()> {
    calm(mesh)?;
    let near = principal(&mesh.near);
    let id = near.trim_start_matches("spiffe://");
    let principals = [near.clone(), format!("{id}/"), format!("/ns/{NAMESPACE}/sa/near")];
    let principals = principals.map(|written| ("principals", written, "matches nobody"));
    let namespaces = [format!("ns/{NAMESPACE}"), format!("{NAMESPACE}/"), format!("*{}*", &NAMESPACE[1..])];
    let namespaces = namespaces.map(|written| ("namespaces", written, "matches nobody"));
    let account = format!("system:serviceaccount:{NAMESPACE}:near");
    let account = ("serviceAccounts", account, "is not a service account");
    for (field, written, reason) in principals.into_iter().chain(namespaces).chain([account]) {
        let rules = format!("[{{from: [{{source: {{{field}: [\"{written}\"]}}}}]}}]");
        let told = format!("spec.rules[0].from[0].source.{field}[0]: {written:?} {reason}");
        denies_its_scope(mesh, &rules, &told)?;
    }
    let no_port = |written: &str| format!("bad port {written:?}: use 1 to 65535");
    for (written, reason) in [
        ("0", "\"0\" matches no connection: a port is 1 to 65535".to_owned()),
        ("70000", no_port("70000")),
        ("http", no_port("http")),
    ] {
        let rules = format!("[{{to: [{{operation: {{ports: [\"{written}\"]}}}}]}}]");
        denies_its_scope(mesh, &rules, &format!("spec.rules[0].to[0].operation.ports[0]: {reason}"))?;
        let rules = format!("[{{when: [{{key: destination.port, values: [\"{written}\"]}}]}}]");
        denies_its_scope(mesh, &rules, &format!("spec.rules[0].when[0].values[0]: {reason}"))?;
    }
    Ok(())
}

/// A DENY for `far` with these rules, which can match nothing, refuses everybody there and nobody elsewhere, and the control plane
/// says `told`.
fn denies_its_scope(mesh: &Mesh, rules: &str, told: &str) -> Result<()> {
    {
        let _deny = mesh.control_plane.objects.put_for_now("case", &policy("far", "DENY", rules))?;
        soon(&format!("DENY {rules} refuses everybody"), || {
            refuses(&mesh.near, &mesh.far, ECHO)?;
            refuses(&mesh.client, &mesh.far, ECHO)?;
            refuses(&mesh.outsider, &mesh.far, ECHO)
        })?;
        accepts(&mesh.client, &mesh.near, ECHO).context("only its scope is closed")?;
    }
    let log = mesh.control_plane.tail();
    ensure!(log.replace('\\', "").contains(told), "the control plane does not say {told:?}:\n{log}");
    calm(mesh)
}
