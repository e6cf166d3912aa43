//! The mesh model at scale: builds and runs the program in `agent/benches/model`, which prints its figures with their
//! bounds as a table and fails if one is not met. See `docs/model.md`.

use anyhow::Result;

use crate::{step, workspace};

pub(crate) fn run() -> Result<()> {
    let mut bench = workspace::cargo();
    bench.args(["bench", "--package", "weir", "--bench", "model", "--"]);
    // A figure is a median of many short runs; more of them would not change it.
    bench.args(["--warm-up-time", "0.5", "--measurement-time", "2"]);
    step::run("mesh model: 100,000 workloads, 10,000 services", &mut bench)
}
