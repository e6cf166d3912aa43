//! Runs cases one after another, shares worlds between them where that is cheap, and counts.
//!
//! A case that needs what this kernel lacks is skipped, loudly; where `CI` is set, a skip is a failure.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use weir_tests::mesh::Mesh;
use weir_tests::run;
use weir_tests::world::World;

/// A behaviour and how it is checked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub name: &'static str,
    pub check: Check,
}

/// What a check needs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Check {
    /// Two nodes without a mesh; shared.
    World(fn(&World) -> Result<()>),
    /// The standard mesh, to be left as found; shared.
    Mesh(fn(&Mesh) -> Result<()>),
    /// The standard mesh, to do with as it likes; its own.
    OwnMesh(fn(&mut Mesh) -> Result<()>),
    /// Whatever it makes itself.
    Alone(fn() -> Result<()>),
}

/// This kernel lacks something: the case cannot be checked here.
#[derive(Debug)]
pub(crate) struct Skip(pub String);

impl std::fmt::Display for Skip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot be checked here: {}", self.0)
    }
}

impl std::error::Error for Skip {}

thread_local! {
    static NOTES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Prints a measured figure below the line of the running case.
pub(crate) fn note(text: impl Into<String>) {
    NOTES.with_borrow_mut(|notes| notes.push(text.into()));
}

/// Runs the cases; the exit code says whether all passed.
pub(crate) fn run(cases: &[Case]) -> Result<ExitCode> {
    run::take_down_on_signal()?;
    let gone = run::take_down_leftovers()?;
    if !gone.is_empty() {
        println!("took down what killed runs left: {}", gone.join(" "));
    }
    let missing = missing_features();
    let strict = std::env::var("CI").is_ok_and(|value| !value.is_empty() && value != "false");
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    let mut shared = Shared::default();
    for case in cases {
        let start = Instant::now();
        let outcome = match &missing {
            Some(feature) => Err(Skip(feature.clone()).into()),
            None => shared.check(case),
        };
        let seconds = start.elapsed().as_secs_f64();
        match outcome {
            Ok(()) => {
                passed += 1;
                println!("ok      {seconds:6.2} s  {}", case.name);
            }
            Err(error) if error.is::<Skip>() && !strict => {
                skipped += 1;
                println!("SKIPPED {seconds:6.2} s  {}: {error:#}", case.name);
            }
            Err(error) => {
                failed += 1;
                println!("FAILED  {seconds:6.2} s  {}\n{}", case.name, indented(&format!("{error:#}")));
                shared.abandon();
            }
        }
        NOTES.take().iter().for_each(|note| println!("                  {note}"));
    }
    drop(shared);
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Worlds that cases share.
#[derive(Debug, Default)]
struct Shared {
    world: Option<World>,
    mesh: Option<Mesh>,
}

impl Shared {
    fn check(&mut self, case: &Case) -> Result<()> {
        catch_unwind(AssertUnwindSafe(|| match case.check {
            Check::World(check) => {
                if self.world.is_none() {
                    self.world = Some(World::new("t", 2)?);
                }
                check(self.world.as_ref().expect("was just made"))
            }
            Check::Mesh(check) => {
                if self.mesh.is_none() {
                    self.mesh = Some(Mesh::start("t").context("bringing up the shared mesh")?);
                }
                let mesh = self.mesh.as_ref().expect("was just made");
                check(mesh).map_err(|error| with_logs(error, mesh))
            }
            Check::OwnMesh(check) => {
                let mut mesh = Mesh::start("t").context("bringing up a mesh")?;
                check(&mut mesh).map_err(|error| with_logs(error, &mesh))
            }
            Check::Alone(check) => check(),
        }))
        .unwrap_or_else(|panic| Err(anyhow!("panicked: {}", message(&*panic))))
    }

    /// After a failure nothing is known of what is shared: the next case gets a new one.
    fn abandon(&mut self) {
        self.world = None;
        self.mesh = None;
    }
}

fn with_logs(error: anyhow::Error, mesh: &Mesh) -> anyhow::Error {
    if error.is::<Skip>() {
        return error;
    }
    let kept =
        mesh.world.run().keep_logs().map_or_else(|error| format!("{error:#}"), |path| path.display().to_string());
    anyhow!("{error:#}\nlogs are in {kept}; they end with\n{}", mesh.logs())
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("        {line}")).collect::<Vec<_>>().join("\n")
}

/// What every case needs of the kernel and this machine lacks, if anything.
fn missing_features() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("namespaces and kernel programs need root".into());
    }
    if let Err(error) = weir_tests::cgroup::root() {
        return Some(format!("{error:#}"));
    }
    // Network namespace cookies came with 5.14; everything else that is needed is older.
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").ok()?;
    let socket = socket2::SockRef::from(&socket);
    socket.cookie().err().map(|error| format!("sockets have no cookies: {error}"))
}
