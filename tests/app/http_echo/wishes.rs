//! What a request asks of the server, as `name=value` pairs in its query or in the field `x-echo`, joined by `&`:
//!
//! | pair | the server |
//! |---|---|
//! | `key=K` | counts the request under K instead of its path; `GET /_count?key=K` tells the count |
//! | `once=K` | prints a line `arrived K`, which outlives the server |
//! | `goaway=1` | says that it leaves, once it has answered what is under way on the connection (HTTP/2) |
//! | `only=POD` | fulfils the other wishes if it is this pod |
//! | `status=N` | answers with this status instead of 200 |
//! | `fail_first=N` | answers the first N requests of the key with `status`, or 503, and the others with 200 |
//! | `delay_ms=N` | waits before it answers |
//! | `reset=before` | resets the connection (the stream, on HTTP/2) instead of answering |
//! | `reset=midway` | resets it after a part of the body |
//! | `close=1` | closes the connection after the answer, and says so |
//! | `idle_close_ms=N` | closes the connection so long after the answer, unless another request comes, and does not say so |
//! | `size=N` | answers with so many bytes of the pattern |
//! | `from=N` | begins the pattern at its byte N, in what it sends and in what it expects |
//! | `live=1` | sends back each part of the request's body as it comes |
//! | `stream=N` | answers with N server-sent events, with a pause of `pause_ms` between them |
//! | `trailers=1` | ends the answer with trailers |
//! | `interim=103` | sends such a response first (HTTP/1) |
//! | `unread=1` | answers without reading the request's body |
//! | `field=NAME:VALUE` | adds a field to the answer |
//! | `grpc_status=N` | ends a gRPC answer with this status |

use std::time::Duration;

/// When a connection is reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reset {
    Before,
    Midway,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Wishes {
    pub(super) key: Option<String>,
    pub(super) once: Option<String>,
    pub(super) leaves: bool,
    only: Option<String>,
    pub(super) status: Option<u16>,
    pub(super) fail_first: u64,
    pub(super) delay: Duration,
    pub(super) reset: Option<Reset>,
    pub(super) closes: bool,
    pub(super) idle_close: Option<Duration>,
    pub(super) size: Option<u64>,
    pub(super) from: u64,
    pub(super) is_live: bool,
    pub(super) events: Option<u64>,
    pub(super) pause: Duration,
    pub(super) has_trailers: bool,
    pub(super) interim: Option<u16>,
    pub(super) leaves_unread: bool,
    pub(super) fields: Vec<(String, String)>,
    pub(super) grpc_status: u32,
}

impl Wishes {
    /// Those of a query and of a field that are for a pod. Unknown names are for others.
    pub(super) fn parse(query: &str, field: &str, pod: &str) -> Result<Self, String> {
        let mut wishes = Self::default();
        for pair in query.split('&').chain(field.split('&')).filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            wishes.add(name.trim(), value.trim()).map_err(|why| format!("{pair}: {why}"))?;
        }
        match &wishes.only {
            Some(only) if only != pod => Ok(Self { key: wishes.key, once: wishes.once, ..Self::default() }),
            _ => Ok(wishes),
        }
    }

    fn add(&mut self, name: &str, value: &str) -> Result<(), String> {
        let number = || value.parse::<u64>().map_err(|error| error.to_string());
        let status = || value.parse::<u16>().map_err(|error| error.to_string());
        match name {
            "key" => self.key = Some(value.to_owned()),
            "once" => self.once = Some(value.to_owned()),
            "goaway" => self.leaves = true,
            "only" => self.only = Some(value.to_owned()),
            "status" => self.status = Some(status()?),
            "fail_first" => self.fail_first = number()?,
            "delay_ms" => self.delay = Duration::from_millis(number()?),
            "reset" => {
                self.reset = Some(match value {
                    "before" => Reset::Before,
                    "midway" => Reset::Midway,
                    _ => return Err("before or midway".to_owned()),
                });
            }
            "close" => self.closes = true,
            "idle_close_ms" => self.idle_close = Some(Duration::from_millis(number()?)),
            "size" => self.size = Some(number()?),
            "from" => self.from = number()?,
            "live" => self.is_live = true,
            "stream" => self.events = Some(number()?),
            "pause_ms" => self.pause = Duration::from_millis(number()?),
            "trailers" => self.has_trailers = true,
            "interim" => self.interim = Some(status()?),
            "unread" => self.leaves_unread = true,
            "field" => {
                let (name, value) = value.split_once(':').ok_or("a field is NAME:VALUE")?;
                self.fields.push((name.to_owned(), value.to_owned()));
            }
            "grpc_status" => self.grpc_status = value.parse().map_err(|_| "a number".to_owned())?,
            _ => {}
        }
        Ok(())
    }

    /// The status of the `arrival`th request of its key.
    pub(super) fn status_of(&self, arrival: u64) -> u16 {
        match self.fail_first {
            0 => self.status.unwrap_or(200),
            first if arrival <= first => self.status.unwrap_or(503),
            _ => 200,
        }
    }
}
