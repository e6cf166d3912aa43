//! Where a control plane or CA is, and how it must prove itself.

use http::Uri;
use rustls_pki_types::ServerName;

use super::lookup::OwnServices;
use super::roots::RootSource;

/// istiod's port for discovery and certificates over TLS.
const DEFAULT_PORT: u16 = 15012;

/// Where a control plane is and how it proves itself.
#[derive(Debug, Clone)]
pub struct ControlAddress {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) security: Security,
    pub(super) services: OwnServices,
    pub(super) uri: Uri,
}

#[derive(Debug, Clone)]
pub(super) enum Security {
    /// Plain HTTP; only loopback addresses are connected to.
    LoopbackOnly,
    Tls {
        server_name: ServerName<'static>,
        roots: RootSource,
    },
}

/// Why an address of a control plane cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidControlAddress {
    #[error("{0:?} is not of the form https://host:port")]
    Form(String),
    #[error("{0:?} is neither a DNS name nor an IP address")]
    ServerName(String),
}

impl ControlAddress {
    /// Reads `https://host:port` (or `http://` for a loopback address). The certificate must be valid for `server_name`,
    /// or for the host of the address if that is unset; its chain must end in one of `roots`, which are read anew for
    /// every connection. The port is 15012 unless the address says otherwise.
    ///
    /// # Errors
    /// If the address or the server name does not parse.
    pub fn new(address: &str, server_name: Option<&str>, roots: RootSource) -> Result<Self, InvalidControlAddress> {
        let form = || InvalidControlAddress::Form(address.to_owned());
        let uri: Uri = address.parse().map_err(|_| form())?;
        let authority = uri.authority().ok_or_else(form)?.as_str();
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(form)?;
        // Looked at as text: the parser takes a port beyond 65535 for none.
        let port = match authority.strip_prefix(host).ok_or_else(form)? {
            "" => DEFAULT_PORT,
            rest => {
                rest.strip_prefix(':').and_then(|port| port.parse().ok()).filter(|port| *port != 0).ok_or_else(form)?
            }
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let security = match uri.scheme_str() {
            Some("http") => Security::LoopbackOnly,
            Some("https") => {
                let name = server_name.filter(|name| !name.is_empty()).unwrap_or(&host);
                let server_name = ServerName::try_from(name.to_owned())
                    .map_err(|_| InvalidControlAddress::ServerName(name.to_owned()))?;
                Security::Tls { server_name, roots }
            }
            _ => return Err(form()),
        };
        Ok(Self { host, port, security, services: OwnServices::default(), uri })
    }

    /// The same, where DNS may be silent: these services' addresses are known without it.
    #[must_use]
    pub fn with_services(self, services: OwnServices) -> Self {
        Self { services, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_cannot_be_used_are_named() {
        let root = || RootSource::new("/nowhere");
        for text in [
            "",
            "host:15012",
            "ftp://host:1",
            "https://",
            "https://host:0",
            "https://host:70000",
            "https://host:",
            "https://user@host",
            "/path",
        ] {
            assert_eq!(
                ControlAddress::new(text, None, root()).err(),
                Some(InvalidControlAddress::Form(text.into())),
                "{text}"
            );
        }
        assert_eq!(
            ControlAddress::new("https://host", Some("not a name"), root()).err(),
            Some(InvalidControlAddress::ServerName("not a name".into()))
        );
        let address = ControlAddress::new("https://[::1]", None, root()).expect("an IPv6 host");
        assert_eq!((address.host.as_str(), address.port), ("::1", 15012));
    }
}
