//! What an agent does without room on its disk or without file descriptors: what is refused, what goes on, what is
//! never lost, and that room is enough for all to be well again.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use weir_tests::agent::{Agent, binary};
use weir_tests::mesh::{Mesh, NAMESPACE, workload_entry};
use weir_tests::objects::WorkloadEntry;
use weir_tests::test_app::{self, ECHO, Many};
use weir_tests::wait;
use weir_tests::world::{N1, Pod};

use super::connections::hold;
use crate::count::Counter;
use crate::harness::{Case, Check, note};

pub(crate) const CASES: &[Case] = &[
    Case { name: "faults: a full disk costs nobody what he has", check: Check::OwnMesh(disk_full) },
    Case { name: "faults: without file descriptors new connections wait", check: Check::OwnMesh(descriptors) },
];

const WRITE_FAILURES: &str = "weir_state_write_failures_total";

/// A disk of 512 KiB in the place of a folder, with the folder's files. Dropping it takes it away, files and all.
struct TinyDisk {
    folder: PathBuf,
}

impl TinyDisk {
    fn over(folder: &Path) -> Result<Self> {
        let last_good = fs::read(folder.join("last-good/mesh"))?;
        let pods = fs::read(folder.join("enrolled-pods.json"))?;
        mount(Some("weir-tests"), folder, Some("tmpfs"), MsFlags::empty(), Some("size=512k"))
            .context("mounting a tmpfs")?;
        let disk = Self { folder: folder.to_owned() };
        fs::create_dir(folder.join("last-good"))?;
        fs::write(folder.join("last-good/mesh"), last_good)?;
        fs::write(folder.join("enrolled-pods.json"), pods)?;
        Ok(disk)
    }

    /// Writes until nothing more fits.
    fn fill(&self) -> Result<()> {
        for (name, block) in [("filler", 64 * 1024), ("rest", 1)] {
            let mut file = fs::File::create(self.folder.join(name))?;
            while std::io::Write::write_all(&mut file, &vec![0; block]).is_ok() {}
        }
        Ok(())
    }

    fn free(&self) -> Result<()> {
        fs::remove_file(self.folder.join("rest"))?;
        Ok(fs::remove_file(self.folder.join("filler"))?)
    }
}

impl Drop for TinyDisk {
    fn drop(&mut self) {
        let _ = umount2(&self.folder, MntFlags::MNT_DETACH);
    }
}

fn disk_full(mesh: &mut Mesh) -> Result<()> {
    let state = mesh.agents[N1].folders().state.clone();
    let file = state.join("last-good/mesh");
    let holds = |name: &str| -> Result<()> {
        let saved = fs::read(&file)?;
        ensure!(saved.windows(name.len()).any(|window| window == name.as_bytes()), "{name} is not on disk");
        Ok(())
    };
    wait::until("the configuration is on disk", Duration::from_secs(10), || holds("shop/far"))?;
    mesh.agents[N1].kill()?;
    let disk = TinyDisk::over(&state)?;
    mesh.agents[N1].launch()?;
    mesh.agents[N1].becomes_ready()?;
    mesh.carries_traffic()?;
    let agent = &mesh.agents[N1];
    let failures = Counter::of(agent, WRITE_FAILURES, &[("file", "last_good")])?;
    let logged = agent.log().len();
    disk.fill()?;
    let late = mesh.world.nodes[N1].pod("late")?;
    mesh.control_plane.objects.put("late", &workload_entry(&late))?;
    mesh.control_plane.objects.put("many", &many_entries(&late))?;
    failures.grows_by(1.0).with_context(|| agent.tail())?;
    agent.logs_line(logged, &["the last good configuration could not be written"])?;
    wait::until("the status warns", Duration::from_secs(5), || {
        let status = agent.weir(&["status"])?.stdout;
        ensure!(status.contains("could not be written"), "{status}");
        Ok(())
    })?;
    wait::until("what cannot be saved is in force all the same", Duration::from_secs(5), || {
        ensure!(agent.config_dump()?.to_string().contains("\"late\""), "the pod is not known");
        Ok(())
    })?;
    holds("shop/far").context("the old file is left as it was")?;
    refuses_pods(mesh, agent)?;
    let leaving = agent.weir(&["unenroll", mesh.near.name(), "--socket", &agent.socket()])?;
    ensure!(leaving.success, "a pod may always leave: {}", leaving.summary());
    test_app::echoes(&mesh.client.place, mesh.far.ipv4(), ECHO).context("connections go on")?;
    disk.free()?;
    wait::until("what was missed is written", Duration::from_secs(10), || holds("shop/late"))?;
    wait::until("who left is off the list on disk", Duration::from_secs(10), || {
        let pods = fs::read_to_string(state.join("enrolled-pods.json"))?;
        ensure!(!pods.contains("\"near\"") && pods.contains("\"client\""), "{pods}");
        Ok(())
    })?;
    agent.enroll(&mesh.near, NAMESPACE, mesh.near.name())?;
    mesh.carries_traffic()?;
    mesh.agents[N1].kill()?;
    drop(disk);
    Ok(())
}

/// More than the rest of the page in which the file ends: that much would fit on a full disk.
fn many_entries(like: &Pod) -> String {
    let entry = |number: u8| {
        let (name, address) = (format!("many-{number}"), IpAddr::from([10, 99, 0, number]));
        let entry = WorkloadEntry {
            name: &name,
            namespace: NAMESPACE,
            service_account: like.name(),
            node: like.node(),
            addresses: &[address],
            labels: &[("app", &name)],
            hbone: true,
        };
        entry.yaml()
    };
    (1..=100).map(entry).collect::<Vec<_>>().join("\n---\n")
}

/// A pod that could not be remembered over a restart is not taken in, and is told so.
fn refuses_pods(mesh: &Mesh, agent: &Agent) -> Result<()> {
    let pod = mesh.world.nodes[N1].pod("too-much")?;
    let refused = agent.enroll(&pod, NAMESPACE, pod.name()).err().context("a pod was enrolled without being noted")?;
    ensure!(format!("{refused:#}").contains("list of enrolled pods could not be written"), "{refused:#}");
    let listed = agent.weir(&["pods", "--socket", &agent.socket()])?;
    ensure!(!listed.stdout.contains("too-much") && listed.stdout.contains("client"), "{}", listed.summary());
    Ok(())
}

/// An agent of 256 descriptors, and 300 connections that all want to stay.
fn descriptors(mesh: &mut Mesh) -> Result<()> {
    mesh.agents[N1].kill()?;
    mesh.agents[N1].run_under(["prlimit".to_owned(), "--nofile=256:256".to_owned()]);
    mesh.agents[N1].launch()?;
    mesh.agents[N1].becomes_ready()?;
    mesh.carries_traffic()?;
    let agent = &mesh.agents[N1];
    let mut idle = hold(&mesh.client, &mesh.far)?;
    let pauses = Counter::of(agent, "weir_accept_errors_total", &[])?;
    let to = SocketAddr::new(mesh.far.ipv4(), ECHO).to_string();
    let app = binary("weir-test-app")?.display().to_string();
    let arguments = [&app, "many", &to, "--count=300", "--concurrent=300", "--hold", "--patience=8"];
    let many = mesh.client.place.spawn(&arguments)?;
    pauses.grows_by(1.0).with_context(|| agent.tail())?;
    // While there are no descriptors: who asks, and who is there already, is served.
    wait::throughout("the agent can be asked", Duration::from_secs(3), || {
        agent.metrics()?;
        let status = agent.weir(&["status"])?;
        ensure!(status.success && status.stdout.contains("client"), "{}", status.summary());
        Ok(())
    })?;
    ensure!(idle.is_running(), "an open connection ended: {}", idle.tail());
    let output = many.finish(Duration::from_secs(60))?;
    let outcome: Many = serde_json::from_str(&output.stdout).with_context(|| output.summary())?;
    note(format!("{} of 300 connections at once, the others waited: {:?}", outcome.ok, outcome.errors));
    ensure!(outcome.ok >= 100, "{outcome:?}");
    ensure!(outcome.errors.keys().all(|error| error == "timeout"), "waiting is no error: {outcome:?}");
    wait::until("all is well once they are gone", Duration::from_secs(10), || {
        let arguments = ["many", &to, "--count", "50", "--concurrent", "10"];
        let many: Many = test_app::client(&mesh.client.place, Duration::from_secs(30), &arguments)?;
        ensure!(many.failed == 0, "{many:?}");
        Ok(())
    })?;
    ensure!(idle.is_running(), "an open connection ended: {}", idle.tail());
    let pods = agent.weir(&["pods", "--socket", &agent.socket()])?;
    ensure!(pods.success && pods.stdout.contains("client"), "the API is still there: {}", pods.summary());
    Ok(())
}
