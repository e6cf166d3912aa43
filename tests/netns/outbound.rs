//! What a pod's own connections may do: where they may go, and how much may be on its way.

use std::time::Duration;

use anyhow::{Result, ensure};
use weir_tests::mesh::Mesh;
use weir_tests::test_app::{self, ECHO};
use weir_tests::wait;

use crate::harness::{Case, Check, note};

pub(crate) const CASES: &[Case] = &[
    Case { name: "outbound: REGISTRY_ONLY refuses what the mesh does not know", check: Check::Mesh(registry_only) },
    Case { name: "outbound: a reader that stops makes its writer wait", check: Check::Mesh(back_pressure) },
];

const REGISTRY_ONLY: &str = "\
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
