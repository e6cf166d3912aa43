//! Endpoints that do not answer at all: what requests to them hold and wait for is bounded, and the pod's other requests go on.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use weir_tests::attack;
use weir_tests::http_mesh::HttpMesh;
use weir_tests::objects::ForNow;
use weir_tests::wait;
use weir_tests::world::{N2, Pod};

use crate::harness::{Case, Check, note};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "http2: requests to an endpoint that does not answer wait for one attempt, not for one after the other",
        check: Check::Alone(in_line),
    },
    Case {
        name: "limits: copies for a mirror that does not answer take so many places, and none of the pod's own requests",
        check: Check::Alone(mirror),
    },
];

/// The port at which the silent pod drops what comes.
const BLACK_HOLE: u16 = 7099;
const VIP: &str = "10.97.9.9";

/// A service whose one endpoint, a pod outside of the mesh, drops what it is sent.
fn silent<'a>(mesh: &'a HttpMesh, protocol: &str) -> Result<(Pod, ForNow<'a>)> {
    let pod = mesh.world.nodes[N2].pod("silent")?;
    attack::drop_packets_to(&pod, BLACK_HOLE)?;
    let yaml = format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: silent, namespace: shop}}\nspec:\n  hosts: \
         [silent.example]\n  addresses: [{VIP}]\n  location: MESH_EXTERNAL\n  resolution: STATIC\n  endpoints: [{{address: {}}}]\n  \
         ports: [{{number: 80, name: web, protocol: {protocol}, targetPort: {BLACK_HOLE}}}]\n",
        pod.ipv4()
    );
    let entry = mesh.control_plane.objects.put_for_now("silent", &yaml)?;
    Ok((pod, entry))
}

fn in_line() -> Result<()> {
    const REQUESTS: usize = 8;
    const CONNECT: Duration = Duration::from_secs(1);
    let mesh = HttpMesh::start_with("t", &["--connect-timeout-seconds=1", "--worker-threads=1"])?;
    let (_pod, _entry) = silent(&mesh, "HTTP2")?;
    let ask = || mesh.version("v1").ask_at(VIP.parse()?, 80, "/", &["--http2-prior-knowledge"]);
    wait::until("the entry counts", Duration::from_secs(10), || {
        let answer = ask()?;
        ensure!(answer.status == 503, "{answer:?}");
        Ok(())
    })
    .with_context(|| mesh.logs())?;
    let start = Instant::now();
    let alone = ask()?;
    let of_one = start.elapsed();
    ensure!(alone.status == 503 && of_one >= CONNECT, "{alone:?} after {of_one:?}");
    let url = format!("http://{VIP}/");
    let curl =
        ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "60", "--http2-prior-knowledge", &url];
    let start = Instant::now();
    let together = (0..REQUESTS).map(|_| mesh.client.place.spawn(&curl)).collect::<Result<Vec<_>>>()?;
    for asking in together {
        let ended = asking.finish(Duration::from_secs(60))?;
        ensure!(ended.stdout == "503", "{}", ended.summary());
    }
    let of_all = start.elapsed();
    note(format!("one request took {} ms, {REQUESTS} together {} ms", of_one.as_millis(), of_all.as_millis()));
    ensure!(of_all < of_one * 3, "{REQUESTS} together took {of_all:?}, one {of_one:?}");
    Ok(())
}

fn mirror() -> Result<()> {
    const COPIES: u32 = 4;
    let mesh = HttpMesh::start_with("t", &[&format!("--max-mirrored-requests-per-pod={COPIES}")])?;
    let (_pod, _entry) = silent(&mesh, "HTTP")?;
    let service = mesh.service("mirrored")?;
    let _route = service.virtual_service(
        "[{match: [{uri: {exact: /ready}}], directResponse: {status: 299}}, \
         {route: [{destination: {host: v1}}], mirror: {host: silent.example, port: {number: 80}}}]",
    )?;
    service.comes_to("the route counts", "/ready", &[], |answer| answer.status == 299)?;
    let seen = service.load(80, &["--requests=200", "--connections=8"])?;
    seen.all_are(200)?;
    let agent = mesh.agent_of(&mesh.client);
    wait::until("the limit is counted and shown", Duration::from_secs(10), || {
        let times = agent.metrics()?.sum("weir_limit_reached_total", &[("limit", "mirrored_requests")]);
        ensure!(times >= 150.0, "{times} copies were left out of 200, where {COPIES} may be under way");
        let status = agent.weir(&["status"])?.stdout;
        ensure!(status.contains("client has reached its limit mirrored_requests "), "{status}");
        Ok(())
    })
}
