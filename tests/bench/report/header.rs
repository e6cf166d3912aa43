//! What results would be worth nothing without: where, when, of what, how.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use crate::arguments::Bench;
use crate::processors::CpuGroup;
use crate::rounds::Plan;
use crate::stock::STOCK;

/// The header of all output.
pub(crate) fn write(bench: &Bench, plan: Plan, cpu_group: Option<&CpuGroup>) -> Result<String> {
    let cores = std::thread::available_parallelism()?;
    let command = in_one_line(&std::env::args().collect::<Vec<_>>().join(" "));
    let mut text = String::new();
    let _ = writeln!(text, "kernel    {}, {cores} cores ({})", read("/proc/sys/kernel/osrelease")?, processor());
    let _ = writeln!(text, "date      {}", date()?);
    let _ = writeln!(text, "revision  {}", bench.revision);
    let _ = writeln!(text, "command   {command}");
    let _ = writeln!(text, "rounds    {} of {} s for each subject of a case", plan.rounds, plan.seconds);
    for (key, value) in STOCK {
        let name = key.trim_start_matches("net/ipv4/");
        let own = read(&format!("/proc/sys/{key}"))?;
        let _ = writeln!(text, "setting   {name} is {value} in all namespaces (this machine's own: {own})");
    }
    let _ = writeln!(text, "setting   {}", CpuGroup::told(cpu_group));
    Ok(text)
}

fn read(path: &str) -> Result<String> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {path}"))?;
    Ok(in_one_line(&text))
}

fn in_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    model.map_or("unknown", |(_, name)| name).to_owned()
}

fn date() -> Result<String> {
    let output = Command::new("date").args(["--utc", "+%Y-%m-%d %H:%M UTC"]).output().context("running date")?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
