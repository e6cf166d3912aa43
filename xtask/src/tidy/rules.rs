//! What `xtask/tidy.json` says: the names that the rules are about.

use std::collections::BTreeMap;

use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rules {
    /// Paths that only these places below `agent/src` name.
    pub(super) only: Vec<Naming>,
    /// Paths that these places below `agent/src` never name.
    pub(super) never: Vec<Naming>,
    /// Names of files that say nothing.
    pub(super) vague: Vec<String>,
    /// What nobody may leave in code, and why.
    pub(super) leftovers: BTreeMap<String, String>,
    pub(super) documents: Documents,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Naming {
    /// What such a path begins with.
    pub(super) names: Vec<String>,
    pub(super) places: Vec<String>,
    pub(super) why: String,
}

/// Documents, and folders of such, that speak of code.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Documents {
    /// Those whose paths exist.
    pub(super) paths: Vec<String>,
    /// What a path begins with.
    pub(super) roots: Vec<String>,
    /// Those whose `cargo xtask …` are commands.
    pub(super) commands: Vec<String>,
    /// Those whose environment variables are settings.
    pub(super) settings: Vec<String>,
    /// The code that defines settings.
    pub(super) definitions: Vec<String>,
}
