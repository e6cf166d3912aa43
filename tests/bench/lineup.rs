//! All subjects of a run, up at the same time: those that are not measured wait for connections and do nothing.

use anyhow::{Context, Result, ensure};

use crate::arguments::{Bench, Build};
use crate::relay;
use crate::stage::Stage;
use crate::subject::{self, DIRECT, DIRECT_SAME_NODE, Subject};
use crate::weir::Weir;

/// The subjects and what they stand on. Fields are in the order in which they must go.
pub(crate) struct Lineup {
    pub(crate) subjects: Vec<Subject>,
    weirs: Vec<Weir>,
    _plain: Stage,
}

impl Lineup {
    /// Brings up what was asked for and waits until every subject's server answers.
    pub(crate) fn start(bench: &Bench) -> Result<Self> {
        let wanted = |name: &str| bench.subjects.is_empty() || bench.subjects.iter().any(|other| other == name);
        let plain = Stage::set("bench")?;
        let mut subjects = vec![subject::direct(&plain)];
        let mut weirs = Vec::new();
        if wanted("relay") {
            subjects.push(relay::start(&plain)?);
        }
        for build in builds(bench) {
            let (name, same_node) = (build.0, format!("{}-same-node", build.0));
            if !wanted(name) && !wanted(&same_node) {
                continue;
            }
            let weir = Weir::start(build.1.map(|build| build.path.as_path()))?;
            subjects.extend(wanted(name).then(|| weir.across(name)));
            subjects.extend(wanted(&same_node).then(|| weir.same_node(&same_node)));
            weirs.push(weir);
        }
        if subjects.iter().any(|subject| subject.baseline == DIRECT_SAME_NODE) {
            subjects.push(subject::direct_same_node(&plain));
        }
        for name in &bench.subjects {
            ensure!(subjects.iter().any(|subject| subject.name == *name), "there is no subject {name}");
        }
        let lineup = Self { subjects, weirs, _plain: plain };
        for subject in &lineup.subjects {
            subject.answers().with_context(|| lineup.logs())?;
        }
        Ok(lineup)
    }

    /// Makes sure that what was measured as Weir did go through Weir.
    pub(crate) fn was_captured(&self) -> Result<()> {
        for weir in &self.weirs {
            ensure!(weir.carried()? > 0.0, "the destination's agent has seen no connection:\n{}", weir.logs());
        }
        Ok(())
    }

    fn logs(&self) -> String {
        self.weirs.iter().map(Weir::logs).collect()
    }
}

/// Names and builds of Weir; the workspace's own has none.
fn builds(bench: &Bench) -> Vec<(&str, Option<&Build>)> {
    if bench.builds.is_empty() {
        return vec![("weir", None)];
    }
    bench.builds.iter().map(|build| (build.name.as_str(), Some(build))).collect()
}

/// Names that are taken: they mean something to the rows.
pub(crate) const RESERVED: &[&str] = &[DIRECT, DIRECT_SAME_NODE];
