//! Requests and responses that two readers might understand in two ways: what the agent judges and what the servers behind it
//! understand is the same, count and content included, and what is ambiguous reaches nobody.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_tests::agent::binary;
use weir_tests::http_mesh::{HttpMesh, Port};
use weir_tests::origins::{ORIGINS, Origins, Understood};
use weir_tests::smuggling::{Fate, heads, requests, responses};
use weir_tests::wait;

use super::inbound::policy;
use crate::harness::{Case, Check, note};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "http: eight servers understand the requests that the agent judges, however they are written",
        check: Check::OwnHttp(requests_agree),
    },
    Case {
        name: "http: a client gets one response per request, whatever a server sends",
        check: Check::Http(responses_agree),
    },
];

pub(crate) const LONG: &[Case] = &[
    Case {
        name: "http (eight minutes): eight servers understand what 100,000 connections say as the agent judges it",
        check: Check::OwnHttp(very_many_requests_agree),
    },
    Case {
        name: "http (two minutes): a client gets one response per request, of 50,000 that a server sends",
        check: Check::Http(very_many_responses_agree),
    },
];

/// Cases of the usual form for each server, of either version of HTTP: other ones for each.
const FEW: u64 = 200;
/// The same of the long form. Each case is a connection with up to three requests.
const MANY: u64 = 6_250;
const FEW_RESPONSES: u64 = 1_000;
const MANY_RESPONSES: u64 = 50_000;
/// Whatever it is, it is the same in each run.
const SEED: u64 = 15;
/// How long the cases of one server may take.
const WITHIN: Duration = Duration::from_secs(300);
/// What access log lines begin with, so that nothing else is taken for one.
const JUDGED: &str = "JUDGED";
/// Targets stay as they were sent, so that they can be compared.
const MESH_CONFIG: &str = "\
apiVersion: mesh.istio.io/v1alpha1
kind: MeshConfig
metadata: {name: mesh, namespace: istio-system}
spec:
  pathNormalization: {normalization: NONE}
  accessLogFile: /dev/stdout
  accessLogFormat: \"JUDGED %REQ(:METHOD)% %REQ(:PATH)% %REQ(:AUTHORITY)% %BYTES_RECEIVED% %RESPONSE_CODE% %RESPONSE_FLAGS%\\n\"
";
/// A rule that every request meets, and that only a request can meet: the agent of the destination looks into all of them.
const ANY_REQUEST: &str = "[{to: [{operation: {notMethods: [NEVER]}}]}]";
/// The server of the responses, and its port.
const HOSTILE: [Port; 1] = [Port { name: "http", number: 80, target: 9202 }];

/// The ports of the eight servers.
const SERVERS: [Port; 8] = [
    server(0, "http-nginx"),
    server(1, "http-apache"),
    server(2, "http-haproxy"),
    server(3, "http-h2o"),
    server(4, "http-node"),
    server(5, "http-go"),
    server(6, "http-tomcat"),
    server(7, "http-gunicorn"),
];

const fn server(place: u16, name: &'static str) -> Port {
    Port { name, number: 8001 + place, target: ORIGINS[place as usize].1 }
}

/// A request as an agent judged it, or as a server understood it: method, target, host, bytes of content.
type Request = (String, String, String, u64);

fn requests_agree(mesh: &mut HttpMesh) -> Result<()> {
    agree(mesh, FEW)
}

fn very_many_requests_agree(mesh: &mut HttpMesh) -> Result<()> {
    agree(mesh, MANY)
}

fn agree(mesh: &HttpMesh, count: u64) -> Result<()> {
    let origins = Origins::start(&mesh.pod("v2").place, mesh.world.run())?;
    let _format = mesh.control_plane.objects.put_for_now("mesh-config", MESH_CONFIG)?;
    let _policy = policy(mesh, "v2", "ALLOW", ANY_REQUEST)?;
    for agent in &mesh.agents {
        wait::until("lines have the format", Duration::from_secs(10), || {
            mesh.version("v2").ask("/", &[])?.expect(200, Some("v2"))?;
            ensure!(agent.log().contains(JUDGED), "{}", agent.tail());
            Ok(())
        })?;
    }
    let service = mesh.service_at_ports("origins", "v2", &SERVERS)?;
    let host = service.host();
    let mut answered = BTreeMap::new();
    for (kind, seed) in [("requests", SEED), ("heads", SEED + 1)] {
        for port in &SERVERS {
            let server = format!("{}-{kind}", port.name);
            // Other cases for each.
            let seed = seed + 10 * u64::from(port.number);
            let lines = sent(mesh, kind, SocketAddr::new(service.vip(), port.number), (&server, &host), seed, count)?;
            let sent = (0..count).map(|number| Sent::new(kind, seed, number, &server, &host));
            let sent = sent.zip(lines).collect::<Vec<_>>();
            answered.insert(server, sent);
        }
    }
    let (requests, cases) = wait::until("all agree", Duration::from_secs(10), || {
        let [client, server] = [0, 1].map(|agent| judged(&mesh.agents[agent].log()));
        let understood = by_case(origins.understood());
        let mut wrong = Vec::new();
        for (server_name, cases) in &answered {
            for (number, (sent, statuses)) in cases.iter().enumerate() {
                let key = format!("/s/{server_name}/{number}/");
                let of = |all: &BTreeMap<String, Vec<(Request, bool)>>| all.get(&key).cloned().unwrap_or_default();
                let told = understood.get(&key).map_or(&[][..], Vec::as_slice);
                let seen = disagreement(&of(&client), &of(&server), told).or_else(|| sent.missed(told, statuses));
                wrong.extend(seen.map(|why| format!("{key} {:?} {statuses:?}: {why}", sent.changes)));
            }
        }
        let stray: Vec<&String> = understood.keys().filter(|key| !client.contains_key(*key)).collect();
        ensure!(stray.is_empty(), "nobody judged {stray:?}");
        ensure!(
            wrong.is_empty(),
            "{} disagree, the first of them:\n{}",
            wrong.len(),
            wrong[..wrong.len().min(12)].join("\n")
        );
        Ok((client.values().map(Vec::len).sum::<usize>(), answered.values().map(Vec::len).sum::<usize>()))
    })
    .with_context(|| origins.tails())?;
    note(format!("{cases} cases, {requests} requests judged, understood alike by {} servers", ORIGINS.len()));
    Ok(())
}

/// What was sent as a case.
struct Sent {
    fate: Fate,
    changes: Vec<&'static str>,
    content: Vec<u8>,
    is_of_streams: bool,
}

impl Sent {
    fn new(kind: &str, seed: u64, number: u64, server: &str, host: &str) -> Self {
        if kind == "requests" {
            let case = requests::case(seed, number, server, host);
            return Self { fate: case.fate, changes: case.changes, content: case.content, is_of_streams: false };
        }
        let case = heads::case(seed, number, server, host);
        Self { fate: case.fate, changes: case.changes, content: case.content, is_of_streams: true }
    }

    /// What the agent may answer where it refuses: 400 for what could be understood in more than one way; where another rule of heads is
    /// broken as well, what that is answered; and nothing where content breaks off that was on its way by then.
    fn refusals(&self) -> Vec<Option<u16>> {
        const OTHERS: [(&str, Option<u16>); 14] = [
            ("another version", Some(505)),
            ("another coding", Some(501)),
            ("codings before chunked", Some(501)),
            ("chunked twice", Some(501)),
            ("many fields", Some(431)),
            ("a long field", Some(431)),
            ("a size of another form", None),
            ("a size that ends in a line feed", None),
            ("a size that ends otherwise", None),
            ("chunks that end in line feeds", None),
            ("chunks that do not end", None),
            ("trailers that matter", None),
            ("trailers that are none", None),
            ("a last chunk that ends in a line feed", None),
        ];
        let others = OTHERS.iter().filter(|(change, _)| self.changes.contains(change)).map(|(_, status)| *status);
        std::iter::once(Some(400)).chain(others).collect()
    }

    /// What of it did not become of it what must.
    fn missed(&self, told: &[Understood], statuses: &[u16]) -> Option<String> {
        let of = |place: u8| told.iter().filter(|one| is_at(&one.target, place)).collect::<Vec<_>>();
        let (before, own, behind, hidden) = (of(0), of(1), of(2), of(9));
        // A server may refuse what the agent lets pass.
        let is_refused_there = statuses.get(1).is_some_and(|status| *status >= 400);
        match self.fate {
            _ if !hidden.is_empty() && self.fate != Fate::Either => {
                Some("what content holds counts as a request".to_owned())
            }
            _ if before.len() != 1 => Some(format!("the first request was understood {} times", before.len())),
            Fate::Refused if !own.is_empty() => Some(format!("it arrived as {own:?}")),
            Fate::Refused if !self.is_of_streams && !behind.is_empty() => Some("what is behind it arrived".to_owned()),
            Fate::Refused if !self.is_of_streams && !self.refusals().contains(&statuses.get(1).copied()) => {
                Some(format!("it was to be answered {:?}", self.refusals()))
            }
            Fate::Arrives if own.is_empty() && !is_refused_there => Some("it did not arrive".to_owned()),
            Fate::Arrives if own.iter().any(|one| one.content != hexadecimal(&self.content)) => {
                Some(format!("it arrived with other content: {own:?}"))
            }
            Fate::Arrives if behind.len() != 1 => Some(format!("what is behind it arrived {} times", behind.len())),
            _ => None,
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a target is that of this request of a case, whatever was added to it.
fn is_at(target: &str, place: u8) -> bool {
    let at = key_of(target).map(|key| target.find(&key).map_or(0, |start| start + key.len()));
    at.is_some_and(|at| target[at..].starts_with(char::from(b'0' + place)))
}

/// `/s/nginx-requests/17/` of `/s/nginx-requests/17/1?a`.
fn key_of(target: &str) -> Option<String> {
    let start = target.find("/s/")?;
    let mut parts = target[start + 3..].splitn(3, '/');
    let (server, number) = (parts.next()?, parts.next()?);
    parts.next()?;
    Some(format!("/s/{server}/{number}/"))
}

/// Sends the cases of one kind to one server from the client's pod; the statuses of each in their order.
fn sent(
    mesh: &HttpMesh,
    kind: &str,
    to: SocketAddr,
    (server, host): (&str, &str),
    seed: u64,
    count: u64,
) -> Result<Vec<Vec<u16>>> {
    let own = [binary("weir-test-app")?.display().to_string(), "smuggle".to_owned(), kind.to_owned(), to.to_string()];
    let more =
        [format!("--server={server}"), format!("--host={host}"), format!("--seed={seed}"), format!("--count={count}")];
    let said = mesh.client.place.run_within(WITHIN, &[&own[..], &more].concat())?;
    let mut statuses = vec![Vec::new(); usize::try_from(count)?];
    for line in said.lines() {
        let mut words = line.splitn(3, ' ');
        let mut next = || words.next().context("a line has three parts");
        let (number, seen, wrong) = (next()?.parse::<usize>()?, next()?, next()?);
        ensure!(wrong.is_empty(), "{kind} of {server}: case {number} was answered {seen} with {wrong}");
        let seen = seen.split(',').filter(|status| !status.is_empty()).map(str::parse).collect::<Result<_, _>>()?;
        *statuses.get_mut(number).context("as many cases as were asked for")? = seen;
    }
    Ok(statuses)
}

/// The requests of an agent's access log by their case, and whether each was answered without an error.
fn judged(log: &str) -> BTreeMap<String, Vec<(Request, bool)>> {
    let mut all: BTreeMap<String, Vec<(Request, bool)>> = BTreeMap::new();
    for line in log.lines().filter_map(|line| Some(line.split_once(JUDGED)?.1.trim_start())) {
        let words: Vec<&str> = line.split(' ').collect();
        let [method, target, host, bytes, status, flags] = words[..] else { continue };
        let (Some(key), Ok(bytes)) = (key_of(target), bytes.parse()) else { continue };
        let host = if host == "-" { "" } else { host };
        // A fragment is for nobody but its client.
        let target = target.split('#').next().unwrap_or(target);
        let is_well = flags == "-" && status.parse::<u16>().is_ok_and(|status| status < 400);
        all.entry(key).or_default().push(((method.to_owned(), target.to_owned(), host.to_owned(), bytes), is_well));
    }
    all
}

fn by_case(understood: Vec<Understood>) -> BTreeMap<String, Vec<Understood>> {
    let mut all: BTreeMap<String, Vec<Understood>> = BTreeMap::new();
    for one in understood {
        let key = key_of(&one.target).unwrap_or_else(|| one.target.clone());
        all.entry(key).or_default().push(one);
    }
    all
}

/// Where the two agents and the server differ about the requests of a case. What failed somewhere needs not have arrived.
fn disagreement(client: &[(Request, bool)], server: &[(Request, bool)], told: &[Understood]) -> Option<String> {
    let told: Vec<Request> =
        told.iter().map(|one| (one.method.clone(), one.target.clone(), one.host.clone(), one.bytes)).collect();
    for (whose, judged) in [("client", client), ("server", server)] {
        let mut left = told.clone();
        for (request, is_well) in judged {
            match left.iter().position(|one| is_same(one, request)) {
                Some(place) => drop(left.remove(place)),
                None if *is_well => {
                    return Some(format!("the {whose}'s agent judged {request:?}, and {told:?} arrived"));
                }
                None => {}
            }
        }
        if !left.is_empty() {
            return Some(format!("{left:?} arrived, and the {whose}'s agent judged {judged:?}"));
        }
    }
    None
}

/// Whether two understood the same. gunicorn writes methods in capitals, whatever was sent.
fn is_same(one: &Request, other: &Request) -> bool {
    one.0.eq_ignore_ascii_case(&other.0) && (&one.1, &one.2, one.3) == (&other.1, &other.2, other.3)
}

fn responses_agree(mesh: &HttpMesh) -> Result<()> {
    one_response_each(mesh, FEW_RESPONSES)
}

fn very_many_responses_agree(mesh: &HttpMesh) -> Result<()> {
    one_response_each(mesh, MANY_RESPONSES)
}

/// Each case's response is asked for, and another one behind it on the same connection.
fn one_response_each(mesh: &HttpMesh, count: u64) -> Result<()> {
    let program = binary("weir-test-app")?.display().to_string();
    let port = HOSTILE[0].target.to_string();
    let seed = format!("--seed={SEED}");
    let mut server = mesh.pod("v2").place.spawn(&[&*program, "hostile", "http1", &port, &seed])?;
    server.listens_on(HOSTILE[0].target)?;
    let service = mesh.service_at_ports("hostile-http1", "v2", &HOSTILE)?;
    let to = SocketAddr::new(service.vip(), 80);
    let seen = sent(mesh, "responses", to, ("-", &service.host()), SEED, count)?;
    let mut arrived = 0;
    for (number, statuses) in (0..count).zip(&seen) {
        let case = responses::case(SEED, number);
        let is_whole = statuses.first().is_some_and(|status| (200..500).contains(status));
        let as_expected = match case.fate {
            Fate::Arrives => is_whole && statuses.len() == 2 && statuses[1] == 200,
            Fate::Refused => !is_whole,
            Fate::Either => statuses.len() <= 2,
        };
        ensure!(
            as_expected,
            "case {number} {:?} ({:?}) was answered {statuses:?}: {}",
            case.changes,
            case.fate,
            case.bytes[..case.bytes.len().min(600)].escape_ascii()
        );
        arrived += u64::from(is_whole);
    }
    note(format!("{count} responses, {arrived} of them arrived, each once"));
    Ok(())
}
