//! `cargo xtask demo`: builds what the demo runs, and runs it as root.

use anyhow::Result;
use clap::Args;

use crate::{programs, setup, step, workspace};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// What is shown: `mesh` (capture, encryption, identity, policy, metrics), or `http` (routes).
    #[arg(default_value = "mesh", value_parser = ["mesh", "http"])]
    story: String,
    /// Leave everything up at the end, and print how to play with it.
    #[arg(long)]
    keep: bool,
    /// Take down a demo that was left up.
    #[arg(long, conflicts_with = "keep")]
    down: bool,
}

/// Sets up, builds and runs the demo.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    setup::run()?;
    programs::build_for_real()?;
    let mut demo = workspace::as_root(programs::release("weir-demo"));
    demo.arg(&arguments.story);
    for (flag, wanted) in [("--keep", arguments.keep), ("--down", arguments.down)] {
        if wanted {
            demo.arg(flag);
        }
    }
    step::run("demo", &mut demo)
}
