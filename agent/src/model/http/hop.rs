//! Fields in which two agents tell each other what is between them alone, on a connection that both have authenticated on: to what a
//! request goes that is a stream of its own, and whom it is from.
//!
//! No application writes or reads any of them: whatever has their [prefix](PREFIX) is removed where a message enters an agent, from
//! whichever side it comes. What is said in them is no more than a CONNECT request says: the receiver trusts none of it further.

use super::head::{HttpFields, HttpVersion, RequestHead};

/// What the names of all of them begin with.
pub const PREFIX: &[u8] = b"weir-hop-";
/// The address and the port that the request is for: what the authority of a CONNECT request is.
pub const DESTINATION: &str = "weir-hop-destination";
/// The client's own address, and the service that it asked for: what `forwarded` is of a CONNECT request (RFC 7239).
pub const FORWARDED: &str = "weir-hop-forwarded";
/// The version of HTTP in which the application is to get the request.
pub const PROTOCOL: &str = "weir-hop-protocol";
/// In the answer to a CONNECT request: how further requests to the same destination are best sent.
pub const CARRIAGE: &str = "weir-hop-carriage";
/// As streams of their own: the destination's agent reads each of them.
pub const AS_STREAMS: &[u8] = b"streams";

const HTTP1: &[u8] = b"http/1.1";
const HTTP2: &[u8] = b"http/2";

/// What a request that is a stream of its own says of itself.
#[derive(Debug, PartialEq, Eq)]
pub struct RequestHop {
    pub destination: String,
    pub forwarded: Vec<u8>,
}

/// The value of [`PROTOCOL`].
#[must_use]
pub fn protocol(is_http2: bool) -> &'static [u8] {
    if is_http2 { HTTP2 } else { HTTP1 }
}

/// Whether a field, whose name is in lower case, is one of those.
#[must_use]
pub fn is_one(name: &[u8]) -> bool {
    name.starts_with(PREFIX)
}

/// Removes all of them.
pub fn remove(fields: &mut HttpFields) {
    // Most messages have none, and nothing is moved then.
    if fields.iter().any(|(name, _)| is_one(name)) {
        fields.remove_if(|name, _| is_one(name));
    }
}

/// Takes them out of the head of a request that is a stream of its own. The head is of the version in which the application gets it
/// from here on. `None` where one is missing, or is there twice.
pub fn take(head: &mut RequestHead) -> Option<RequestHop> {
    let fields = &head.fields;
    let only = |name| {
        let mut values = fields.values(name);
        let first = values.next();
        first.filter(|_| values.next().is_none())
    };
    let version = match only(PROTOCOL)? {
        HTTP1 => HttpVersion::Http11,
        HTTP2 => HttpVersion::Http2,
        _ => return None,
    };
    let destination = std::str::from_utf8(only(DESTINATION)?).ok()?.to_owned();
    let forwarded = only(FORWARDED)?.to_vec();
    head.version = version;
    remove(&mut head.fields);
    Some(RequestHop { destination, forwarded })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::http::sample::get;

    #[test]
    fn what_a_request_says_of_itself_is_taken_once_and_whole() {
        let hop = RequestHop { destination: "10.0.0.1:80".into(), forwarded: b"for=\"10.0.0.2:1\"".to_vec() };
        let (to, from) = ((DESTINATION, "10.0.0.1:80"), (FORWARDED, "for=\"10.0.0.2:1\""));
        for (fields, expected) in [
            (&[to, from, (PROTOCOL, "http/1.1"), ("a", "1")][..], Some((hop, HttpVersion::Http11))),
            (&[to, from, ("a", "1")], None),
            (&[to, from, (PROTOCOL, "http/3"), ("a", "1")], None),
            (&[to, (PROTOCOL, "http/2"), ("a", "1")], None),
            (&[from, (PROTOCOL, "http/2"), ("a", "1")], None),
            (&[to, to, from, (PROTOCOL, "http/2"), ("a", "1")], None),
        ] {
            let mut head = RequestHead { version: HttpVersion::Http2, ..get("/") };
            head.fields = fields.iter().copied().collect();
            let taken = take(&mut head);
            if taken.is_some() {
                assert_eq!(head.fields, [("a", "1")].into_iter().collect(), "{fields:?}");
            }
            assert_eq!(taken.map(|taken| (taken, head.version)), expected, "{fields:?}");
        }
    }

    #[test]
    fn all_of_them_are_removed_and_no_others() {
        let mut fields: HttpFields =
            [("Weir-Hop-Destination", "x"), ("weir-hop", "1"), ("weir-hop-new", "x"), ("x-weir-hop-a", "2")]
                .into_iter()
                .collect();
        remove(&mut fields);
        assert_eq!(fields, [("weir-hop", "1"), ("x-weir-hop-a", "2")].into_iter().collect());
    }
}
