//! The demo's story: what is done, and what is seen of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use weir_tests::mesh::{NAMESPACE, principal};
use weir_tests::objects::authorization_policy;
use weir_tests::program::Output;
use weir_tests::rules::Rules;
use weir_tests::world::N2;
use weir_tests::{control_plane, namespace, nginx, wait};

use crate::shop::{Shop, WEB, Weir};
use crate::telling::{act, seen, shortened};

const HBONE: u16 = 15008;
const REQUESTS: usize = 20;
/// Labels of metrics that are shown.
const SHOWN: &[&str] =
    &["reporter", "source_principal", "destination_workload", "connection_security_policy", "response_flags"];

/// Tells the whole story; hands back the mesh, which is still up.
pub(crate) fn tell(shop: &Shop) -> Result<Weir> {
    let before = without_mesh(shop)?;
    let weir = mesh_arrives(shop)?;
    traffic(shop, &weir)?;
    identity(shop, &weir)?;
    policy(shop, &weir)?;
    act("No iptables");
    let during = shop.rules()?;
    let differing: String = before.iter().zip(&during).map(|(before, during)| before.difference(during)).collect();
    let lines: usize = during.iter().map(Rules::lines).sum();
    ensure!(differing.is_empty(), "rules changed:\n{differing}");
    seen(format!("{lines} lines of packet filter rules, routing rules, routes and qdiscs in 2 nodes and 3 pods:"));
    seen("0 differ from before Weir was started.");
    metrics(shop, &weir)?;
    Ok(weir)
}

fn without_mesh(shop: &Shop) -> Result<Vec<Rules>> {
    act("Two nodes, three pods, no mesh");
    seen(format!(
        "client {} and blue {} on n1, green {} on n2",
        shop.client.ipv4(),
        shop.blue.ipv4(),
        shop.green.ipv4()
    ));
    let capture = shop.world.capture(&shop.world.nodes[N2])?;
    let page = curl(shop, SocketAddr::new(shop.green.ipv4(), nginx::PORT))?;
    ensure!(page.success, "without a mesh pods reach each other: {}", page.summary());
    let wire = capture.stop()?;
    let clear = wire.streams_with("this is green");
    seen(format!(
        "client asks green: {:?}; on the wire between the nodes: readable by anybody ({clear} stream)",
        page.stdout.trim()
    ));
    shop.rules()
}

fn mesh_arrives(shop: &Shop) -> Result<Weir> {
    act("Weir arrives: a control plane, one agent per node");
    let start = Instant::now();
    let weir = shop.start_weir()?;
    seen(format!("control plane and both agents are ready after {:.2} s", start.elapsed().as_secs_f64()));
    let start = Instant::now();
    shop.enroll(&weir)?;
    let both = |shop: &Shop| -> Result<()> {
        for pod in [&shop.blue, &shop.green] {
            let page = curl(shop, SocketAddr::new(pod.ipv4(), nginx::PORT))?;
            ensure!(page.success, "{}: {}", pod.name(), page.summary());
        }
        Ok(())
    };
    wait::until("the pods talk through the mesh", Duration::from_secs(15), || both(shop))
        .with_context(|| logs(&weir))?;
    seen(format!(
        "three running pods enrolled, none restarted, certificates issued: {:.2} s",
        start.elapsed().as_secs_f64()
    ));
    Ok(weir)
}

fn traffic(shop: &Shop, weir: &Weir) -> Result<()> {
    act("Real traffic, encrypted on the wire");
    let capture = shop.world.capture(&shop.world.nodes[N2])?;
    let mut answers = BTreeMap::<String, usize>::new();
    for number in 0..REQUESTS {
        let vip = WEB[number % 2].parse()?;
        let page = curl(shop, SocketAddr::new(vip, 80))?;
        ensure!(page.success, "{}\n{}", page.summary(), logs(weir));
        *answers.entry(page.stdout.trim().to_owned()).or_default() += 1;
    }
    seen(format!(
        "client asks the service web {REQUESTS} times by curl, half of them over IPv6 ({} and {}):",
        WEB[0], WEB[1]
    ));
    answers.iter().for_each(|(answer, times)| seen(format!("  {times:2} × {answer:?}")));
    let wire = capture.stop()?;
    let clear = wire.outside_ports(&[HBONE, control_plane::PORT]).count();
    let http = wire.streams_with("HTTP/1.1") + wire.streams_with("this is");
    let records = wire.tls_records_to(HBONE)?;
    ensure!(
        clear == 0 && http == 0 && records > 0,
        "{clear} streams in the clear, {http} with HTTP, {records} TLS records"
    );
    seen(format!(
        "seen by tcpdump between the nodes: {} packets, {records} TLS records to port {HBONE},",
        wire.packets
    ));
    seen("0 bytes to any other port of a pod, 0 streams with a readable word of HTTP");
    Ok(())
}

fn identity(shop: &Shop, weir: &Weir) -> Result<()> {
    act("Who is calling? The certificate says it, and the application sees its client");
    let page = curl(shop, SocketAddr::new(shop.green.ipv4(), nginx::PORT))?;
    ensure!(page.success, "{}", page.summary());
    let nginx_log = shop.world.run().folder().join("nginx-green/access.log");
    let nginx_line = std::fs::read_to_string(&nginx_log)?.lines().last().unwrap_or_default().to_owned();
    ensure!(nginx_line.contains(&shop.client.ipv4().to_string()), "nginx saw another client: {nginx_line}");
    seen("green's own nginx logged its client's address, though the connection came through the agent:");
    seen(format!("  {nginx_line}"));
    let id = principal(&shop.client);
    let line = wait::until("the access log names the client", Duration::from_secs(3), || {
        let log = weir.agents[N2].log();
        let found = log.lines().rev().find(|line| line.contains("connection complete") && line.contains(&id));
        found.map(str::to_owned).context("it does not")
    })?;
    seen("n2's agent logged who that was:");
    seen(format!("  {}", line.trim()));
    Ok(())
}

fn policy(shop: &Shop, weir: &Weir) -> Result<()> {
    act("Policy: green refuses the client");
    let address = SocketAddr::new(shop.green.ipv4(), nginx::PORT);
    let rules = format!(
        "[{{from: [{{source: {{principals: [\"{}\"]}}}}]}}]",
        principal(&shop.client).trim_start_matches("spiffe://")
    );
    let policy = authorization_policy("green-denies-client", NAMESPACE, "green", "DENY", &rules)
        .replace("app: green", "pod: green");
    let start = Instant::now();
    let guard = weir.control_plane.objects.put_for_now("policy", &policy)?;
    let refused = wait::until("the client is refused", Duration::from_secs(5), || {
        let page = curl(shop, address)?;
        ensure!(!page.success, "it got {:?}", page.stdout);
        Ok(page)
    })?;
    seen(format!(
        "an AuthorizationPolicy was written to a file; in force after {} ms. The client sees:",
        start.elapsed().as_millis()
    ));
    seen(format!("  {}", refused.stderr.trim()));
    let blue = curl(shop, SocketAddr::new(shop.blue.ipv4(), nginx::PORT))?;
    ensure!(blue.success, "{}", blue.summary());
    seen(format!("blue still answers: {:?}", blue.stdout.trim()));
    let start = Instant::now();
    drop(guard);
    wait::until("the client is let in again", Duration::from_secs(5), || {
        let page = curl(shop, address)?;
        ensure!(page.success, "{}", page.summary());
        Ok(())
    })?;
    seen(format!("the file is removed; green answers again after {} ms", start.elapsed().as_millis()));
    Ok(())
}

fn metrics(shop: &Shop, weir: &Weir) -> Result<()> {
    act("Metrics, with Istio's names: existing dashboards work");
    let text = weir.agents[N2].metrics_text()?;
    let id = principal(&shop.client);
    for name in ["istio_tcp_connections_opened_total", "istio_tcp_received_bytes_total", "istio_tcp_sent_bytes_total"] {
        let line = text.lines().find(|line| line.starts_with(name) && line.contains(&id));
        seen(shortened(line.with_context(|| format!("no {name} for {id}"))?, SHOWN));
    }
    Ok(())
}

/// Takes everything down and shows that it is gone.
pub(crate) fn close(shop: Shop, weir: Weir) -> Result<()> {
    act("Gone again");
    let name = shop.world.run().name().to_owned();
    let cgroup = shop.world.run().cgroup()?;
    drop(weir);
    drop(shop);
    let namespaces = namespace::with_prefix(&name).len();
    let mounts = std::fs::read_to_string("/proc/self/mounts")?.matches(&name).count();
    let processes = usize::from(cgroup.exists());
    ensure!(
        namespaces + mounts + processes == 0,
        "{namespaces} namespaces, {mounts} mounts, {processes} cgroups are left"
    );
    seen("of the demo are left: 0 namespaces, 0 cgroups and so 0 processes, 0 mounts and so 0 pinned kernel programs");
    Ok(())
}

/// By curl, inside the client pod, as any program there would.
fn curl(shop: &Shop, address: SocketAddr) -> Result<Output> {
    shop.client.place.output(&["curl", "-sS", "--max-time", "5", &format!("http://{address}/")])
}

fn logs(weir: &Weir) -> String {
    let agents = weir.agents.iter().map(|agent| format!("agent of {}:\n{}\n", agent.place().name(), agent.tail()));
    agents.chain([format!("control plane:\n{}", weir.control_plane.tail())]).collect()
}
