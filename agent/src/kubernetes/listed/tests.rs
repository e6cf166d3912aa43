use super::*;
use Change::{Listed as Complete, Listing, Put, Removed};

fn put(key: &str, value: u32) -> Change<(String, u32)> {
    Put((key.to_owned(), value))
}

fn removed(key: &str) -> Change<(String, u32)> {
    Removed((key.to_owned(), 0))
}

/// What is known, after changes each of which says whether anything is different.
fn after(changes: Vec<(Change<(String, u32)>, bool)>) -> Vec<(String, u32)> {
    let mut listed = Listed::default();
    for (change, expected) in changes {
        let what = format!("{change:?}");
        assert_eq!(listed.apply(change), expected, "{what}");
    }
    let mut known: Vec<_> = listed.by_key.into_iter().collect();
    known.sort();
    known
}

fn known(pairs: &[(&str, u32)]) -> Vec<(String, u32)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect()
}

#[test]
fn a_list_and_then_changes() {
    let first = || vec![(Listing, false), (put("a", 1), true), (put("b", 1), true), (Complete, true)];
    assert_eq!(after(first()), known(&[("a", 1), ("b", 1)]));
    let mut changes = first();
    changes.extend([(put("a", 2), true), (put("a", 2), false), (removed("b"), true), (removed("b"), false)]);
    assert_eq!(after(changes), known(&[("a", 2)]));
}

#[test]
fn a_list_that_comes_again_removes_only_when_it_is_complete() {
    let again = || {
        let mut changes = vec![(Listing, false), (put("a", 1), true), (put("b", 1), true), (Complete, true)];
        changes.extend([(Listing, false), (put("b", 1), false), (put("c", 1), true)]);
        changes
    };
    assert_eq!(after(again()), known(&[("a", 1), ("b", 1), ("c", 1)]), "while it is under way nothing is missed");
    let mut complete = again();
    complete.push((Complete, true));
    assert_eq!(after(complete), known(&[("b", 1), ("c", 1)]));
    let mut broken_off = again();
    broken_off.extend([(Listing, false), (put("a", 1), false), (put("b", 1), false), (Complete, true)]);
    assert_eq!(after(broken_off), known(&[("a", 1), ("b", 1)]), "one that broke off counts for nothing");
}
