//! Which RateLimit objects count for a pod.

use std::fmt;
use std::sync::Arc;

use super::objects::{LimitRule, LimitTarget, RateLimitObject};
use crate::model::peer_authentication::Labels;
use crate::model::serving::Serving;

/// All RateLimit objects.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RateLimitConfig {
    /// Oldest first, then by name, then by namespace.
    pub objects: Vec<Arc<RateLimitObject>>,
    pub root_namespace: Arc<str>,
}

/// A limit that counts for a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountingLimit {
    pub object: Arc<RateLimitObject>,
    pub rule: Arc<LimitRule>,
    /// The only ports of the pod at which it counts; `None` for all.
    pub ports: Option<Arc<[u16]>>,
}

impl RateLimitConfig {
    /// The limits that count for a pod with these labels that is behind these services, in the order of objects.
    #[must_use]
    pub fn counting(&self, namespace: &str, labels: &Labels, services: &Serving) -> Vec<CountingLimit> {
        let mut counting = Vec::new();
        for object in &self.objects {
            let Some(ports) = self.ports(object, namespace, labels, services) else { continue };
            counting.extend(object.limits.iter().map(|rule| CountingLimit {
                object: object.clone(),
                rule: rule.clone(),
                ports: ports.clone(),
            }));
        }
        counting
    }

    /// At which ports of a pod an object counts: `Some(None)` at all, `None` at none.
    fn ports(
        &self,
        object: &RateLimitObject,
        namespace: &str,
        labels: &Labels,
        services: &Serving,
    ) -> Option<Option<Arc<[u16]>>> {
        let is_in_scope = *object.namespace == *namespace || object.namespace == self.root_namespace;
        match &object.target {
            LimitTarget::Namespace => is_in_scope.then_some(None),
            LimitTarget::Selector(selector) => {
                let is_selected = selector.iter().all(|(key, value)| labels.get(key) == Some(value));
                (is_in_scope && is_selected).then_some(None)
            }
            LimitTarget::Services(keys) => {
                let mappings = keys.iter().filter_map(|key| services.get(key)).flatten();
                let ports: Arc<[u16]> = mappings.map(|mapping| mapping.target_port).collect();
                (!ports.is_empty()).then_some(Some(ports))
            }
        }
    }
}

impl CountingLimit {
    /// Whether it counts at a port of the pod.
    #[must_use]
    pub fn counts_at(&self, port: u16) -> bool {
        self.ports.as_ref().is_none_or(|ports| ports.contains(&port))
    }
}

/// `shop/orders[writes] (50 requests in 1s, 100 at once)`.
impl fmt::Display for CountingLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}] ({}", self.object.key, self.rule.name, self.rule.measure)?;
        f.write_str(if self.object.dry_run { "; dry run)" } else { ")" })
    }
}
