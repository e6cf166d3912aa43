//! One HBONE stream as its owner holds it.

use std::future::poll_fn;
use std::sync::Arc;

use tokio::net::TcpStream;

use super::connection::StreamSlot;
use super::session::Attached;
pub use super::session::JoinError;
use super::transport::Transport;
use crate::h2::frame::Reason;
use crate::hbone::tcp_end::TcpEnd;
use crate::telemetry::connection::ByteCounts;

/// An open stream to a peer's workload. Dropped before both sides said their last, it is reset.
#[derive(Debug)]
pub struct HboneStream {
    transport: Arc<Transport>,
    id: u32,
    /// Keeps count of the streams on a connection of ours.
    slot: Option<StreamSlot>,
}

impl HboneStream {
    pub(super) fn new(transport: Arc<Transport>, id: u32, slot: Option<StreamSlot>) -> Self {
        Self { transport, id, slot }
    }

    pub(super) fn transport(&self) -> &Transport {
        &self.transport
    }

    pub(super) fn id(&self) -> u32 {
        self.id
    }

    /// Gives up a stream that the peer did not see, and its place back.
    pub(super) fn into_slot(mut self) -> Option<StreamSlot> {
        self.slot.take()
    }

    /// Moves bytes between the stream and an application until both are done. What one side does the other sees: the end
    /// of its data, or a reset.
    ///
    /// # Errors
    /// When either side breaks.
    pub(crate) async fn join(&self, tcp: Arc<TcpStream>, end: TcpEnd, bytes: Arc<ByteCounts>) -> Result<(), JoinError> {
        self.transport.session().attach(self.id, Attached { tcp, end, bytes });
        poll_fn(|cx| self.transport.session().poll_join(self.id, cx)).await
    }
}

impl Drop for HboneStream {
    fn drop(&mut self) {
        self.transport.session().release(self.id, Reason::CANCEL);
    }
}
