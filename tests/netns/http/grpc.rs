//! gRPC's own interoperability programs through the mesh, and how unary calls are spread.

use anyhow::{Context, Result, ensure};
use weir_tests::http_mesh::{HttpMesh, Port, VERSIONS};
use weir_tests::peers;

use super::balancing::known;
use super::http2::{CALL, GRPC};
use crate::harness::{Case, Check, note};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "grpc: gRPC's interoperability client passes each case but those of credentials and pick_first, on one node and across",
        check: Check::Http(interoperability),
    },
    Case {
        name: "grpc: a call takes no longer than its grpc-timeout, and is answered DEADLINE_EXCEEDED then",
        check: Check::Http(deadline),
    },
    Case {
        name: "grpc: 10000 unary calls of one connection are spread evenly over three pods",
        check: Check::Http(spread),
    },
];

const PORT: [Port; 1] = [Port { name: "grpc", number: 9000, target: 9121 }];
/// How the client looks at what a server reports of its load (ORCA): the cases about it need that balancer.
const LOAD_REPORTS: &str = r#"{"loadBalancingConfig":[{"test_backend_metrics_load_balancer":{}}]}"#;
/// All that the client has, but for those that are about credentials, and for pick_first_unary, for which this server tells too
/// little of itself.
const INTEROPERABILITY: [&str; 18] = [
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "timeout_on_sleeping_server",
    "cancel_after_begin",
    "cancel_after_first_response",
    "status_code_and_message",
    "special_status_message",
    "custom_metadata",
    "unimplemented_method",
    "unimplemented_service",
    "rpc_soak",
    "channel_soak",
    "orca_per_rpc",
    "orca_oob",
];

fn interoperability(mesh: &HttpMesh) -> Result<()> {
    for pod in ["v2", "v1"] {
        let service = mesh.service_at_ports(&format!("interop-{pod}"), pod, &PORT)?;
        let port = format!("--port={}", PORT[0].target);
        let mut server = mesh.pod(pod).place.spawn(&[&*peers::go("grpc-interop-server")?, &port])?;
        server.listens_on(PORT[0].target)?;
        for (case, vip) in INTEROPERABILITY.iter().zip([service.vip(), service.vip6()].into_iter().cycle()) {
            let service_config = if case.starts_with("orca") { LOAD_REPORTS } else { "" };
            let command = [
                peers::go("grpc-interop-client")?,
                format!("--service_config_json={service_config}"),
                format!("--server_host={vip}"),
                format!("--server_port={}", PORT[0].number),
                format!("--test_case={case}"),
                "--soak_iterations=50".to_owned(),
            ];
            mesh.client.place.run(&command).with_context(|| format!("{case} with {pod} by {vip}"))?;
        }
    }
    Ok(())
}

fn deadline(mesh: &HttpMesh) -> Result<()> {
    for version in ["v1", "v2"] {
        // The server would take ten seconds.
        let slow = ["--target=/echo.Echo/Unary?delay_ms=10000", "--requests=8", "--streams=4"];
        let service = mesh.version(version);
        let seen = service.load(GRPC, &[&CALL[..], &slow, &["--field=grpc-timeout: 300m"]].concat())?;
        ensure!(seen.grpc_statuses.get("4") == Some(&8) && seen.answered == 8, "{version}: {seen:?}");
        ensure!(seen.slowest_ms >= 300.0 && seen.slowest_ms < 5000.0, "{version}: {seen:?}");
        // In time.
        let quick = ["--field=grpc-timeout: 9S", "--target=/echo.Echo/Unary", "--requests=8"];
        let seen = service.load(GRPC, &[&CALL[..], &quick].concat())?;
        ensure!(seen.grpc_statuses.get("0") == Some(&8) && seen.answered == 8, "{version}: {seen:?}");
    }
    Ok(())
}

fn spread(mesh: &HttpMesh) -> Result<()> {
    const CALLS: u64 = 10_000;
    let service = known(mesh, "grpc-10000")?;
    let call = ["--http2", "--method=POST", "--field=content-type: application/grpc", "--field=te: trailers"];
    let requests = format!("--requests={CALLS}");
    // One call at a time, so that only chance decides; several, whose time is the application's.
    for (streams, target) in [("--streams=1", "/echo.Echo/Unary"), ("--streams=8", "/echo.Echo/Unary?delay_ms=2")] {
        let target = format!("--target={target}");
        let seen = service.load(9000, &[&call[..], &["--bytes=100", streams, &requests, &target]].concat())?;
        let counts = VERSIONS.map(|pod| seen.by(pod));
        let (least, most) = (counts.iter().min(), counts.iter().max());
        let ratio = *most.expect("three") as f64 / (*least.expect("three")).max(1) as f64;
        note(format!("{streams}: {counts:?} calls, the most {ratio:.3} times the least, in {:.1} s", seen.seconds));
        ensure!(seen.grpc_statuses.get("0") == Some(&CALLS) && seen.connections == 1, "{seen:?}");
        ensure!(ratio <= 1.2, "{streams}: {counts:?}");
    }
    Ok(())
}
