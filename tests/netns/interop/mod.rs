//! Weir and a real Envoy: one opens HBONE, the other accepts it, and both prove who they are. What was tried and how it
//! went is in `docs/interop.md`, whose table names these cases.

use anyhow::{Result, ensure};

use crate::harness::{Case, Check};

mod carried;
mod from_envoy;
mod held;
mod limits;
mod rotation;
mod setup;
mod to_envoy;
mod websockets;

/// All cases, in the order they run.
pub(crate) fn cases() -> Vec<Case> {
    [with_envoy(), DOCUMENTED.to_vec()].concat()
}

/// Those that need an Envoy.
fn with_envoy() -> Vec<Case> {
    [carried::CASES, websockets::CASES, to_envoy::CASES, from_envoy::CASES, rotation::CASES].concat()
}

/// The documents, which must say no more and no less than what runs.
const DOCUMENTED: &[Case] =
    &[Case { name: "interop: docs/interop.md names what is tried, and nothing else", check: Check::Alone(documented) }];

const DOCUMENT: &str = include_str!("../../../docs/interop.md");

fn documented() -> Result<()> {
    let rows = DOCUMENT.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let mut rows: Vec<&str> = rows.filter(|row| row.contains("Envoy, ")).collect();
    let cases = with_envoy();
    let mut cases: Vec<&str> = cases.iter().map(|case| case.name.trim_start_matches("interop: ")).collect();
    rows.sort_unstable();
    cases.sort_unstable();
    ensure!(rows == cases, "the table has\n{rows:#?}\nand what runs is\n{cases:#?}");
    ensure!(DOCUMENT.contains(&format!("Envoy {}", weir_tests::envoy::VERSION)), "it names another version");
    Ok(())
}
