//! The processes of a node, above all of its agent, as the node's kernel has them.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use weir_tests::cluster::node::Node;

/// Ticks of the kernel's clock in a second, in which it counts processors' time; the same on every Linux.
const TICKS: u64 = 100;

/// A process of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    /// As the node numbers it.
    pub id: String,
    parent: String,
    folder: PathBuf,
}

/// All processes called `weir` on a node: supervisors, workers, and whatever somebody runs in their pods just now.
///
/// # Errors
/// If the node's processes cannot be read.
pub(crate) fn all(node: &Node) -> Result<Vec<Process>> {
    named(node, "weir")
}

/// The process of a node that has a word among its arguments; no other has.
///
/// # Errors
/// If there is none yet.
pub(crate) fn with_word(node: &Node, name: &str, word: &str) -> Result<Process> {
    let mut processes = named(node, name)?.into_iter();
    processes.find(|process| process.has_argument(word)).with_context(|| format!("no {name} has the argument {word}"))
}

fn named(node: &Node, name: &str) -> Result<Vec<Process>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(node.room().path("/proc"))? {
        let entry = entry?;
        let id = entry.file_name().to_string_lossy().into_owned();
        // A process may end while it is looked at.
        let Ok(status) = fs::read_to_string(entry.path().join("status")) else { continue };
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        if field("Name:") == Some(name) {
            let parent = field("PPid:").unwrap_or_default().to_owned();
            found.push(Process { id, parent, folder: entry.path() });
        }
    }
    Ok(found)
}

/// The process that carries traffic: the child of the one that keeps.
///
/// # Errors
/// If there is none, or several.
pub(crate) fn worker(node: &Node) -> Result<Process> {
    let all = all(node)?;
    let mut workers = all.iter().filter(|one| all.iter().any(|other| other.id == one.parent));
    let worker = workers.next().with_context(|| format!("there is no worker on {}", node.name()))?;
    ensure!(workers.next().is_none(), "several workers: {all:?}");
    Ok(worker.clone())
}

/// What all processes of a node's agent take, in MB: proportional, and resident, where pages that several share are
/// counted for each.
///
/// # Errors
/// If there is none.
pub(crate) fn memory(node: &Node) -> Result<(f64, f64)> {
    let all = all(node)?;
    ensure!(!all.is_empty(), "no process of an agent is seen on {}", node.name());
    let maps = all.iter().filter_map(|process| fs::read_to_string(process.folder.join("smaps_rollup")).ok());
    let maps: Vec<String> = maps.collect();
    let sum = |field: &str| -> f64 {
        let lines = maps.iter().flat_map(|text| text.lines()).filter_map(|line| line.strip_prefix(field));
        let kilobytes = lines.filter_map(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
        kilobytes.sum::<f64>() / 1000.0
    };
    Ok((sum("Pss:"), sum("Rss:")))
}

impl Process {
    /// The processors' time that it has taken so far, in milliseconds.
    ///
    /// # Errors
    /// If it has ended.
    pub(crate) fn processor_ms(&self) -> Result<u64> {
        let numbers = self.numbers()?;
        // The 14th and 15th fields: in user mode, in the kernel.
        Ok((numbers[11] + numbers[12]) * 1000 / TICKS)
    }

    /// For how long it has been running, in milliseconds.
    ///
    /// # Errors
    /// If it has ended.
    pub(crate) fn age_ms(&self) -> Result<u64> {
        let uptime = fs::read_to_string("/proc/uptime")?;
        let seconds: f64 = uptime.split_whitespace().next().context("a machine has an uptime")?.parse()?;
        // The 22nd field: when it began, since the machine did.
        let began = self.numbers()?[19] * 1000 / TICKS;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an uptime is small and positive")]
        let now = (seconds * 1000.0) as u64;
        Ok(now.saturating_sub(began))
    }

    /// What its open descriptors are.
    ///
    /// # Errors
    /// If it has ended.
    pub(crate) fn descriptors(&self) -> Result<Vec<String>> {
        let entries = fs::read_dir(self.folder.join("fd"))?;
        // A descriptor that was closed meanwhile is none.
        let links = entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        Ok(links.map(|link| link.display().to_string()).collect())
    }

    fn has_argument(&self, word: &str) -> bool {
        let command = fs::read(self.folder.join("cmdline")).unwrap_or_default();
        command.split(|byte| *byte == 0).any(|argument| argument == word.as_bytes())
    }

    /// The numbers after the third field of the kernel's line about it.
    fn numbers(&self) -> Result<Vec<u64>> {
        let stat = fs::read_to_string(self.folder.join("stat"))?;
        let (_, after_name) = stat.rsplit_once(") ").context("a process has a name in brackets")?;
        Ok(after_name.split_whitespace().map(|word| word.parse().unwrap_or_default()).collect())
    }
}
