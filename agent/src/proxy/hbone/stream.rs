//! One HBONE stream: bytes both ways, each way ended or reset by itself.

use std::future::poll_fn;

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};

use super::connection::StreamSlot;

/// How a stream broke.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    #[error("reset by the peer")]
    Reset,
    #[error("{0}")]
    Http2(#[from] h2::Error),
}

/// An open stream to a peer's workload.
#[derive(Debug)]
pub struct HboneStream {
    reader: HboneReader,
    writer: HboneWriter,
}

impl HboneStream {
    /// `guard` is dropped with the reading half; it keeps count of the streams on a connection.
    pub(super) fn new(send: SendStream<Bytes>, receive: RecvStream, guard: Option<StreamSlot>) -> Self {
        Self { reader: HboneReader { receive, _slot: guard }, writer: HboneWriter { send, finished: false } }
    }

    #[must_use]
    pub fn split(self) -> (HboneReader, HboneWriter) {
        (self.reader, self.writer)
    }
}

/// The receiving half.
#[derive(Debug)]
pub struct HboneReader {
    receive: RecvStream,
    _slot: Option<StreamSlot>,
}

impl HboneReader {
    /// The next bytes, as they came in one frame; `None` when the peer is done. The peer may send as many again only
    /// after [`release`](Self::release).
    ///
    /// # Errors
    /// When the peer resets the stream or the connection breaks.
    pub async fn read(&mut self) -> Result<Option<Bytes>, StreamError> {
        match self.receive.data().await {
            None => Ok(None),
            Some(Ok(chunk)) => Ok(Some(chunk)),
            Some(Err(error)) if error.is_reset() => Err(StreamError::Reset),
            Some(Err(error)) => Err(error.into()),
        }
    }

    /// Tells the peer that bytes were delivered.
    pub fn release(&mut self, bytes: usize) {
        // Fails only for more bytes than were received.
        let _ = self.receive.flow_control().release_capacity(bytes);
    }
}

/// The sending half. Dropping it before [`finish`](Self::finish) resets the stream.
#[derive(Debug)]
pub struct HboneWriter {
    send: SendStream<Bytes>,
    finished: bool,
}

impl HboneWriter {
    /// Sends bytes; waits while the peer's window or our send buffer is full.
    ///
    /// # Errors
    /// When the peer resets the stream or the connection breaks.
    pub async fn write(&mut self, mut chunk: Bytes) -> Result<(), StreamError> {
        while !chunk.is_empty() {
            self.send.reserve_capacity(chunk.len());
            let granted = match poll_fn(|cx| self.send.poll_capacity(cx)).await {
                Some(Ok(granted)) => granted.min(chunk.len()),
                Some(Err(error)) if error.is_reset() => return Err(StreamError::Reset),
                Some(Err(error)) => return Err(error.into()),
                None => return Err(StreamError::Reset),
            };
            if granted > 0 {
                self.send.send_data(chunk.split_to(granted), false)?;
            }
        }
        Ok(())
    }

    /// No more bytes will come.
    ///
    /// # Errors
    /// When the stream is broken already.
    pub fn finish(&mut self) -> Result<(), StreamError> {
        self.finished = true;
        match self.send.send_data(Bytes::new(), true) {
            Ok(()) => Ok(()),
            // The peer took what it wanted and closed the stream as a whole: as good as our end of data.
            Err(error) if error.is_reset() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Tells the peer that the connection broke.
    pub fn reset(&mut self) {
        self.finished = true;
        self.send.send_reset(Reason::CANCEL);
    }
}

impl Drop for HboneWriter {
    fn drop(&mut self) {
        if !self.finished {
            self.send.send_reset(Reason::CANCEL);
        }
    }
}
