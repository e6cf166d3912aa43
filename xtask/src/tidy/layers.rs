//! The direction of imports inside the agent, read from `agent/src/lib.rs`: groups of modules between blank lines are
//! layers, and a module may name only modules of layers above its own in that list.

use std::path::Path;

use super::Source;

/// The modules of the agent by layer, lowest first.
#[derive(Debug)]
pub(super) struct Layers(Vec<Vec<String>>);

impl Layers {
    /// Reads the module list of lib.rs.
    pub(super) fn parse(lib: &str) -> Self {
        let mut layers = vec![Vec::new()];
        for line in lib.lines() {
            let module =
                line.trim().trim_start_matches("pub ").strip_prefix("mod ").and_then(|rest| rest.split(';').next());
            match (module, layers.last_mut()) {
                (Some(module), Some(layer)) => layer.push(module.trim().to_owned()),
                (None, Some(layer)) if line.trim().is_empty() && !layer.is_empty() => layers.push(Vec::new()),
                _ => {}
            }
        }
        Self(layers)
    }

    fn of(&self, module: &str) -> Option<usize> {
        self.0.iter().position(|layer| layer.iter().any(|known| known == module))
    }

    /// Imports against the direction in a file, whose path is relative to `agent/src`.
    pub(super) fn faults(&self, source: &Source, path: &Path) -> Vec<String> {
        let Some(own) = module_of(path) else { return Vec::new() };
        let Some(layer) = self.of(&own) else {
            return vec![source.fault(1, format_args!("module {own} is not in the list of agent/src/lib.rs"))];
        };
        let mut faults = Vec::new();
        for (number, line) in source.product_lines() {
            let code = code(line);
            for named in named_modules(code) {
                if named != own && self.of(named).is_some_and(|other| other >= layer) {
                    faults.push(
                        source.fault(number, format_args!("{own} must not import {named}: its layer is not below")),
                    );
                }
            }
            if code.contains("super::super") {
                faults.push(source.fault(number, "super::super: name the module from crate:: on"));
            }
        }
        faults
    }
}

/// The module of the crate's root that a file belongs to; none for lib.rs and main.rs themselves.
fn module_of(path: &Path) -> Option<String> {
    let first = path.components().next()?.as_os_str().to_str()?;
    let module = first.strip_suffix(".rs").unwrap_or(first);
    (!matches!(module, "lib" | "main")).then(|| module.to_owned())
}

/// A line without its comment.
pub(super) fn code(line: &str) -> &str {
    let line = if line.trim_start().starts_with("//") { "" } else { line };
    line.split(" // ").next().unwrap_or_default()
}

/// The root modules that a line names: after `crate::`, alone or in braces.
fn named_modules(line: &str) -> Vec<&str> {
    let mut named = Vec::new();
    for (_, after) in line.match_indices("crate::").map(|(at, found)| line.split_at(at + found.len())) {
        match after.strip_prefix('{') {
            Some(list) => named.extend(top_level(list).map(first_name)),
            None => named.push(first_name(after)),
        }
    }
    named
}

/// The parts of a brace list that are not inside further braces.
fn top_level(list: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_i32;
    let parts = list.split(move |letter| {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        depth <= 0 && matches!(letter, ',' | '}')
    });
    parts.map(str::trim).filter(|part| !part.is_empty() && !part.starts_with(';'))
}

/// The word that a text begins with; empty if it begins with none.
pub(super) fn first_name(text: &str) -> &str {
    let end = text.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(text.len());
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIB: &str = "//! Map.\n\npub mod model;\n\npub mod config;\npub mod state;\n\npub mod proxy;\n";

    fn faults(path: &str, line: &str) -> usize {
        let source = Source { path: path.into(), text: format!("//! x\n{line}\n#[cfg(test)]\nuse crate::proxy::y;\n") };
        Layers::parse(LIB).faults(&source, Path::new(path)).len()
    }

    #[test]
    fn a_module_names_only_layers_below_its_own() {
        for (path, line, expected) in [
            ("proxy/outbound.rs", "use crate::model::workload::Workload;", 0),
            ("proxy/outbound.rs", "use crate::proxy::splice;", 0),
            ("state.rs", "use crate::config::AgentConfig;", 1),
            ("state.rs", "use crate::model::{mesh, resolve}; // crate::proxy", 0),
            ("model/mesh.rs", "let x = crate::proxy::f(crate::state::g());", 2),
            ("config.rs", "use crate::{model::a, proxy::{b, model}, state};", 2),
            ("model/mesh.rs", "use super::super::x;", 1),
            ("unlisted.rs", "", 1),
            ("main.rs", "use crate::proxy;", 0),
        ] {
            assert_eq!(faults(path, line), expected, "{path}: {line}");
        }
    }
}
