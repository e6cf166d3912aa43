//! `cargo xtask audit`: what our dependencies may be. `deny.toml` is the list; cargo-deny holds to it. Advisories are not
//! asked for: their database is a git repository, and a check must not depend on what is in it today.

use anyhow::Result;

use crate::{setup, step, workspace};

const CARGO_DENY: &str = "0.20.2";

/// Checks sources, licences, banned crates and crates that must not be there twice.
pub(crate) fn run() -> Result<()> {
    install()?;
    let mut deny = workspace::cargo();
    deny.args(["deny", "--locked", "--workspace", "check", "bans", "licenses", "sources"]);
    step::run("audit of dependencies", &mut deny)
}

/// Makes cargo-deny be there.
pub(crate) fn install() -> Result<()> {
    setup::cargo_program("cargo-deny", CARGO_DENY, "it checks dependencies against deny.toml (about three minutes)")
}
