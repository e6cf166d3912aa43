//! `cargo xtask tidy`: what a compiler cannot check and text can show. One line per fault, with the rule's reason.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::{step, workspace};

mod circles;
mod deploy;
mod documents;
mod doors;
mod files;
mod layers;

/// Directories whose Rust files are ours.
const OURS: &[&str] = &["agent", "cni", "common", "ebpf", "fuzz", "tests", "xtask"];

/// A source file as the rules see it.
struct Source {
    /// Relative to the workspace's root.
    path: PathBuf,
    text: String,
}

impl Source {
    /// The lines that are no tests, numbered from 1: those outside of items under `#[cfg(test)]`; none where the file
    /// itself is tests.
    fn product_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = if self.is_tests() { "" } else { &self.text };
        let mut test_item = None;
        (1..).zip(lines.lines()).filter(move |(_, line)| {
            let indent = line.len() - line.trim_start().len();
            let begins = line.trim_start().starts_with("#[cfg(test)]");
            let Some(within) = test_item else {
                test_item = begins.then_some(indent);
                return !begins;
            };
            // Formatted code ends an item at the depth at which it began.
            if indent == within && line.ends_with([';', '}', ',']) {
                test_item = None;
            }
            false
        })
    }

    /// A file of nothing but unit tests: `tests.rs` beside what it tests, or a file of such a directory.
    fn is_tests(&self) -> bool {
        self.path.components().skip(1).any(|part| matches!(part.as_os_str().to_str(), Some("tests.rs" | "tests")))
    }

    fn fault(&self, line: usize, what: impl std::fmt::Display) -> String {
        format!("{}:{line}: {what}", self.path.display())
    }
}

/// Checks all rules.
pub(crate) fn run() -> Result<()> {
    step::announced("tidy", || {
        let mut faults = Vec::new();
        let sources = sources()?;
        let lib = fs::read_to_string(workspace::root().join("agent/src/lib.rs")).context("reading agent/src/lib.rs")?;
        let layers = layers::Layers::parse(&lib);
        for source in &sources {
            faults.extend(files::faults(source));
            if let Ok(path) = source.path.strip_prefix("agent/src") {
                faults.extend(layers.faults(source, path));
                faults.extend(doors::faults(source, path));
            }
        }
        let agent = sources.iter().filter_map(|source| Some((source, source.path.strip_prefix("agent/src").ok()?)));
        faults.extend(circles::faults(agent));
        faults.extend(documents::faults()?);
        faults.extend(deploy::faults()?);
        faults.iter().for_each(|fault| println!("{fault}"));
        ensure!(faults.is_empty(), "{} faults", faults.len());
        println!("{} files are tidy", sources.len());
        Ok(())
    })
}

fn sources() -> Result<Vec<Source>> {
    let read = |path: PathBuf| {
        let text = fs::read_to_string(workspace::root().join(&path))?;
        Ok(Source { path, text })
    };
    workspace::rust_files(OURS)?.into_iter().map(read).collect()
}
