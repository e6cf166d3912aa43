//! TLS of a destination's own: where a DestinationRule asks for it, it is put over the transport to the endpoint.

use std::sync::Arc;

use crate::model::http::destination::DestinationPolicy;
use crate::model::http::head::RequestHead;
use crate::model::http::reply::TlsFailure;
use crate::model::resolve::{Transport, Upstream};
use crate::tls::origination::OriginationError;

/// The upstream as the policy of its destination wants it reached. The name that is asked for is that of the policy (`sni`), else the
/// host of the request as it is sent.
pub(super) fn over_tls(upstream: Upstream, policy: &DestinationPolicy, head: &RequestHead) -> Upstream {
    let Some(settings) = policy.tls.as_ref().filter(|tls| tls.is_own()) else { return upstream };
    let server_name = if settings.sni.is_empty() { host_of(head) } else { settings.sni.as_ref().into() };
    let transport = Transport::Tls { below: Box::new(upstream.transport), settings: settings.clone(), server_name };
    Upstream { transport, ..upstream }
}

/// The host that a request is for: an IPv6 address without its brackets.
fn host_of(head: &RequestHead) -> Arc<str> {
    let host = String::from_utf8_lossy(head.host());
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host).into()
}

/// What clients are told of a failure.
pub(super) fn failure_of(error: &OriginationError) -> TlsFailure {
    match error {
        OriginationError::Settings(_) | OriginationError::ServerName(_) => TlsFailure::Settings,
        OriginationError::Certificate(_) => TlsFailure::Certificate,
        OriginationError::Handshake(_) | OriginationError::TimedOut(_) => TlsFailure::Handshake,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_that_is_asked_for_is_the_host_of_the_request() {
        for (authority, host) in [
            ("a.example", "a.example"),
            ("a.example:443", "a.example"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("192.0.2.1:80", "192.0.2.1"),
            ("", ""),
        ] {
            let head = RequestHead { authority: authority.into(), ..RequestHead::default() };
            assert_eq!(&*host_of(&head), host, "{authority}");
        }
    }
}
