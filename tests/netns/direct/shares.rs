//! Direct connections to the virtual address of a service.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Result, ensure};
use weir_tests::mesh::{Mesh, NAMESPACE, ip, labelled_entry};
use weir_tests::objects::ServiceEntry;
use weir_tests::test_app::{self, ECHO, Many};
use weir_tests::wait;
use weir_tests::world::{N1, Pod};

use super::stage::{SOON, becomes_direct, count, mesh};
use crate::count::{Counter, OPENED};
use crate::harness::{Case, Check, note};

pub(crate) const CASES: &[Case] = &[Case {
    name: "direct: a service leads to its endpoints in equal parts, and by the agent where one is elsewhere",
    check: Check::Alone(shares),
}];

/// Two endpoints of this node get half of the connections each. With one of another node each gets a third.
fn shares() -> Result<()> {
    const ADDRESS: &str = "10.96.0.77";
    let mesh = mesh()?;
    let second = mesh.world.nodes[N1].pod("second")?;
    let _server = test_app::serve(&second.place)?;
    mesh.agents[N1].enroll(&second, NAMESPACE, "second")?;
    let objects = &mesh.control_plane.objects;
    let labels =
        |pod: &Pod| objects.put(pod.name(), &labelled_entry(pod, &[("app", pod.name()), ("all", "yes")], true));
    labels(&second)?;
    labels(&mesh.near)?;
    let addresses = [ip(ADDRESS)];
    let entry = ServiceEntry {
        name: "all",
        namespace: NAMESPACE,
        addresses: &addresses,
        ports: &[(ECHO, ECHO)],
        selector: ("all", "yes"),
    };
    objects.put("all", &entry.yaml())?;
    becomes_direct(&mesh, ip(ADDRESS), ECHO)?;
    are_shared(&mesh, ip(ADDRESS), &[&second, &mesh.near], |direct| direct == CONNECTIONS)?;
    labels(&mesh.far)?;
    wait::until("connections go by the agent", SOON, || {
        let before = count(&mesh.agents[N1])?;
        test_app::echoes(&mesh.client.place, ip(ADDRESS), ECHO)?;
        ensure!(count(&mesh.agents[N1])? == before, "one was direct");
        Ok(())
    })?;
    are_shared(&mesh, ip(ADDRESS), &[&second, &mesh.near, &mesh.far], |direct| direct == 0.0)
}

const CONNECTIONS: f64 = 300.0;

/// Makes connections, and checks how many are direct, and that each endpoint gets its part.
fn are_shared(mesh: &Mesh, address: IpAddr, pods: &[&Pod], are_direct: impl Fn(f64) -> bool) -> Result<()> {
    let agent = &mesh.agents[N1];
    let opened =
        |pod: &&Pod| Counter::of(agent, OPENED, &[("reporter", "source"), ("destination_workload", pod.name())]);
    let mut before = Vec::new();
    wait::until("what was opened before is counted", SOON, || {
        before = pods.iter().map(opened).collect::<Result<Vec<_>>>()?;
        before.iter().try_for_each(Counter::stays)
    })?;
    let direct = count(agent)?;
    let to = SocketAddr::new(address, ECHO).to_string();
    let arguments = ["many", &to, "--count", &CONNECTIONS.to_string()];
    let made: Many = test_app::client(&mesh.client.place, Duration::from_secs(60), &arguments)?;
    ensure!(made.failed == 0, "{made:?}");
    let direct = count(agent)? - direct;
    ensure!(are_direct(direct), "{direct} were direct");
    // Five times the deviation that chance has.
    let part = CONNECTIONS / pods.len() as f64;
    let grown = wait::until("each has its part", SOON, || {
        let grown = before.iter().map(Counter::grown).collect::<Result<Vec<_>>>()?;
        ensure!(grown.iter().sum::<f64>() >= CONNECTIONS, "{grown:?} were counted so far");
        ensure!(grown.iter().all(|count| (count - part).abs() < 45.0), "{grown:?}");
        Ok(grown)
    })?;
    note(format!("{direct} of {CONNECTIONS} were direct; by endpoint: {grown:?}"));
    Ok(())
}
