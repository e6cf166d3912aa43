//! Asking DNS servers for the addresses of a name.
//!
//! Each lookup has resolvers of its own, one for each server, which are gone with it. So no connection, measurement or answer of a
//! lookup is another one's, its sockets belong to the thread that asks, and every change of the configuration counts at once. What is kept
//! of answers, the cache keeps.

use std::net::IpAddr;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use hickory_resolver::Resolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::RuntimeProvider;
use hickory_resolver::net::xfer::Protocol;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{Name, RecordType};

use super::answer::Known;
use super::configuration::Configuration;

/// How long a lookup may take in all, whatever the configuration says: it holds one of those that a pod may have.
const MAX_LOOKUP_TIME: Duration = Duration::from_secs(30);

/// What the servers say of one full name.
#[derive(Debug)]
enum Said {
    Found {
        v6: Vec<IpAddr>,
        v4: Vec<IpAddr>,
        ttl: Duration,
    },
    /// There is no such name or address, and for how long that is so, if they say it.
    Nothing(Option<Duration>),
    Failed(NetError),
}

/// Looks a name up as a configuration says, over sockets of `sockets`.
pub(super) async fn look_up(configuration: &Configuration, name: &str, sockets: impl RuntimeProvider) -> Known {
    match tokio::time::timeout(MAX_LOOKUP_TIME, of_any_name(configuration, name, sockets)).await {
        Ok(known) => known,
        Err(_) => Known::failed("the DNS servers do not answer"),
    }
}

async fn of_any_name(configuration: &Configuration, name: &str, sockets: impl RuntimeProvider) -> Known {
    let names = configuration.full_names(name);
    if names.is_empty() {
        return Known::failed("it is no name that DNS can have");
    }
    let servers = configuration.servers.iter().map(|ip| resolver(configuration, *ip, sockets.clone()));
    let servers = match servers.collect::<Result<Vec<_>, NetError>>() {
        Ok(servers) => servers,
        Err(error) => return Known::failed(&error.to_string()),
    };
    let (mut failure, mut least_ttl) = (None, None);
    for name in names {
        match of_full_name(&servers, &name, configuration.only_ipv4).await {
            Said::Found { v6, v4, ttl } => return Known::found(v6, v4, ttl),
            // Any of the names may come to exist.
            Said::Nothing(ttl) => least_ttl = Some(least(least_ttl, ttl.unwrap_or_default())),
            // A server that answers may know the next name.
            Said::Failed(error @ NetError::Dns(_)) => failure = Some(error),
            Said::Failed(error) => return Known::failed(&error.to_string()),
        }
    }
    match failure {
        Some(error) => Known::failed(&error.to_string()),
        None => Known::no_address(least_ttl),
    }
}

fn least(one: Option<Duration>, other: Duration) -> Duration {
    one.map_or(other, |one| one.min(other))
}

/// Asks one server.
fn resolver<P: RuntimeProvider>(
    configuration: &Configuration,
    server: IpAddr,
    sockets: P,
) -> Result<Resolver<P>, NetError> {
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    connections.retain(|connection| !configuration.only_tcp || connection.protocol.to_protocol() == Protocol::Tcp);
    connections.iter_mut().for_each(|connection| connection.port = configuration.port);
    let server = NameServerConfig::new(server, true, connections);
    let mut builder = Resolver::builder_with_config(ResolverConfig::from_name_servers(vec![server]), sockets);
    let options = builder.options_mut();
    options.timeout = configuration.timeout;
    options.attempts = configuration.attempts - 1;
    options.edns0 = configuration.edns;
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    builder.build()
}

/// All servers are asked at once, and the first that has addresses counts: one that is silent, fails or knows less than another costs
/// nothing. That there are none counts once no server is left that may know better.
async fn of_full_name<P: RuntimeProvider>(servers: &[Resolver<P>], name: &Name, only_ipv4: bool) -> Said {
    let mut asked: FuturesUnordered<_> =
        servers.iter().map(|server| of_both_families(server, name, only_ipv4)).collect();
    let mut without = Said::Failed(NetError::NoConnections);
    while let Some(said) = asked.next().await {
        match (said, &without) {
            (found @ Said::Found { .. }, _) => return found,
            (Said::Nothing(_) | Said::Failed(_), Said::Nothing(_)) => {}
            (said, _) => without = said,
        }
    }
    without
}

/// What a server says of both families. Where it fails for one of them, the other counts; that there is none only where it says so of
/// both.
async fn of_both_families<P: RuntimeProvider>(resolver: &Resolver<P>, name: &Name, only_ipv4: bool) -> Said {
    let v6 = async { if only_ipv4 { Said::Nothing(None) } else { of_type(resolver, name, RecordType::AAAA).await } };
    let both = tokio::join!(v6, of_type(resolver, name, RecordType::A));
    match both {
        (Said::Found { v6, ttl, .. }, Said::Found { v4, ttl: other, .. }) => {
            Said::Found { v6, v4, ttl: ttl.min(other) }
        }
        (found @ Said::Found { .. }, _) | (_, found @ Said::Found { .. }) => found,
        (failed @ Said::Failed(_), _) | (_, failed @ Said::Failed(_)) => failed,
        (Said::Nothing(_), nothing) if only_ipv4 => nothing,
        (Said::Nothing(one), Said::Nothing(other)) => Said::Nothing(one.zip(other).map(|(one, other)| one.min(other))),
    }
}

async fn of_type<P: RuntimeProvider>(resolver: &Resolver<P>, name: &Name, kind: RecordType) -> Said {
    let seconds = |ttl: u32| Duration::from_secs(ttl.into());
    match resolver.lookup(name.clone(), kind).await {
        Ok(lookup) => {
            // The aliases on the way to the addresses are among the answers.
            let ttl = lookup.answers().iter().map(|record| record.ttl).min().unwrap_or_default();
            let addresses = lookup.answers().iter().filter_map(|record| record.data.ip_addr());
            let (v6, v4): (Vec<_>, Vec<_>) = addresses.partition(IpAddr::is_ipv6);
            match v6.is_empty() && v4.is_empty() {
                true => Said::Nothing(None),
                false => Said::Found { v6, v4, ttl: seconds(ttl) },
            }
        }
        Err(NetError::Dns(DnsError::NoRecordsFound(none))) => Said::Nothing(none.negative_ttl.map(seconds)),
        Err(error) => Said::Failed(error),
    }
}

#[cfg(test)]
mod tests;
