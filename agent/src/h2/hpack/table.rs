//! The two tables of HPACK: the static one (RFC 7541 appendix A) and the one that grows with a connection's heads (§2.3).

use std::collections::VecDeque;

/// Bytes that an entry counts for besides its name and value (RFC 7541 §4.1).
pub(super) const ENTRY_OVERHEAD: usize = 32;

#[rustfmt::skip]
const STATIC: [(&str, &str); 61] = [
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"),
    (":scheme", "http"), (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206"),
    (":status", "304"), (":status", "400"), (":status", "404"), (":status", "500"), ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""), ("accept", ""),
    ("access-control-allow-origin", ""), ("age", ""), ("allow", ""), ("authorization", ""), ("cache-control", ""),
    ("content-disposition", ""), ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
    ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""), ("date", ""), ("etag", ""),
    ("expect", ""), ("expires", ""), ("from", ""), ("host", ""), ("if-match", ""), ("if-modified-since", ""),
    ("if-none-match", ""), ("if-range", ""), ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""),
    ("location", ""), ("max-forwards", ""), ("proxy-authenticate", ""), ("proxy-authorization", ""), ("range", ""),
    ("referer", ""), ("refresh", ""), ("retry-after", ""), ("server", ""), ("set-cookie", ""),
    ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""), ("vary", ""), ("via", ""),
    ("www-authenticate", ""),
];

/// The static table's names by [`slot`]: for each the first place that has it, counted from 1; zero is none.
const PLACES: [u8; SLOTS] = {
    let mut places = [0; SLOTS];
    let mut place = STATIC.len();
    // From the last on, so that the first place of a name stays.
    while place > 0 {
        let name = STATIC[place - 1].0.as_bytes();
        let mut slot = slot(name);
        while places[slot] != 0 && !is_equal(STATIC[places[slot] as usize - 1].0.as_bytes(), name) {
            slot = (slot + 1) % SLOTS;
        }
        places[slot] = place as u8;
        place -= 1;
    }
    places
};
const SLOTS: usize = 256;

/// Where the search for a name begins.
const fn slot(name: &[u8]) -> usize {
    let (length, first, last) = (name.len(), name[0] as usize, name[name.len() - 1] as usize);
    (length * 11 + first * 31 + last * 5 + name[length / 2] as usize * 17) % SLOTS
}

const fn is_equal(one: &[u8], other: &[u8]) -> bool {
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

/// The first place of a name in the static table, counted from 1.
pub(super) fn place_of_name(name: &[u8]) -> Option<u8> {
    if name.is_empty() {
        return None;
    }
    let mut slot = slot(name);
    loop {
        let place = PLACES[slot];
        let (known, _) = STATIC.get(usize::from(place).checked_sub(1)?)?;
        if known.as_bytes() == name {
            return Some(place);
        }
        slot = (slot + 1) % SLOTS;
    }
}

/// The place of a whole field in the static table, by the first place of its name.
pub(super) fn place_of_field(name_place: u8, value: &[u8]) -> Option<u8> {
    let from = &STATIC[usize::from(name_place) - 1..];
    let has_name = |field: &&(&str, &str)| field.0 == from[0].0;
    let at = from.iter().take_while(has_name).position(|(_, known)| known.as_bytes() == value)?;
    u8::try_from(at).ok().map(|at| name_place + at)
}

/// A name, and its value right behind it.
#[derive(Debug)]
pub(super) struct Entry {
    text: Box<[u8]>,
    name: usize,
}

impl Entry {
    pub(super) fn new(name: &[u8], value: &[u8]) -> Self {
        Self { text: [name, value].concat().into_boxed_slice(), name: name.len() }
    }

    fn parts(&self) -> (&[u8], &[u8]) {
        self.text.split_at(self.name)
    }

    /// RFC 7541 §4.1.
    fn size(&self) -> usize {
        self.text.len() + ENTRY_OVERHEAD
    }
}

/// Entries by index, newest first after the static ones; the oldest go when they are too many.
#[derive(Debug)]
pub(super) struct Table {
    entries: VecDeque<Entry>,
    size: usize,
    limit: usize,
}

impl Table {
    pub(super) fn new(limit: usize) -> Self {
        Self { entries: VecDeque::new(), size: 0, limit }
    }

    /// The entry at an index as it is written: counted from 1, static entries first.
    pub(super) fn get(&self, index: u64) -> Option<(&[u8], &[u8])> {
        let at = usize::try_from(index).ok()?.checked_sub(1)?;
        match STATIC.get(at) {
            Some((name, value)) => Some((name.as_bytes(), value.as_bytes())),
            None => self.entries.get(at - STATIC.len()).map(Entry::parts),
        }
    }

    pub(super) fn insert(&mut self, entry: Entry) {
        let size = entry.size();
        self.shrink(self.limit.saturating_sub(size));
        // RFC 7541 §4.4: what is larger than the table empties it.
        if size <= self.limit {
            self.size += size;
            self.entries.push_front(entry);
        }
    }

    pub(super) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
        self.shrink(limit);
    }

    fn shrink(&mut self, limit: usize) {
        while self.size > limit {
            match self.entries.pop_back() {
                Some(oldest) => self.size -= oldest.size(),
                None => self.size = 0,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_static_field_is_found_at_its_place() {
        for (at, (name, value)) in STATIC.iter().enumerate() {
            let first = place_of_name(name.as_bytes()).expect("it is in the table");
            let place = place_of_field(first, value.as_bytes());
            assert_eq!(place.map(usize::from), Some(at + 1), "{name}: {value}");
        }
        for name in ["", "x", "grpc-status", "accep", "accepted", ":protocol"] {
            assert_eq!(place_of_name(name.as_bytes()), None, "{name}");
        }
        assert_eq!(place_of_field(2, b"PUT"), None);
        assert_eq!(place_of_field(61, b"Basic"), None);
    }
}
