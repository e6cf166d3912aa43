//! The kinds of attacks by name. `docs/isolation.md` has the same list in words.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use weir_tests::attack::{self, HBONE};
use weir_tests::certificates::{CertificateFiles, Presented};
use weir_tests::place::Place;
use weir_tests::program::Program;
use weir_tests::test_app::{ECHO, SINK, SOURCE};
use weir_tests::world::N1;
use weir_tests::{nginx, wait};

use super::attacker::{self, Attacker};
use super::bystander::Bystander;
use super::stage::Stage;

/// An attack beside a bystander.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// In words.
    pub(crate) about: &'static str,
    /// Of both agents, where the defaults are not what is measured.
    pub(crate) flags: &'static [&'static str],
    pub(crate) bystander: Beside,
    /// Not where Weir carries nothing of the attack: that shows what the machine makes of such a neighbour.
    pub(crate) has_targets: bool,
    /// What is there in quiet windows, too.
    pub(crate) prepare: fn(&Stage) -> Result<Vec<Program>>,
    /// Begins the attack, and returns once it is at its height; it goes on until the attackers are dropped.
    pub(crate) begin: for<'a> fn(&'a Stage) -> Result<Vec<Attacker<'a>>>,
}

/// The bystander's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beside {
    /// From the client's pod on the first node over HBONE to the far pod.
    AcrossNodes,
    /// From outside the mesh, in plaintext, to the near pod on the first node.
    FromOutside,
    /// As the first, with more new connections: they are what is measured.
    NewConnections,
}

/// Paused connections.
const PAUSED: usize = 40;
/// A port of the far pod that takes nothing.
const DEAF: u16 = 9001;
/// A port of the outsider that drops what comes.
const BLACK_HOLE: u16 = 7099;
/// A port of the hostile pod's loopback.
const APART: u16 = 7098;
/// What a pod may hold in `limit`, and how much it asks for.
const LIMITED: [&str; 1] = ["--max-outbound-connections-per-pod=200"];
const ABOVE_LIMIT: usize = 1000;
/// The pace at which connections are opened where that belongs to the attack.
const OPENED_A_SECOND: [&str; 1] = ["--per-second=2000"];
/// More than the bystander's requests and answers have within a second.
const BYSTANDER_BYTES: f64 = 1e6;
/// How long an attack may take to come to its height.
const AT_HEIGHT_WITHIN: Duration = Duration::from_secs(30);

/// All kinds, in the order they run.
pub(crate) const KINDS: &[Kind] = &[
    kind("nothing", "no attack: how far apart two quiet windows are on this machine", |_| Ok(Vec::new()))
        .without_targets(),
    kind("apart", "as resets, but within the hostile pod, where Weir carries nothing", |stage| {
        let (server, place, to) = apart(stage)?;
        Ok(vec![server, attack::connect_and_reset(&place, to, 500)?.into()])
    })
    .without_targets(),
    kind("apart-busy", "8 connections at a time without a pause, within the hostile pod", |stage| {
        let (server, place, to) = apart(stage)?;
        Ok(vec![server, without_pause(&place, to, 8)?])
    })
    .without_targets(),
    kind(
        "paused-downloads",
        "40 downloads that their client does not read, on the bystander's HBONE connections",
        |stage| paused(stage, SOURCE, &[]),
    ),
    kind(
        "paused-uploads",
        "40 uploads that their server does not read, on the bystander's HBONE connections",
        |stage| {
            let server = attack::deaf(&Stage::attacker(&stage.mesh.far), DEAF)?;
            let mut attackers = paused(stage, DEAF, &["--upload"])?;
            attackers.push(server.into());
            Ok(attackers)
        },
    ),
    kind("black-hole", "4,000 connects that nobody answers, and 500 a second that are given up at once", |stage| {
        let (place, to) = (Stage::attacker(&stage.hostile), SocketAddr::new(stage.mesh.outsider.ipv4(), BLACK_HOLE));
        Ok(vec![
            attack::paused(&place, to, 4000, &OPENED_A_SECOND)?.into(),
            attack::connect_and_reset(&place, to, 500)?.into(),
        ])
    })
    .with(|stage| attack::drop_packets_to(&stage.mesh.outsider, BLACK_HOLE).map(|()| Vec::new())),
    kind("resets", "500 connections a second that are reset at once", |stage| {
        Ok(vec![attack::connect_and_reset(&Stage::attacker(&stage.hostile), stage.far(ECHO), 500)?.into()])
    }),
    kind("idle", "10,000 connections that carry nothing", |stage| hold(stage, 10_000)),
    Kind {
        bystander: Beside::FromOutside,
        ..kind(
            "syn",
            "2,000 SYN segments a second to the bystander's server and its HBONE port, and no answer",
            |stage| {
                let (pod, place) = (&stage.hostile, Stage::attacker(&stage.hostile));
                let to = |port| attack::syn_flood(pod, &place, SocketAddr::new(stage.mesh.near.ipv4(), port), 1000);
                Ok(vec![to(nginx::PORT)?.into(), to(HBONE)?.into()])
            },
        )
    },
    kind(
        "settings",
        "20,000 SETTINGS frames a second to the bystander's server, from a peer with a certificate",
        |stage| frames(stage, None),
    ),
    kind("tiny-frames", "20,000 DATA frames of one byte a second, on 90 streams of such a peer", |stage| {
        frames(stage, Some(stage.far(SINK).to_string()))
    }),
    kind("ports", "20,000 ports a second bound, listened on and closed", |stage| {
        let flags = ["--forever", "--per-second=20000"];
        Ok(vec![attack::open_and_close_ports(&Stage::attacker(&stage.hostile), &flags)?.into()])
    }),
    kind("addresses", "a pod with 200,000 addresses is enrolled", |stage| {
        Ok(vec![Attacker::enrolled(&stage.hostile, &stage.mesh.agents[N1])?])
    })
    .with(|stage| {
        stage.mesh.agents[N1].unenroll(stage.hostile.name())?;
        attacker::give_many_addresses(stage).map(|()| Vec::new())
    }),
    kind("bursts", "200 connections at a time, one after the other, each for one exchange", |stage| {
        Ok(vec![without_pause(&Stage::attacker(&stage.hostile), stage.far(ECHO), 200)?])
    }),
    kind("no-place", "8 connections at a time to an HBONE peer that allows no stream", |stage| {
        let to = SocketAddr::new(stage.mesh.outsider.ipv4(), ECHO);
        Ok(vec![without_pause(&Stage::attacker(&stage.hostile), to, 8)?])
    })
    .with(|stage| {
        stage.mesh.control_plane.objects.put("bank", &attack::bank(&stage.mesh))?;
        Ok(vec![attack::greeting_bank(&stage.mesh, &Stage::attacker(&stage.mesh.outsider), "no-streams")?])
    }),
    Kind {
        flags: &LIMITED,
        ..kind("limit", "1,000 connections of a pod that may have 200", |stage| {
            let place = Stage::attacker(&stage.hostile);
            Ok(vec![attack::paused(&place, stage.far(ECHO), ABOVE_LIMIT, &OPENED_A_SECOND)?.into()])
        })
    },
    Kind {
        bystander: Beside::NewConnections,
        ..kind("changes", "20 changes of endpoints a second, while there are very many idle connections", |stage| {
            Ok(vec![Attacker::changing_endpoints(&stage.mesh.control_plane)?])
        })
        .with(|stage| {
            stage.lower_control_plane()?;
            let program = attack::app(&Stage::attacker(&stage.hostile), &hold_command(stage, attacker::very_many()?))?;
            reaches(&program, "open")?;
            Ok(vec![program])
        })
    },
];

const fn kind(
    name: &'static str,
    about: &'static str,
    begin: for<'a> fn(&'a Stage) -> Result<Vec<Attacker<'a>>>,
) -> Kind {
    let bystander = Beside::AcrossNodes;
    Kind { name, about, flags: &[], bystander, has_targets: true, prepare: |_| Ok(Vec::new()), begin }
}

impl Kind {
    const fn with(self, prepare: fn(&Stage) -> Result<Vec<Program>>) -> Self {
        Self { prepare, ..self }
    }

    const fn without_targets(self) -> Self {
        Self { has_targets: false, ..self }
    }

    /// Whether requests on connections that stay count, or only those on new ones.
    pub(crate) fn counts_kept(&self) -> bool {
        self.bystander != Beside::NewConnections
    }
}

impl Beside {
    /// Starts the bystander.
    pub(crate) fn load(self, stage: &Stage) -> Result<super::bystander::Running> {
        let mesh = &stage.mesh;
        let (from, to, new_per_second) = match self {
            Self::AcrossNodes => (&mesh.client, &mesh.far, 100),
            Self::FromOutside => (&mesh.outsider, &mesh.near, 100),
            Self::NewConnections => (&mesh.client, &mesh.far, 300),
        };
        let address = SocketAddr::new(to.ipv4(), nginx::PORT);
        super::bystander::start(&from.place, Bystander::new(address, 300, new_per_second))
    }
}

fn reaches(program: &Program, word: &str) -> Result<()> {
    wait::until("the attack is at its height", AT_HEIGHT_WITHIN, || {
        ensure!(program.stdout().contains(word), "{}", program.tail());
        Ok(())
    })
}

fn at_height<'a>(program: Program, word: &str) -> Result<Vec<Attacker<'a>>> {
    reaches(&program, word)?;
    Ok(vec![program.into()])
}

fn paused<'a>(stage: &Stage, port: u16, flags: &[&str]) -> Result<Vec<Attacker<'a>>> {
    let client = Stage::attacker(&stage.mesh.client);
    let mut paused = attack::paused(&client, stage.far(port), PAUSED, flags)?;
    attack::stand_still(&stage.mesh, &mut paused, BYSTANDER_BYTES)?;
    Ok(vec![paused.into()])
}

/// A server on the hostile pod's loopback, and the place and address of its clients.
fn apart<'a>(stage: &Stage) -> Result<(Attacker<'a>, Place, SocketAddr)> {
    let place = Stage::attacker(&stage.hostile);
    let mut server = attack::app(&place, &["serve", &format!("echo:{APART}"), "--bind=127.0.0.1"])?;
    server.listens_on(APART)?;
    Ok((server.into(), place, SocketAddr::from(([127, 0, 0, 1], APART))))
}

/// Connections for one exchange each, so many at a time, one after the other.
fn without_pause<'a>(place: &Place, to: SocketAddr, concurrent: u32) -> Result<Attacker<'a>> {
    let (to, concurrent) = (to.to_string(), format!("--concurrent={concurrent}"));
    Ok(attack::app(place, &["many", &to, "--count=100000000", &concurrent])?.into())
}

fn hold_command(stage: &Stage, count: u64) -> [String; 4] {
    ["hold".to_owned(), stage.far(ECHO).to_string(), "--count".to_owned(), count.to_string()]
}

fn hold(stage: &Stage, count: u64) -> Result<Vec<Attacker<'_>>> {
    at_height(attack::app(&Stage::attacker(&stage.hostile), &hold_command(stage, count))?, "open")
}

fn frames(stage: &Stage, data_to: Option<String>) -> Result<Vec<Attacker<'_>>> {
    let folder = stage.mesh.world.run().folder().join("flood");
    let presented = Presented::Identity("spiffe://cluster.local/ns/shop/sa/hostile");
    let own: CertificateFiles = stage.mesh.control_plane.authority()?.write(presented, &folder, "hostile")?;
    let place = Stage::attacker(&stage.mesh.outsider);
    at_height(attack::frames(&place, stage.far(HBONE), &own, 20_000, data_to.as_deref())?, "connected")
}
