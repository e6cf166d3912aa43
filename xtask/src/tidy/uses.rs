//! Who uses whom. In every crate, no file uses, through however many others, a file that uses it; and none uses what a file
//! above it in the module tree defines (its `mod.rs`, or `lib.rs`): what a module's parts share stands in a part of its own.
//! What the file above only passes on by `pub use` comes from where it is defined. In the agent, modules use those of lower
//! layers, and name what the rules let them name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::rules::Rules;
use super::rust::{Crate, Use};

/// Files that use each other: every use that is part of a circle.
pub(super) fn circles(krate: &Crate) -> Vec<String> {
    let mut uses = BTreeMap::new();
    for (index, module) in krate.modules.iter().enumerate() {
        let above = krate.above(index);
        for Use { line, item, .. } in krate.uses(index) {
            if let Some((other, name)) = item.filter(|(other, _)| *other != module.file && !above.contains(other)) {
                uses.entry((module.file.as_path(), other)).or_insert((line, name));
            }
        }
    }
    // A file that uses no other of those that are left, or that none of them uses, is in no circle.
    loop {
        let before = uses.len();
        let users: BTreeSet<&Path> = uses.keys().map(|(file, _)| *file).collect();
        let used: BTreeSet<&Path> = uses.keys().map(|(_, other)| *other).collect();
        uses.retain(|(file, other), _| used.contains(file) && users.contains(other));
        if uses.len() == before {
            break;
        }
    }
    let told = uses.iter().map(|((file, other), (line, name))| {
        format!("{}:{line}: uses {name} of {}, in a circle or between two", file.display(), other.display())
    });
    told.collect()
}

/// Uses of what a file above defines.
pub(super) fn upwards(krate: &Crate) -> Vec<String> {
    let mut faults = Vec::new();
    for (index, module) in krate.modules.iter().enumerate() {
        let above = krate.above(index);
        for Use { line, item, .. } in krate.uses(index) {
            if let Some((other, name)) = item.filter(|(other, _)| above.contains(other)) {
                let (file, other) = (module.file.display(), other.display());
                faults.push(format!("{file}:{line}: uses {name}, which {other} above it defines"));
            }
        }
    }
    faults
}

/// Uses against the direction of the layers, which the agent's lib.rs lists.
pub(super) fn layers(agent: &Crate, lib: &str) -> Vec<String> {
    let mut layers = BTreeMap::new();
    let mut blank_lines = 0;
    for line in lib.lines() {
        blank_lines += usize::from(line.trim().is_empty());
        if let Some((_, module)) = line.strip_suffix(';').and_then(|line| line.rsplit_once("mod ")) {
            layers.insert(module, blank_lines);
        }
    }
    let mut faults = Vec::new();
    for (index, module) in agent.modules.iter().enumerate() {
        let Some(own) = module.names.first() else { continue };
        for Use { line, path, .. } in agent.uses(index) {
            let other = path.strip_prefix("crate::").and_then(|path| path.split("::").next()).unwrap_or_default();
            let layer = layers.get(other);
            if other != own && layer.is_some() && layer >= layers.get(own.as_str()) {
                let file = module.file.display();
                faults.push(format!("{file}:{line}: {own} must not use {path}: its layer is not below"));
            }
        }
    }
    faults
}

/// Paths that the agent's modules name and may not, and permissions that none of them uses.
pub(super) fn names_outside_their_places(agent: &Crate, rules: &Rules) -> Vec<String> {
    let mut faults = Vec::new();
    let permissions = rules.only.iter().flat_map(|rule| rule.places.iter().map(|place| (&rule.names[0], place)));
    let mut unused: BTreeSet<(&String, &String)> = permissions.collect();
    for (index, module) in agent.modules.iter().enumerate() {
        let own = module.names.join("/");
        for Use { line, path, .. } in agent.uses(index) {
            for (rule, may) in
                rules.only.iter().map(|rule| (rule, true)).chain(rules.never.iter().map(|rule| (rule, false)))
            {
                let Some(name) = rule.names.iter().find(|name| begins(&path, name, "::")) else { continue };
                let place = rule.places.iter().find(|place| begins(&own, place, "/"));
                unused.retain(|permission| Some(*permission) != place.map(|place| (&rule.names[0], place)));
                if place.is_some() != may {
                    faults.push(format!(
                        "{}:{line}: {name} must not be named here: {}",
                        module.file.display(),
                        rule.why
                    ));
                }
            }
        }
    }
    faults.extend(unused.iter().map(|(name, place)| format!("agent/src/{place} may name {name} and does not")));
    faults
}

/// Whether a path is this one, or below it.
fn begins(path: &str, beginning: &str, separator: &str) -> bool {
    path.strip_prefix(beginning).is_some_and(|rest| rest.is_empty() || rest.starts_with(separator))
}
