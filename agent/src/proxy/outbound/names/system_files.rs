//! The agent's own `/etc/hosts` and `/etc/resolv.conf`, as they are at each lookup.

use std::fs::File;
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::sync::Arc;

use hickory_resolver::net::runtime::TokioRuntimeProvider;
use parking_lot::Mutex;

use super::answer::{HOSTS_TTL, Known};
use super::configuration::{Configuration, of_hosts};
use super::resolver;

const HOSTS: &str = "/etc/hosts";
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// What of a file is read at most.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct SystemFiles {
    /// The text of `resolv.conf` that was read last, and what it says.
    read: Mutex<Option<(Vec<u8>, Arc<Configuration>)>>,
}

impl SystemFiles {
    /// Looks a name up as the system's own resolver does: in `/etc/hosts`, then in DNS.
    pub(super) async fn look_up(&self, name: &str) -> Known {
        if let Some(known) = without_dns(name) {
            return known;
        }
        resolver::look_up(&self.configuration(), name, TokioRuntimeProvider::new()).await
    }

    fn configuration(&self) -> Arc<Configuration> {
        let text = read(RESOLV_CONF);
        let mut last = self.read.lock();
        if let Some((last, configuration)) = &*last
            && *last == text
        {
            return configuration.clone();
        }
        let (configuration, unused) = Configuration::parse(&text);
        for unused in unused {
            tracing::warn!("{RESOLV_CONF}: has no effect: {unused}");
        }
        let configuration = Arc::new(configuration);
        *last = Some((text, configuration.clone()));
        configuration
    }
}

/// The addresses of a name that is one, or that `/etc/hosts` has.
pub(super) fn without_dns(name: &str) -> Option<Known> {
    let (v6, v4) = match name.parse() {
        Ok(ip) => [ip].into_iter().partition(IpAddr::is_ipv6),
        Err(_) => of_hosts(&read(HOSTS), name),
    };
    (!v6.is_empty() || !v4.is_empty()).then(|| Known::found(v6, v4, HOSTS_TTL))
}

/// A file of the system; what cannot be read is as if it were not there. These are small and local: reading them does not wait.
fn read(path: &str) -> Vec<u8> {
    let mut text = Vec::new();
    match File::open(path).and_then(|file| file.take(MAX_FILE_BYTES).read_to_end(&mut text)) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::debug!("{path} cannot be read: {error}"),
    }
    text
}
