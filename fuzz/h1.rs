//! What an application may send that speaks HTTP/1, and what may be written to one: requests, responses and chunks, in two pieces,
//! and heads of any other origin.
//!
//! Must hold: nothing panics; bytes mean the same wherever they are cut; what is written of a message reads back as that one
//! message, with nothing behind it; a head that may pass within the process as a value is what would have been read, had it been written; no
//! byte changes what was detected by those before it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir::api::http::fuzzed::{self, Seen};
use weir::api::model::http::RequestHead;

const CHUNKED: &[u8] = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
const METHODS: [&[u8]; 4] = [b"GET", b"HEAD", b"CONNECT", b"UPGRADE"];
/// Fewer fields than a head may have, since what is written has some more.
const MOST_FIELDS: usize = 90;

fuzz_target!(|data: &[u8]| {
    let [choice, cut, rest @ ..] = data else { return };
    let at = |bytes: &[u8]| usize::from(*cut) * bytes.len() / 256;
    match choice % 5 {
        0 => check_requests(rest, at(rest)),
        1 => {
            let bytes = [CHUNKED, rest].concat();
            check_requests(&bytes, CHUNKED.len() + at(rest));
        }
        2 => check_response(rest, at(rest), METHODS[usize::from(choice / 5) % METHODS.len()]),
        3 => check_composed(rest),
        _ => check_detection(rest),
    }
});

fn check_requests(bytes: &[u8], cut: usize) {
    let whole = fuzzed::requests(bytes, b"");
    let (before, after) = bytes.split_at(cut);
    assert_eq!(fuzzed::requests(before, after), whole);
    for request in whole.0.iter().filter(|request| request.is_whole && request.head.fields.len() < MOST_FIELDS) {
        let written = fuzzed::request_bytes(request).expect("what was read can be written");
        let (read, end) = fuzzed::requests(&written, b"");
        assert_eq!((read.len(), end), (1, 0), "{request:?} was written as {}", written.escape_ascii());
        let (before, after) = (&request.head, &read[0].head);
        assert_eq!(
            (&after.method, &after.target, &after.authority, &after.upgrade),
            (&before.method, &before.target, &before.authority, &before.upgrade)
        );
        assert_eq!(sorted(after.fields.iter()), sorted(before.fields.iter()));
        assert_same_content(&read[0], request);
        if let Some(passed) = fuzzed::passed(request, false) {
            assert_passed(&passed, &read[0]);
        }
    }
}

/// What passed as a value is what was read of the same head.
fn assert_passed(passed: &Seen<RequestHead>, read: &Seen<RequestHead>) {
    let [one, other] = [&passed.head, &read.head];
    assert_eq!(
        (one.version, &one.method, &one.target, &one.authority, one.scheme, &one.upgrade),
        (other.version, &other.method, &other.target, &other.authority, other.scheme, &other.upgrade)
    );
    let all = |head: &RequestHead| {
        let mut all: Vec<_> = head.fields.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
        all.sort_unstable();
        all
    };
    assert_eq!(all(one), all(other));
    assert!(passed.is_as_long_as(read), "{passed:?}, {read:?}");
}

fn check_response(bytes: &[u8], cut: usize, method: &[u8]) {
    let whole = fuzzed::response(bytes, b"", method);
    let (before, after) = bytes.split_at(cut);
    assert_eq!(fuzzed::response(before, after, method), whole);
    let Some(response) = whole.filter(|response| response.is_whole && response.head.fields.len() < MOST_FIELDS) else {
        return;
    };
    let written = fuzzed::response_bytes(&response, method).expect("what was read can be written");
    let read = fuzzed::response(&written, b"", method).expect("what was written can be read");
    assert_eq!((read.head.status, &read.head.upgrade), (response.head.status, &response.head.upgrade));
    assert_eq!(sorted(read.head.fields.iter()), sorted(response.head.fields.iter()));
    assert_same_content(&read, &response);
}

/// Lines: method, target, authority, then names and values in turn.
fn check_composed(bytes: &[u8]) {
    let mut parts = bytes.split(|byte| *byte == 0xff);
    let [method, target, authority] = [(); 3].map(|()| parts.next().unwrap_or_default());
    let rest: Vec<&[u8]> = parts.collect();
    let fields: Vec<(&[u8], &[u8])> = rest.chunks_exact(2).take(MOST_FIELDS).map(|pair| (pair[0], pair[1])).collect();
    let request = fuzzed::composed(method, target, authority, &fields);
    let passed = fuzzed::passed(&request, false);
    let Some(written) = fuzzed::request_bytes(&request) else { return assert!(passed.is_none(), "{passed:?}") };
    let (read, end) = fuzzed::requests(&written, b"");
    if let Some(passed) = passed {
        assert_eq!((read.len(), end), (1, 0), "{passed:?} was written as {}", written.escape_ascii());
        assert_passed(&passed, &read[0]);
    }
    if !target.is_ascii() {
        return assert!(read.is_empty());
    }
    assert_eq!((read.len(), end), (1, 0), "written as {}", written.escape_ascii());
    let head = &read[0].head;
    assert_eq!((&head.method[..], &head.authority[..]), (method, authority));
    assert_eq!(&head.target[..], if method == b"CONNECT" { b"" } else { target });
    assert!(read[0].is_whole && read[0].content.is_empty());
}

fn check_detection(bytes: &[u8]) {
    let Some((count, detected)) = fuzzed::detected(bytes) else { return };
    assert_eq!(fuzzed::detected(&bytes[..count]), Some((count, detected)));
}

/// Names and values without those that the framing adds.
fn sorted<'f>(fields: impl Iterator<Item = (&'f [u8], &'f [u8])>) -> Vec<(&'f [u8], &'f [u8])> {
    let mut fields: Vec<_> = fields.filter(|(name, _)| *name != b"content-length").collect();
    fields.sort_unstable();
    fields
}

fn assert_same_content<H>(read: &Seen<H>, written: &Seen<H>) {
    assert!(read.is_whole);
    assert_eq!(read.content, written.content);
    assert_eq!(read.trailers, written.trailers);
}
