//! `cargo xtask tidy`: what a compiler cannot check and text can show. One line per fault, with the rule's reason.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::{step, workspace};

mod documents;
mod doors;
mod files;
mod layers;

/// Directories whose Rust files are ours.
const OURS: &[&str] = &["agent", "common", "ebpf", "tests", "xtask"];

/// A source file as the rules see it.
struct Source {
    /// Relative to the workspace's root.
    path: PathBuf,
    text: String,
}

impl Source {
    /// The lines before the tests at the bottom of the file, numbered from 1; all of them where the file itself is tests.
    fn product_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let tests = self.text.lines().position(|line| line.trim_start().starts_with("#[cfg(test)]"));
        let end = if self.is_tests() { 0 } else { tests.unwrap_or(usize::MAX) };
        (1..).zip(self.text.lines()).take(end)
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
        faults.extend(documents::faults()?);
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
