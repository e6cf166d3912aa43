//! What of a request decides its endpoint where the load balancer hashes consistently.

use std::net::IpAddr;

use super::destination::{HashCookie, HashKey};
use super::head::RequestHead;
use super::request_values::{parameter, value_of};
use crate::model::balance::{fnv, mixed};

/// The hash of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestHash {
    /// The same for all requests that have the same key, on all nodes and in all versions of this program.
    Known(u64),
    /// The request has no cookie yet: the response sets one, with which later requests have this hash.
    NewCookie { hash: u64, set_cookie: String },
    /// The request does not have the key: chance decides.
    Absent,
}

impl HashKey {
    /// The hash of a request of a client. `random` is uniform; a cookie that is made for the client holds it.
    #[must_use]
    pub fn hash(&self, request: &RequestHead, client: IpAddr, random: u64) -> RequestHash {
        let known = |value: Option<&[u8]>| value.map_or(RequestHash::Absent, |value| RequestHash::Known(hash(value)));
        match self {
            Self::Header(name) => known(value_of(request, name).as_deref()),
            Self::QueryParameter(name) => known(request.query().and_then(|query| parameter(query, name))),
            Self::SourceIp => RequestHash::Known(match client {
                IpAddr::V4(ip) => hash(&ip.octets()),
                IpAddr::V6(ip) => hash(&ip.octets()),
            }),
            Self::Cookie(cookie) => match value_of_cookie(request, &cookie.name) {
                Some(value) => RequestHash::Known(hash(value)),
                None if cookie.ttl.is_some() => {
                    let value = format!("{random:016x}");
                    RequestHash::NewCookie { hash: hash(value.as_bytes()), set_cookie: cookie.set(&value) }
                }
                None => RequestHash::Absent,
            },
        }
    }
}

fn hash(value: &[u8]) -> u64 {
    mixed(fnv(value))
}

impl HashCookie {
    /// The value of a `Set-Cookie` field (RFC 6265 §4.1).
    fn set(&self, value: &str) -> String {
        let mut text = format!("{}=\"{value}\"", self.name);
        if let Some(ttl) = self.ttl.filter(|ttl| !ttl.is_zero()) {
            text.push_str(&format!("; Max-Age={}", ttl.as_secs()));
        }
        if !self.path.is_empty() {
            text.push_str(&format!("; Path={}", self.path));
        }
        for (name, value) in &self.attributes {
            text.push_str(&format!("; {name}"));
            if !value.is_empty() {
                text.push_str(&format!("={value}"));
            }
        }
        text.push_str("; HttpOnly");
        text
    }
}

/// The value of a cookie in any of the `Cookie` fields (RFC 6265 §4.2), without quotes. HTTP/2 may split them (RFC 9113 §8.2.3).
fn value_of_cookie<'a>(request: &'a RequestHead, name: &str) -> Option<&'a [u8]> {
    let pairs = request.fields.values("cookie").flat_map(|field| field.split(|byte| *byte == b';'));
    pairs.map(<[u8]>::trim_ascii).find_map(|pair| {
        let value = pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        Some(value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::http::sample::get;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

    fn of(key: &HashKey, target: &str, fields: &[(&str, &str)]) -> RequestHash {
        let mut request = get(target);
        request.fields = fields.iter().copied().collect();
        key.hash(&request, CLIENT, 0xab)
    }

    fn cookie(ttl: Option<u64>) -> HashKey {
        HashKey::Cookie(HashCookie {
            name: "user".into(),
            path: "/p".into(),
            ttl: ttl.map(Duration::from_secs),
            attributes: vec![("SameSite".into(), "Strict".into()), ("Secure".into(), "".into())],
        })
    }

    #[test]
    fn equal_keys_have_equal_hashes_and_no_key_has_none() {
        let header = HashKey::Header("x-user".into());
        let query = HashKey::QueryParameter("u".into());
        let known = |text: &str| RequestHash::Known(hash(text.as_bytes()));
        for (key, target, fields, expected) in [
            (&header, "/", &[("x-user", "a")][..], known("a")),
            (&header, "/other", &[("X-User", "a"), ("y", "z")], known("a")),
            (&header, "/", &[("x-user", "a"), ("x-user", "b")], known("a,b")),
            (&header, "/", &[("y", "a")], RequestHash::Absent),
            (&query, "/?v=1&u=a", &[], known("a")),
            (&query, "/", &[], RequestHash::Absent),
            (&cookie(None), "/", &[("cookie", "a=b; user=a")], known("a")),
            (&cookie(Some(1)), "/", &[("cookie", "xuser=b"), ("cookie", "user=\"a\"")], known("a")),
            (&cookie(None), "/", &[("cookie", "users=a")], RequestHash::Absent),
            (&HashKey::SourceIp, "/", &[], RequestHash::Known(hash(&[10, 0, 0, 1]))),
        ] {
            assert_eq!(of(key, target, fields), expected, "{key:?} {target} {fields:?}");
        }
        assert_ne!(known("a"), known("b"));
        assert_eq!(known("a"), RequestHash::Known(0x02c0_bdbf_4814_20f8), "agents of all versions agree");
    }

    #[test]
    fn a_cookie_is_made_where_the_rule_says_how_long_it_lasts() {
        for (ttl, expected) in [
            (3600, "user=\"00000000000000ab\"; Max-Age=3600; Path=/p; SameSite=Strict; Secure; HttpOnly"),
            (0, "user=\"00000000000000ab\"; Path=/p; SameSite=Strict; Secure; HttpOnly"),
        ] {
            let RequestHash::NewCookie { hash, set_cookie } = of(&cookie(Some(ttl)), "/", &[]) else {
                panic!("it makes one");
            };
            assert_eq!(set_cookie, expected);
            let later = of(&cookie(Some(ttl)), "/", &[("cookie", "user=00000000000000ab")]);
            assert_eq!(later, RequestHash::Known(hash), "the client comes back to the same endpoint");
        }
    }
}
