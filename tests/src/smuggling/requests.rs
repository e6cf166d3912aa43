//! What a client sends on one connection of HTTP/1: a request that nobody misreads, one that is changed somewhere, and a last one
//! that shows whether all agree where the changed one ends.

use super::bodies::{CHUNKS, LENGTHS};
use super::draft::{CHUNKED, draft};
use super::fate::Fate;
use super::lines::{FIELDS, FIRST_LINES};
use super::random::Random;

/// The bytes of a connection, and what must become of its second request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    pub bytes: Vec<u8>,
    pub fate: Fate,
    /// What was changed, for messages.
    pub changes: Vec<&'static str>,
    /// The content of the second request, where it arrives.
    pub content: Vec<u8>,
}

/// The target of a request of a case: which server it is for, which case it is of, and which request of that.
#[must_use]
pub fn target(server: &str, number: u64, place: u8) -> String {
    format!("/s/{server}/{number}/{place}")
}

/// The case with this number, for this server.
#[must_use]
pub fn case(seed: u64, number: u64, server: &str, host: &str) -> Case {
    let mut random = Random::of(seed, number);
    let (mut draft, content) = draft(&mut random, target(server, number, 1), host, &target(server, number, 9));
    let mut case = Case { bytes: Vec::new(), fate: Fate::Arrives, changes: Vec::new(), content };
    // Changes of chunks are for content in chunks, those of lengths for all other.
    let framing = if draft.lines.iter().any(|line| line == CHUNKED) { CHUNKS } else { LENGTHS };
    let tables = [FIRST_LINES, FIELDS, framing, framing];
    let first = random.below(tables.len());
    // A second one is of another table: it must not take the first one back.
    let second = [None, None, None, Some((first + 1) % 3)][random.below(4)];
    for table in [Some(first), second].into_iter().flatten() {
        let (name, fate, change) = random.of_these(tables[table]);
        change(&mut draft, &mut random);
        case.fate = case.fate.max(fate);
        case.changes.push(name);
    }
    if ["no host", "HTTP/1.0"].iter().all(|change| case.changes.contains(change)) {
        // The older version needs none.
        case.fate = Fate::Either;
    }
    let plain = |place| format!("GET {} HTTP/1.1\r\nHost: {host}\r\n", target(server, number, place));
    case.bytes.extend(format!("{}\r\n", plain(0)).bytes());
    draft.write(&mut case.bytes);
    case.bytes.extend(format!("{}Connection: close\r\n\r\n", plain(2)).bytes());
    case
}
