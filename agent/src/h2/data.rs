//! DATA and its flow control (RFC 9113 §5.2, §6.1 and §6.9).

use super::error::SessionError;
use super::frame::{self, flag, kind};
use super::receive::Event;
use super::session::Session;
use super::settings::{CONNECTION_WINDOW_BYTES, Role, STREAM_WINDOW_BYTES};
use super::stream::Response;

impl<A: Default> Session<A> {
    /// Counts data against the windows. An event where somebody is there to take it.
    ///
    /// `counted`: what it takes of the windows, padding included. `end`: the stream's last.
    pub(super) fn data<'a>(
        &mut self,
        id: u32,
        bytes: &'a [u8],
        counted: u32,
        end: bool,
    ) -> Result<Event<'a>, SessionError> {
        if self.blocks.is_open() {
            return Err(SessionError::protocol("data inside a header block"));
        }
        self.flow.windows.count_received(counted)?;
        self.flow.windows.add_credit(counted);
        self.grant_connection();
        let Some(stream) = self.streams.table.get_mut(&id) else {
            return if self.is_idle(id) {
                Err(SessionError::protocol("data on an idle stream"))
            } else {
                Ok(Event::None)
            };
        };
        if stream.remote_ended {
            return Err(SessionError::stream_closed("data after the end of a stream"));
        }
        if self.role == Role::Client && matches!(stream.response, Response::Awaited) {
            return Err(SessionError::protocol("data before the answer"));
        }
        stream.windows.count_received(counted)?;
        stream.unconsumed += bytes.len();
        stream.remote_ended = end;
        self.flow.unconsumed += bytes.len();
        let padding = counted as usize - bytes.len();
        if padding > 0 {
            self.grant_stream(id, padding);
        }
        Ok(Event::Data { stream: id, bytes, end })
    }

    /// The owner has put so many bytes of a stream's data where they belong: the peer may send as many again.
    pub(crate) fn consumed(&mut self, id: u32, count: usize) {
        if let Some(stream) = self.streams.table.get_mut(&id) {
            stream.unconsumed -= count;
            self.forget_unconsumed(count);
            self.grant_stream(id, count);
        }
    }

    /// Nobody has to consume so many bytes any more.
    pub(super) fn forget_unconsumed(&mut self, count: usize) {
        self.flow.unconsumed -= count;
        self.grant_connection();
    }

    /// Gives the connection's window back: as soon as data is here, because a stream whose reader is slow must not stop the
    /// others, unless so much waits for slow readers as the window holds.
    fn grant_connection(&mut self) {
        if self.flow.unconsumed >= CONNECTION_WINDOW_BYTES as usize {
            return;
        }
        if let Some(increment) = self.flow.windows.grant(CONNECTION_WINDOW_BYTES / 2) {
            self.send(|out| frame::append_window_update(out, 0, increment));
        }
    }

    fn grant_stream(&mut self, id: u32, count: usize) {
        let Some(stream) = self.streams.table.get_mut(&id) else { return };
        stream.windows.add_credit(u32::try_from(count).expect("no more than a window"));
        if stream.remote_ended {
            return;
        }
        if let Some(increment) = stream.windows.grant(STREAM_WINDOW_BYTES / 4) {
            self.send(|out| frame::append_window_update(out, id, increment));
        }
    }

    /// Bytes of DATA that may be sent now, as far as the connection's window goes.
    pub(crate) fn connection_send_window(&self) -> i64 {
        self.flow.windows.send()
    }

    /// The owner has laid down so many bytes in DATA frames of a stream.
    pub(crate) fn data_sent(&mut self, id: u32, count: usize) {
        let count = i64::try_from(count).expect("no more than a window");
        if let Some(stream) = self.streams.table.get_mut(&id) {
            stream.windows.count_sent(count);
            self.flow.windows.count_sent(count);
        }
        self.wake_driver();
    }

    /// Ends our side of a stream.
    pub(crate) fn end_stream(&mut self, id: u32) {
        let Some(stream) = self.streams.table.get_mut(&id) else { return };
        stream.local_ended = true;
        if stream.failure.is_none() {
            self.send(|out| frame::append(out, kind::DATA, flag::END_STREAM, id, &[]));
        }
    }
}
