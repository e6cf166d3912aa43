//! What of an answer is compared: each aspect by its name, as a text.

use std::collections::BTreeMap;

use super::ask::Ask;
use super::seen::{Ending, Seen};
use crate::http_mesh::Echo;

/// Name and value. An aspect that does not exist is not there.
pub type Aspects = BTreeMap<String, String>;

/// From here on an answer has taken its time. Nothing that is to be quick is to take as much even on a busy machine, and what is to
/// take long takes longer by far.
const LONG_MS: u64 = 800;
/// Differ in each response by their nature.
const OF_THE_MOMENT: [&str; 3] = ["date", "x-connection", "x-request"];
/// The server that a client was led to with its connection, and not for its request: any of the Service's.
const ANY: &str = "any server";
/// The marks of a request, which name its side.
const MARKS: [&str; 2] = ["x-request-id", "x-echo"];
/// Depend on the time that is left or was taken: that they are there is compared.
const FIGURES: [&str; 2] = ["x-envoy-upstream-service-time", "x-envoy-expected-rq-timeout-ms"];

/// What others than the client saw of a request.
#[derive(Debug, Clone, Default)]
pub struct Witnessed {
    /// How often it arrived at each server.
    pub arrivals: BTreeMap<String, u64>,
    /// Response flags of the access log; none if no line is about it.
    pub flags: Option<String>,
}

/// What is compared of a request and its answer.
#[must_use]
pub fn aspects(ask: &Ask, seen: &Seen, witnessed: &Witnessed) -> Aspects {
    let mut aspects = Aspects::new();
    let mut put = |name: String, value: String| drop(aspects.insert(name, value));
    let echo: Option<Echo> = serde_json::from_str(&seen.content).ok();
    // What no proxy logs has gone to the address that was dialled, as bytes.
    let is_request = witnessed.flags.is_some();
    let server = match seen.header("x-pod") {
        None => "nobody".to_owned(),
        Some(_) if !is_request => ANY.to_owned(),
        Some(server) => server,
    };
    put("answer".into(), format!("{} by {server}", seen.status));
    put("ending".into(), format!("{:?}", seen.ending));
    put("interim".into(), format!("{:?}", seen.interim));
    put("takes".into(), if seen.milliseconds < LONG_MS { "no time".into() } else { "long".into() });
    let at = |(server, count): (&String, &u64)| format!("{count} at {}", if is_request { &**server } else { ANY });
    let arrivals: Vec<String> = witnessed.arrivals.iter().map(at).collect();
    put("arrivals".into(), arrivals.join(", "));
    if let Some(flags) = &witnessed.flags {
        let mut flags: Vec<&str> = flags.split(',').collect();
        flags.sort_unstable();
        put("flags".into(), flags.join(","));
    }
    for (prefix, fields) in [("header", &seen.headers), ("trailer", &seen.trailers)] {
        for (name, value) in joined(fields) {
            put(format!("{prefix} {name}"), value);
        }
    }
    let is_echo = echo.is_some();
    match echo {
        None => put("content".into(), seen.content.clone()),
        Some(echo) => {
            put("method".into(), echo.method);
            put("target".into(), echo.target);
            put("authority".into(), echo.host.unwrap_or_default());
            put("version".into(), echo.version);
            put("content sent".into(), echo.body_bytes.to_string());
            for (name, value) in joined(&echo.headers) {
                if !MARKS.contains(&&*name) && name != "host" {
                    put(format!("received {name}"), value);
                }
            }
            for (name, value) in joined(&echo.trailers) {
                put(format!("received trailer {name}"), value);
            }
        }
    }
    // The answer names it.
    aspects.remove("header x-pod");
    if is_echo || (ask.is_head() && seen.ending == Ending::Whole) {
        // It is the length of a content that tells all fields, and the side.
        aspects.remove("header content-length");
    }
    aspects
}

/// Fields by name, several values of a name in their order.
fn joined(fields: &[(String, String)]) -> BTreeMap<String, String> {
    let mut joined: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in fields.iter().filter(|(name, _)| !OF_THE_MOMENT.contains(&&**name)) {
        let value = if FIGURES.contains(&&**name) { "a figure" } else { &**value };
        let known = joined.entry(name.to_ascii_lowercase()).or_default();
        if !known.is_empty() {
            known.push_str(" | ");
        }
        known.push_str(value);
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answers::group::get;
    use crate::answers::groups::Subject;

    #[test]
    fn what_no_proxy_logs_may_have_reached_any_server() {
        let ask = Ask::plain(0, Subject::Routes, 0, &get("/"));
        let bytes = b"HTTP/1.1 200 OK\r\nx-pod: v2\r\ncontent-length: 0\r\n\r\n";
        let seen = Seen::of_bytes(0, bytes, false, false, 0);
        let witnessed = |flags: Option<&str>| Witnessed {
            arrivals: [("v2".to_owned(), 1)].into(),
            flags: flags.map(str::to_owned),
        };
        let of = |flags| {
            let aspects = aspects(&ask, &seen, &witnessed(flags));
            ["answer", "arrivals", "flags"].map(|name| aspects.get(name).cloned().unwrap_or_default())
        };
        assert_eq!(of(Some("URX,UF")), ["200 by v2", "1 at v2", "UF,URX"]);
        assert_eq!(of(None), ["200 by any server", "1 at any server", ""]);
    }
}
