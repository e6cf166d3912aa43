//! Whom a lookup asks, and for which names: what resolv.conf(5) and hosts(5) say.

use std::net::IpAddr;
use std::str::FromStr as _;
use std::time::Duration;

use hickory_resolver::proto::rr::Name;
use resolv_conf::ScopedIp;

/// The bounds of glibc, which leaves out what is beyond them (`MAXNS`, `RES_MAXNDOTS`, `RES_MAXRETRANS` and `RES_MAXRETRY` of its
/// resolv.h).
const MAX_SERVERS: usize = 3;
const MAX_NDOTS: u32 = 15;
const MAX_TIMEOUT_SECONDS: u32 = 30;
const MAX_ATTEMPTS: u32 = 5;
const DNS_PORT: u16 = 53;
/// glibc has no bound any more. This one is that of Kubernetes for a pod's `dnsConfig`.
const MAX_SEARCH: usize = 32;

/// What a `resolv.conf` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Configuration {
    /// At least one.
    pub(super) servers: Vec<IpAddr>,
    pub(super) port: u16,
    search: Vec<Name>,
    ndots: usize,
    pub(super) timeout: Duration,
    /// How often the servers are asked at most.
    pub(super) attempts: usize,
    pub(super) only_tcp: bool,
    pub(super) only_ipv4: bool,
    pub(super) edns: bool,
}

impl Configuration {
    /// Reads a `resolv.conf`, and says what of it has no effect. Where it names no server, the host's own is asked, as libraries do.
    pub(super) fn parse(text: &[u8]) -> (Self, Vec<String>) {
        let (parsed, errors) = resolv_conf::Config::parse_with_errors(text);
        let mut unused: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let mut servers = Vec::new();
        for server in parsed.get_nameservers_or_local() {
            match server {
                ScopedIp::V6(_, Some(_)) => unused.push(format!("nameserver {server}: an address with a zone")),
                _ if servers.len() == MAX_SERVERS => {
                    unused.push(format!("nameserver {server}: more than {MAX_SERVERS}"))
                }
                _ => servers.push(IpAddr::from(server)),
            }
        }
        let mut search = Vec::new();
        for domain in parsed.get_last_search_or_domain() {
            match Name::from_str_relaxed(domain) {
                Ok(name) if search.len() < MAX_SEARCH => search.push(name),
                Ok(_) => unused.push(format!("search {domain}: more than {MAX_SEARCH}")),
                Err(error) => unused.push(format!("search {domain}: {error}")),
            }
        }
        let configuration = Self {
            servers,
            port: DNS_PORT,
            search,
            ndots: parsed.ndots.min(MAX_NDOTS) as usize,
            timeout: Duration::from_secs(parsed.timeout.clamp(1, MAX_TIMEOUT_SECONDS).into()),
            attempts: parsed.attempts.clamp(1, MAX_ATTEMPTS) as usize,
            only_tcp: parsed.use_vc,
            only_ipv4: parsed.no_aaaa,
            edns: parsed.edns0,
        };
        (configuration, unused)
    }

    /// The names that stand for one, in the order in which they are looked up; none where it is not a name.
    pub(super) fn full_names(&self, name: &str) -> Vec<Name> {
        let Ok(mut own) = Name::from_str_relaxed(name) else { return Vec::new() };
        if own.is_fqdn() {
            return vec![own];
        }
        let searched = self.search.iter().filter_map(|domain| own.clone().append_domain(domain).ok());
        let mut names: Vec<Name> = searched.collect();
        own.set_fqdn(true);
        let is_first = name.matches('.').count() >= self.ndots;
        names.insert(if is_first { 0 } else { names.len() }, own);
        names
    }
}

/// The addresses that a hosts file has for a name, IPv6 and IPv4.
pub(super) fn of_hosts(text: &[u8], name: &str) -> (Vec<IpAddr>, Vec<IpAddr>) {
    let name = name.strip_suffix('.').unwrap_or(name);
    let mut found = Vec::new();
    for line in text.split(|byte| *byte == b'\n') {
        // What is not UTF-8 may be in a comment only.
        let line = String::from_utf8_lossy(line);
        let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
        let Some(Ok(ip)) = words.next().map(IpAddr::from_str) else { continue };
        if words.any(|word| word.strip_suffix('.').unwrap_or(word).eq_ignore_ascii_case(name)) {
            found.push(ip.to_canonical());
        }
    }
    found.into_iter().partition(IpAddr::is_ipv6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().expect("tests write addresses")).collect()
    }

    #[test]
    fn names_are_looked_up_in_the_order_of_the_resolver_configuration() {
        let of_pod = "search shop.svc.cluster.local svc.cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n";
        for (text, name, expected) in [
            ("nameserver 192.0.2.1\n", "db", &["db."][..]),
            ("", "db.example", &["db.example."]),
            ("search a.example b.example\n", "db", &["db.a.example.", "db.b.example.", "db."]),
            ("search a.example\n", "db.x", &["db.x.", "db.x.a.example."]),
            ("search a.example\ndomain b.example\n", "db", &["db.b.example.", "db."]),
            ("search a.example\noptions ndots:2\n", "db.x", &["db.x.a.example.", "db.x."]),
            ("search a.example\noptions ndots:0\n", "db", &["db.", "db.a.example."]),
            ("search a.example\n", "db.", &["db."]),
            (of_pod, "db.shop", &["db.shop.shop.svc.cluster.local.", "db.shop.svc.cluster.local.", "db.shop."]),
            ("", "_a.example", &["_a.example."]),
            ("", "not a..name", &[]),
        ] {
            let names = Configuration::parse(text.as_bytes()).0.full_names(name);
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            assert_eq!(names, expected, "{text:?}: {name}");
        }
    }

    #[test]
    fn a_configuration_has_bounds_and_says_what_has_no_effect() {
        let read = |text: &str| Configuration::parse(text.as_bytes());
        let (none, unused) = read("");
        assert_eq!((none.servers, unused.len()), (ips(&["127.0.0.1", "::1"]), 0));
        assert_eq!((none.timeout, none.attempts, none.ndots), (Duration::from_secs(5), 2, 1));
        let options = "options timeout:9999 attempts:0 ndots:4000000000 use-vc no-aaaa edns0\n";
        let (bounded, unused) = read(options);
        assert_eq!((bounded.timeout, bounded.attempts, bounded.ndots), (Duration::from_secs(30), 1, 15));
        assert!(bounded.only_tcp && bounded.only_ipv4 && bounded.edns && unused.is_empty());
        let many: String = (0..9).map(|n| format!("nameserver 192.0.2.{n}\n")).collect();
        let (many, unused) = read(&many);
        assert_eq!((many.servers, unused.len()), (ips(&["192.0.2.0", "192.0.2.1", "192.0.2.2"]), 6));
        let search: Vec<String> = (0..50).map(|n| format!("d{n}.example")).collect();
        let (search, unused) = read(&format!("search {}\n", search.join(" ")));
        assert_eq!((search.search.len(), unused.len()), (32, 18));
        for (bad, servers) in [
            ("nameserver nobody\n", &["127.0.0.1", "::1"][..]),
            ("nameserver fe80::1%eth0\nnameserver 192.0.2.1\n", &["192.0.2.1"]),
            ("search a..b\nnameserver 192.0.2.1\n", &["192.0.2.1"]),
            ("options ndots:many\nnameserver 192.0.2.1\n", &["192.0.2.1"]),
            ("\u{0}\u{1}\nnameserver 192.0.2.1\n", &["192.0.2.1"]),
        ] {
            let (configuration, unused) = read(bad);
            assert_eq!((configuration.servers, unused.len()), (ips(servers), 1), "{bad:?}");
        }
        let (binary, unused) = Configuration::parse(b"\xff\xfe\nnameserver 192.0.2.1\n");
        assert_eq!((binary.servers, unused.len()), (ips(&["192.0.2.1"]), 1));
    }

    #[test]
    fn a_hosts_file_has_all_addresses_of_a_name() {
        let text =
            b"127.0.0.1 localhost # db\n\xff\n192.0.2.1\tdb.example DB\n2001:db8::1 db\n::ffff:192.0.2.2 db.\nx db\n";
        for (name, v6, v4) in [
            ("db", &["2001:db8::1"][..], &["192.0.2.1", "192.0.2.2"][..]),
            ("db.example.", &[], &["192.0.2.1"]),
            ("localhost", &[], &["127.0.0.1"]),
            ("example", &[], &[]),
        ] {
            assert_eq!(of_hosts(text, name), (ips(v6), ips(v4)), "{name}");
        }
    }
}
