//! The command line of `weir-bench`: what to measure, or which of its own parts to be.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};

use crate::isolation::Isolation;
use crate::isolation::bystander::Bystander;
use crate::load::rate::Rate;
use crate::peer::{self, Peer};
use crate::relay::{Way, parse_way};

/// `weir-bench`'s arguments.
#[derive(Debug, Parser)]
#[command(
    about = "Weir beside no mesh, a plain relay and other proxies, in one run",
    args_conflicts_with_subcommands = true
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) part: Option<Part>,
    #[command(flatten)]
    pub(crate) bench: Bench,
}

/// Another bench, or what a bench starts of itself in pods.
#[derive(Debug, Subcommand)]
pub(crate) enum Part {
    /// Hostile pods and peers beside a bystander.
    Isolation(Isolation),
    /// Ask at a fixed rate until told to end, on connections that stay and on new ones.
    #[command(hide = true)]
    Bystander(Bystander),
    /// Relay TCP connections: LISTEN=TARGET …
    #[command(hide = true)]
    Relay {
        #[arg(required = true, value_parser = parse_way)]
        ways: Vec<Way>,
    },
    /// Ask at a fixed rate.
    #[command(hide = true)]
    Rate(Rate),
    /// Hold connections open.
    #[command(hide = true)]
    Hold {
        address: SocketAddr,
        #[arg(long)]
        connections: u32,
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
    builds: Vec<Build>,
    /// Another pair of proxies to measure, brought up by a command: NAME=COMMAND (docs/bench.md says what it must do).
    #[arg(long = "peer", value_parser = peer::parse)]
    pub(crate) peers: Vec<Peer>,
    /// The program `envoy`; without it there is no such subject.
    #[arg(long, env = "WEIR_ENVOY")]
    pub(crate) envoy: Option<PathBuf>,
    /// Times that every subject of a case is measured.
    #[arg(long)]
    pub(crate) rounds: Option<u32>,
    /// Seconds of one measurement.
    #[arg(long)]
    pub(crate) seconds: Option<u32>,
    /// Fewer and shorter rounds: all of it within four minutes.
    #[arg(long)]
    pub(crate) quick: bool,
    /// After the rounds, print where the agents' processor time goes in each case, by `perf` (docs/bench.md).
    #[arg(long)]
    pub(crate) profile: bool,
    /// Where latest.txt, latest.json and latest.svg go.
    #[arg(long, default_value = "target/bench")]
    pub(crate) out: PathBuf,
    /// The revision that was built, to be told with the results.
    #[arg(long, default_value = "unknown", hide = true)]
    pub(crate) revision: String,
}

impl Bench {
    /// Whether a subject was asked for.
    pub(crate) fn wants(&self, subject: &str) -> bool {
        self.subjects.is_empty() || self.subjects.iter().any(|name| name == subject)
    }

    /// Names of the builds of Weir, and where they are; the workspace's own build has no place.
    pub(crate) fn builds(&self) -> Vec<(&str, Option<&Path>)> {
        if self.builds.is_empty() {
            return vec![("weir", None)];
        }
        self.builds.iter().map(|build| (build.name.as_str(), Some(build.path.as_path()))).collect()
    }
}

/// A build of `weir` and the name of its subject.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Build {
    name: String,
    path: PathBuf,
}

fn parse_build(text: &str) -> Result<Build, String> {
    let (name, path) = text.split_once('=').unwrap_or(("weir", text));
    let path = PathBuf::from(path);
    match path.canonicalize() {
        Ok(path) => Ok(Build { name: name.to_owned(), path }),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}
