//! Attacks that cases and the isolation bench share: what is started where. `weir-test-app hostile` is most of what runs.

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::agent::binary;
use crate::certificates::{CertificateFiles, Presented};
use crate::mesh::{Mesh, NAMESPACE};
use crate::objects::WorkloadEntry;
use crate::place::Place;
use crate::program::Program;
use crate::run::Run;
use crate::wait;
use crate::world::Pod;

/// Port of HBONE listeners.
pub const HBONE: u16 = 15008;

/// Runs `weir-test-app` with these arguments.
///
/// # Errors
/// If it cannot be started.
pub fn app<S: AsRef<str>>(place: &Place, arguments: &[S]) -> Result<Program> {
    let program = binary("weir-test-app")?.display().to_string();
    let arguments = arguments.iter().map(|argument| argument.as_ref());
    place.spawn(&std::iter::once(&*program).chain(arguments).collect::<Vec<_>>())
}

/// A server that listens and never takes a byte.
///
/// # Errors
/// If it does not listen.
pub fn deaf(place: &Place, port: u16) -> Result<Program> {
    let mut server = app(place, &["hostile", "deaf", &port.to_string()])?;
    server.listens_on(port)?;
    Ok(server)
}

/// Connections whose data nobody reads: downloads that the client does not read, or with `--upload` in `flags` uploads that
/// the server does not. Prints a line once all are paused.
///
/// # Errors
/// If it cannot be started.
pub fn paused(place: &Place, to: SocketAddr, count: usize, flags: &[&str]) -> Result<Program> {
    let (to, count) = (to.to_string(), count.to_string());
    app(place, &[&["paused", &*to, "--count", &count], flags].concat())
}

/// Waits until paused connections to the far pod are open and no more of their data moves; `by_others`: bytes that others move
/// meanwhile, between two looks. Returns how many bytes moved.
///
/// # Errors
/// If their client ends, or data goes on moving.
pub fn stand_still(mesh: &Mesh, paused: &mut Program, by_others: f64) -> Result<u64> {
    const LOOK: Duration = Duration::from_millis(300);
    let mut last = f64::NEG_INFINITY;
    wait::until_every(LOOK, "the paused connections stand still", Duration::from_secs(40), || {
        ensure!(paused.is_running(), "their client ended: {}", paused.tail());
        ensure!(paused.stdout().contains("open"), "they are being opened");
        let metrics = mesh.agent_of(&mesh.far).metrics()?;
        let labels = [("reporter", "destination")];
        let moved: f64 = ["istio_tcp_sent_bytes_total", "istio_tcp_received_bytes_total"]
            .map(|name| metrics.sum(name, &labels))
            .iter()
            .sum();
        let before = std::mem::replace(&mut last, moved);
        ensure!(moved > 1e6 && moved - before <= by_others, "{moved} bytes moved, {before} a moment ago");
        Ok(moved as u64)
    })
}

/// Connects and closes so many times, prints `done`, and stays. `flags`: `--reset`, `--send=TEXT`.
///
/// # Errors
/// If it cannot be started.
pub fn leave(place: &Place, to: SocketAddr, count: u32, flags: &[&str]) -> Result<Program> {
    let (to, count) = (to.to_string(), format!("--count={count}"));
    app(place, &[&["hostile", "leave", &*to, &*count], flags].concat())
}

/// Connects so many times a second, resets each connection, and goes on until killed.
///
/// # Errors
/// If it cannot be started.
pub fn connect_and_reset(place: &Place, to: SocketAddr, per_second: u32) -> Result<Program> {
    app(place, &["hostile", "leave", &to.to_string(), "--reset", &format!("--per-second={per_second}")])
}

/// Binds, listens on and closes all ports, one after the other. `flags`: `--forever`, `--per-second=N`.
///
/// # Errors
/// If it cannot be started.
pub fn open_and_close_ports(place: &Place, flags: &[&str]) -> Result<Program> {
    app(place, &[&["hostile", "ports"], flags].concat())
}

/// SYN segments that no connection follows, so many a second, until killed. The pod drops the answers: it would reset what
/// it does not know.
///
/// # Errors
/// If it cannot be started.
pub fn syn_flood(pod: &Pod, place: &Place, to: SocketAddr, per_second: u32) -> Result<Program> {
    filter(pod, "-I", &["--tcp-flags", "SYN,ACK", "SYN,ACK", "--sport", &to.port().to_string()])?;
    let IpAddr::V4(source) = pod.ipv4() else { bail!("a pod's first address is IPv4") };
    let (source, pace) = (format!("--source={source}"), format!("--per-second={per_second}"));
    app(place, &["hostile", "syn", &to.to_string(), &source, &pace])
}

/// Frames of the kind that `raw_http2::flood` makes, so many a second, over HBONE with this certificate: DATA to an
/// authority, or SETTINGS.
///
/// # Errors
/// If it cannot be started.
pub fn frames(
    place: &Place,
    to: SocketAddr,
    certificate: &CertificateFiles,
    per_second: u32,
    data_to: Option<&str>,
) -> Result<Program> {
    let CertificateFiles { chain, key } = certificate;
    let mut arguments = vec!["hostile".to_owned(), "frames".to_owned(), to.to_string()];
    arguments.extend([format!("--chain={}", chain.display()), format!("--key={}", key.display())]);
    arguments.push(format!("--per-second={per_second}"));
    arguments.extend(data_to.map(|authority| format!("--data-to={authority}")));
    app(place, &arguments)
}

/// The object that makes the outsider the workload `bank`. Whoever listens there must prove it.
#[must_use]
pub fn bank(mesh: &Mesh) -> String {
    let entry = WorkloadEntry {
        name: "bank",
        namespace: NAMESPACE,
        service_account: "bank",
        node: "n2",
        addresses: &mesh.outsider.addresses(),
        labels: &[("app", "bank")],
        hbone: true,
    };
    entry.yaml()
}

/// An HBONE peer that proves to be the workload `bank` and greets in a way that `weir-test-app tls-serve` knows.
///
/// # Errors
/// If it does not listen.
pub fn greeting_bank(mesh: &Mesh, place: &Place, greeting: &str) -> Result<Program> {
    let folder = mesh.world.run().folder().join("bank");
    let presented = Presented::Identity("spiffe://cluster.local/ns/shop/sa/bank");
    let CertificateFiles { chain, key } = mesh.control_plane.authority()?.write(presented, &folder, greeting)?;
    let (chain, key) = (format!("--chain={}", chain.display()), format!("--key={}", key.display()));
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, HBONE)).to_string();
    let mut listener = app(place, &["tls-serve", &address, &chain, &key, &format!("--greeting={greeting}")])?;
    listener.listens_on(HBONE).context("the peer")?;
    Ok(listener)
}

/// Has a pod drop what is sent to a port of it, as an address that nobody has does, and a full queue of a listener.
///
/// # Errors
/// If the rule is refused.
pub fn drop_packets_to(pod: &Pod, port: u16) -> Result<()> {
    filter(pod, "-I", &["--dport", &port.to_string()])
}

/// Ends [`drop_packets_to`].
///
/// # Errors
/// If there is no such rule.
pub fn drop_no_packets_to(pod: &Pod, port: u16) -> Result<()> {
    filter(pod, "-D", &["--dport", &port.to_string()])
}

/// Inserts or deletes a rule of the pod's namespace that drops incoming TCP segments.
fn filter(pod: &Pod, act: &str, what: &[&str]) -> Result<()> {
    let netns = format!("--net={}", pod.netns().path().display());
    let rule = [&["nsenter", &*netns, "iptables", act, "INPUT", "-p", "tcp"], what, &["-j", "DROP"]].concat();
    pod.place.run(&rule).map(drop)
}

/// Gives a pod very many addresses, on interfaces of their own: so many on so many. (The kernel compares a new address with all
/// others of its interface.)
///
/// # Errors
/// If the kernel refuses, or it takes longer.
pub fn give_addresses(pod: &Pod, run: &Run, interfaces: u32, each: u32, within: Duration) -> Result<()> {
    let mut commands = String::new();
    for interface in 0..interfaces {
        let _ = writeln!(commands, "link add many{interface} type veth peer name none{interface}");
        for number in 0..each {
            let [_, a, b, c] = (interface * each + number).to_be_bytes();
            let _ = writeln!(commands, "addr add 100.{}.{b}.{c}/32 dev many{interface}", 64 + a);
        }
    }
    let file = run.folder().join("addresses");
    fs::write(&file, commands)?;
    pod.place.run_within(within, &["ip", "-batch", &file.display().to_string()]).map(drop)
}
