//! HBONE peers that answer and take nothing: what they cost is bounded, and ends with the connection that asked for it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use weir_tests::attack;
use weir_tests::certificates::Presented;
use weir_tests::mesh::{Mesh, NAMESPACE};
use weir_tests::raw_http2::{RawHttp2, Reaction};
use weir_tests::test_app::{self, ECHO, Held};
use weir_tests::wait;
use weir_tests::world::{N1, N2};

use crate::harness::{Case, Check, note};
use crate::trust::{HBONE, visit};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "peers: one whose settings allow no stream is dialled a few times, then the connection is refused",
        check: Check::Mesh(|mesh| without_place(mesh, "no-streams")),
    },
    Case {
        name: "peers: one that leaves as it greets is dialled a few times, then the connection is refused",
        check: Check::Mesh(|mesh| without_place(mesh, "goaway")),
    },
    Case {
        name: "peers: what a client sends goes with the request, and not twice to one that dies before it has answered",
        check: Check::Mesh(optimistic_data),
    },
    Case {
        name: "peers: without optimistic data nothing goes with the request, and one that dies before it has answered is asked again",
        check: Check::Alone(no_optimistic_data),
    },
    Case {
        name: "peers: identities are proven again once a connection is old: new streams go to another, old ones have a drain",
        check: Check::Alone(old_connections),
    },
    Case {
        name: "peers: of the connections that only a burst of streams needed, one stays",
        check: Check::Alone(after_a_burst),
    },
    Case {
        name: "peers: a connection that carries nothing is ended in order, also where all that it asks for is refused",
        check: Check::Alone(idle_connections),
    },
];

/// A first attempt, and three more.
const ATTEMPTS: usize = 4;

/// The outsider is the workload `bank`, proves it, and greets in such a way.
fn without_place(mesh: &Mesh, greeting: &str) -> Result<()> {
    let _bank = mesh.control_plane.objects.put_for_now("bank", &attack::bank(mesh))?;
    let listener = attack::greeting_bank(mesh, &mesh.outsider.place, greeting)?;
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

/// What a peer that dies at its first request, with each connection, was sent for one connection of the client.
fn sent_to_dying_peer(mesh: &Mesh) -> Result<Vec<String>> {
    let _bank = mesh.control_plane.objects.put_for_now("bank", &attack::bank(mesh))?;
    let listener = attack::greeting_bank(mesh, &mesh.outsider.place, "unanswered")?;
    let asked = || {
        let lines = listener.stdout();
        let told = lines.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        told.filter_map(|line| Some(line.get("data")?.as_str()?.to_owned())).collect::<Vec<_>>()
    };
    let ended = || {
        let seen = test_app::probe(&mesh.client.place, mesh.outsider.ipv4(), ECHO, "abc")?;
        ensure!(seen.refused_by_answer() && seen.end != "timeout", "it is ended: {seen:?}");
        Ok(())
    };
    wait::until("the client's agent asks the peer", Duration::from_secs(10), || {
        ended()?;
        ensure!(!asked().is_empty(), "it was not asked: {}", listener.tail());
        Ok(())
    })?;
    let before = asked().len();
    ended()?;
    Ok(asked().split_off(before))
}

fn optimistic_data(mesh: &Mesh) -> Result<()> {
    let sent = sent_to_dying_peer(mesh)?;
    ensure!(sent == ["abc"], "it was sent {sent:?}");
    Ok(())
}

fn no_optimistic_data() -> Result<()> {
    let mesh = Mesh::start_with("t", &["--optimistic-data=false"])?;
    let sent = sent_to_dying_peer(&mesh)?;
    ensure!(sent == [""; ATTEMPTS], "it was sent {sent:?}");
    test_app::echoes(&mesh.client.place, mesh.far.ipv4(), ECHO).map(drop)
}

/// Identities that were proven once must not count for ever: a stream that is never closed ends with its connection's drain.
fn old_connections() -> Result<()> {
    const AGE: u64 = 3;
    const DRAIN: u64 = 3;
    let flags =
        [format!("--hbone-max-age-seconds={AGE}"), format!("--drain-seconds={DRAIN}"), "--worker-threads=1".into()];
    let mesh = Mesh::start_with("t", &flags.each_ref().map(String::as_str))?;
    let held = Held::open(&mesh.client.place, mesh.far.ipv4())?;
    let (mut asked, mut failed) = (0, Vec::new());
    let end = wait::until("the connection that never ends is ended", Duration::from_secs(20), || {
        failed.extend(test_app::echoes(&mesh.client.place, mesh.far.ipv4(), ECHO).err());
        asked += 1;
        held.end()
    })?;
    note(format!("ended by {} after {} ms; {asked} connections were made meanwhile", end.end, end.ms));
    ensure!(failed.is_empty(), "of new connections {} failed: {failed:?}", failed.len());
    ensure!(end.end == "ConnectionReset", "it was cut, not ended: {end:?}");
    // The HBONE connection may be as old as the mesh when the stream begins, and each side draws its own age.
    ensure!(end.ms >= DRAIN * 1000 - 500 && end.ms <= (AGE + DRAIN) * 1000 + 2000, "{end:?}");
    Ok(())
}

/// Idle connections are kept for five minutes, but only the one that the next stream takes.
fn after_a_burst() -> Result<()> {
    let mesh = Mesh::start_with("t", &["--worker-threads=1"])?;
    let open = || -> Result<f64> {
        Ok(mesh.agents[N1].metrics()?.sum("weir_hbone_connections_open", &[("side", "upstream")]))
    };
    let before = open()?;
    let address = SocketAddr::new(mesh.far.ipv4(), ECHO).to_string();
    let burst = attack::app(&mesh.client.place, &["hold", &*address, "--count", "350"])?;
    wait::until("the burst is at its height", Duration::from_secs(20), || {
        ensure!(burst.stdout().contains("open"), "{}", burst.tail());
        Ok(())
    })?;
    let most = open()?;
    ensure!(most >= before + 3.0, "{most} connections carry it, there were {before} before");
    drop(burst);
    wait::until("as many as before are open", Duration::from_secs(40), || {
        let now = open()?;
        ensure!(now <= before, "{now} are, there were {before} before and {most} in between");
        Ok(())
    })?;
    test_app::echoes(&mesh.client.place, mesh.far.ipv4(), ECHO).map(drop)
}

/// A peer that authenticates and then does nothing, or nothing that is granted, must not keep its place among a pod's connections.
fn idle_connections() -> Result<()> {
    const IDLE: Duration = Duration::from_secs(3);
    const LEFT_WITHIN: Duration = Duration::from_secs(15);
    const CLOSED_PORT: u16 = 9;
    let mesh = Mesh::start_with("t", &[&format!("--inbound-idle-seconds={}", IDLE.as_secs())])?;
    let folder = mesh.world.run().folder().join("visitors");
    let identity = format!("spiffe://cluster.local/ns/{NAMESPACE}/sa/visitor");
    let certificate = mesh.control_plane.authority()?.write(Presented::Identity(&identity), &folder, "visitor")?;
    let (netns, far) = (mesh.outsider.place.netns(), mesh.far.ipv4());
    let connect = || RawHttp2::connect(netns, SocketAddr::new(far, HBONE), &certificate);
    let mut busy = visit(&mesh.outsider, &mesh.far, &certificate)?;

    // Both wait at the same time.
    let (begun, mut silent) = (Instant::now(), connect()?);
    let mut refused = connect()?;
    let silent = std::thread::spawn(move || (silent.last_word(LEFT_WITHIN), begun.elapsed()));
    let mut stream = 1;
    wait::until("one whose requests are refused is told", LEFT_WITHIN, || {
        let seen = match refused.request(stream, &SocketAddr::new(far, CLOSED_PORT).to_string()) {
            // The end of the refused stream, or what is waited for.
            Ok(_) => format!("{:?}", refused.last_word(LEFT_WITHIN)),
            Err(error) => error.to_string(),
        };
        stream += 2;
        ensure!(seen.contains("GoAway(0)"), "{seen}");
        Ok(())
    })?;
    note(format!("one had {} requests refused before", stream / 2));
    let (word, told) = silent.join().map_err(|_| anyhow!("the one that waits panicked"))?;
    ensure!(word == Reaction::GoAway(0), "one without requests is told {word:?}");
    ensure!(told >= IDLE, "it was told after {told:?}");
    note(format!("the other one was told after {} ms", told.as_millis()));

    wait::until("both are closed", LEFT_WITHIN, || {
        let open = mesh.agents[N2].metrics()?.sum("weir_hbone_connections_open", &[("side", "downstream")]);
        ensure!(open <= 1.0, "{open} are open");
        Ok(())
    })?;
    busy.echo(1, b"still carried")
}
