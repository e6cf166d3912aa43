//! `cargo xtask bench`: measurements that have a bound.

use anyhow::Result;
use clap::Subcommand;

mod model;

#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// The mesh model with 100,000 workloads and 10,000 services: memory, updates, answers. Needs no root.
    Model,
}

pub(crate) fn run(what: &What) -> Result<()> {
    match what {
        What::Model => model::run(),
    }
}
