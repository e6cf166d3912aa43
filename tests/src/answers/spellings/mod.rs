//! How a request is changed: what each proxy has to understand by itself before objects count.

mod http1;
mod valid;

use super::ask::Ask;
use crate::smuggling::random::Random;

/// A change, and whether it could be made of a request.
pub(super) struct Change {
    pub(super) name: &'static str,
    pub(super) make: fn(&mut Ask, &mut Random) -> bool,
}

/// What HTTP/2 can say too.
pub(super) const OF_BOTH: &[&Change] =
    &[&PATH, &PATH, &PATH, &QUERY, &METHOD, &HOST, &FIELD, &FIELD, &USER, &CONTENT, &ORIGIN];

/// What HTTP/1 can say.
pub(super) const OF_HTTP1: &[&Change] = &[
    &PATH,
    &PATH,
    &PATH,
    &PATH,
    &QUERY,
    &METHOD,
    &METHOD,
    &HOST,
    &HOST,
    &FIELD,
    &FIELD,
    &USER,
    &CONTENT,
    &ORIGIN,
    &ODD_TARGET,
    &ODD_HOST,
    &ABSOLUTE,
    &CONNECTION,
    &EXPECT,
    &CHUNKS,
    &ODD_LINE,
    &OLD,
];

const PATH: Change = Change { name: "path", make: valid::path };
const QUERY: Change = Change { name: "query", make: valid::query };
const METHOD: Change = Change { name: "method", make: valid::method };
const HOST: Change = Change { name: "host", make: valid::host };
const FIELD: Change = Change { name: "field", make: valid::field };
const USER: Change = Change { name: "user", make: valid::user };
const ORIGIN: Change = Change { name: "origin", make: valid::origin };
const CONTENT: Change = Change { name: "content", make: valid::content };
const CHUNKS: Change = Change { name: "chunks", make: http1::chunks };
const ODD_TARGET: Change = Change { name: "odd target", make: http1::odd_target };
const ODD_HOST: Change = Change { name: "odd host", make: http1::odd_host };
const ABSOLUTE: Change = Change { name: "absolute form", make: http1::absolute };
const CONNECTION: Change = Change { name: "connection", make: http1::connection };
const EXPECT: Change = Change { name: "expect", make: http1::expect };
const ODD_LINE: Change = Change { name: "odd line", make: http1::odd_line };
const OLD: Change = Change { name: "HTTP/1.0", make: http1::old };
