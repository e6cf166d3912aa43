//! HBONE peers that answer and take nothing: what they cost is bounded, and ends with the connection that asked for it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_tests::agent::binary;
use weir_tests::certificates::{CertificateFiles, Presented};
use weir_tests::mesh::{Mesh, NAMESPACE};
use weir_tests::objects::WorkloadEntry;
use weir_tests::program::Program;
use weir_tests::test_app::{self, ECHO};
use weir_tests::wait;

use crate::harness::{Case, Check, note};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "peers: one whose settings allow no stream is dialled a few times, then the connection is refused",
        check: Check::Mesh(|mesh| without_place(mesh, "no-streams")),
    },
    Case {
        name: "peers: one that leaves as it greets is dialled a few times, then the connection is refused",
        check: Check::Mesh(|mesh| without_place(mesh, "goaway")),
    },
];

const HBONE: u16 = 15008;
/// A first attempt, and three more.
const ATTEMPTS: usize = 4;

/// The outsider is the workload `bank`, proves it, and greets in such a way.
fn without_place(mesh: &Mesh, greeting: &str) -> Result<()> {
    let entry = WorkloadEntry {
        name: "bank",
        namespace: NAMESPACE,
        service_account: "bank",
        node: "n2",
        addresses: &mesh.outsider.addresses(),
        labels: &[("app", "bank")],
        hbone: true,
    };
    let _bank = mesh.control_plane.objects.put_for_now("bank", &entry.yaml())?;
    let listener = listen(mesh, greeting)?;
    let met = || listener.stdout().matches("went on").count();
    let refused = |what: &str| {
        let seen = test_app::probe(&mesh.client.place, mesh.outsider.ipv4(), ECHO, "abc")?;
        ensure!(seen.refused(), "{what}: {seen:?}");
        Ok(seen)
    };
    wait::until("the client's agent dials the peer", Duration::from_secs(10), || {
        refused("while it becomes known")?;
        ensure!(met() > 0, "it was not dialled: {}", listener.tail());
        Ok(())
    })?;
    let before = met();
    let seen = refused("once it is known")?;
    let dialled = met() - before;
    note(format!("dialled {dialled} times in {} ms", seen.ms));
    ensure!(dialled <= ATTEMPTS, "it was dialled {dialled} times for one connection");
    ensure!(seen.refused_by_answer() && seen.end != "timeout", "it is refused by an answer: {seen:?}");
    let after = met();
    wait::throughout("nobody dials for a client that has left", Duration::from_millis(500), || {
        ensure!(met() == after, "{} more", met() - after);
        Ok(())
    })?;
    wait::until("no connection is kept that takes no stream", Duration::from_secs(5), || {
        let left = listener.stdout().matches("left").count();
        ensure!(left == met(), "{left} of {} were closed", met());
        Ok(())
    })
}

fn listen(mesh: &Mesh, greeting: &str) -> Result<Program> {
    let folder = mesh.world.run().folder().join("without-place");
    let presented = Presented::Identity("spiffe://cluster.local/ns/shop/sa/bank");
    let CertificateFiles { chain, key } = mesh.control_plane.authority()?.write(presented, &folder, greeting)?;
    let mut listener = mesh.outsider.place.spawn(&[
        binary("weir-test-app")?.display().to_string(),
        "tls-serve".into(),
        format!("0.0.0.0:{HBONE}"),
        format!("--chain={}", chain.display()),
        format!("--key={}", key.display()),
        format!("--greeting={greeting}"),
    ])?;
    listener.listens_on(HBONE).context("the peer")?;
    Ok(listener)
}
