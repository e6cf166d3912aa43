//! The resolver configuration of a pod, as its object in Kubernetes asks for it (`dnsPolicy`, `dnsConfig`).
//!
//! The object says it, not the pod's `/etc/resolv.conf`, which the kubelet writes from it: what is in a pod's files, its processes choose.
//! A pod that asks for nothing of its own has the cluster's DNS, and so does the agent, whose pod asks for nothing either.

use serde::Deserialize;

/// How many bytes are read of the agent's own configuration at most.
const MAX_OWN_BYTES: usize = 64 * 1024;
const OWN: &str = "/etc/resolv.conf";

/// What a pod's object says of DNS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodDns {
    pub(super) policy: Option<String>,
    pub(super) config: Option<DnsConfig>,
}

/// A pod's `dnsConfig`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct DnsConfig {
    nameservers: Vec<String>,
    searches: Vec<String>,
    options: Vec<DnsOption>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct DnsOption {
    name: String,
    value: Option<String>,
}

impl PodDns {
    /// The text of the pod's `resolv.conf`, where its object asks for one of its own.
    pub fn resolv_conf(&self, namespace: &str) -> Option<String> {
        let config = self.config.as_ref().filter(|config| **config != DnsConfig::default())?;
        let own = if self.policy.as_deref() == Some("None") {
            String::new()
        } else {
            let text = std::fs::read(OWN).unwrap_or_default();
            String::from_utf8_lossy(&text[..text.len().min(MAX_OWN_BYTES)]).into_owned()
        };
        Some(config.after(&own, namespace))
    }
}

impl DnsConfig {
    /// The agent's own configuration as the kubelet would have written it for a pod of a namespace, and then this one.
    fn after(&self, own: &str, namespace: &str) -> String {
        let is_search = |line: &&str| matches!(line.split_whitespace().next(), Some("search" | "domain"));
        let searched = own.lines().rfind(is_search).map(|line| line.split_whitespace().skip(1).collect::<Vec<_>>());
        let mut search = in_namespace(&searched.unwrap_or_default(), namespace);
        for domain in self.searches.iter().filter(|domain| is_word(domain)) {
            if !search.contains(domain) {
                search.push(domain.clone());
            }
        }
        let mut lines: Vec<String> = own.lines().filter(|line| !is_search(line)).map(str::to_owned).collect();
        if !search.is_empty() {
            lines.push(format!("search {}", search.join(" ")));
        }
        lines.extend(self.nameservers.iter().filter(|ip| is_word(ip)).map(|ip| format!("nameserver {ip}")));
        for DnsOption { name, value } in self.options.iter().filter(|option| is_word(&option.name)) {
            match value.as_ref().filter(|value| is_word(value)) {
                Some(value) => lines.push(format!("options {name}:{value}")),
                None => lines.push(format!("options {name}")),
            }
        }
        lines.join("\n") + "\n"
    }
}

/// The agent's search list with a pod's namespace in the place of the agent's own, where the kubelet has written it: the namespace's domain
/// before that of all services.
fn in_namespace(search: &[&str], namespace: &str) -> Vec<String> {
    let is_of_agent = |domain: &&str| {
        domain.split_once('.').is_some_and(|(_, services)| services.starts_with("svc.") && search.contains(&services))
    };
    let place = |domain: &&str| match domain.split_once('.') {
        Some((_, services)) if is_of_agent(domain) => format!("{namespace}.{services}"),
        _ => (*domain).to_owned(),
    };
    search.iter().map(place).collect()
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && !text.contains(char::is_whitespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF_AGENT: &str = "search istio-system.svc.cluster.local svc.cluster.local cluster.local lan\nnameserver 10.96.0.10\n\
                            options ndots:5\n";

    #[test]
    fn the_object_of_a_pod_says_what_its_resolver_configuration_is() {
        let whole = r#"{"nameservers": ["192.0.2.1"], "searches": ["lan", "a.example"],
            "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]}"#;
        let odd = r#"{"nameservers": ["192.0.2.1\nx"], "searches": [""], "options": [{"name": "a b"}]}"#;
        let alone = "search lan a.example\nnameserver 192.0.2.1\noptions ndots:2\noptions edns0\n";
        let agents =
            "nameserver 10.96.0.10\noptions ndots:5\nsearch shop.svc.cluster.local svc.cluster.local cluster.local lan";
        let after_agents = format!("{agents} a.example\nnameserver 192.0.2.1\noptions ndots:2\noptions edns0\n");
        for (object, own, expected) in
            [(whole, "", alone), (whole, OF_AGENT, &after_agents), (odd, OF_AGENT, &format!("{agents}\n"))]
        {
            let config: DnsConfig = serde_json::from_str(object).expect("an object");
            assert_eq!(config.after(own, "shop"), expected, "{object}");
        }
        let config: Option<DnsConfig> = serde_json::from_str(whole).ok();
        let policy_none = Some("None".to_owned());
        for (policy, config, expected) in [
            (&None, None, None),
            (&None, Some(DnsConfig::default()), None),
            (&policy_none, None, None),
            (&policy_none, config, Some(alone)),
        ] {
            let dns = PodDns { policy: policy.clone(), config };
            assert_eq!(dns.resolv_conf("shop").as_deref(), expected, "{dns:?}");
        }
    }

    #[test]
    fn only_the_agents_own_namespace_gives_way_to_the_pods() {
        for (search, expected) in [
            (&["a.svc.cluster.local", "svc.cluster.local"][..], &["shop.svc.cluster.local", "svc.cluster.local"][..]),
            (&["a.svc.cluster.local"], &["a.svc.cluster.local"]),
            (&["a.example", "example"], &["a.example", "example"]),
            (&[], &[]),
        ] {
            assert_eq!(in_namespace(search, "shop"), expected);
        }
    }
}
