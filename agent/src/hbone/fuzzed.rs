//! The fuzzer's way to a server's session, record by record and without a network. Only in the fuzzer's builds; it must do
//! nothing that a connection's own task and its streams do not.

use std::io;

use http::StatusCode;

use super::authority::parse_authority;
use super::session::SecuredSession;
use crate::h2::{Reason, Role, WindowBudget};
use crate::tls::records::RecordLayer;

/// The server's side of one connection.
#[derive(Debug)]
pub struct FuzzedServer {
    session: SecuredSession,
    served: Vec<u32>,
}

impl FuzzedServer {
    /// A connection whose handshake is over.
    #[must_use]
    pub fn new(records: RecordLayer) -> Self {
        Self {
            session: SecuredSession::new(Role::Server, records, Vec::new(), WindowBudget::of_kib(0), true),
            served: Vec::new(),
        }
    }

    /// Takes a sealed record from the peer, and answers what requests it brought: 200 where the authority is understood.
    pub fn receive(&mut self, record: &[u8]) {
        // The only error is that there is nothing to read.
        let _ = self.session.receive(|place| {
            place.get_mut(..record.len()).ok_or(io::ErrorKind::WouldBlock)?.copy_from_slice(record);
            Ok(record.len())
        });
        while let Some((id, request)) = self.session.http2.next_request() {
            let authority = std::str::from_utf8(&request.head.authority);
            let is_understood = authority.is_ok_and(|text| parse_authority(text).is_ok());
            let status = if is_understood { StatusCode::OK } else { StatusCode::BAD_REQUEST };
            if self.session.http2.respond(id, status, !is_understood).is_ok() && is_understood {
                self.served.push(id);
            } else {
                self.session.http2.release(id, Reason::CANCEL);
            }
        }
    }

    /// Gives up the oldest stream that is being served.
    pub fn give_up_stream(&mut self) {
        if !self.served.is_empty() {
            self.session.http2.release(self.served.remove(0), Reason::CANCEL);
        }
    }

    /// Asks the peer to leave.
    pub fn leave(&mut self) {
        self.session.http2.leave();
        self.session.end_if_done();
    }

    /// All that is to be sent, sealed.
    pub fn take_sent(&mut self) -> Vec<u8> {
        let mut sent = Vec::new();
        loop {
            let bytes = self.session.sealed_output();
            if bytes.is_empty() {
                return sent;
            }
            let count = bytes.len();
            sent.extend_from_slice(bytes);
            self.session.sent(count);
        }
    }

    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.session.http2.ended().is_some()
    }

    /// The keys, for the next connection.
    #[must_use]
    pub fn into_records(self) -> RecordLayer {
        self.session.into_records()
    }
}
