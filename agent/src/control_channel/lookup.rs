//! Which addresses a control plane's name stands for: DNS, and where DNS is silent what the kubelet told this pod of the
//! services of its namespace. A cluster's DNS may itself be a workload that waits for the agent.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::seq::SliceRandom as _;
use tokio::time::{Instant, timeout};

/// How long DNS may take where there is another answer.
const PATIENCE: Duration = Duration::from_millis(300);
/// How long it may take where there is none.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a silent DNS is not asked again: every question occupies a thread until it is given up.
const SILENCE: Duration = Duration::from_secs(20);

/// The services of the agent's own namespace, as the kubelet names them in the environment of every pod.
#[derive(Debug, Clone, Default)]
pub struct OwnServices {
    namespace: Arc<str>,
    /// `<SERVICE>_SERVICE_HOST` to address.
    hosts: Arc<BTreeMap<String, String>>,
    silent_until: Arc<Mutex<Option<Instant>>>,
}

impl OwnServices {
    /// `hosts` are variables of the environment by name; others than `<SERVICE>_SERVICE_HOST` are not looked at.
    #[must_use]
    pub fn new(namespace: &str, hosts: &BTreeMap<String, String>) -> Self {
        Self { namespace: namespace.into(), hosts: Arc::new(hosts.clone()), silent_until: Arc::default() }
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

    /// All addresses of a host, in an order of chance: of several control planes each gets its share of agents.
    ///
    /// # Errors
    /// When DNS knows no address or does not answer, and the environment has none.
    pub(super) async fn lookup(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let told = self.address_of(host).map(|address| SocketAddr::new(address, port));
        if let Some(told) = told
            && self.silent_until.lock().is_some_and(|until| Instant::now() < until)
        {
            return Ok(vec![told]);
        }
        let patience = if told.is_some() { PATIENCE } else { LOOKUP_TIMEOUT };
        let answer = match timeout(patience, tokio::net::lookup_host((host, port))).await {
            Ok(answer) => answer.map(Iterator::collect::<Vec<_>>),
            Err(_) => {
                *self.silent_until.lock() = Some(Instant::now() + SILENCE);
                Err(io::Error::new(io::ErrorKind::TimedOut, format!("DNS does not answer for {host}")))
            }
        };
        match (answer, told) {
            (Ok(mut addresses), _) if !addresses.is_empty() => {
                addresses.shuffle(&mut rand::rng());
                Ok(addresses)
            }
            (_, Some(told)) => {
                tracing::debug!(host, address = %told, "DNS does not know the host: its address is the kubelet's");
                Ok(vec![told])
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
        let told = services().lookup("istiod.istio-system.svc.invalid", 15012).await.unwrap();
        assert_eq!(told, ["10.96.0.9:15012".parse().unwrap()]);
    }
}
