//! How a request ended, as far as its metrics tell requests apart.

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
