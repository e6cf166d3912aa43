//! Cross-origin resource sharing (the Fetch standard, "CORS protocol"), answered as Envoy's filter does it.

use super::head::{RequestHead, ResponseHead};
use super::pattern::TextMatch;
use super::policies::Cors;

impl Cors {
    /// The answer to a preflight, which then goes to nobody else: with permission for an origin that is allowed; without any
    /// for others, unless those are forwarded. `None` for requests that go on.
    #[must_use]
    pub fn preflight(&self, request: &RequestHead) -> Option<ResponseHead> {
        let origin = request.fields.first("origin")?;
        let wants_method =
            request.fields.first("access-control-request-method").is_some_and(|method| !method.is_empty());
        if request.method != b"OPTIONS" || !wants_method {
            return None;
        }
        let mut response = ResponseHead { status: 200, ..ResponseHead::default() };
        if !self.is_allowed(origin) {
            return (!self.forwards_unmatched_preflights).then_some(response);
        }
        self.permit(origin, &mut response);
        for (name, value, asked) in [
            ("access-control-allow-methods", &self.allow_methods, "access-control-request-method"),
            ("access-control-allow-headers", &self.allow_headers, "access-control-request-headers"),
        ] {
            // To requests with credentials an asterisk is none but the method, or the field, of this name (Fetch, "CORS-preflight
            // fetch"). So it is said what is asked for.
            let value =
                if &**value == "*" { request.fields.first(asked).unwrap_or_default() } else { value.as_bytes() };
            if !value.is_empty() {
                response.fields.set(name, value);
            }
        }
        if let Some(max_age) = self.max_age {
            response.fields.set("access-control-max-age", max_age.as_secs().to_string().as_bytes());
        }
        Some(response)
    }

    /// The origin of a request, if it may have the response.
    #[must_use]
    pub fn allowed_origin<'r>(&self, request: &'r RequestHead) -> Option<&'r [u8]> {
        request.fields.first("origin").filter(|origin| self.is_allowed(origin))
    }

    /// Adds to a response what an allowed origin may do with it.
    pub fn permit(&self, origin: &[u8], response: &mut ResponseHead) {
        response.fields.set("access-control-allow-origin", origin);
        if self.allow_credentials {
            response.fields.set("access-control-allow-credentials", b"true");
        }
        if !self.expose_headers.is_empty() {
            response.fields.set("access-control-expose-headers", self.expose_headers.as_bytes());
        }
    }

    fn is_allowed(&self, origin: &[u8]) -> bool {
        // As in Envoy, what matches an asterisk stands for every origin.
        let is_match = |allowed: &TextMatch| allowed.is_match(origin) || allowed.is_match(b"*");
        !origin.is_empty() && self.allow_origins.iter().any(is_match)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::http::pattern::Pattern;
    use crate::model::http::sample::get;

    fn policy() -> Cors {
        Cors {
            allow_origins: vec![
                TextMatch::Exact("https://a.example".into()),
                TextMatch::Prefix("https://b.".into()),
                TextMatch::Regex(Pattern::new("https://[cd]\\.example").expect("valid")),
            ],
            allow_methods: "GET,POST".into(),
            allow_headers: "x-a".into(),
            expose_headers: "x-b".into(),
            max_age: Some(Duration::from_secs(86_400)),
            allow_credentials: true,
            forwards_unmatched_preflights: true,
        }
    }

    fn request(method: &str, fields: &[(&str, &str)]) -> RequestHead {
        RequestHead { method: method.into(), fields: fields.iter().copied().collect(), ..get("/") }
    }

    fn text(response: &ResponseHead) -> String {
        let line = |(name, value): (&[u8], &[u8])| {
            let name = String::from_utf8_lossy(name).replace("access-control-", "");
            format!("{name}={}", String::from_utf8_lossy(value))
        };
        response.fields.iter().map(line).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_preflight_is_answered_by_its_origin() {
        const ASKS: (&str, &str) = ("access-control-request-method", "PUT");
        let all = |origin: &str| {
            format!(
                "allow-origin={origin} allow-credentials=true expose-headers=x-b allow-methods=GET,POST \
                 allow-headers=x-a max-age=86400"
            )
        };
        for (method, fields, expected) in [
            ("OPTIONS", vec![("origin", "https://a.example"), ASKS], Some(all("https://a.example"))),
            ("OPTIONS", vec![("origin", "https://b.x"), ASKS], Some(all("https://b.x"))),
            ("OPTIONS", vec![("origin", "https://d.example"), ASKS], Some(all("https://d.example"))),
            ("OPTIONS", vec![("origin", "https://d.example.evil"), ASKS], None),
            ("OPTIONS", vec![("origin", "https://a.example")], None),
            ("OPTIONS", vec![("origin", "https://a.example"), ("access-control-request-method", "")], None),
            ("OPTIONS", vec![("origin", ""), ASKS], None),
            ("OPTIONS", vec![ASKS], None),
            ("GET", vec![("origin", "https://a.example"), ASKS], None),
        ] {
            let answer = policy().preflight(&request(method, &fields));
            assert_eq!(answer.as_ref().map(text), expected, "{method} {fields:?}");
            assert!(answer.is_none_or(|answer| answer.status == 200));
        }
        let ignoring = Cors { forwards_unmatched_preflights: false, ..policy() };
        let answer = ignoring.preflight(&request("OPTIONS", &[("origin", "https://x"), ASKS]));
        assert_eq!(answer.map(|answer| (answer.status, answer.fields.len())), Some((200, 0)));
        let any = Cors { allow_origins: vec![TextMatch::Exact("*".into())], ..Cors::default() };
        let answer = any.preflight(&request("OPTIONS", &[("origin", "https://x"), ASKS]));
        assert_eq!(answer.as_ref().map(text), Some("allow-origin=https://x".into()));
        let all = Cors { allow_methods: "*".into(), allow_headers: "*".into(), ..any };
        for (fields, expected) in [
            (&[("origin", "https://x"), ASKS][..], "allow-origin=https://x allow-methods=PUT"),
            (
                &[("origin", "https://x"), ASKS, ("access-control-request-headers", "x-a, x-b")],
                "allow-origin=https://x allow-methods=PUT allow-headers=x-a, x-b",
            ),
        ] {
            assert_eq!(all.preflight(&request("OPTIONS", fields)).as_ref().map(text), Some(expected.into()));
        }
        let bare = Cors { allow_origins: policy().allow_origins, ..Cors::default() };
        let answer = bare.preflight(&request("OPTIONS", &[("origin", "https://a.example"), ASKS]));
        assert_eq!(answer.as_ref().map(text), Some("allow-origin=https://a.example".into()));
    }

    #[test]
    fn a_response_says_what_its_origin_may_do() {
        for (origin, expected) in [
            ("https://a.example", "x=y allow-origin=https://a.example allow-credentials=true expose-headers=x-b"),
            ("https://z.example", "allow-origin=* x=y"),
        ] {
            let fields = [("access-control-allow-origin", "*"), ("x", "y")].into_iter().collect();
            let mut response = ResponseHead { status: 200, fields, ..ResponseHead::default() };
            if let Some(origin) = policy().allowed_origin(&request("GET", &[("origin", origin)])) {
                policy().permit(origin, &mut response);
            }
            assert_eq!(text(&response), expected);
        }
    }
}
