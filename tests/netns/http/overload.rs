//! Pods that say of requests that they have too much to do: that is load, and no failure.

use std::time::Duration;

use anyhow::{Result, ensure};
use weir_tests::http_mesh::{HttpMesh, VERSIONS};
use weir_tests::wait;

use super::balancing::{REQUESTS, is_spread};
use super::http2::CALL;
use super::split::answered_by;
use crate::harness::{Case, Check, note};

pub(crate) const CASES: &[Case] = &[Case {
    name: "http: a pod that has too much to do gets fewer requests for as long as it says so, and is never ejected",
    check: Check::Http(overloaded),
}];

fn overloaded(mesh: &HttpMesh) -> Result<()> {
    let service = mesh.service("overloaded")?;
    // One error would eject a pod for the rest of the case.
    let ejects =
        "trafficPolicy: {outlierDetection: {consecutive5xxErrors: 1, baseEjectionTime: 120s, maxEjectionPercent: 100}}";
    let _rule = service.destination_rule(&format!("subsets: [{{name: all, labels: {{app: web}}}}]\n  {ejects}"))?;
    let _route = service.virtual_service("[{route: [{destination: {host: overloaded, subset: all}}]}]")?;
    answered_by(&service, &VERSIONS)?;
    let all = format!("--requests={REQUESTS}");
    for (port, more, target) in [
        (80, &[][..], "--target=/?only=v2&status=429"),
        // In the trailers of a call of gRPC.
        (9000, &CALL, "--target=/echo.Echo/Unary?only=v2&grpc_status=8"),
    ] {
        let seen = service.load(port, &[&[&*all, target], more].concat())?;
        let counts = VERSIONS.map(|pod| seen.by(pod));
        let refused = [seen.statuses.get(&429), seen.grpc_statuses.get("8")].into_iter().flatten().sum::<u64>();
        note(format!(
            "port {port}: {counts:?} of {REQUESTS} requests, {refused} answered by v2 that it has too much to do"
        ));
        // Asked twice by chance, one of nine is its share while the others are idle.
        ensure!(counts.iter().sum::<u64>() == REQUESTS && counts[1] == refused, "{seen:?}");
        ensure!(refused > 0 && refused < REQUESTS / 5, "{seen:?}");
        wait::until("it has its share again", Duration::from_secs(10), || {
            let arguments: Vec<&str> = more.iter().copied().chain([&*all]).collect();
            is_spread(&service.load(port, &arguments)?)
        })?;
    }
    // The rule counts.
    service.load(80, &["--requests=30", "--target=/?only=v2&status=500"])?;
    let seen = service.load(80, &[&all])?;
    ensure!(seen.by("v2") == 0, "{seen:?}");
    Ok(())
}
