//! What a run leaves: the table and the verdicts on standard output, and files with the same as data and as a picture.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::rounds::Outcome;
use crate::row;
use crate::subject::NO_LOG;

mod builds;
pub(crate) mod header;
mod json;
mod picture;
mod table;
mod verdict;

/// Prints the results and writes `latest.txt`, `latest.json` and `latest.svg` into a folder. `builds` are the names of
/// the subjects that are Weir.
pub(crate) fn publish(header: &str, outcome: &Outcome, builds: &[&str], folder: &Path) -> Result<()> {
    let rows = row::rows(&outcome.samples);
    let unlogged: Vec<String> = builds.iter().map(|build| format!("{build}{NO_LOG}")).collect();
    let of_weir: Vec<&str> = builds.iter().copied().chain(unlogged.iter().map(String::as_str)).collect();
    let pairs = row::pairs(&outcome.samples, &of_weir);
    let mut text = table::write(&rows, &pairs) + "\n" + &verdict::write(&rows, &pairs, builds);
    text += &builds::write(&rows, &outcome.samples, builds);
    outcome.notes.iter().for_each(|note| text += &format!("not measured: {note}\n"));
    outcome.failures.iter().for_each(|failure| text += &format!("FAILED: {failure}\n"));
    print!("{text}");
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    let write = |name: &str, content: String| {
        let path = folder.join(name);
        fs::write(&path, content).with_context(|| format!("writing {}", path.display()))
    };
    write("latest.txt", format!("{header}{text}"))?;
    write("latest.json", json::write(&rows, &pairs)?)?;
    write("latest.svg", picture::write(&rows, header))?;
    println!("also in {}: latest.txt, latest.json, latest.svg", folder.display());
    Ok(())
}
