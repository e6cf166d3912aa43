//! Behaviours of a session: what the peer sends, what the owner learns, and what the peer gets.

mod client;
mod floods;
mod messages;
mod server;
mod shutdown;
mod violations;
mod windows;

use std::task::{Context, Poll, Waker};

use super::frame::{self, FrameHeader, Reason, flag, kind};
use super::hpack::{self, Decoder};
use super::{Event, FrameReader, Request, Role, Session, Usage, WindowBudget};

const REQUEST: [(&str, &str); 2] = [(":method", "CONNECT"), (":authority", "10.0.0.1:80")];

/// One side under test, and what its peer does.
struct Side {
    session: Session<()>,
    reader: FrameReader,
}

impl Side {
    /// Before anything was exchanged.
    fn new(role: Role) -> Self {
        Self::within(WindowBudget::of_kib(0), role)
    }

    /// Before anything was exchanged, with what its windows may grow by.
    fn within(budget: WindowBudget, role: Role) -> Self {
        Self { session: Session::new(role, Usage::HBONE, budget), reader: FrameReader::new(role) }
    }

    /// One side of a connection for requests of applications, after the peer's preface and settings.
    fn of_requests(role: Role) -> Self {
        let session = Session::new(role, Usage::REQUESTS, WindowBudget::of_kib(0));
        Self { session, reader: FrameReader::new(role) }.greet()
    }

    /// After the peer's preface and settings, all defaults; what was sent meanwhile is forgotten.
    fn greeted(role: Role) -> Self {
        Self::new(role).greet()
    }

    fn greet(mut self) -> Self {
        if self.session.role == Role::Server {
            assert_eq!(self.gets(frame::PREFACE), [""; 0]);
        }
        assert_eq!(self.gets(&settings(&[])), [""; 0]);
        self.sent();
        self
    }

    /// A server that serves the given streams, none of which has ended.
    fn serving(streams: &[u32]) -> Self {
        Self::serving_within(WindowBudget::of_kib(0), streams)
    }

    /// The same, with what its windows may grow by.
    fn serving_within(budget: WindowBudget, streams: &[u32]) -> Self {
        let mut side = Self::within(budget, Role::Server).greet();
        for stream in streams {
            side.gets(&request(*stream));
        }
        side.sent();
        side
    }

    /// A server that has granted the given streams, none of which has ended.
    fn granting(streams: &[u32]) -> Self {
        Self::granting_within(WindowBudget::of_kib(0), streams)
    }

    /// The same, with what its windows may grow by.
    fn granting_within(budget: WindowBudget, streams: &[u32]) -> Self {
        let mut side = Self::serving_within(budget, streams);
        for stream in streams {
            side.session.respond(*stream, http::StatusCode::OK, false).expect("the peer is there");
        }
        side.sent();
        side
    }

    /// Takes bytes of the peer, and says what the owner learns of them.
    fn gets(&mut self, bytes: &[u8]) -> Vec<String> {
        self.take(bytes, |session, events| {
            while let Some((id, Request { head, .. })) = session.next_request() {
                let (method, authority) = (text(&head.method), text(&head.authority));
                let fields = head.fields.iter().map(|(name, value)| format!(" {}={:?}", text(name), text(value)));
                events.push(format!("request {id}: {method} {authority}{}", fields.collect::<String>()));
            }
        })
    }

    /// Takes bytes of the peer, and leaves the requests in them where they are.
    fn takes(&mut self, bytes: &[u8]) -> Vec<String> {
        self.take(bytes, |_, _| {})
    }

    fn take(&mut self, mut bytes: &[u8], after: impl Fn(&mut Session<()>, &mut Vec<String>)) -> Vec<String> {
        let mut events = Vec::new();
        while self.session.ended().is_none() {
            let received = match self.reader.next(&mut bytes) {
                Ok(None) => break,
                Ok(Some(piece)) => self.session.receive(piece),
                Err(error) => Err(error),
            };
            match received {
                Ok(Event::None) => {}
                Ok(Event::Ended { stream }) => events.push(format!("end of {stream}")),
                Ok(Event::Data { stream, bytes, end }) => {
                    let end = if end { ", its last" } else { "" };
                    events.push(format!("data of {stream}: {:?}{end}", String::from_utf8_lossy(bytes)));
                }
                Err(error) => {
                    events.push(format!("over: {error}"));
                    self.session.end(error);
                }
            }
            after(&mut self.session, &mut events);
        }
        events
    }

    /// Takes what is to be sent, frame by frame.
    fn sent(&mut self) -> Vec<String> {
        let mut rest = self.session.outgoing();
        let (count, mut frames) = (rest.len(), Vec::new());
        if let Some(after) = rest.strip_prefix(frame::PREFACE) {
            frames.push("preface".to_owned());
            rest = after;
        }
        while let Some((header, after)) = rest.split_first_chunk() {
            let header = FrameHeader::parse(*header);
            let (payload, after) = after.split_at(header.length as usize);
            frames.push(described(header, payload));
            rest = after;
        }
        self.session.advance_outgoing(count);
        frames
    }

    fn open(&mut self) -> Option<u32> {
        self.session.open(REQUEST.map(|(name, value)| (name, value.as_bytes())))
    }

    /// The response to a request of ours, in words.
    fn response(&mut self, id: u32) -> String {
        match self.session.poll_response(id, &mut Context::from_waker(Waker::noop())) {
            Poll::Pending => "none yet".to_owned(),
            Poll::Ready(Ok(response)) => response.head.status.to_string(),
            Poll::Ready(Err(error)) => error.to_string(),
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn described(header: FrameHeader, payload: &[u8]) -> String {
    let number = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().expect("four bytes"));
    let (id, ack) = (header.stream, if header.has(flag::ACK) { " ack" } else { "" });
    let end = if header.has(flag::END_STREAM) { ", the end" } else { "" };
    match header.kind {
        kind::DATA => format!("DATA {id}: {:?}{end}", String::from_utf8_lossy(payload)),
        kind::HEADERS if !header.has(flag::END_HEADERS) => format!("HEADERS {id} that go on"),
        kind::CONTINUATION if !header.has(flag::END_HEADERS) => format!("CONTINUATION {id}: {}", payload.len()),
        kind::CONTINUATION => format!("CONTINUATION {id}, the last: {}", payload.len()),
        kind::HEADERS => {
            let mut fields = Vec::new();
            let add = |name: &[u8], value: &[u8]| {
                fields.push(format!(" {}={}", text(name), text(value)));
            };
            Decoder::new(1 << 14).decode(payload, add).expect("we write header blocks");
            format!("HEADERS {id}:{}{end}", fields.concat())
        }
        kind::RST_STREAM => format!("RST_STREAM {id}: {}", Reason(number(0))),
        kind::SETTINGS => {
            let settings = payload
                .chunks(6)
                .map(|one| format!(" {}={}", one[1], u32::from_be_bytes([one[2], one[3], one[4], one[5]])));
            format!("SETTINGS{ack}{}", settings.collect::<String>())
        }
        kind::PING => format!("PING{ack} {}", String::from_utf8_lossy(payload)),
        kind::GOAWAY => format!("GOAWAY {}: {}", number(0), Reason(number(4))),
        kind::WINDOW_UPDATE => format!("WINDOW_UPDATE {id}: {}", number(0)),
        kind => format!("frame {kind}"),
    }
}

fn frame_of(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::append(&mut out, kind, flags, stream, payload);
    out
}

fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        hpack::encode(&mut block, name.as_bytes(), value.as_bytes());
    }
    block
}

fn headers(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    frame_of(kind::HEADERS, flag::END_HEADERS | flags, stream, &block(fields))
}

fn request(stream: u32) -> Vec<u8> {
    headers(stream, 0, &REQUEST)
}

fn data(stream: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    frame_of(kind::DATA, flags, stream, payload)
}

fn reset(stream: u32, reason: Reason) -> Vec<u8> {
    let mut out = Vec::new();
    frame::append_reset(&mut out, stream, reason);
    out
}

fn goaway(last: u32, reason: Reason) -> Vec<u8> {
    let mut out = Vec::new();
    frame::append_goaway(&mut out, last, reason);
    out
}

fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    let mut out = Vec::new();
    frame::append_window_update(&mut out, stream, increment);
    out
}

fn settings(settings: &[(u16, u32)]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::append_settings(&mut out, settings);
    out
}
