//! Fields in which a proxy says something of its own, as `ProxyConfig.proxyHeaders` of Istio's MeshConfig has it.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::head::{HttpFields, RequestHead, ResponseHead};

/// See the module. The default is Istio's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyHeaders {
    /// `preserveHttp1HeaderCase`: HTTP/1 peers get names as they were sent, not in lower case.
    pub preserve_case: bool,
    /// `requestId`: a request without `x-request-id` gets one.
    pub request_id: bool,
    /// `attemptCount`: the upstream gets `x-envoy-attempt-count`.
    pub attempt_count: bool,
    /// `envoyDebugHeaders`: the client gets `x-envoy-upstream-service-time`, the upstream `x-envoy-expected-rq-timeout-ms`.
    pub debug: bool,
    /// `xForwardedHost`: a request whose authority is rewritten says the one before in `x-forwarded-host`.
    pub forwarded_host: bool,
    /// `xForwardedPort`: the upstream gets the port that the client dialled in `x-forwarded-port`.
    pub forwarded_port: bool,
    /// `server.value`: what the client is told in `server`, whatever the upstream says. Without it the upstream's stays, where Istio's
    /// proxies write a name of their own.
    pub server: Option<Arc<str>>,
}

impl Default for ProxyHeaders {
    fn default() -> Self {
        Self {
            preserve_case: false,
            request_id: true,
            attempt_count: true,
            debug: true,
            forwarded_host: false,
            forwarded_port: false,
            server: None,
        }
    }
}

impl ProxyHeaders {
    /// Says by which scheme, and to which port where that is asked for, the request came, unless a proxy before has said so.
    pub fn begin_request(&self, port: u16, head: &mut RequestHead) {
        if self.forwarded_port && !head.fields.contains("x-forwarded-port") {
            set_number(&mut head.fields, "x-forwarded-port", port.into());
        }
        if !head.fields.contains("x-forwarded-proto") {
            head.fields.append(b"x-forwarded-proto", head.scheme.text().as_bytes());
        }
    }

    /// Says which authority the request had before its route was applied, where that has changed it.
    pub fn rewritten(&self, before: &[u8], head: &mut RequestHead) {
        if self.forwarded_host && head.authority != before {
            head.fields.append(b"x-forwarded-host", before);
        }
    }

    /// Says which attempt this is, counted from 1.
    pub fn begin_attempt(&self, attempt: u32, head: &mut RequestHead) {
        if self.attempt_count {
            set_number(&mut head.fields, "x-envoy-attempt-count", attempt.into());
        }
    }

    /// Says how long the upstream took until the head of its response came.
    pub fn end_attempt(&self, took: Duration, head: &mut ResponseHead) {
        if self.debug {
            let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            set_number(&mut head.fields, "x-envoy-upstream-service-time", milliseconds);
        }
    }

    /// Says what serves the client, where that is set.
    pub fn name_server(&self, head: &mut ResponseHead) {
        if let Some(server) = self.server.as_ref().filter(|_| !head.is_interim()) {
            head.fields.set("server", server.as_bytes());
        }
    }
}

/// Says when a response was made or came, unless it says so itself (RFC 9110 §6.6.1).
pub fn date(head: &mut ResponseHead, now: impl FnOnce() -> SystemTime) {
    if !head.is_interim() && !head.fields.contains("date") {
        head.fields.append(b"date", httpdate::fmt_http_date(now()).as_bytes());
    }
}

/// No number is longer than `text`. Each request comes here, so nothing is allocated.
fn set_number(fields: &mut HttpFields, name: &'static str, number: u64) {
    let mut text = [0; 20];
    let mut rest = &mut text[..];
    write!(rest, "{number}").expect("a number of 64 bits has at most 20 digits");
    let length = 20 - rest.len();
    fields.set(name, &text[..length]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::http::sample::get;

    #[test]
    fn a_request_says_how_it_came_and_which_attempt_it_is() {
        for (sent, attempt_count, expected) in [
            (None, true, "x-forwarded-proto=http x-envoy-attempt-count=2"),
            (Some(("x-forwarded-proto", "https")), true, "x-forwarded-proto=https x-envoy-attempt-count=2"),
            (Some(("x-envoy-attempt-count", "9")), true, "x-forwarded-proto=http x-envoy-attempt-count=2"),
            (Some(("x-envoy-attempt-count", "9")), false, "x-envoy-attempt-count=9 x-forwarded-proto=http"),
        ] {
            let headers = ProxyHeaders { attempt_count, ..ProxyHeaders::default() };
            let mut head = get("/");
            head.fields = sent.into_iter().collect();
            headers.begin_request(80, &mut head);
            headers.begin_attempt(1, &mut head);
            headers.begin_attempt(2, &mut head);
            assert_eq!(text(&head.fields), expected, "{sent:?}");
        }
    }

    #[test]
    fn a_request_says_where_it_was_sent_where_that_is_asked_for() {
        for (forwarded_host, forwarded_port, sent, before, expected) in [
            (false, false, None, "a", "x-forwarded-proto=http"),
            (true, true, None, "a", "x-forwarded-port=81 x-forwarded-proto=http x-forwarded-host=a"),
            (true, false, None, "b", "x-forwarded-proto=http"),
            (
                true,
                true,
                Some(("x-forwarded-port", "443")),
                "a",
                "x-forwarded-port=443 x-forwarded-proto=http x-forwarded-host=a",
            ),
        ] {
            let headers = ProxyHeaders { forwarded_host, forwarded_port, ..ProxyHeaders::default() };
            let mut head = RequestHead { authority: b"b".to_vec(), ..get("/") };
            head.fields = sent.into_iter().collect();
            headers.begin_request(81, &mut head);
            headers.rewritten(before.as_bytes(), &mut head);
            assert_eq!(text(&head.fields), expected, "{sent:?} {before}");
        }
    }

    #[test]
    fn a_response_says_how_long_it_took_and_when_it_came() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (status, sent, debug, expected) in [
            (200, None, true, "x-envoy-upstream-service-time=12 date=Sun, 06 Nov 1994 08:49:37 GMT"),
            (200, Some(("date", "then")), false, "date=then"),
            (103, None, false, ""),
            (101, None, false, "date=Sun, 06 Nov 1994 08:49:37 GMT"),
        ] {
            let headers = ProxyHeaders { debug, ..ProxyHeaders::default() };
            let mut head = ResponseHead { status, fields: sent.into_iter().collect(), ..ResponseHead::default() };
            headers.end_attempt(Duration::from_micros(12_999), &mut head);
            date(&mut head, || now);
            assert_eq!(text(&head.fields), expected, "{status} {sent:?}");
        }
    }

    #[test]
    fn a_response_names_the_server_that_is_set() {
        for (status, set, sent, expected) in [
            (200, None, Some(("server", "nginx")), "server=nginx"),
            (200, Some("mesh"), Some(("server", "nginx")), "server=mesh"),
            (404, Some("mesh"), None, "server=mesh"),
            (103, Some("mesh"), None, ""),
        ] {
            let headers = ProxyHeaders { server: set.map(Into::into), ..ProxyHeaders::default() };
            let mut head = ResponseHead { status, fields: sent.into_iter().collect(), ..ResponseHead::default() };
            headers.name_server(&mut head);
            assert_eq!(text(&head.fields), expected, "{status} {set:?} {sent:?}");
        }
    }

    fn text(fields: &HttpFields) -> String {
        let line = |(name, value): (&[u8], &[u8])| {
            format!("{}={}", String::from_utf8_lossy(name), String::from_utf8_lossy(value))
        };
        fields.iter().map(line).collect::<Vec<_>>().join(" ")
    }
}
