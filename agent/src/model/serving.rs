//! What a workload serves: services, each with the ports of its own.

use std::collections::BTreeMap;

use super::service::{PortMapping, ServiceKey};
use super::shared::Shared;

/// The services a workload is an endpoint of, by key, with the port it serves each of their ports on. A map in the form
/// of an ordered list: mostly one entry, shared by all pods of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Serving(Box<[(ServiceKey, Vec<PortMapping>)]>);

impl Serving {
    #[must_use]
    pub fn get(&self, key: &ServiceKey) -> Option<&Vec<PortMapping>> {
        let place = self.place_of(key).ok()?;
        Some(&self.0[place].1)
    }

    #[must_use]
    pub fn contains_key(&self, key: &ServiceKey) -> bool {
        self.place_of(key).is_ok()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&ServiceKey, &Vec<PortMapping>)> {
        self.into_iter()
    }

    pub fn keys(&self) -> impl Iterator<Item = &ServiceKey> {
        self.0.iter().map(|(key, _)| key)
    }

    /// Adds a service, or gives it other ports.
    pub fn insert(&mut self, key: ServiceKey, ports: Vec<PortMapping>) {
        match self.place_of(&key) {
            Ok(place) => self.0[place].1 = ports,
            Err(place) => {
                let mut entries = std::mem::take(&mut self.0).into_vec();
                entries.insert(place, (key, ports));
                self.0 = entries.into();
            }
        }
    }

    fn place_of(&self, key: &ServiceKey) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| known.cmp(key))
    }
}

/// Of several entries of one key the last counts.
impl FromIterator<(ServiceKey, Vec<PortMapping>)> for Serving {
    fn from_iter<I: IntoIterator<Item = (ServiceKey, Vec<PortMapping>)>>(entries: I) -> Self {
        let mut entries: Vec<_> = entries.into_iter().collect();
        // Stable, so that the last of equal ones is the last.
        entries.sort_by(|(one, _), (other, _)| one.cmp(other));
        entries.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            if same {
                std::mem::swap(later, kept);
            }
            same
        });
        Self(entries.into())
    }
}

impl From<BTreeMap<ServiceKey, Vec<PortMapping>>> for Shared<Serving> {
    fn from(map: BTreeMap<ServiceKey, Vec<PortMapping>>) -> Self {
        map.into_iter().collect()
    }
}

impl<'a> IntoIterator for &'a Serving {
    type Item = (&'a ServiceKey, &'a Vec<PortMapping>);
    type IntoIter = std::iter::Map<
        std::slice::Iter<'a, (ServiceKey, Vec<PortMapping>)>,
        fn(&'a (ServiceKey, Vec<PortMapping>)) -> Self::Item,
    >;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter().map(|(key, ports)| (key, ports))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_map_by_key() {
        let key = |name: &str| ServiceKey::new("ns", name);
        let ports = |port| vec![PortMapping { service_port: port, target_port: port }];
        let mut serving: Serving =
            [("b", 1), ("a", 2), ("b", 3)].map(|(name, port)| (key(name), ports(port))).into_iter().collect();
        serving.insert(key("c"), ports(4));
        serving.insert(key("a"), ports(5));
        let found: Vec<_> = serving.iter().map(|(key, ports)| (&*key.hostname, ports[0].service_port)).collect();
        assert_eq!(found, [("a", 5), ("b", 3), ("c", 4)]);
        assert_eq!((serving.get(&key("b")), serving.get(&key("d"))), (Some(&ports(3)), None));
        assert!(serving.contains_key(&key("a")) && !serving.contains_key(&key("")));
        assert_eq!(serving.keys().count(), 3);
    }
}
