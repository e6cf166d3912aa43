//! Parameters of a URL's query.

use http::Uri;

/// The value of a parameter of a URL's query, decoded; empty where it has none.
pub(super) fn parameter(uri: &Uri, name: &str) -> Option<String> {
    parameters(uri, name).next()
}

/// The values of all parameters of a name.
pub(super) fn parameters(uri: &Uri, name: &str) -> impl Iterator<Item = String> {
    uri.query().into_iter().flat_map(|query| query.split('&')).filter_map(move |pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(key) == name).then(|| decode(value))
    })
}

/// A path with a query of parameters.
pub fn with_parameters(path: &str, parameters: &[(&str, &str)]) -> String {
    let pairs: Vec<String> = parameters.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
    format!("{path}?{}", pairs.join("&"))
}

/// Percent-encodes what is not unreserved (RFC 3986 §2.3).
fn encode(text: &str) -> String {
    let is_unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let piece = |byte: u8| if is_unreserved(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(piece).collect()
}

/// Undoes percent-encoding. What is not a valid escape stands for itself; what is not UTF-8 becomes U+FFFD.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => match escaped(after) {
                Some(decoded) => {
                    rest = &after[2..];
                    decoded
                }
                None => byte,
            },
            _ => byte,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn escaped(after_percent: &[u8]) -> Option<u8> {
    let digits = after_percent.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
    u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_found_and_decoded() {
        for (query, expected) in [
            ("level=debug", Some("debug")),
            ("other=1&level=info%2Cweir%3Ddebug", Some("info,weir=debug")),
            ("level", Some("")),
            ("le%76el=a+b", Some("a b")),
            ("level=%", Some("%")),
            ("level=%2", Some("%2")),
            ("level=%+1x", Some("% 1x")),
            ("level=%ff", Some("\u{fffd}")),
            ("levels=debug", None),
            ("", None),
        ] {
            let uri: Uri = format!("/logging?{query}").parse().expect("test URIs are valid");
            assert_eq!(parameter(&uri, "level").as_deref(), expected, "{query}");
        }
    }

    #[test]
    fn parameters_are_read_as_they_were_written() {
        let values = ["x-user: a b", "a=1&b", "100%+é", ""];
        let uri: Uri = with_parameters("/why", &values.map(|value| ("header", value))).parse().expect("a URI");
        assert!(parameters(&uri, "header").eq(values), "{uri}");
    }
}
