//! Where the agents' processor time goes under a load: `perf` samples their threads while the load runs, and what the samples hit is
//! added up by part of the work ([`part`]), for the agent of the client's node and that of the server's.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use weir_tests::cgroup;

use crate::case::Case;
use crate::load::Load;
use crate::subject::{Proxies, Subject};

mod part;
mod samples;

use part::Part;
use samples::Sample;

/// Samples per second of processor time. Not a divisor of what else happens at round intervals.
const SAMPLES_PER_SECOND: u32 = 1999;
/// How long the load runs before the first sample, in milliseconds.
const DELAY_MS: u32 = 500;

/// Profiles a case of a subject for some seconds, and writes the result as a table: in columns the two nodes, for each part its share
/// of the agent's samples, and microseconds of processor time per request where the case counts these.
pub(crate) fn of(case: &Case, subject: &Subject, seconds: u32) -> Result<String> {
    let Proxies::Cgroups(cgroups) = &subject.proxies else { return Ok(String::new()) };
    let nodes: Vec<Vec<i32>> = cgroups.iter().map(|path| processes(path)).collect();
    let folder = TempDir::new()?;
    let file = folder.path().join("perf.data");
    let ids: Vec<String> = nodes.iter().flatten().map(ToString::to_string).collect();
    let mut perf = Command::new("perf");
    perf.args(["record", "--quiet", "--event=cpu-clock", "--call-graph=fp"])
        .arg(format!("--freq={SAMPLES_PER_SECOND}"))
        .arg(format!("--pid={}", ids.join(",")))
        .arg(format!("--delay={DELAY_MS}"))
        .arg(format!("--output={}", file.display()))
        .args(["--", "sleep", &format!("{}", f64::from(seconds) + f64::from(DELAY_MS) / 1000.0)])
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let perf = perf.spawn().context("perf is needed to profile (Debian: linux-perf)")?;
    // A second longer than samples are taken.
    let seen = case.load.measure(subject, seconds + 1);
    let recorded = perf.wait_with_output()?;
    ensure!(recorded.status.success(), "perf record: {}", String::from_utf8_lossy(&recorded.stderr));
    let seen = seen?;
    let samples = samples::read(&file)?;
    let requests = requests_per_second(case.load, &seen).map(|per_second| per_second * f64::from(seconds));
    Ok(table(case, &subject.name, &nodes, &samples, requests))
}

fn processes(path: &Path) -> Vec<i32> {
    cgroup::processes(path)
}

/// How many requests a load made per second; `None` where it makes none.
fn requests_per_second(load: Load, seen: &[f64]) -> Option<f64> {
    match load {
        Load::Rate(per_second) | Load::HttpRate(per_second) | Load::Tokens(per_second) => Some(f64::from(per_second)),
        Load::KeepAlive(_) | Load::Http(_) | Load::Policy(_) | Load::Grpc(_) | Load::NewConnections(_) => {
            seen.first().copied()
        }
        Load::Bulk(_) | Load::Resident(_) => None,
    }
}

fn table(case: &Case, subject: &str, nodes: &[Vec<i32>], samples: &[Sample], requests: Option<f64>) -> String {
    let counted: Vec<Vec<usize>> = nodes.iter().map(|ids| count(ids, samples)).collect();
    let mut text = format!("\nprofile of {} of {subject}: share of the agent's samples", case.name);
    text += if requests.is_some() { " (µs of processor time per request)\n" } else { "\n" };
    let _ = writeln!(text, "  {:<42} {:>18} {:>18}", "", "client's node", "server's node");
    let line = |what: &str, of: &dyn Fn(&[usize]) -> usize| {
        let mut line = format!("  {what:<42}");
        for counted in &counted {
            let (part, all) = (of(counted), counted.iter().sum::<usize>().max(1));
            let share = format!("{:.1} %", 100.0 * float(part) / float(all));
            let time = requests.map(|requests| float(part) / f64::from(SAMPLES_PER_SECOND) * 1e6 / requests);
            let time = time.map(|time| format!(" ({time:.1})")).unwrap_or_default();
            let _ = write!(line, " {:>18}", share + &time);
        }
        line + "\n"
    };
    for part in Part::ALL {
        text += &line(part.name(), &|counted| counted[part as usize]);
    }
    text + &line("all", &|counted| counted.iter().sum())
}

/// The samples of some processes, by part.
fn count(ids: &[i32], samples: &[Sample]) -> Vec<usize> {
    let mut counted = vec![0; Part::ALL.len()];
    for sample in samples.iter().filter(|sample| ids.contains(&sample.process)) {
        counted[Part::of(sample) as usize] += 1;
    }
    counted
}

#[expect(clippy::cast_precision_loss, reason = "samples of some seconds are few")]
fn float(samples: usize) -> f64 {
    samples as f64
}
