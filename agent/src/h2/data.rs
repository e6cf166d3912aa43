//! DATA and its flow control (RFC 9113 §5.2, §6.1 and §6.9).

use std::time::Instant;

use super::error::SessionError;
use super::frame::{self, HEADER_BYTES};
use super::receive::Event;
use super::session::Session;
use super::settings::{CONNECTION_WINDOW_BYTES, Role, STREAM_WINDOW_GROWTH};

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
        // The connection's window is given back as soon as data is here: a stream whose reader is slow must not stop the
        // others. What is held for slow readers is bounded by the streams' windows.
        self.windows.count_received(counted)?;
        self.windows.add_credit(counted);
        if let Some(increment) = self.windows.grant(CONNECTION_WINDOW_BYTES / 2) {
            self.send(|out| frame::append_window_update(out, 0, increment));
        }
        if bytes.is_empty() && !end {
            self.pace.count(1)?;
        }
        let Some(stream) = self.streams.table.get_mut(&id) else {
            self.pace.count(1)?;
            return match () {
                () if self.is_idle(id) => Err(SessionError::protocol("data on an idle stream")),
                () if self.streams.is_finished(id) => {
                    Err(SessionError::stream_closed("data after the end of a stream"))
                }
                () => Ok(Event::None),
            };
        };
        if stream.remote_ended || stream.remote_reset {
            return Err(SessionError::stream_closed("data after the end of a stream"));
        }
        if stream.failure.is_some() {
            // Sent before the peer knew of it.
            return Ok(Event::None);
        }
        if self.role == Role::Client && stream.responses.is_awaited {
            return Err(SessionError::protocol("data before the answer"));
        }
        stream.windows.count_received(counted)?;
        if !stream.count_content(bytes.len(), end) {
            self.break_stream(id, "more or less content than its length says");
            return Ok(Event::None);
        }
        stream.unconsumed += bytes.len();
        stream.remote_ended = end;
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
            self.grant_stream(id, count);
        }
    }

    /// Gives a stream's window back. A stream whose reader keeps up gets a larger one, as far as the budget goes: the window
    /// is what the reader can make us hold once it stops.
    fn grant_stream(&mut self, id: u32, count: usize) {
        let Some(stream) = self.streams.table.get_mut(&id) else { return };
        stream.windows.add_credit(u32::try_from(count).expect("no more than a window"));
        if stream.remote_ended {
            return;
        }
        let Some(mut increment) = stream.windows.grant(stream.receive_window / 4) else { return };
        let largest = stream.largest_receive_window.min(self.usage.largest_stream_window);
        let larger = (stream.receive_window * STREAM_WINDOW_GROWTH).min(largest);
        if stream.unconsumed == 0 && larger > stream.receive_window && self.budget.grow(stream.receive_window, larger) {
            let more = larger - stream.receive_window;
            stream.receive_window = larger;
            stream.windows.grow_receive(more);
            increment += more;
        }
        self.send(|out| frame::append_window_update(out, id, increment));
    }

    /// Bounds a stream's window: what its reader can make us hold, once as much was consumed as the window is too large now.
    pub(crate) fn limit_window(&mut self, id: u32, largest: u32) {
        let Some(stream) = self.streams.table.get_mut(&id) else { return };
        stream.largest_receive_window = largest;
        let (budgeted, larger) = (stream.budgeted(), stream.receive_window.saturating_sub(largest));
        stream.windows.shrink_receive(larger);
        stream.receive_window -= larger;
        self.budget.give_back(budgeted - stream.budgeted());
    }

    /// Bytes of DATA that may be sent now, as far as the connection's window goes.
    pub(crate) fn connection_send_window(&self) -> i64 {
        self.windows.send()
    }

    /// The owner has laid down so many bytes in DATA frames of a stream.
    pub(crate) fn data_sent(&mut self, id: u32, count: usize) {
        self.count_sent(id, count);
        self.wake_driver();
    }

    /// The same, where the last frame of them says that it is the stream's last.
    pub(crate) fn last_data_sent(&mut self, id: u32, count: usize) {
        self.count_sent(id, count);
        if let Some(stream) = self.streams.table.get_mut(&id) {
            stream.local_ended = true;
        }
        self.wake_driver();
    }

    /// The header of a DATA frame that the owner lays down now, of so many bytes that the windows allow. `end`: the last.
    pub(crate) fn begin_data(&mut self, id: u32, length: usize, end: bool) -> [u8; HEADER_BYTES] {
        self.count_sent(id, length);
        if !end {
            return frame::data_header(id, length);
        }
        if let Some(stream) = self.streams.table.get_mut(&id) {
            stream.local_ended = true;
        }
        frame::last_data_header(id, length)
    }

    fn count_sent(&mut self, id: u32, count: usize) {
        let count = i64::try_from(count).expect("no more than a window");
        if let Some(stream) = self.streams.table.get_mut(&id) {
            stream.windows.count_sent(count);
            self.windows.count_sent(count);
            if self.windows.send() <= 0 {
                self.stalled_since.get_or_insert_with(Instant::now);
            }
        }
    }
}
