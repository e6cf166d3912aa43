//! The `:authority` of a CONNECT request: which address and port the bytes are for.

use std::net::SocketAddr;

/// Where a CONNECT request wants to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authority {
    Address(SocketAddr),
    /// A service name, as a gateway of another network sends it.
    Hostname(String, u16),
}

/// Why an authority is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("authority {0:?} is not of the form address:port or hostname:port")]
pub struct InvalidAuthority(pub String);

/// Parses `1.2.3.4:80`, `[fd00::1]:80` or `name.example:80`. Port 0 is refused.
///
/// # Errors
/// When it is none of these.
pub fn parse_authority(text: &str) -> Result<Authority, InvalidAuthority> {
    let invalid = || InvalidAuthority(text.chars().take(300).collect());
    if let Ok(address) = text.parse::<SocketAddr>() {
        let address = crate::model::address::canonical(address);
        return if address.port() == 0 { Err(invalid()) } else { Ok(Authority::Address(address)) };
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(invalid)?;
    let port = port.bytes().all(|b| b.is_ascii_digit()).then(|| port.parse().ok()).flatten().filter(|port| *port != 0);
    let is_name = !host.is_empty()
        && host.len() <= 253
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.' || b == b'_')
        && host.bytes().any(|b| b.is_ascii_alphabetic());
    match port {
        Some(port) if is_name => Ok(Authority::Hostname(host.to_ascii_lowercase(), port)),
        _ => Err(invalid()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_are_understood() {
        let address = |text: &str| Ok(Authority::Address(text.parse().expect("an address")));
        for (text, expected) in [
            ("10.0.0.1:80", address("10.0.0.1:80")),
            ("[fd00::1]:80", address("[fd00::1]:80")),
            ("[::ffff:10.0.0.1]:80", address("10.0.0.1:80")),
            ("Web.default.svc:8080", Ok(Authority::Hostname("web.default.svc".to_owned(), 8080))),
        ] {
            assert_eq!(parse_authority(text), expected, "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            ":",
            "10.0.0.1",
            "10.0.0.1:",
            "10.0.0.1:0",
            "10.0.0.1:65536",
            "10.0.0:80",
            "fd00::1:80",
            "a b:80",
            "x:+80",
        ] {
            assert_eq!(parse_authority(text), Err(InvalidAuthority(text.to_owned())), "{text}");
        }
    }
}
