//! The command line of `weir-bench`: what to measure, or which of its own parts to be.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::relay::{Way, parse_way};

/// `weir-bench`'s arguments.
#[derive(Debug, Parser)]
#[command(about = "Weir beside no mesh, a plain relay and other proxies, in one run", args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) part: Option<Part>,
    #[command(flatten)]
    pub(crate) bench: Bench,
}

/// What the bench starts of itself in pods.
#[derive(Debug, Subcommand)]
pub(crate) enum Part {
    /// Relay TCP connections: LISTEN=TARGET …
    #[command(hide = true)]
    Relay {
        #[arg(required = true, value_parser = parse_way)]
        ways: Vec<Way>,
    },
}

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Bench {
    /// Cases to run; all if none is given.
    #[arg(long = "case", value_delimiter = ',')]
    pub(crate) cases: Vec<String>,
    /// Subjects to measure beside no mesh; all if none is given.
    #[arg(long = "subject", value_delimiter = ',')]
    pub(crate) subjects: Vec<String>,
    /// Builds of `weir` to measure, each as NAME=PATH or PATH (then it is called weir); the workspace's own if none is.
    #[arg(long = "weir", value_parser = parse_build)]
    pub(crate) builds: Vec<Build>,
    /// Times that every subject of a case is measured.
    #[arg(long)]
    pub(crate) rounds: Option<u32>,
    /// Seconds of one measurement.
    #[arg(long)]
    pub(crate) seconds: Option<u32>,
    /// Fewer rounds and shorter ones.
    #[arg(long)]
    pub(crate) quick: bool,
    /// The revision that was built, to be told with the results.
    #[arg(long, default_value = "unknown", hide = true)]
    pub(crate) revision: String,
}

/// A build of `weir` and the name of its subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Build {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
}

fn parse_build(text: &str) -> Result<Build, String> {
    let (name, path) = text.split_once('=').unwrap_or(("weir", text));
    let path = PathBuf::from(path);
    match path.canonicalize() {
        Ok(path) => Ok(Build { name: name.to_owned(), path }),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}
