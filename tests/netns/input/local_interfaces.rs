//! Bad input at the interfaces of a running agent, besides HBONE: the enrolment socket, objects in files, the command line, the
//! HTTP endpoints. Each is refused with the field and the fix, counted, and disturbs nobody.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::stat::Mode;
use weir_tests::agent::{Agent, AgentOptions};
use weir_tests::certificates::Authority;
use weir_tests::mesh::{Mesh, NAMESPACE, workload_entry};
use weir_tests::objects::{ObjectFolder, authorization_policy};
use weir_tests::raw_http2::frame;
use weir_tests::test_app::{self, ECHO};
use weir_tests::world::{N1, World};
use weir_tests::{namespace, wait};

use crate::count::Counter;
use crate::harness::{Case, Check};

pub(crate) const CASES: &[Case] = &[
    Case { name: "input: what is no request at the enrolment socket disturbs nobody", check: Check::Mesh(no_requests) },
    Case { name: "input: an enrolment that is refused is counted by its field", check: Check::Mesh(refusals_count) },
    Case { name: "input: clients that say nothing keep nobody from readiness", check: Check::Mesh(silent_clients) },
    Case { name: "input: a file that cannot be read takes nothing away, and is told", check: Check::Alone(bad_files) },
    Case { name: "input: a command line that cannot be meant is refused by its flag", check: Check::World(bad_flags) },
];

/// How long a command may take while somebody misbehaves.
const PROMPT: Duration = Duration::from_secs(10);

fn no_requests(mesh: &Mesh) -> Result<()> {
    let agent = mesh.agent_of(&mesh.far);
    let preface = [frame::PREFACE, &frame::settings(&[])].concat();
    let claims = |length: u32| {
        let message = [&[0][..], &length.to_be_bytes(), &[0; 64]].concat();
        [&preface[..], &frame::headers(1, &grpc_head()), &frame::frame(frame::DATA, 1, 1, &message)].concat()
    };
    let garbage: Vec<u8> = (0_u32..65_536).map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[1]).collect();
    let rows: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", Vec::new()),
        ("garbage", garbage),
        ("HTTP/1.1", b"POST /weir.enrollment.v1.Enrollment/Enroll HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        ("half a preface", frame::PREFACE[..9].to_vec()),
        ("a message that breaks off", claims(70)),
        ("a message of 1 GiB", claims(1 << 30)),
        ("a message that is no protobuf", claims(64)),
        ("a frame of 16 MiB", [&preface[..], &frame::header((1 << 24) - 1, frame::DATA, 0, 1)].concat()),
        (
            "an unknown compression",
            [&preface[..], &frame::headers(1, &grpc_head()), &frame::frame(0, 1, 1, &[1; 64])].concat(),
        ),
    ];
    // Those that keep their connection open while the next one misbehaves.
    let mut open = Vec::new();
    for (what, bytes) in &rows {
        let mut client = UnixStream::connect(agent.socket())?;
        client.set_write_timeout(Some(PROMPT))?;
        // It may close before it has heard everything.
        let _ = client.write_all(bytes);
        open.push(client);
        answers(agent).with_context(|| format!("after {what}"))?;
    }
    for _ in 0..300 {
        open.push(UnixStream::connect(agent.socket())?);
    }
    answers(agent).context("beside 300 clients that say nothing")?;
    test_app::echoes(&mesh.client.place, mesh.far.ipv4(), ECHO).map(drop)
}

fn grpc_head() -> Vec<u8> {
    weir_tests::raw_http2::hpack::block([
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/weir.enrollment.v1.Enrollment/Enroll"),
        (":authority", "agent.invalid"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ])
}

/// The enrolment API answers promptly.
fn answers(agent: &Agent) -> Result<()> {
    let start = Instant::now();
    let output = agent.weir(&["pods", "--socket", &agent.socket()])?;
    ensure!(output.success && output.stdout.contains("far"), "{}", output.summary());
    ensure!(start.elapsed() < PROMPT, "it took {:.1} s", start.elapsed().as_secs_f32());
    Ok(())
}

fn refusals_count(mesh: &Mesh) -> Result<()> {
    let agent = mesh.agent_of(&mesh.far);
    // A pipe that nobody writes to: who opens it as a file waits for ever.
    let pipe = mesh.world.run().folder().join("a-pipe");
    nix::unistd::mkfifo(&pipe, Mode::S_IRWXU)?;
    let netns = mesh.outsider.netns().path().display().to_string();
    let taken = mesh.far.netns().path().display().to_string();
    let (pipe, address) = (pipe.display().to_string(), mesh.far.ipv4().to_string());
    let own = format!("/proc/{}/ns/net", agent.id()?);
    let rows: [(&str, &str, &[&str]); 9] = [
        ("netns", "not a network namespace", &["--netns", &pipe]),
        ("netns", "the agent's own", &["--netns", &own]),
        ("netns", "not an absolute path", &["--netns", "run/netns/x"]),
        ("netns", "already enrolled", &["--netns", &taken, "--address", "10.250.0.1"]),
        ("addresses", "already enrolled", &["--netns", &netns, "--address", &address]),
        ("addresses", "not an address a pod", &["--netns", &netns, "--address", "127.0.0.1"]),
        ("addresses", "given twice", &["--netns", &netns, "--address", "10.250.0.1", "--address", "::ffff:10.250.0.1"]),
        ("cgroup", "not a cgroup", &["--netns", &netns, "--cgroup", "/etc"]),
        ("labels", "are allowed in a label", &["--netns", &netns, "--label", "a b=c"]),
    ];
    for (field, reason, arguments) in rows {
        let counter = Counter::of(agent, "weir_enrollment_refusals_total", &[("field", field)])?;
        let socket = agent.socket();
        let common = ["enroll", "--uid", "u", "--name", "n", "--namespace", "ns", "--socket", &socket];
        let start = Instant::now();
        let output = agent.weir(&[&common[..], arguments].concat())?;
        let said = &output.stderr;
        ensure!(!output.success && said.contains(field), "{arguments:?}: {}", output.summary());
        ensure!(said.contains(reason), "{arguments:?}: {}", output.summary());
        ensure!(start.elapsed() < PROMPT, "{arguments:?} took {:.1} s", start.elapsed().as_secs_f32());
        counter.grows_by(1.0)?;
    }
    let counter = Counter::of(agent, "weir_enrollment_refusals_total", &[("field", "uid")])?;
    let output = agent.weir(&["unenroll", "nobody", "--socket", &agent.socket()])?;
    ensure!(!output.success && output.stderr.contains("uid: \"nobody\""), "{}", output.summary());
    counter.grows_by(1.0)?;
    answers(agent)
}

fn silent_clients(mesh: &Mesh) -> Result<()> {
    let agent = mesh.agent_of(&mesh.far);
    let netns = mesh.node_of(&mesh.far).place.netns();
    for address in ["127.0.0.1:15021", "127.0.0.1:15020", "127.0.0.1:15000"] {
        let address: SocketAddr = address.parse()?;
        let connect = || TcpStream::connect_timeout(&address, PROMPT);
        let mut silent = Vec::new();
        for _ in 0..100 {
            let mut client = namespace::enter(netns.as_fd(), connect)??;
            // Others have taken its place by the time it speaks.
            let _ = client.write_all(b"GET /healthz/ready HTTP/1.1\r\nx: ");
            silent.push(client);
        }
        let start = Instant::now();
        for _ in 0..5 {
            let mut client = namespace::enter(netns.as_fd(), connect)??;
            client.set_read_timeout(Some(PROMPT))?;
            client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
            let mut answer = String::new();
            client.read_to_string(&mut answer).with_context(|| format!("asking {address}"))?;
            ensure!(answer.starts_with("HTTP/1.1 "), "{address}: {answer:?}");
        }
        ensure!(start.elapsed() < PROMPT, "{address}: five answers took {:.1} s", start.elapsed().as_secs_f32());
    }
    agent.metrics().map(drop)
}

fn bad_files() -> Result<()> {
    let world = World::new("t", 1)?;
    let node = &world.nodes[N1];
    let (left, right) = (node.pod("left")?, node.pod("right")?);
    let objects = ObjectFolder::create(&world.run().folder().join("objects"))?;
    objects.put("left", &workload_entry(&left))?;
    objects.put("right", &workload_entry(&right))?;
    objects.put(
        "deny",
        &authorization_policy("deny", NAMESPACE, "right", "DENY", "[{to: [{operation: {ports: [\"7002\"]}}]}]"),
    )?;
    let ca = world.run().folder().join("ca");
    Authority::generate()?.store(&ca)?;
    let delivery = vec![format!("--config={}", objects.path().display()), format!("--ca-dir={}", ca.display())];
    let agent = Agent::start(node, AgentOptions { delivery, flags: Vec::new() })?;
    agent.enroll(&left, NAMESPACE, "left")?;
    agent.enroll(&right, NAMESPACE, "right")?;
    let _server = test_app::serve(&right.place)?;
    let works = || -> Result<()> {
        test_app::echoes(&left.place, right.ipv4(), ECHO)?;
        let denied = test_app::probe(&left.place, right.ipv4(), test_app::BANNER, "x")?;
        ensure!(denied.refused(), "the policy is no longer in force: {denied:?}");
        Ok(())
    };
    wait::until("traffic and policy work", PROMPT, works).with_context(|| agent.tail())?;

    let policy = authorization_policy("deny", NAMESPACE, "right", "DENY", "[]");
    // What is written in place of which file, the kind it counts as, and what is said of it.
    let rows: [(&str, String, &str, &str); 6] = [
        ("right", "{ not yaml".into(), "file", "right.yaml:1 (line 1): not valid YAML"),
        ("deny", policy.replace("action: DENY", "action: DENIE"), "AuthorizationPolicy", "shop/deny: spec.action"),
        ("deny", policy.replace("rules: []", "rulez: []"), "AuthorizationPolicy", "shop/deny: spec.rulez"),
        (
            "deny",
            policy.replace("security.istio.io/v1", "security.istio.io/v9"),
            "AuthorizationPolicy",
            "shop/deny: apiVersion",
        ),
        (
            "right",
            workload_entry(&right).replace("address: ", "address: 999."),
            "WorkloadEntry",
            "shop/right: spec.address",
        ),
        ("left", "a: &a [x]\nb: &b [*a, *a]\nkind: *nobody\n".into(), "file", "left.yaml:1 (line 3): not valid YAML"),
    ];
    for (file, text, kind, said) in rows {
        let counter = Counter::of(&agent, "weir_config_rejected_total", &[("type", kind)])?;
        let logged = agent.log().len();
        objects.put(file, &text)?;
        counter.grows_by(1.0).with_context(|| format!("{text:?} is counted"))?;
        wait::until("it is said in the log and the status", PROMPT, || {
            let log = agent.log();
            ensure!(log.get(logged..).unwrap_or_default().contains(said), "{said:?} is not in the log");
            let status = agent.weir(&["status"])?;
            ensure!(status.stdout.contains(said), "{said:?} is not in the status: {}", status.stdout);
            Ok(())
        })
        .with_context(|| agent.tail())?;
        works().with_context(|| format!("with {text:?} in {file}"))?;
    }
    objects.put("right", &workload_entry(&right))?;
    objects.put("left", &workload_entry(&left))?;
    objects.put("deny", &authorization_policy("deny", NAMESPACE, "right", "ALLOW", "[{}]"))?;
    wait::until("what is put right is in force, and nothing is said any more", PROMPT, || {
        test_app::echoes(&left.place, right.ipv4(), test_app::WATCH)?;
        let status = agent.weir(&["status"])?;
        ensure!(!status.stdout.contains("objects/"), "{}", status.stdout);
        Ok(())
    })
}

fn bad_flags(world: &World) -> Result<()> {
    let place = &world.nodes[N1].place;
    let folder = world.run().folder().join("flags");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("ca-cert.pem"), "garbage")?;
    std::fs::write(folder.join("ca-key.pem"), "garbage")?;
    let weir = weir_tests::agent::binary("weir")?.display().to_string();
    let config = format!("--config={}", folder.display());
    let ca = format!("--ca-dir={}", folder.join("ca").display());
    let rows: [(&[&str], &str); 7] = [
        (&[], "--config PATH or --xds-address URL"),
        (&[&config], "give --ca-dir, --certificates-dir or --ca-address"),
        (&["--drain-seconds=never"], "--drain-seconds"),
        (&["--xds-address=ftp://istiod:1"], "expected https://host:port"),
        (&["--admin-address=0.0.0.0:1"], "must listen on loopback"),
        (&["--config=/a", "--xds-address=https://b:1"], "cannot be used with"),
        (&["--log=weir=loud", &config, &ca], "--log"),
    ];
    for (flags, said) in rows {
        let mut command = vec![weir.clone(), "agent".into()];
        command.extend(["run", "state", "bpf"].map(|name| format!("--{name}-dir={}", folder.join(name).display())));
        command.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let output = place.output_within(PROMPT, &command)?;
        ensure!(!output.success && output.stderr.contains(said), "{flags:?}: {}", output.summary());
        ensure!(!folder.join("bpf").exists(), "{flags:?}: something was installed all the same");
    }
    Ok(())
}
