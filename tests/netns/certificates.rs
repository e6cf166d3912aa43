//! For whom certificates are asked: the identities of the pods that a node serves, and no others.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_tests::http_mesh::HttpMesh;
use weir_tests::mesh::{NAMESPACE, principal, workload_entry};
use weir_tests::wait;
use weir_tests::world::{N1, N2};

use crate::harness::{Case, Check};

pub(crate) const CASES: &[Case] = &[Case {
    name: "certificates: none is asked for once the last connection of a pod that left has ended",
    check: Check::OwnHttp(after_leaving),
}];

/// Certificates live as long, and are renewed at half of it.
const LIFE: &str = "--certificate-seconds=4";
/// Time for another renewal and a half.
const WATCHED: Duration = Duration::from_secs(3);
const WITHIN: Duration = Duration::from_secs(15);

/// Asks, and once a file exists asks again on the same connection, which then stays open.
const KEPT: &str = "
import http.client, os, sys, time
connection = http.client.HTTPConnection(sys.argv[1], 80, timeout=20)
def ask():
    connection.request('GET', '/')
    answer = connection.getresponse()
    answer.read()
    print(answer.status, connection.sock is not None, flush=True)
ask()
while not os.path.exists(sys.argv[2]):
    time.sleep(0.02)
ask()
time.sleep(600)
";

fn after_leaving(mesh: &mut HttpMesh) -> Result<()> {
    mesh.agents[N1].add_flags([LIFE.to_owned()]);
    mesh.agents[N1].restart()?;
    let pod = mesh.world.nodes[N1].pod("leaver")?;
    mesh.control_plane.objects.put("leaver", &workload_entry(&pod))?;
    let agent = &mesh.agents[N1];
    agent.enroll(&pod, NAMESPACE, pod.name())?;
    let (vip, again) = (mesh.version("v2").vip().to_string(), mesh.world.run().folder().join("again"));
    let client = pod.place.spawn(&["python3", "-c", KEPT, &vip, &again.display().to_string()])?;
    let answered = |times: usize| {
        wait::until(&format!("request {times} is answered"), WITHIN, || {
            ensure!(client.stdout() == "200 True\n".repeat(times), "{}", client.tail());
            Ok(())
        })
    };
    answered(1)?;
    let identity = principal(&pod);
    let issued = || {
        let log = mesh.control_plane.log();
        log.lines().filter(|line| line.contains("certificate issued") && line.contains(&identity)).count()
    };
    let first = issued();
    ensure!(first > 0, "the control plane does not tell of {identity}");
    wait::until("the certificate is renewed", WITHIN, || {
        ensure!(issued() > first, "{} so far", issued());
        Ok(())
    })?;

    agent.unenroll(pod.name())?;
    // The connection lives on, and its next request needs another HBONE connection: a certificate.
    let former = mesh.agents[N2].id()?;
    mesh.agents[N2].kill_worker()?;
    wait::until("another worker serves", WITHIN, || {
        ensure!(mesh.agents[N2].id()? != former, "the same");
        mesh.agents[N2].metrics().map(drop)
    })?;
    fs::write(&again, "")?;
    answered(2).with_context(|| mesh.logs())?;
    let has_certificate =
        || Ok::<_, anyhow::Error>(agent.config_dump()?["certificates"].to_string().contains(&identity));
    ensure!(has_certificate()?, "a connection of the pod is open still");
    drop(client);
    wait::until("the identity is forgotten", WITHIN, || {
        ensure!(!has_certificate()?, "it is not");
        Ok(())
    })?;
    let last = issued();
    wait::throughout("no certificate is asked for", WATCHED, || {
        ensure!(issued() == last, "{} more", issued() - last);
        Ok(())
    })
}
