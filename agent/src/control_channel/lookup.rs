//! Resolves a control plane's name: by DNS, and where DNS does not answer by the environment, in which the kubelet names the
//! services of this pod's namespace. A cluster's DNS may itself be a workload that waits for the agent.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::seq::SliceRandom as _;
use tokio::time::{Instant, timeout};

/// How long DNS may take if the environment has an address.
const DNS_FALLBACK_DELAY: Duration = Duration::from_millis(300);
/// How long DNS may take if the environment has none.
const DNS_TIMEOUT: Duration = Duration::from_secs(5);
/// How long DNS is not asked again after it did not answer: every query occupies a thread until it times out.
const DNS_QUIET_PERIOD: Duration = Duration::from_secs(20);

/// The services of the agent's own namespace, as the kubelet names them in every pod's environment.
#[derive(Debug, Clone, Default)]
pub struct OwnServices {
    namespace: Arc<str>,
    /// `<SERVICE>_SERVICE_HOST` to address.
    hosts: Arc<BTreeMap<String, String>>,
    dns_quiet_until: Arc<Mutex<Option<Instant>>>,
}

impl OwnServices {
    /// `hosts` are variables of the environment by name; others than `<SERVICE>_SERVICE_HOST` are not looked at.
    #[must_use]
    pub fn new(namespace: &str, hosts: &BTreeMap<String, String>) -> Self {
        Self { namespace: namespace.into(), hosts: Arc::new(hosts.clone()), dns_quiet_until: Arc::default() }
    }

    /// The address of a service named `<service>[.<own namespace>[.svc[.<domain>]]]`.
    fn address_of(&self, host: &str) -> Option<IpAddr> {
        let mut labels = host.trim_end_matches('.').split('.');
        let service = labels.next()?;
        let is_own = labels.next().is_none_or(|namespace| namespace == &*self.namespace);
        if !is_own || labels.next().is_some_and(|kind| kind != "svc") {
            return None;
        }
        let variable = format!("{}_SERVICE_HOST", service.to_ascii_uppercase().replace('-', "_"));
        self.hosts.get(&variable)?.parse().ok()
    }

    /// All addresses of a host, shuffled: of several control planes each gets its share of agents.
    ///
    /// # Errors
    /// When DNS knows no address or does not answer, and the environment has none.
    pub(super) async fn lookup(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let from_environment = self.address_of(host).map(|address| SocketAddr::new(address, port));
        if let Some(from_environment) = from_environment
            && self.dns_quiet_until.lock().is_some_and(|until| Instant::now() < until)
        {
            return Ok(vec![from_environment]);
        }
        let limit = if from_environment.is_some() { DNS_FALLBACK_DELAY } else { DNS_TIMEOUT };
        let answer = match timeout(limit, tokio::net::lookup_host((host, port))).await {
            Ok(answer) => answer.map(Iterator::collect::<Vec<_>>),
            Err(_) => {
                *self.dns_quiet_until.lock() = Some(Instant::now() + DNS_QUIET_PERIOD);
                Err(io::Error::new(io::ErrorKind::TimedOut, format!("DNS does not answer for {host}")))
            }
        };
        match (answer, from_environment) {
            (Ok(mut addresses), _) if !addresses.is_empty() => {
                addresses.shuffle(&mut rand::rng());
                Ok(addresses)
            }
            (_, Some(from_environment)) => {
                tracing::debug!(host, address = %from_environment, "DNS does not know the host: its address is the kubelet's");
                Ok(vec![from_environment])
            }
            (Ok(_), None) => Err(io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"))),
            (Err(error), None) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn services() -> OwnServices {
        let hosts = [("ISTIOD_SERVICE_HOST", "10.96.0.9"), ("ISTIOD_CANARY_SERVICE_HOST", "fd00::9")];
        OwnServices::new("istio-system", &hosts.map(|(name, value)| (name.to_owned(), value.to_owned())).into())
    }

    #[test]
    fn services_of_the_own_namespace_are_known_by_name() {
        let known = |host: &str| services().address_of(host).map(|address| address.to_string());
        for host in
            ["istiod", "istiod.istio-system", "istiod.istio-system.svc", "istiod.istio-system.svc.cluster.local."]
        {
            assert_eq!(known(host).as_deref(), Some("10.96.0.9"), "{host}");
        }
        assert_eq!(known("istiod-canary.istio-system.svc").as_deref(), Some("fd00::9"));
        for host in ["istiod.other.svc", "istiod.istio-system.example", "other.istio-system.svc", ""] {
            assert_eq!(known(host), None, "{host}");
        }
    }

    #[tokio::test]
    async fn dns_is_asked_first_and_the_environment_answers_in_its_place() {
        let local = services().lookup("127.0.0.1", 15012).await.unwrap();
        assert_eq!(local, ["127.0.0.1:15012".parse().unwrap()]);
        let from_environment = services().lookup("istiod.istio-system.svc.invalid", 15012).await.unwrap();
        assert_eq!(from_environment, ["10.96.0.9:15012".parse().unwrap()]);
    }
}
