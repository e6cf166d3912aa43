//! The hosts of the ServiceEntries that a route is attached to. Agents receive routes and no ServiceEntry: the control plane says
//! in an annotation of the route which hosts its parents have.

use super::route::{GatewayRoute, ServiceRef};

/// Annotation of an HTTPRoute or a GRPCRoute on its way to agents: `namespace/name=host,host`, separated by spaces. One that a
/// user writes is replaced.
pub const PARENT_HOSTS: &str = "weir.dev/parent-hosts";

/// Hosts by namespace and name of their ServiceEntry.
#[derive(Debug, Default)]
pub struct ParentHosts<'a>(Vec<((&'a str, &'a str), Vec<&'a str>)>);

impl<'a> ParentHosts<'a> {
    /// Adds a ServiceEntry.
    pub fn add(&mut self, namespace: &'a str, name: &'a str, hosts: impl IntoIterator<Item = &'a str>) {
        self.0.push(((namespace, name), hosts.into_iter().collect()));
    }

    /// Reads the annotation. What is not of its form is left out.
    #[must_use]
    pub fn parse(text: &'a str) -> Self {
        let entry = |entry: &'a str| {
            let (entry, hosts) = entry.split_once('=')?;
            Some((entry.split_once('/')?, hosts.split(',').collect()))
        };
        Self(text.split(' ').filter_map(entry).collect())
    }

    /// The hosts of a ServiceEntry; none where it is not known.
    #[must_use]
    pub fn of(&self, namespace: &str, name: &str) -> &[&'a str] {
        let found = self.0.iter().find(|(entry, _)| *entry == (namespace, name));
        found.map_or(&[], |(_, hosts)| hosts)
    }

    /// The annotation for a route; `None` where no parent of it is a ServiceEntry that is known.
    #[must_use]
    pub fn annotation(&self, route: &GatewayRoute) -> Option<String> {
        hosts_of_parents(route.parents.iter().filter_map(|parent| {
            let ServiceRef::ServiceEntry { namespace, name } = &parent.target else { return None };
            Some((&**namespace, &**name, self.of(namespace, name)))
        }))
    }
}

/// The annotation for a route with these parents: namespace, name and hosts of each. `None` where none has a host.
#[must_use]
pub fn hosts_of_parents<'a, H: AsRef<str> + 'a>(
    parents: impl Iterator<Item = (&'a str, &'a str, &'a [H])>,
) -> Option<String> {
    let entry = |(namespace, name, hosts): (&str, &str, &[H])| {
        let hosts: Vec<&str> = hosts.iter().map(AsRef::as_ref).collect();
        (!hosts.is_empty()).then(|| format!("{namespace}/{name}={}", hosts.join(",")))
    };
    let entries: Vec<String> = parents.filter_map(entry).collect();
    (!entries.is_empty()).then(|| entries.join(" "))
}

#[cfg(test)]
mod tests {
    use super::super::route::Parent;
    use super::*;

    #[test]
    fn the_annotation_says_the_hosts_of_the_entries_that_are_parents() {
        let mut known = ParentHosts::default();
        known.add("shop", "api", ["api.example.com", "*.api.example.com"]);
        known.add("shop", "other", ["other.example.com"]);
        let entry = |name: &str| ServiceRef::ServiceEntry { namespace: "shop".into(), name: name.into() };
        let service = ServiceRef::Service { namespace: "shop".into(), name: "api".into() };
        let route = |targets: &[ServiceRef]| GatewayRoute {
            parents: targets.iter().map(|target| Parent { target: target.clone(), port: None }).collect(),
            rules: Vec::new(),
        };
        assert_eq!(known.annotation(&route(&[service, entry("missing")])), None);
        let text = known.annotation(&route(&[entry("api"), entry("missing")])).expect("one is known");
        assert_eq!(text, "shop/api=api.example.com,*.api.example.com");
        let read = ParentHosts::parse(&text);
        assert_eq!(read.of("shop", "api"), ["api.example.com", "*.api.example.com"]);
        for text in ["", "=", "a=b", "shop/apifoo"] {
            assert_eq!(ParentHosts::parse(text).of("shop", "api").len(), 0, "{text:?}");
        }
    }
}
