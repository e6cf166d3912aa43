//! Where a redirect sends a client.

use super::head::{RequestHead, Scheme};
use super::rewrite::{with_prefix, with_rest};
use super::route::{Redirect, RedirectPath, RedirectPort, Route};

impl Redirect {
    /// Status and `Location` of the response to a request that takes `route`, whose action this is, and that came to the port
    /// `dialled` of a service.
    #[must_use]
    pub fn response(&self, route: &Route, request: &RequestHead, dialled: u16) -> (u16, Vec<u8>) {
        let scheme = self.scheme.unwrap_or(request.scheme);
        let mut location = [scheme.text().as_bytes(), b"://"].concat();
        let authority = self.authority.as_ref().map_or(&request.authority[..], |authority| authority.as_bytes());
        let port = match self.port {
            RedirectPort::Unset => {
                let keeps = self.authority.is_some() || !is_default(port_of(authority), request.scheme);
                location.extend_from_slice(if keeps || scheme == request.scheme {
                    authority
                } else {
                    without_port(authority)
                });
                None
            }
            RedirectPort::Number(port) => Some(port),
            RedirectPort::Dialled => Some(dialled),
            RedirectPort::OfScheme => Some(default_port(scheme)),
        };
        if let Some(port) = port {
            location.extend_from_slice(without_port(authority));
            if port != default_port(scheme) {
                location.extend_from_slice(format!(":{port}").as_bytes());
            }
        }
        location.extend_from_slice(&self.path(route, request));
        (self.status, location)
    }

    fn path(&self, route: &Route, request: &RequestHead) -> Vec<u8> {
        match &self.path {
            None => request.target.clone(),
            Some(RedirectPath::Full(path)) if path.contains('?') => path.as_bytes().to_vec(),
            Some(RedirectPath::Full(path)) => with_rest(path.as_bytes().to_vec(), request),
            Some(RedirectPath::Prefix(text)) => with_rest(with_prefix(text, route, request.path()), request),
        }
    }
}

fn default_port(scheme: Scheme) -> u16 {
    match scheme {
        Scheme::Http => 80,
        Scheme::Https => 443,
    }
}

fn is_default(port: Option<u16>, scheme: Scheme) -> bool {
    port == Some(default_port(scheme))
}

fn without_port(authority: &[u8]) -> &[u8] {
    match authority.iter().rposition(|byte| *byte == b':') {
        Some(colon) if authority[colon + 1..].iter().all(u8::is_ascii_digit) => &authority[..colon],
        _ => authority,
    }
}

fn port_of(authority: &[u8]) -> Option<u16> {
    let port = authority[without_port(authority).len()..].strip_prefix(b":")?;
    std::str::from_utf8(port).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::http::route::{PathMatch, RequestMatch};
    use crate::model::http::sample::{get, route};

    fn plain() -> Redirect {
        Redirect { status: 301, scheme: None, authority: None, port: RedirectPort::Unset, path: None }
    }

    #[test]
    fn what_a_redirect_does_not_say_stays() {
        let full = |path: &str| Some(RedirectPath::Full(path.into()));
        let prefix = |path: &str| Some(RedirectPath::Prefix(path.into()));
        let to = |authority: &str| Some(authority.into());
        let https = Some(Scheme::Https);
        for (redirect, authority, expected) in [
            (plain(), "a", "http://a/old/x?q"),
            (plain(), "a:8080", "http://a:8080/old/x?q"),
            (Redirect { authority: to("b"), ..plain() }, "a:8080", "http://b/old/x?q"),
            (Redirect { authority: to("b:1"), ..plain() }, "a", "http://b:1/old/x?q"),
            (Redirect { scheme: https, ..plain() }, "a:80", "https://a/old/x?q"),
            (Redirect { scheme: https, ..plain() }, "a:8080", "https://a:8080/old/x?q"),
            (Redirect { scheme: https, ..plain() }, "[::1]:80", "https://[::1]/old/x?q"),
            (Redirect { port: RedirectPort::Number(8443), ..plain() }, "a:1", "http://a:8443/old/x?q"),
            (Redirect { port: RedirectPort::Number(80), ..plain() }, "a:1", "http://a/old/x?q"),
            (Redirect { port: RedirectPort::Number(443), scheme: https, ..plain() }, "a:1", "https://a/old/x?q"),
            (Redirect { port: RedirectPort::Dialled, ..plain() }, "a", "http://a:9080/old/x?q"),
            (Redirect { port: RedirectPort::OfScheme, scheme: https, ..plain() }, "a:1", "https://a/old/x?q"),
            (Redirect { port: RedirectPort::Number(1), authority: to("b:2"), ..plain() }, "a", "http://b:1/old/x?q"),
            (Redirect { path: full("/n"), ..plain() }, "a", "http://a/n?q"),
            (Redirect { path: full("/n?z"), ..plain() }, "a", "http://a/n?z"),
            (Redirect { path: prefix("/n"), ..plain() }, "a", "http://a/n/x?q"),
        ] {
            let route = route("r", RequestMatch { path: PathMatch::Prefix("/old".into()), ..RequestMatch::default() });
            let request = RequestHead { authority: authority.into(), ..get("/old/x?q") };
            let (status, location) = redirect.response(&route, &request, 9080);
            assert_eq!((status, &*String::from_utf8_lossy(&location)), (301, expected), "{redirect:?} of {authority}");
        }
    }
}
