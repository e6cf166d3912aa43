//! Header blocks both ways: blocks that a writer makes who uses every form of RFC 7541, with a table of its own; blocks of any
//! bytes; and what is written of their fields.
//!
//! Must hold: nothing panics; every field is read as it was written, whatever the table held; no list is longer than the longest;
//! and what we write ourselves reads back as the same, any number of times.
#![no_main]

mod hpack_writer;

use libfuzzer_sys::fuzz_target;
use weir::api::h2::fuzzed::{self, Blocks, Fields};

use self::hpack_writer::{OVERHEAD, Writer};

fuzz_target!(|data: &[u8]| {
    let Some((choice, rest)) = data.split_first() else { return };
    if choice & 1 == 0 {
        return check_any(rest);
    }
    let mut writer = Writer::new(rest);
    let mut blocks = Blocks::default();
    while let Some((block, fields)) = writer.block() {
        assert_eq!(blocks.decode(&block), Ok((fields.clone(), true)), "{}", block.escape_ascii());
        check_own(&fields);
    }
});

/// Blocks of any bytes, divided by 0xff 0xff.
fn check_any(bytes: &[u8]) {
    let mut blocks = Blocks::default();
    let mut rest = bytes;
    loop {
        let end = rest.windows(2).position(|two| two == [0xff, 0xff]).unwrap_or(rest.len());
        let Ok((fields, is_whole)) = blocks.decode(&rest[..end]) else { return };
        let bytes: usize = fields.iter().map(|(name, value)| name.len() + value.len() + OVERHEAD).sum();
        assert!(bytes <= fuzzed::LONGEST_LIST, "{bytes} bytes of fields");
        if is_whole {
            check_own(&fields);
        }
        match rest.get(end + 2..) {
            Some(after) => rest = after,
            None => return,
        }
    }
}

/// What we write of fields reads back as the same, and needs no table: the second time, too.
fn check_own(fields: &Fields) {
    let block = fuzzed::encoded(fields);
    let mut blocks = Blocks::default();
    for _ in 0..2 {
        assert_eq!(blocks.decode(&block), Ok((fields.clone(), true)), "{}", block.escape_ascii());
    }
}
