//! Messages from one version of HTTP to the other: requests and responses of HTTP/2 with any fields, written as HTTP/1 and read
//! there, and those of HTTP/1 the other way.
//!
//! Must hold: nothing panics; whoever reads it gets exactly the message that the first reader got, and nothing behind it, or it is
//! refused on the way; method, target, authority, status and content are never others. A head that may pass within the process as a value is
//! one that HTTP/2 can say.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir::api::h2::fuzzed as h2;
use weir::api::http::fuzzed as h1;

/// Fewer fields than a head may have, since what is written has some more.
const MOST_FIELDS: usize = 90;
/// Fields of which a version decides, and which end with it.
const OF_FRAMING: [&[u8]; 4] = [b"content-length", b"te", b"host", b"http2-settings"];

fuzz_target!(|data: &[u8]| {
    let Some((choice, rest)) = data.split_first() else { return };
    match choice % 4 {
        0 => request_to_h1(rest),
        1 => response_to_h1(rest),
        2 => request_to_h2(rest),
        _ => response_to_h2(rest),
    }
});

/// Parts divided by 0xff: content, then names and values in turn.
fn parts<'b>(bytes: &'b [u8], first: &[(&[u8], &[u8])]) -> (&'b [u8], h2::Fields) {
    let mut parts = bytes.split(|byte| *byte == 0xff);
    let content = parts.next().unwrap_or_default();
    let rest: Vec<&[u8]> = parts.collect();
    let own = rest.chunks_exact(2).take(MOST_FIELDS).map(|pair| (pair[0].to_vec(), pair[1].to_vec()));
    (content, first.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).chain(own).collect())
}

fn request_to_h1(bytes: &[u8]) {
    // What comes without pseudo-header fields of its own gets the usual ones.
    let usual: [(&[u8], &[u8]); 4] =
        [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/a"), (b":authority", b"a:1")];
    let own = usize::from(bytes.first().copied().unwrap_or_default()) % 5;
    let (content, fields) = parts(bytes.get(1..).unwrap_or_default(), &usual[own.min(4)..]);
    let Some((head, received)) = h2::request(&h2::encoded(&fields), content) else { return };
    assert_eq!(received, content);
    if head.method == b"CONNECT" || head.fields.len() > MOST_FIELDS {
        return;
    }
    let message = h1::message(head, content.to_vec());
    if let Some(passed) = h1::passed(&message, true) {
        let (read, received) = h2::passed_request(&passed.head, content).expect("what passes as a value can be read");
        assert_eq!(
            (&read.method, &read.target, &read.authority, read.scheme, received),
            (&passed.head.method, &passed.head.target, &passed.head.authority, passed.head.scheme, content.to_vec())
        );
        assert_eq!(sorted(read.fields.iter()), sorted(passed.head.fields.iter()));
    }
    let Some(written) = h1::request_bytes(&message) else { return };
    let (read, end) = h1::requests(&written, b"");
    assert_eq!((read.len(), end), (1, 0), "written as {}", written.escape_ascii());
    assert!(read[0].is_whole);
    let (before, after) = (&message.head, &read[0].head);
    assert_eq!(
        (&after.method, &after.target, &after.authority),
        (&before.method, &before.target, &before.authority),
        "written as {}",
        written.escape_ascii()
    );
    assert_eq!(sorted(after.fields.iter()), sorted(before.fields.iter()));
    assert_eq!(read[0].content, content);
}

fn response_to_h1(bytes: &[u8]) {
    let (content, fields) = parts(bytes, &[(b":status", b"200")]);
    let Some((head, received)) = h2::response(&h2::encoded(&fields), content) else { return };
    assert_eq!(received, content);
    if head.fields.len() > MOST_FIELDS {
        return;
    }
    let message = h1::message(head, content.to_vec());
    let Some(written) = h1::response_bytes(&message, b"GET") else { return };
    let read = h1::response(&written, b"", b"GET").expect("what was written can be read");
    assert!(read.is_whole, "written as {}", written.escape_ascii());
    assert_eq!(read.head.status, message.head.status);
    assert_eq!(sorted(read.head.fields.iter()), sorted(message.head.fields.iter()));
    assert_eq!(read.content, content);
}

fn request_to_h2(bytes: &[u8]) {
    for request in h1::requests(bytes, b"").0 {
        let is_plain = request.head.method != b"CONNECT" && request.head.upgrade.is_none() && request.is_whole;
        if !is_plain || request.head.fields.len() > MOST_FIELDS {
            continue;
        }
        let (head, content) = h2::passed_request(&request.head, &request.content)
            .unwrap_or_else(|| panic!("{:?} does not pass", request.head));
        assert_eq!(
            (&head.method, &head.target, &head.authority, head.scheme),
            (&request.head.method, &request.head.target, &request.head.authority, request.head.scheme)
        );
        assert_eq!(sorted(head.fields.iter()), sorted(request.head.fields.iter()));
        assert_eq!(content, request.content);
    }
}

fn response_to_h2(bytes: &[u8]) {
    let Some(response) = h1::response(bytes, b"", b"GET").filter(|response| response.is_whole) else { return };
    let may_have_content = !matches!(response.head.status, 101 | 204 | 304);
    if !may_have_content || response.head.fields.len() > MOST_FIELDS {
        return;
    }
    let (head, content) = h2::passed_response(&response.head, &response.content)
        .unwrap_or_else(|| panic!("{:?} does not pass", response.head));
    assert_eq!(head.status, response.head.status);
    assert_eq!(sorted(head.fields.iter()), sorted(response.head.fields.iter()));
    assert_eq!(content, response.content);
}

/// Names and values without those of framing; cookies are one in HTTP/1, and may be several in HTTP/2.
fn sorted<'f>(fields: impl Iterator<Item = (&'f [u8], &'f [u8])>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let (cookies, others): (Vec<_>, Vec<_>) = fields.partition(|(name, _)| *name == b"cookie");
    let mut all: Vec<_> = others
        .into_iter()
        .filter(|(name, _)| !OF_FRAMING.contains(name))
        .map(|(name, value)| (name.to_vec(), value.trim_ascii().to_vec()))
        .collect();
    all.push((b"cookie".to_vec(), cookies.iter().map(|(_, value)| *value).collect::<Vec<_>>().join(&b"; "[..])));
    all.sort_unstable();
    all
}
