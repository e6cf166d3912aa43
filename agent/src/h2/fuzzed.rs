//! The fuzzer's way to header blocks, and to messages over HTTP/2, in memory. Only in the fuzzer's builds; it must do nothing that
//! owners of sessions do not.

use super::budget::WindowBudget;
use super::frame::{self, flag, kind};
use super::hpack::{self, Decoder, HpackError};
use super::reader::FrameReader;
use super::receive::Event;
use super::session::Session;
use super::settings::Role;
use super::usage::Usage;
use crate::model::http::head::{RequestHead, ResponseHead};

/// Names and values in their order.
pub type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// The reader of one connection's header blocks.
#[derive(Debug)]
pub struct Blocks(Decoder);

impl Default for Blocks {
    fn default() -> Self {
        Self(Decoder::new(LONGEST_LIST))
    }
}

/// The longest list of fields that is read whole.
pub const LONGEST_LIST: usize = 64 * 1024;

impl Blocks {
    /// The fields of the next block, and whether that is all of them.
    ///
    /// # Errors
    /// When it is no header block.
    pub fn decode(&mut self, block: &[u8]) -> Result<(Fields, bool), HpackError> {
        let mut fields = Vec::new();
        let decoded = self.0.decode(block, |name, value| fields.push((name.to_vec(), value.to_vec())))?;
        Ok((fields, decoded.is_whole))
    }
}

/// Fields as we write them.
#[must_use]
pub fn encoded(fields: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut block = Vec::new();
    fields.iter().for_each(|(name, value)| hpack::encode(&mut block, name, value));
    block
}

/// A request as a server takes it whose client sends this block and this content, which is no longer than a frame.
#[must_use]
pub fn request(block: &[u8], content: &[u8]) -> Option<(RequestHead, Vec<u8>)> {
    let mut sent = frame::PREFACE.to_vec();
    frame::append(&mut sent, kind::SETTINGS, 0, 0, &[]);
    append_message(&mut sent, block, content);
    received_request(&sent)
}

/// A request as it comes to a server from our own client.
#[must_use]
pub fn passed_request(head: &RequestHead, content: &[u8]) -> Option<(RequestHead, Vec<u8>)> {
    let mut client = session(Role::Client);
    let id = client.request(head, false)?;
    let mut sent = client.outgoing().to_vec();
    frame::append(&mut sent, kind::DATA, flag::END_STREAM, id, content);
    received_request(&sent)
}

fn received_request(sent: &[u8]) -> Option<(RequestHead, Vec<u8>)> {
    let mut server = session(Role::Server);
    let content = receive(&mut server, FrameReader::new(Role::Server), sent)?;
    let (id, request) = server.next_request()?;
    let stream = server.stream(id)?;
    (stream.remote_ended() && stream.failure().is_none()).then_some((request.head, content))
}

/// A response as our client takes it whose server sends this block and this content.
#[must_use]
pub fn response(block: &[u8], content: &[u8]) -> Option<(ResponseHead, Vec<u8>)> {
    let mut sent = Vec::new();
    frame::append(&mut sent, kind::SETTINGS, 0, 0, &[]);
    append_message(&mut sent, block, content);
    received_response(&sent)
}

/// A response as it comes to a client from our own server.
#[must_use]
pub fn passed_response(head: &ResponseHead, content: &[u8]) -> Option<(ResponseHead, Vec<u8>)> {
    let mut server = session(Role::Server);
    let mut asked = session(Role::Client);
    let id = asked.request(&asking(), true)?;
    receive(&mut server, FrameReader::new(Role::Server), asked.outgoing())?;
    server.next_request()?;
    server.send_response(id, head, false);
    let mut sent = server.outgoing().to_vec();
    frame::append(&mut sent, kind::DATA, flag::END_STREAM, id, content);
    received_response(&sent)
}

fn received_response(sent: &[u8]) -> Option<(ResponseHead, Vec<u8>)> {
    let mut client = session(Role::Client);
    let id = client.request(&asking(), true)?;
    let content = receive(&mut client, FrameReader::new(Role::Client), sent)?;
    let stream = client.stream_mut(id)?;
    if !stream.remote_ended() || stream.failure().is_some() {
        return None;
    }
    stream.responses.last.take().map(|response| (response.head, content))
}

fn asking() -> RequestHead {
    RequestHead { method: b"GET".to_vec(), target: b"/".to_vec(), authority: b"a".to_vec(), ..RequestHead::default() }
}

fn session(role: Role) -> Session<()> {
    Session::new(role, Usage::REQUESTS, WindowBudget::of_kib(0))
}

/// A message on the first stream of a client.
fn append_message(sent: &mut Vec<u8>, block: &[u8], content: &[u8]) {
    frame::append(sent, kind::HEADERS, flag::END_HEADERS, 1, block);
    frame::append(sent, kind::DATA, flag::END_STREAM, 1, content);
}

/// All content that came on the first stream; nothing where the connection is over.
fn receive(session: &mut Session<()>, mut frames: FrameReader, mut sent: &[u8]) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    while let Some(piece) = frames.next(&mut sent).ok()? {
        if let Event::Data { bytes, .. } = session.receive(piece).ok()? {
            content.extend_from_slice(bytes);
        }
    }
    Some(content)
}
