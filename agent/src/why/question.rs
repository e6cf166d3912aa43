//! What is asked: a pod, a URL, a method and fields.

use std::net::IpAddr;

use http::Uri;

use crate::model::http::head::{HttpVersion, RequestHead};

/// What somebody wants to know of a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Question {
    /// `namespace/name`, a name that only one enrolled pod has, or a uid.
    pub pod: String,
    /// `http://host:port/path?query`; `https` and `tcp` ask for connections that carry no readable HTTP.
    pub url: String,
    /// GET where it is empty.
    pub method: String,
    /// `name: value`, each.
    pub headers: Vec<String>,
}

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    #[error("no pod {pod:?} is enrolled on this node; enrolled are: {enrolled}")]
    UnknownPod { pod: String, enrolled: String },
    #[error("several enrolled pods are called {pod:?}: {candidates}; say which one as namespace/name")]
    AmbiguousPod { pod: String, candidates: String },
    #[error("{url:?} is no URL to ask about: {why}; it looks like http://host:port/path")]
    Url { url: String, why: String },
    #[error("{0:?} is no method of HTTP")]
    Method(String),
    #[error("{0:?} is no field: it looks like 'name: value'")]
    Header(String),
}

/// What a client sends to the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    Http,
    /// TLS of its own: nobody but its server reads it.
    Tls,
    /// Something else.
    Bytes,
}

/// The question, read.
#[derive(Debug, Clone)]
pub(super) struct ReadQuestion {
    pub(super) sent: Sent,
    pub(super) host: Host,
    pub(super) port: u16,
    pub(super) head: RequestHead,
}

/// Whom the client wants to reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Host {
    /// In lower case, without a dot at its end.
    Name(String),
    Address(IpAddr),
}

impl ReadQuestion {
    pub(super) fn read(question: &Question) -> Result<Self, QuestionError> {
        let Question { url, method, headers, .. } = question;
        // Neither is repeated as far as it may be a secret.
        let shown = url.split('?').next().unwrap_or_default();
        let wrong = |why: &str| QuestionError::Url { url: shown.to_owned(), why: why.to_owned() };
        let no_header = |header: &str| {
            let shown = header.split_once(':').map_or(header.split_whitespace().next(), |(name, _)| Some(name));
            QuestionError::Header(shown.unwrap_or_default().to_owned())
        };
        let whole = if url.contains("://") { url.clone() } else { format!("http://{url}") };
        let uri: Uri = whole.parse().map_err(|error: http::uri::InvalidUri| wrong(&error.to_string()))?;
        let (sent, usual_port) = match uri.scheme_str() {
            Some("http") => (Sent::Http, Some(80)),
            Some("https") => (Sent::Tls, Some(443)),
            Some("tcp") => (Sent::Bytes, None),
            _ => return Err(wrong("its scheme is none of http, https and tcp")),
        };
        let authority = uri.authority().ok_or_else(|| wrong("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("it names a user"));
        }
        let port = authority.port_u16().or(usual_port).ok_or_else(|| wrong("tcp needs a port"))?;
        let name = authority.host().trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
        if name.is_empty() {
            return Err(wrong("it has no host"));
        }
        let host = name.parse().map_or_else(|_| Host::Name(name.to_ascii_lowercase()), Host::Address);
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        if !target.is_ascii() {
            return Err(wrong("its path has characters beyond ASCII: write them percent-encoded"));
        }
        let mut head = RequestHead {
            method: read_method(method)?.into(),
            target: if target.starts_with('/') { target.into() } else { format!("/{target}").into() },
            authority: authority.as_str().into(),
            ..RequestHead::default()
        };
        for header in headers {
            let (name, value) = header.split_once(':').ok_or_else(|| no_header(header))?;
            let value = value.trim();
            if !is_token(name) || value.bytes().any(|byte| byte != b'\t' && byte.is_ascii_control()) {
                return Err(no_header(header));
            }
            if name.eq_ignore_ascii_case("host") {
                head.authority = value.into();
            } else {
                head.fields.append(name.as_bytes(), value.as_bytes());
            }
        }
        if head.is_grpc() {
            head.version = HttpVersion::Http2;
        }
        Ok(Self { sent, host, port, head })
    }
}

fn read_method(method: &str) -> Result<&str, QuestionError> {
    match method {
        "" => Ok("GET"),
        method if is_token(method) => Ok(method),
        method => Err(QuestionError::Method(method.to_owned())),
    }
}

/// RFC 9110 §5.6.2.
fn is_token(text: &str) -> bool {
    let is_token_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_token_byte)
}

/// Which of the enrolled pods is meant, each `(uid, namespace, name)`; its place among them.
///
/// # Errors
/// When it is none of them, or could be several.
pub fn find_pod(wanted: &str, enrolled: &[(&str, &str, &str)]) -> Result<usize, QuestionError> {
    let full = |(_, namespace, name): &(&str, &str, &str)| format!("{namespace}/{name}");
    let places = |is_it: &dyn Fn(&(&str, &str, &str)) -> bool| -> Vec<usize> {
        (0..).zip(enrolled).filter(|(_, pod)| is_it(pod)).map(|(at, _)| at).collect()
    };
    let exact = places(&|pod| pod.0 == wanted || full(pod) == wanted);
    if let [at, ..] = &exact[..] {
        return Ok(*at);
    }
    match &places(&|pod| pod.2 == wanted)[..] {
        [only] => Ok(*only),
        [] => {
            let mut names: Vec<String> = enrolled.iter().map(full).collect();
            names.sort();
            let enrolled = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            Err(QuestionError::UnknownPod { pod: wanted.to_owned(), enrolled })
        }
        several => {
            let mut names: Vec<String> = several.iter().map(|at| full(&enrolled[*at])).collect();
            names.sort();
            Err(QuestionError::AmbiguousPod { pod: wanted.to_owned(), candidates: names.join(", ") })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_as_a_client_reads_them() {
        for (url, expected) in [
            ("http://reviews:9080/a?b=c", "Http reviews 9080 reviews:9080 /a?b=c"),
            ("reviews", "Http reviews 80 reviews /"),
            ("http://Reviews.Shop./", "Http reviews.shop 80 Reviews.Shop. /"),
            ("https://api.example.com/x", "Tls api.example.com 443 api.example.com /x"),
            ("tcp://10.0.0.1:6379", "Bytes 10.0.0.1 6379 10.0.0.1:6379 /"),
            ("http://[fd00::1]:8080?x", "Http fd00::1 8080 [fd00::1]:8080 /?x"),
        ] {
            let asked = ReadQuestion::read(&Question { url: url.to_owned(), ..Question::default() }).expect(url);
            let host = match &asked.host {
                Host::Name(name) => name.clone(),
                Host::Address(ip) => ip.to_string(),
            };
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let (authority, target) = (text(&asked.head.authority), text(&asked.head.target));
            assert_eq!(format!("{:?} {host} {} {authority} {target}", asked.sent, asked.port), expected, "{url}");
        }
    }

    #[test]
    fn what_is_no_question_is_refused_with_the_reason() {
        let ask = |url: &str, method: &str, header: &str| {
            let headers = Some(header.to_owned()).into_iter().filter(|header| !header.is_empty()).collect();
            let question = Question { pod: "a".into(), url: url.into(), method: method.into(), headers };
            ReadQuestion::read(&question).map(|_| ()).expect_err(url).to_string()
        };
        for (url, method, header, expected) in [
            (
                "ftp://a/",
                "",
                "",
                "\"ftp://a/\" is no URL to ask about: its scheme is none of http, https and tcp; it looks like http://host:port/path",
            ),
            (
                "tcp://a",
                "",
                "",
                "\"tcp://a\" is no URL to ask about: tcp needs a port; it looks like http://host:port/path",
            ),
            (
                "http://u@a/",
                "",
                "",
                "\"http://u@a/\" is no URL to ask about: it names a user; it looks like http://host:port/path",
            ),
            ("a", "GE T", "", "\"GE T\" is no method of HTTP"),
            ("a", "", "x-user", "\"x-user\" is no field: it looks like 'name: value'"),
            ("a", "", "x user: a", "\"x user\" is no field: it looks like 'name: value'"),
            ("a", "", "authorization Bearer abc", "\"authorization\" is no field: it looks like 'name: value'"),
        ] {
            assert_eq!(ask(url, method, header), expected);
        }
        assert!(ReadQuestion::read(&Question { url: "http://a b/".into(), ..Question::default() }).is_err());
    }

    #[test]
    fn a_pod_is_found_by_name_full_name_or_uid() {
        let pods = [("1", "shop", "web"), ("2", "shop", "cart"), ("3", "bank", "web")];
        for (wanted, expected) in [
            ("shop/web", Ok(0)),
            ("3", Ok(2)),
            ("cart", Ok(1)),
            (
                "web",
                Err("several enrolled pods are called \"web\": bank/web, shop/web; say which one as namespace/name"),
            ),
            ("shop/x", Err("no pod \"shop/x\" is enrolled on this node; enrolled are: bank/web, shop/cart, shop/web")),
        ] {
            let found = find_pod(wanted, &pods).map_err(|error| error.to_string());
            assert_eq!(found, expected.map_err(str::to_owned), "{wanted}");
        }
    }
}
