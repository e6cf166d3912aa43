//! How clients and servers report what they saw: addresses and errors as text.

use std::io;
use std::net::SocketAddr;

/// An address as people write it: IPv4 is IPv4, also on a socket of both families.
pub(crate) fn shown(address: SocketAddr) -> String {
    SocketAddr::new(address.ip().to_canonical(), address.port()).to_string()
}

/// An error by its kind, such as ConnectionRefused; by its number where it has no name.
pub(crate) fn name(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) if format!("{:?}", error.kind()) == "Uncategorized" => format!("errno {number}"),
        _ => format!("{:?}", error.kind()),
    }
}
