//! What a pod's own connections may do: where they may go, and how much may be on its way.

use std::time::Duration;

use anyhow::{Result, ensure};
use weir_tests::agent::binary;
use weir_tests::mesh::{Mesh, NAMESPACE, ip, labelled_entry, workload_entry};
use weir_tests::objects::ServiceEntry;
use weir_tests::test_app::{self, ECHO};
use weir_tests::wait;
use weir_tests::world::Pod;

use crate::count::{Counter, FAILED};
use crate::harness::{Case, Check, note};

pub(crate) const CASES: &[Case] = &[
    Case { name: "outbound: REGISTRY_ONLY refuses what the mesh does not know", check: Check::Mesh(registry_only) },
    Case {
        name: "outbound: a connection to a service goes to an endpoint that listens, whichever is tried first",
        check: Check::Mesh(another_endpoint),
    },
    Case { name: "outbound: a reader that stops makes its writer wait", check: Check::Mesh(back_pressure) },
];

/// What refuses destinations that the mesh does not know.
pub(crate) const REGISTRY_ONLY: &str = "\
apiVersion: mesh.istio.io/v1alpha1
kind: MeshConfig
metadata: {name: mesh, namespace: istio-system}
spec: {outboundTrafficPolicy: {mode: REGISTRY_ONLY}}
";

fn registry_only(mesh: &Mesh) -> Result<()> {
    let outside = || test_app::probe(&mesh.client.place, mesh.outsider.ipv4(), ECHO, "x");
    ensure!(outside()?.received == "x", "an unknown destination is reached as long as nothing says otherwise");
    {
        let _for_now = mesh.control_plane.objects.put_for_now("mesh-config", REGISTRY_ONLY)?;
        wait::until("an unknown destination is refused", Duration::from_secs(10), || {
            let seen = outside()?;
            ensure!(seen.refused(), "{seen:?}");
            Ok(())
        })?;
        test_app::echoes(&mesh.client.place, mesh.far.ipv4(), ECHO)?;
    }
    wait::until("an unknown destination is reached again", Duration::from_secs(10), || {
        let seen = outside()?;
        ensure!(seen.received == "x", "{seen:?}");
        Ok(())
    })
}

/// Near and far serve one service, and only far listens. What the client sends first arrives once, wherever it was offered.
fn another_endpoint(mesh: &Mesh) -> Result<()> {
    const PORT: u16 = 7901;
    const VIP: &str = "10.96.0.30";
    let program = binary("weir-test-app")?.display().to_string();
    let mut server = mesh.far.place.spawn(&[&*program, "serve", &format!("echo:{PORT}")])?;
    server.listens_on(PORT)?;
    let entry = |pod: &Pod| labelled_entry(pod, &[("app", pod.name()), ("pair", "yes")], true);
    let service = ServiceEntry {
        name: "pair",
        namespace: NAMESPACE,
        addresses: &[ip(VIP)],
        ports: &[(PORT, PORT)],
        selector: ("pair", "yes"),
    };
    let objects = &mesh.control_plane.objects;
    let _service = objects.put_for_now("service-pair", &service.yaml())?;
    let _as_before = [&mesh.near, &mesh.far].map(|pod| Restored { mesh, pod });
    for pod in [&mesh.near, &mesh.far] {
        objects.put(pod.name(), &entry(pod))?;
    }
    let refused = Counter::of(mesh.agent_of(&mesh.near), FAILED, &[("destination_workload", "near")])?;
    wait::until("near is tried, too", Duration::from_secs(15), || {
        test_app::probe(&mesh.client.place, ip(VIP), PORT, "abc")?;
        ensure!(refused.grown()? > 0.0, "its agent has refused none");
        Ok(())
    })?;
    let seen = (0..40).map(|_| test_app::probe(&mesh.client.place, ip(VIP), PORT, "abc"));
    let seen = seen.collect::<Result<Vec<_>>>()?;
    let served = seen.iter().filter(|seen| seen.received == "abc").count();
    note(format!("{served} of {} connections were served", seen.len()));
    ensure!(served == seen.len(), "{:?}", seen.iter().find(|seen| seen.received != "abc"));
    Ok(())
}

/// A pod's entry as it was, once dropped.
struct Restored<'a> {
    mesh: &'a Mesh,
    pod: &'a Pod,
}

impl Drop for Restored<'_> {
    fn drop(&mut self) {
        let _ = self.mesh.control_plane.objects.put(self.pod.name(), &workload_entry(self.pod));
    }
}

/// A server that accepts and never reads.
const STALLED: &str = "import socket,time
listener=socket.create_server(('0.0.0.0',7900))
connection,_=listener.accept()
time.sleep(60)";

/// A client that writes until nothing has moved for a second, and says how many bytes went.
const WRITER: &str = "import select,socket,sys
s=socket.create_connection((sys.argv[1],7900)); s.setblocking(False); sent=0; chunk=b'x'*65536
while select.select([],[s],[],1.0)[1]: sent+=s.send(chunk)
print(sent)";

/// What may be on its way in all buffers of both nodes together.
const MOST_BYTES: u64 = 64 << 20;

fn back_pressure(mesh: &Mesh) -> Result<()> {
    const MEMORY: &str = "process_resident_memory_bytes";
    let mut server = mesh.far.place.spawn(&["python3", "-c", STALLED])?;
    server.listens_on(7900)?;
    let before = mesh.agents.iter().map(|agent| Ok(agent.metrics()?.sum(MEMORY, &[]))).collect::<Result<Vec<f64>>>()?;
    let to = mesh.far.ipv4().to_string();
    let sent: u64 = mesh.client.place.run(&["python3", "-c", WRITER, &to])?.trim().parse()?;
    ensure!(sent > 0, "the writer could not write at all");
    ensure!(sent < MOST_BYTES, "{sent} bytes were taken from the writer though nobody reads them");
    for (agent, before) in mesh.agents.iter().zip(before) {
        let grown = agent.metrics()?.sum(MEMORY, &[]) - before;
        ensure!(grown < MOST_BYTES as f64, "an agent grew by {grown} bytes");
    }
    note(format!("{:.1} MiB on their way when the writer had to wait", sent as f64 / f64::from(1 << 20)));
    Ok(())
}
