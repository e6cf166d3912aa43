use std::fs;
use std::path::Path;

use bytes::Bytes;

use super::frame::{HEADER_BYTES, LastGoodError};
use super::*;
use crate::resources::ResourceType;
use crate::xds::received::ReceivedResource;
use crate::xds::received::Version;

fn resource(name: &str, rejected: Option<&str>) -> ReceivedResource {
    let body = Bytes::copy_from_slice(format!("body of {name}").as_bytes());
    ReceivedResource { name: name.into(), version: Version::from("v1"), body, flaw: rejected.map(Into::into) }
}

fn records(record: &Record) -> Records {
    let mut records = Records::default();
    records.push(record);
    records
}

fn stored(kind: ResourceType, name: &str, rejected: Option<&str>) -> Records {
    records(&Record::Stored(kind, resource(name, rejected)))
}

fn removed(kind: ResourceType, name: &str) -> Records {
    records(&Record::Removed(kind, name.into()))
}

fn journal(path: &Path) -> Journal {
    Journal::load(path.to_owned()).0
}

/// The names in the file, or `None` where it is ignored.
fn names(path: &Path) -> Option<Vec<String>> {
    let loaded = Journal::load(path.to_owned()).1.ok()??;
    Some(loaded.resources.iter().map(|(_, resource)| resource.name.to_string()).collect())
}

#[test]
fn what_is_saved_loads_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = file_in(dir.path());
    assert!(Journal::load(path.clone()).1.unwrap().is_none(), "there is none before the first");
    let mut first = journal(&path);
    first.append(&stored(ResourceType::Address, "n/host", None)).unwrap();
    first.append(&stored(ResourceType::Authorization, "n/bad", Some("why"))).unwrap();
    // Another process goes on where the first ended.
    let mut second = journal(&path);
    second.append(&stored(ResourceType::Address, "gone", None)).unwrap();
    second.append(&stored(ResourceType::MeshConfig, "", None)).unwrap();
    second.append(&removed(ResourceType::Address, "gone")).unwrap();
    let loaded = Journal::load(path.clone()).1.unwrap().unwrap();
    assert!(loaded.written.is_some());
    let expected = [
        (ResourceType::MeshConfig, resource("", None)),
        (ResourceType::Authorization, resource("n/bad", Some("why"))),
        (ResourceType::Address, resource("n/host", None)),
    ];
    assert_eq!(loaded.resources, expected);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing else is left behind");
}

#[test]
fn two_processes_write_in_turn_when_each_opens_it_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = file_in(dir.path());
    let mut former = journal(&path);
    former.append(&stored(ResourceType::Address, "one", None)).unwrap();
    let successor = journal(&path);
    former.append(&stored(ResourceType::Address, "two", None)).unwrap();
    let mut successor = successor.reopened();
    successor.append(&stored(ResourceType::Address, "three", None)).unwrap();
    assert_eq!(names(&path).unwrap(), ["one", "three", "two"]);
    former.reopened().append(&removed(ResourceType::Address, "two")).unwrap();
    assert_eq!(names(&path).unwrap(), ["one", "three"]);
    fs::write(&path, "x").unwrap();
    let lost = successor.reopened().append(&stored(ResourceType::Address, "four", None));
    assert!(lost.is_err(), "a change alone must not pass for all there is");
}

#[test]
fn a_file_that_breaks_off_counts_up_to_its_last_whole_frame_and_damage_voids_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = file_in(dir.path());
    let mut writer = journal(&path);
    let mut ends = Vec::new();
    for name in ["a", "b", "c"] {
        writer.append(&stored(ResourceType::Address, name, None)).unwrap();
        ends.push(usize::try_from(writer.length().unwrap()).unwrap());
    }
    let good = fs::read(&path).unwrap();
    for at in 0..good.len() {
        fs::write(&path, &good[..at]).unwrap();
        let whole = ends.iter().filter(|end| **end <= at).count();
        let expected = (whole > 0).then(|| ["a", "b", "c"][..whole].iter().map(ToString::to_string).collect());
        assert_eq!(names(&path), expected, "cut at {at} of {}", good.len());

        let mut bad = good.clone();
        bad[at] ^= 0x40;
        fs::write(&path, &bad).unwrap();
        // Of the last frame nobody can tell a crash from damage, unless it begins wrongly.
        let last = at >= ends[1] + HEADER_BYTES;
        assert_eq!(names(&path), last.then(|| vec!["a".to_owned(), "b".to_owned()]), "byte {at} of {}", good.len());
    }
    fs::write(&path, [&good[..], &[0; 100]].concat()).unwrap();
    assert_eq!(names(&path).map(|names| names.len()), Some(3), "zeros that were never written over");
    journal(&path).append(&stored(ResourceType::Address, "d", None)).unwrap();
    assert_eq!(names(&path).map(|names| names.len()), Some(4), "and now they are");
    let swapped = [&good[..ends[0]], &good[ends[1]..], &good[ends[0]..ends[1]]].concat();
    fs::write(&path, swapped).unwrap();
    assert_eq!(names(&path), None, "frames in another order");
    fs::write(&path, [b"weirlg01".as_slice(), &good[8..]].concat()).unwrap();
    assert!(matches!(Journal::load(path).1, Err(LastGoodError::Version)));
}

#[test]
fn a_failed_write_leaves_the_file_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = file_in(dir.path());
    // A folder where the new file would be written: no file system lets that pass, whoever asks.
    fs::create_dir_all(path.with_extension("new")).unwrap();
    assert!(journal(&path).append(&stored(ResourceType::Address, "a", None)).is_err());
    assert_eq!(names(&path), None);
    fs::remove_dir(path.with_extension("new")).unwrap();
    let mut writer = journal(&path);
    writer.append(&stored(ResourceType::Address, "a", None)).unwrap();
    writer.discard();
    assert!(writer.append(&stored(ResourceType::Address, "b", None)).is_err(), "a part of the mesh is worse than none");
    assert!(!path.exists());
}

#[test]
fn what_was_overtaken_does_not_stay() {
    let dir = tempfile::tempdir().unwrap();
    let path = file_in(dir.path());
    let mut writer = journal(&path);
    writer.append(&stored(ResourceType::Address, "other", None)).unwrap();
    let large = ReceivedResource { body: vec![7; 1024 * 1024].into(), ..resource("large", None) };
    let records = records(&Record::Stored(ResourceType::Address, large));
    for _ in 0..16 {
        writer.append(&records).unwrap();
    }
    let length = fs::metadata(&path).unwrap().len();
    assert!(length < 8 * 1024 * 1024, "{length} bytes for one resource of 1 MiB");
    assert_eq!(names(&path), Some(vec!["large".to_owned(), "other".to_owned()]));
}
