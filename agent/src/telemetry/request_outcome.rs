//! How a request ended, as far as its metrics tell requests apart, and what was moved of it.

use crate::model::http::grpc::GrpcMessageCounter;
use crate::model::http::response_flags::ResponseFlags;
use crate::telemetry::connection::RequestProtocol;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct RequestOutcome {
    pub(super) protocol: RequestProtocol,
    /// The status of the response's head; 0 where the client got none.
    pub(super) status: u16,
    /// `None` where the request is not gRPC's, or had no response.
    pub(super) grpc_status: Option<u8>,
    pub(super) flags: ResponseFlags,
    /// Nothing of the mesh is at the destination, and MeshConfig's outbound traffic policy is REGISTRY_ONLY.
    pub(super) is_blocked: bool,
}

/// What has been moved of a body.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) bytes: u64,
    messages: GrpcMessageCounter,
    pub(super) message_count: u64,
}

impl Content {
    /// Counts a piece, and says how many gRPC messages ended in it.
    pub(super) fn take(&mut self, piece: &[u8], is_grpc: bool) -> u64 {
        self.bytes += piece.len() as u64;
        let messages = if is_grpc { self.messages.take(piece) } else { 0 };
        self.message_count += messages;
        messages
    }
}
