//! One step of a longer command: says what it does before, and how it went and how long it took after.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

/// Runs a command with its output shown; an error if it fails.
pub(crate) fn run(what: &str, command: &mut Command) -> Result<()> {
    announced(what, || {
        let status = command.status().with_context(|| format!("running {command:?}"))?;
        ensure!(status.success(), "{what}: {status}");
        Ok(())
    })
}

/// Runs a command, shows its output and hands every line of it to `line` too. Whether it succeeded.
pub(crate) fn watched(what: &str, command: &mut Command, mut line: impl FnMut(&str)) -> Result<bool> {
    announced(what, || {
        let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| format!("running {command:?}"))?;
        let output = child.stdout.take().expect("stdout is piped");
        for text in BufReader::new(output).split(b'\n') {
            let text = String::from_utf8_lossy(&text?).replace('\r', "");
            println!("{text}");
            line(&text);
        }
        Ok(child.wait()?.success())
    })
}

/// Does something with its name before and its time after.
pub(crate) fn announced<T>(what: &str, act: impl FnOnce() -> Result<T>) -> Result<T> {
    println!("── {what}");
    let start = Instant::now();
    let outcome = act();
    let word = if outcome.is_ok() { "took" } else { "FAILED after" };
    println!("── {what}: {word} {:.1} s", start.elapsed().as_secs_f64());
    outcome
}

/// Runs a command quietly; what it printed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("running {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}
