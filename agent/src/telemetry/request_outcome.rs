//! How a request ended, as far as its metrics tell requests apart.

use crate::model::http::head::HttpFields;
use crate::model::http::response_flags::ResponseFlags;
use crate::telemetry::connection::RequestProtocol;

/// The greatest status code of gRPC, UNAUTHENTICATED.
const MAX_GRPC_STATUS: u8 = 16;
const GRPC_UNKNOWN: u8 = 2;

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

/// The status that trailers say, or the fields of a response that has no content. A value that is no code of gRPC's is UNKNOWN, so
/// that no server brings labels of its own.
pub(super) fn grpc_status(fields: &HttpFields) -> Option<u8> {
    let code = std::str::from_utf8(fields.first("grpc-status")?).ok().and_then(|text| text.trim().parse().ok());
    Some(code.filter(|code| *code <= MAX_GRPC_STATUS).unwrap_or(GRPC_UNKNOWN))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::http::reply::grpc_status_of_http;

    #[test]
    fn the_grpc_status_is_one_of_seventeen() {
        for (value, expected) in [("0", 0), ("16", 16), (" 5", 5), ("17", 2), ("-1", 2), ("999999999999", 2), ("", 2)] {
            assert_eq!(grpc_status(&[("grpc-status", value)].into_iter().collect()), Some(expected), "{value:?}");
        }
        assert_eq!(grpc_status(&HttpFields::default()), None);
        assert_eq!([400, 401, 404, 503, 200, 0].map(grpc_status_of_http), [13, 16, 12, 14, 2, 2]);
    }
}
