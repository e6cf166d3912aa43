//! No file depends on one that depends on it. Two rules, over every crate:
//!
//! - no circles: no file uses, through however many others, a file that uses it;
//! - a file uses nothing that a file above it in the module tree defines (its `mod.rs`, or `lib.rs`): what a module's parts
//!   share stands in a part of its own. What the file above only passes on by `pub use` comes from where it is defined.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;

use super::rust::{Crate, Target};

/// What each file uses: the other file, and the names with the line of the first use.
type Uses<'c> = BTreeMap<&'c Path, BTreeMap<&'c Path, BTreeMap<String, usize>>>;

fn uses(krate: &Crate) -> (Uses<'_>, Uses<'_>) {
    let (mut across, mut upwards) = (Uses::new(), Uses::new());
    for (index, module) in krate.modules.iter().enumerate() {
        let above = krate.above(index);
        for (target, line) in krate.named(index) {
            let Target::Item(_, name) = &target else { continue };
            let Some(other) = krate.file_of(&target).filter(|other| *other != module.file) else { continue };
            let direction = if above.contains(&other) { &mut upwards } else { &mut across };
            let names = direction.entry(&module.file).or_default().entry(other).or_default();
            names.entry(name.clone()).or_insert(line);
        }
    }
    (across, upwards)
}

/// Files that use what a file above them defines.
pub(super) fn upward_faults(krate: &Crate) -> Vec<String> {
    let (_, upwards) = uses(krate);
    let mut faults = Vec::new();
    for (file, others) in &upwards {
        for (other, names) in others {
            let line = names.values().min().unwrap_or(&1);
            let names: Vec<&str> = names.keys().map(String::as_str).collect();
            let (file, other) = (file.display(), other.display());
            faults.push(format!("{file}:{line}: uses {}, which {other} above it defines", names.join(", ")));
        }
    }
    faults
}

/// The circles of files; where circles share files, not all are listed.
pub(super) fn circle_faults(krate: &Crate) -> Vec<String> {
    let (across, _) = uses(krate);
    let mut faults = Vec::new();
    for start in across.keys() {
        let Some(circle) = shortest_circle(start, &across) else { continue };
        // Its first file tells of it.
        if circle.iter().all(|other| other >= start) {
            let way: Vec<_> = circle.iter().chain([start]).map(|file| file.display().to_string()).collect();
            faults.push(format!("{}:1: files use each other: {}", start.display(), way.join(" -> ")));
        }
    }
    faults
}

/// The shortest way from a file back to it, without the end.
fn shortest_circle<'c>(start: &'c Path, uses: &Uses<'c>) -> Option<Vec<&'c Path>> {
    let mut ways = VecDeque::from([vec![start]]);
    let mut seen = BTreeSet::new();
    while let Some(way) = ways.pop_front() {
        for next in uses.get(way.last()?).into_iter().flat_map(BTreeMap::keys) {
            if *next == start {
                return Some(way);
            }
            if seen.insert(*next) {
                ways.push_back(way.iter().copied().chain([*next]).collect());
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::tests::crate_of;
    use super::*;

    #[test]
    fn files_that_use_each_other_are_reported_once() {
        for (files, expected) in [
            (
                &[("a.rs", "use crate::b::B; pub struct A;"), ("b.rs", "use crate::a::A; pub struct B;")][..],
                "a.rs -> b.rs -> a.rs",
            ),
            (
                &[("m/a.rs", "use super::{b::{B, C}, d};"), ("m/b.rs", "fn f() { super::a::g() }"), ("m/d.rs", "")],
                "m/a.rs -> m/b.rs -> m/a.rs",
            ),
            (
                &[("a.rs", "use crate::b as c; fn f() { log!(c::g()); }"), ("b.rs", "fn g() { crate::a::f() }")],
                "a.rs -> b.rs -> a.rs",
            ),
            // Through a name that the module passes on.
            (
                &[
                    ("a.rs", "use crate::m; fn f() { m::B; }"),
                    ("m/mod.rs", "pub use b::B;"),
                    ("m/b.rs", "use crate::a::f; pub struct B;"),
                ],
                "a.rs -> m/b.rs -> a.rs",
            ),
            // One direction; tests; what may see something; a module that only passes on.
            (&[("a.rs", "use crate::b::B;"), ("b.rs", "use std::fmt; use serde::a::A;")], ""),
            (&[("a.rs", "use crate::b::B;"), ("b.rs", "#[cfg(test)]\nmod tests { use crate::a::A; }")], ""),
            (&[("a.rs", "use crate::b::B;"), ("b.rs", "/// As crate::a::A does.\npub(in crate::a) struct B;")], ""),
            (
                &[
                    ("m/mod.rs", "pub use a::A;"),
                    ("m/a.rs", "use crate::c::C; pub struct A;"),
                    ("c.rs", "pub struct C;"),
                ],
                "",
            ),
        ] {
            let found = circle_faults(&crate_of(files));
            assert_eq!(found.len(), usize::from(!expected.is_empty()), "{files:?}: {found:?}");
            assert!(found.iter().all(|fault| fault.ends_with(expected)), "{files:?}: {found:?}");
        }
    }

    #[test]
    fn a_part_of_a_module_uses_nothing_that_the_module_itself_defines() {
        for (part, names) in [
            ("use super::Whole;", "Whole"),
            ("fn f(w: &super::Whole) -> crate::m::Half { g(super::LIMIT) }", "Half, LIMIT, Whole"),
            ("use crate::m::Sibling; use super::sibling;", ""),
            ("pub(super) struct Part;", ""),
        ] {
            let module = "pub use sibling::Sibling; pub struct Whole; pub struct Half; const LIMIT: u8 = 1; fn f(_: part::Part) {}";
            let krate = crate_of(&[("m/mod.rs", module), ("m/part.rs", part), ("m/sibling.rs", "pub struct Sibling;")]);
            let expected: Vec<String> = (!names.is_empty())
                .then(|| format!("m/part.rs:1: uses {names}, which m/mod.rs above it defines"))
                .into_iter()
                .collect();
            assert_eq!(upward_faults(&krate), expected, "{part}");
        }
    }
}
