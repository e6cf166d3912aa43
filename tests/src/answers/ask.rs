//! A request, and how it is written in HTTP/1.

use std::fmt::{self, Write as _};
use std::net::SocketAddr;

use hyper::Uri;

use super::group::{Group, Template, address};
use super::groups::Subject;

/// See the module. It is sent on a connection of its own.
#[derive(Debug, Clone)]
pub struct Ask {
    pub number: u64,
    pub subject: Subject,
    /// Which of its groups.
    pub group: usize,
    pub address: SocketAddr,
    pub is_http2: bool,
    pub is_http10: bool,
    pub method: String,
    /// As it is on the wire.
    pub target: String,
    /// Each a field `Host`; over HTTP/2 there is exactly one.
    pub hosts: Vec<String>,
    pub fields: Vec<(String, String)>,
    /// Lines among the fields of HTTP/1 as they are, each with its end.
    pub lines: String,
    pub content: Content,
    pub wishes: &'static str,
    pub is_grpc: bool,
    /// What was changed of the template.
    pub changes: Vec<&'static str>,
}

/// What a request carries, and how it says so in HTTP/1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    None,
    OfLength(String),
    InChunks(String),
}

impl Content {
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::None => "",
            Self::OfLength(text) | Self::InChunks(text) => text,
        }
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::OfLength(text) => write!(f, "{} bytes", text.len()),
            Self::InChunks(text) => write!(f, "{} bytes in chunks", text.len()),
        }
    }
}

impl Ask {
    pub(super) fn plain(number: u64, subject: Subject, place: usize, template: &Template) -> Self {
        let group = &subject.groups()[place];
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let content = match template.content {
            // One message of two bytes.
            _ if template.is_grpc => Content::OfLength("\0\0\0\0\u{2}hi".to_owned()),
            "" => Content::None,
            text => Content::OfLength(text.to_owned()),
        };
        let mut fields: Vec<_> = template.fields.iter().map(owned).collect();
        if template.is_grpc {
            fields.extend([("content-type", "application/grpc"), ("te", "trailers")].iter().map(owned));
        }
        Self {
            number,
            subject,
            group: place,
            address: address(place, template.port),
            is_http2: template.is_grpc,
            is_http10: false,
            method: template.method.to_owned(),
            target: template.target.to_owned(),
            hosts: vec![group.host()],
            fields,
            lines: String::new(),
            content,
            wishes: template.wishes,
            is_grpc: template.is_grpc,
            changes: Vec::new(),
        }
    }

    #[must_use]
    pub fn group(&self) -> &'static Group {
        &self.subject.groups()[self.group]
    }

    #[must_use]
    pub fn is_head(&self) -> bool {
        self.method == "HEAD"
    }

    /// Its URI over HTTP/2, if that can be said.
    #[must_use]
    pub fn uri(&self) -> Option<Uri> {
        let [host] = &*self.hosts else { return None };
        let uri = format!("http://{host}{}", self.target).parse::<Uri>().ok()?;
        // What the type would leave out or change is not said.
        (uri.authority()?.as_str() == *host && uri.path_and_query()?.as_str() == self.target).then_some(uri)
    }

    /// What it is asked of: the authority of its target, or else its only host.
    #[must_use]
    pub fn authority(&self) -> Option<&str> {
        let absolute = self.target.split_once("://").filter(|(scheme, _)| !scheme.contains('/'));
        match absolute {
            Some((_, rest)) => rest.split(['/', '?', '#']).next(),
            None => self.hosts.first().filter(|_| self.hosts.len() == 1).map(String::as_str),
        }
    }

    /// Whether it is asked of its Service, by one of the names or addresses that a sidecar has for that, with any port.
    #[must_use]
    pub fn names_its_service(&self) -> bool {
        let Some(authority) = self.authority() else { return false };
        let port = authority.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
        let host = port.map_or(authority, |(host, _)| host).to_ascii_lowercase();
        let full = self.group().host();
        let short = full.strip_suffix(".cluster.local").unwrap_or_default();
        let names = [
            &*full,
            &format!("{full}."),
            short,
            short.strip_suffix(".svc").unwrap_or_default(),
            self.group().name,
            &address(self.group, 80).ip().to_string(),
        ];
        names.contains(&&*host)
    }

    /// Path and query that a change adds to.
    pub(super) fn split(&self) -> (&str, Option<&str>) {
        self.target.split_once('?').map_or((&*self.target, None), |(path, query)| (path, Some(query)))
    }

    /// Puts tokens in the place of their names.
    pub fn present(&mut self, tokens: &[(&str, &str)]) {
        for (name, token) in tokens {
            let name = format!("TOKEN-{name}");
            for text in self.fields.iter_mut().map(|(_, value)| value).chain([&mut self.target]) {
                *text = text.replace(&name, token);
            }
        }
    }

    /// Fields that tell the requests of the two sides apart: how the server is to count this one, and how logs name it.
    #[must_use]
    pub fn marks(&self, side: &str) -> [(&'static str, String); 2] {
        let id = self.id(side);
        [("x-request-id", id.clone()), ("x-echo", format!("key={id}&once={id}&{}", self.wishes))]
    }

    /// What logs and servers call it.
    #[must_use]
    pub fn id(&self, side: &str) -> String {
        format!("{side}-{:05}", self.number)
    }

    /// It as bytes of HTTP/1, the last request of its connection.
    #[must_use]
    pub fn bytes(&self, side: &str) -> Vec<u8> {
        let version = if self.is_http10 { "1.0" } else { "1.1" };
        let mut text = format!("{} {} HTTP/{version}\r\n", self.method, self.target);
        for host in &self.hosts {
            let _ = write!(text, "Host: {host}\r\n");
        }
        for (name, value) in &self.fields {
            let _ = write!(text, "{name}: {value}\r\n");
        }
        for (name, value) in self.marks(side) {
            let _ = write!(text, "{name}: {value}\r\n");
        }
        text += &self.lines;
        if !self.fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("connection")) {
            text += "Connection: close\r\n";
        }
        match &self.content {
            Content::None => text += "\r\n",
            Content::OfLength(content) => {
                let _ = write!(text, "Content-Length: {}\r\n\r\n{content}", content.len());
            }
            Content::InChunks(content) => {
                let _ = write!(text, "Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{content}\r\n0\r\n\r\n", content.len());
            }
        }
        text.into_bytes()
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, method, target, hosts, fields, wishes, changes, content, lines, .. } = self;
        let version = match (self.is_http2, self.is_http10) {
            (true, _) => "HTTP/2",
            (_, true) => "HTTP/1.0",
            _ => "HTTP/1.1",
        };
        let port = self.address.port();
        let fields: String = fields.iter().map(|(name, value)| format!(" {name}={value:?}")).collect();
        write!(f, "{number} ({}:{port}) {version} {method} {target:?} of {hosts:?}{fields}", self.group().name)?;
        write!(f, " {lines:?} content={content} wishes={wishes:?} changes={changes:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answers::group::get;

    #[test]
    fn a_request_of_http1_is_written_as_it_is_said() {
        let mut ask = Ask::plain(0, Subject::Routes, 0, &get("/_ready"));
        ask.fields.push(("x-user".to_owned(), "eve".to_owned()));
        ask.content = Content::InChunks("content".to_owned());
        let expected = "GET /_ready HTTP/1.1\r\nHost: match.answers.svc.cluster.local\r\nx-user: eve\r\n\
                        x-request-id: s-00000\r\nx-echo: key=s-00000&once=s-00000&\r\nConnection: close\r\n\
                        Transfer-Encoding: chunked\r\n\r\n7\r\ncontent\r\n0\r\n\r\n";
        assert_eq!(String::from_utf8(ask.bytes("s")).unwrap(), expected);
    }
}
