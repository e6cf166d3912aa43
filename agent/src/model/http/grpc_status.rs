//! The status of a call of gRPC: as its trailers say it, or the head of a response that consists of trailers alone
//! (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#responses>).

use super::head::HttpFields;

/// The greatest status code of gRPC, UNAUTHENTICATED.
const MAX_STATUS: u8 = 16;
const UNKNOWN: u8 = 2;

/// The status that fields say, from 0 to 16; `None` where they say none. A value that is no code of gRPC's is UNKNOWN, so that no server
/// brings labels of its own, nor has a request tried again for something that nobody knows.
#[must_use]
pub fn grpc_status(fields: &HttpFields) -> Option<u8> {
    let code = std::str::from_utf8(fields.first("grpc-status")?).ok().and_then(|text| text.trim().parse().ok());
    Some(code.filter(|code| *code <= MAX_STATUS).unwrap_or(UNKNOWN))
}

/// The status of gRPC that stands for one of HTTP, where nothing says another
/// (<https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md>, and Envoy's `Grpc::Utility`).
#[must_use]
pub fn grpc_status_of_http(status: u16) -> u8 {
    match status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grpc_status_is_one_of_seventeen() {
        for (value, expected) in [("0", 0), ("16", 16), (" 5", 5), ("17", 2), ("-1", 2), ("999999999999", 2), ("", 2)] {
            assert_eq!(grpc_status(&[("grpc-status", value)].into_iter().collect()), Some(expected), "{value:?}");
        }
        assert_eq!(grpc_status(&HttpFields::default()), None);
    }

    #[test]
    fn statuses_of_http_stand_for_some_of_them() {
        assert_eq!([400, 401, 404, 503, 200, 0].map(grpc_status_of_http), [13, 16, 12, 14, 2, 2]);
    }
}
