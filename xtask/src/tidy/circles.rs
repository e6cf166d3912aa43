//! No circles: no file of the agent imports, through however many others, a file that imports it.
//!
//! An import is a path from `crate::` or `super::` on, followed to the file that defines the name, through `pub use` where
//! one passes it on. A `mod.rs` that names its own children imports nothing: they are its parts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;

use super::Source;
use super::layers::{code, first_name};

/// A module by its names from the crate's root on; the root has none.
type Module<'t> = Vec<&'t str>;

/// What a file says of others. Its paths begin with `crate`, `super`, `self` or the name of a child.
#[derive(Debug, Default)]
struct File {
    imports: BTreeSet<Vec<String>>,
    passed_on: BTreeSet<Vec<String>>,
}

/// The circles of files, each with its path relative to `agent/src`. Where circles share files, not all are listed.
pub(super) fn faults<'s>(sources: impl Iterator<Item = (&'s Source, &'s Path)>) -> Vec<String> {
    let named = sources.filter_map(|(source, path)| Some((module_of(path)?, (source, path))));
    let sources: BTreeMap<Module<'_>, _> = named.filter(|(_, (source, _))| !source.is_tests()).collect();
    let files: Files<'_> = sources.iter().map(|(module, (source, _))| (module.clone(), File::read(source))).collect();
    let edges = files.iter().map(|(module, file)| {
        let imported: BTreeSet<_> =
            file.imports.iter().filter_map(|path| defined_in(&files, module, path, 0)).collect();
        (module, imported.into_iter().filter(|other| other != module).collect::<Vec<_>>())
    });
    let edges: BTreeMap<_, _> = edges.collect();
    let mut faults = Vec::new();
    for (module, (source, _)) in &sources {
        let Some(circle) = circle_through(module, &edges) else { continue };
        // Its first file tells of it.
        if circle.iter().all(|other| *other >= module) {
            let paths: Vec<_> = circle.iter().map(|other| sources[*other].1.display().to_string()).collect();
            faults.push(source.fault(1, format_args!("files import each other: {}", paths.join(" -> "))));
        }
    }
    faults
}

type Files<'t> = BTreeMap<Module<'t>, File>;

/// The module that a file is; none for main.rs, which is no part of the library.
fn module_of(path: &Path) -> Option<Module<'_>> {
    let stem = path.to_str()?.strip_suffix(".rs")?;
    match stem.strip_suffix("/mod").unwrap_or(stem) {
        "main" => None,
        "lib" => Some(Vec::new()),
        names => Some(names.split('/').collect()),
    }
}

impl File {
    fn read(source: &Source) -> Self {
        let text: String = source.product_lines().flat_map(|(_, line)| [code(line), " "]).collect();
        let mut file = Self::default();
        for after in ["crate::", "super::"].iter().flat_map(|root| namings(&text, root)) {
            leaves(after, &[], &mut file.imports);
        }
        for path in file.imports.clone() {
            // What is named by a module that was imported.
            for after in path.last().into_iter().flat_map(|name| namings(&text, &format!("{name}::"))) {
                leaves(after, &path[..path.len() - 1], &mut file.imports);
            }
        }
        for (at, found) in text.match_indices(" use ") {
            let visibility = text[..at].rsplit([' ', ';', '}']).next().unwrap_or_default();
            if visibility.starts_with("pub") {
                leaves(&text[at + found.len()..], &[], &mut file.passed_on);
            }
        }
        file
    }
}

/// Where paths begin with this: the text from there on. `pub(in crate::x)` imports nothing.
fn namings<'t>(text: &'t str, beginning: &str) -> Vec<&'t str> {
    let continues = |letter: char| letter.is_alphanumeric() || "_:\"$".contains(letter);
    let begins = |at: usize| !text[..at].ends_with(continues) && !text[..at].ends_with("(in ");
    text.match_indices(beginning).filter(|(at, _)| begins(*at)).map(|(at, _)| &text[at..]).collect()
}

/// Collects the paths of a tree such as `a::{b, c::D}`; returns the text after it.
fn leaves<'t>(text: &'t str, trunk: &[String], found: &mut BTreeSet<Vec<String>>) -> &'t str {
    let name = first_name(text);
    let mut path = trunk.to_vec();
    if !name.is_empty() && (name != "self" || path.is_empty()) {
        path.push(name.to_owned());
    }
    let rest = &text[name.len()..];
    let Some(after) = rest.strip_prefix("::") else {
        found.insert(path);
        return rest;
    };
    let Some(mut list) = after.strip_prefix('{') else { return leaves(after, &path, found) };
    loop {
        list = list.trim_start_matches([' ', ',']);
        if let Some(after) = list.strip_prefix('}') {
            return after;
        }
        list = leaves(list, &path, found);
        // `as another` and `*` name nothing more.
        let Some(end) = list.find([',', '}']) else { return "" };
        list = &list[end..];
    }
}

/// The module whose file defines what `path` leads to from `module` on; none outside the agent. A name may be passed on
/// several times, `passed` so far; without end it is passed on only by mistake.
fn defined_in<'t>(files: &Files<'t>, module: &[&'t str], path: &[String], passed: usize) -> Option<Module<'t>> {
    let child = |of: &[&'t str], name: &str| {
        let child: Vec<_> = of.iter().copied().chain([name]).collect();
        files.keys().find(|known| **known == child).cloned()
    };
    let (first, rest) = path.split_first()?;
    let (mut at, names) = match first.as_str() {
        "crate" => (Vec::new(), rest),
        "super" => (module.split_last()?.1.to_vec(), rest),
        "self" => (module.to_vec(), rest),
        name => (child(module, name)?, rest),
    };
    for name in names {
        if let Some(child) = child(&at, name) {
            at = child;
            continue;
        }
        let passed_on = files.get(&at)?.passed_on.iter().find(|other| other.last() == Some(name) && passed < 8);
        let further = passed_on.and_then(|other| defined_in(files, &at, other, passed + 1));
        return Some(further.unwrap_or(at));
    }
    Some(at)
}

/// The shortest way from a module back to it.
fn circle_through<'e, 't>(
    start: &'e Module<'t>,
    edges: &'e BTreeMap<&Module<'t>, Vec<Module<'t>>>,
) -> Option<Vec<&'e Module<'t>>> {
    let mut ways = VecDeque::from([vec![start]]);
    let mut seen = BTreeSet::new();
    while let Some(way) = ways.pop_front() {
        for next in edges.get(way.last()?).into_iter().flatten() {
            let longer = || way.iter().copied().chain([next]).collect::<Vec<_>>();
            if next == start {
                return Some(longer());
            }
            if seen.insert(next) {
                ways.push_back(longer());
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults_of(files: &[(&str, &str)]) -> Vec<String> {
        let source = |(path, text): &(&str, &str)| Source { path: path.into(), text: format!("//! x\n{text}\n") };
        let sources: Vec<_> = files.iter().map(source).collect();
        faults(sources.iter().map(|source| (source, source.path.as_path())))
    }

    #[test]
    fn files_that_import_each_other_are_told_of_once() {
        for (files, expected) in [
            ([("a.rs", "use crate::b::B;"), ("b.rs", "use crate::a::A;")], Some("a.rs -> b.rs -> a.rs")),
            (
                [("m/a.rs", "use super::{\n    b::{B, C},\n    d,\n};"), ("m/b.rs", "fn f() { super::a::g() }")],
                Some("m/a.rs -> m/b.rs -> m/a.rs"),
            ),
            (
                [("m/mod.rs", "use super::b;"), ("b.rs", "pub(super) use crate::m::{self, M};")],
                Some("b.rs -> m/mod.rs -> b.rs"),
            ),
            (
                [("a.rs", "use crate::b;\nfn f() {\n    b::g();\n}"), ("b.rs", "use crate::a::A;")],
                Some("a.rs -> b.rs -> a.rs"),
            ),
            // One direction.
            ([("a.rs", "use crate::b::B;"), ("b.rs", "use std::fmt;\nuse serde::a::A;")], None),
            // A folder and its parts.
            ([("m/mod.rs", "mod a;\npub use a::A;\nuse self::a::B;"), ("m/a.rs", "use super::M;")], None),
            // Tests and comments.
            ([("a.rs", "use crate::b::B;"), ("b.rs", "#[cfg(test)]\nmod tests {\n    use crate::a::A;\n}")], None),
            ([("a.rs", "use crate::b::B;"), ("b/tests.rs", "use crate::a::A;")], None),
            ([("a.rs", "use crate::b::B;"), ("b.rs", "/// As crate::a::A does.\npub(in crate::a) struct B;")], None),
        ] {
            let found = faults_of(&files);
            assert_eq!(found.len(), usize::from(expected.is_some()), "{files:?}: {found:?}");
            assert!(found.iter().all(|fault| fault.ends_with(expected.unwrap_or_default())), "{files:?}: {found:?}");
        }
    }

    #[test]
    fn a_circle_may_be_long_and_go_through_names_passed_on() {
        let files = [
            ("a.rs", "use crate::m;\nfn f() {\n    m::B\n}"),
            ("m/mod.rs", "mod b;\npub use b::B;"),
            ("m/b.rs", "use crate::c;"),
            ("c.rs", "#[cfg(test)]\nmod tests;\n\nuse crate::a::A;"),
        ];
        let found = faults_of(&files);
        assert_eq!(found, ["a.rs:1: files import each other: a.rs -> m/b.rs -> c.rs -> a.rs"]);
    }
}
