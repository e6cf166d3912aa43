//! Cases of one table, run by several processes side by side: most of a case is waiting, and what it makes carries its own run's name.
//!
//! The first process hands out names and prints what came of each; the others, its workers, are the same program with
//! [`Jobs::worker`] set. They talk over a socket, which is the worker's standard input: a line with the name of a case there, a line of
//! JSON with how it went back. A case that needs the machine to itself, because it claims a rate or counts what the whole machine has,
//! runs when all others are done.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command};
use std::sync::{Mutex, mpsc};
use std::time::Instant;
use std::{env, thread};

use anyhow::{Context as _, Result, anyhow, ensure};
use nix::sys::prctl;
use nix::sys::signal::Signal;

use crate::run;
use crate::table::{self, Case, Fixture, Outcome, Ran, Table};

/// Workers at most, however many processors there are: each may have a mesh or two of its own.
const MAX_WORKERS: usize = 4;

/// The part of a runner's command line that says how many cases run at once.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Jobs {
    /// How many cases run at once, each in a process of its own. By default as many as there are processors, at most four.
    #[arg(long)]
    jobs: Option<usize>,
    /// Run the cases that standard input names, for another process of this program.
    #[arg(long, hide = true)]
    worker: bool,
}

impl Jobs {
    /// True if this process runs cases for another one.
    #[must_use]
    pub fn is_worker(&self) -> bool {
        self.worker
    }

    /// How many workers `cases` cases are worth.
    fn count(&self, cases: usize) -> usize {
        let processors = || thread::available_parallelism().map_or(1, usize::from).min(MAX_WORKERS);
        self.jobs.unwrap_or_else(processors).clamp(1, cases.max(1))
    }
}

/// Runs the cases of a table by `jobs`, those called `alone` after all others and one at a time.
///
/// # Errors
/// If a worker cannot be started.
pub fn run<C: Copy>(table: &mut Table, cases: &[Case<C>], alone: &[&str], jobs: &Jobs) -> Result<()> {
    let program = env::current_exe()?;
    let worker = || {
        let mut command = Command::new(&program);
        command.args(env::args_os().skip(1)).arg("--worker");
        command
    };
    let (last, first): (Vec<_>, Vec<_>) = cases.iter().map(|case| case.name).partition(|name| alone.contains(name));
    for (names, workers) in [(&first, jobs.count(first.len())), (&last, 1)] {
        let queue = Mutex::new(names.iter().copied().collect::<VecDeque<_>>());
        let (done, results) = mpsc::channel();
        thread::scope(|scope| -> Result<()> {
            let workers: Vec<_> = (0..workers)
                .map(|_| {
                    let (queue, done, worker) = (&queue, done.clone(), &worker);
                    scope.spawn(move || serve(queue, worker, &done))
                })
                .collect();
            drop(done);
            results.iter().for_each(|(name, ran)| table.add(name, ran));
            workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| anyhow!("a thread panicked"))?)
        })?;
    }
    Ok(())
}

/// Has workers, one after the other if one dies, run cases from the queue until it is empty.
fn serve(
    queue: &Mutex<VecDeque<&'static str>>,
    program: impl Fn() -> Command,
    done: &mpsc::Sender<(&'static str, Ran)>,
) -> Result<()> {
    let next = || queue.lock().expect("no holder panics").pop_front();
    let mut worker: Option<Worker> = None;
    while let Some(name) = next() {
        let mut used = match worker.take() {
            Some(worker) => worker,
            None => Worker::start(program())?,
        };
        let start = Instant::now();
        let ran = match used.run(name) {
            Ok(ran) => {
                worker = Some(used);
                ran
            }
            Err(error) => {
                let found = format!("the process that ran it failed: {error:#} ({})", used.end());
                Ran { outcome: Outcome::Failed(found), seconds: start.elapsed().as_secs_f64(), notes: Vec::new() }
            }
        };
        done.send((name, ran)).context("nobody counts any more")?;
    }
    worker.into_iter().for_each(|worker| drop(worker.end()));
    Ok(())
}

/// A process that runs cases.
struct Worker {
    process: Child,
    stream: BufReader<UnixStream>,
}

impl Worker {
    fn start(mut program: Command) -> Result<Self> {
        let (own, other) = UnixStream::pair()?;
        let process = program.stdin(OwnedFd::from(other)).spawn().context("starting a worker")?;
        Ok(Self { process, stream: BufReader::new(own) })
    }

    fn run(&mut self, name: &str) -> Result<Ran> {
        writeln!(self.stream.get_mut(), "{name}")?;
        let mut line = String::new();
        ensure!(self.stream.read_line(&mut line)? > 0, "it ended");
        serde_json::from_str(&line).context("reading what it says")
    }

    /// Ends the process, once it has taken down what it made; how it ended.
    fn end(self) -> String {
        let Self { mut process, stream } = self;
        drop(stream);
        process.wait().map_or_else(|error| error.to_string(), |status| status.to_string())
    }
}

/// Runs the cases that standard input names on a fixture, and says there how each went.
///
/// # Errors
/// If standard input is no socket, or names a case that there is not.
pub fn work<F: Fixture>(cases: &[Case<F::Check>], mut fixture: F, missing: Option<&str>) -> Result<()> {
    // The first process is killed without a word at times; what this one made must go with it.
    prctl::set_pdeathsig(Signal::SIGTERM).context("asking to be told of the parent's end")?;
    run::take_down_on_signal()?;
    let stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    // The programs of cases have nothing to do with the socket.
    nix::unistd::dup2_stdin(File::open("/dev/null")?)?;
    let mut answers = stream.try_clone()?;
    for name in BufReader::new(stream).lines() {
        let name = name?;
        let case = cases.iter().find(|case| case.name == name).with_context(|| format!("there is no case {name:?}"))?;
        let ran = table::run_one(case, &mut fixture, missing, table::is_strict());
        let mut line = serde_json::to_vec(&ran)?;
        line.push(b'\n');
        answers.write_all(&line)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A worker that passes whatever it is asked, but ends without a word when asked for the case `dies`.
    const WORKER: &str = r#"while read name; do
        [ "$name" = dies ] && exit 3
        echo '{"outcome":"Passed","seconds":1.5,"notes":["'$name'"]}' >&0
    done"#;

    #[test]
    fn a_worker_that_dies_fails_its_case_alone() {
        let (done, results) = mpsc::channel();
        let queue = Mutex::new(VecDeque::from(["before", "dies", "after"]));
        let worker = || {
            let mut command = Command::new("sh");
            command.args(["-c", WORKER]);
            command
        };
        serve(&queue, worker, &done).expect("workers start");
        drop(done);
        let told: Vec<_> = results.iter().map(|(name, ran)| (name, ran.outcome, ran.notes.concat())).collect();
        let [(_, Outcome::Passed, before), (_, Outcome::Failed(found), _), (_, Outcome::Passed, after)] = &told[..]
        else {
            panic!("{told:?}");
        };
        assert_eq!([&**before, &**after], ["before", "after"]);
        assert_eq!(found, "the process that ran it failed: it ended (exit status: 3)");
    }
}
