//! Which DestinationRule counts for a source and a service, and what it says (Istio's `PushContext.destinationRule`).
//!
//! Rules of the client's namespace come first, then those of the service's, then those of the root namespace. The first of
//! these that has one for the host decides alone; nothing is merged between namespaces.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};

use super::destination::DestinationPolicy;
use super::inheritance::{policy, without_rule};
use super::objects::{DestinationRuleObject, SubsetObject, TrafficPolicy};
use super::route_table::are_same;
use super::standing::{ObjectStanding, Standing};
use super::visibility::SourceView;
use super::visibility::{ExportTo, HostPattern};
use crate::model::workload::Workload;

/// All DestinationRules.
#[derive(Debug, Default)]
pub(super) struct DestinationRules {
    /// What it was made of.
    objects: Vec<Arc<DestinationRuleObject>>,
    by_namespace: HashMap<Arc<str>, NamespaceRules>,
    root_namespace: Arc<str>,
    mesh: TrafficPolicy,
    without_rule: Arc<DestinationPolicy>,
    asked_labels: BTreeSet<String>,
}

/// The rules of one namespace.
#[derive(Debug, Default)]
struct NamespaceRules {
    by_host: HashMap<HostPattern, Vec<MergedRule>>,
    /// The hosts with a wildcard, most specific first.
    wildcards: Vec<HostPattern>,
}

/// Rules for one host that are merged: of one namespace, for the same namespaces and the same pods.
#[derive(Debug)]
struct MergedRule {
    rule: Arc<DestinationRuleObject>,
    /// By subset, then port: all that the rule mentions, and `None` for all others.
    policies: Vec<MergedPolicy>,
}

/// The policy of a subset and a port, once it was asked for.
type MergedPolicy = (Option<u32>, Option<u16>, OnceLock<Arc<DestinationPolicy>>);

impl DestinationRules {
    /// From objects, oldest first, and the mesh's own policy. `former` where nothing of these has changed.
    pub(super) fn following(
        former: &Arc<Self>,
        rules: Vec<Arc<DestinationRuleObject>>,
        root_namespace: Arc<str>,
        mesh: TrafficPolicy,
    ) -> Arc<Self> {
        let is_same = (&former.root_namespace, &former.mesh) == (&root_namespace, &mesh);
        if is_same && are_same(&former.objects, &rules) {
            return former.clone();
        }
        let objects = rules.clone();
        let mut by_namespace: HashMap<Arc<str>, NamespaceRules> = HashMap::new();
        let asked_labels = asked_labels(&rules);
        for mut rule in rules {
            if rule.selector.is_some() {
                Arc::make_mut(&mut rule).exported_to = ExportTo::Namespaces(vec![rule.origin.namespace.clone()]);
            }
            let rules = by_namespace.entry(rule.origin.namespace.clone()).or_default();
            add(rules.by_host.entry(rule.host.clone()).or_default(), rule);
        }
        for rules in by_namespace.values_mut() {
            rules.by_host.values_mut().flatten().for_each(MergedRule::lay_out);
            rules.wildcards = rules.by_host.keys().filter(|host| host.is_wildcard()).cloned().collect();
            rules.wildcards.sort_unstable_by(|one, other| other.specificity().cmp(&one.specificity()));
        }
        let without_rule = without_rule(&mesh);
        Arc::new(Self { objects, by_namespace, root_namespace, mesh, without_rule, asked_labels })
    }

    /// The names of the labels by which subsets and `failoverPriority` tell endpoints apart, but for those that are always known.
    pub(super) fn asked_labels(&self) -> &BTreeSet<String> {
        &self.asked_labels
    }

    /// What counts for a port of a service, which is in `namespace`; `None` where the subset does not exist.
    pub(super) fn policy(
        &self,
        source: SourceView<'_>,
        namespace: &str,
        host: &str,
        port: u16,
        subset: Option<&str>,
    ) -> Option<Arc<DestinationPolicy>> {
        match self.rule(source, namespace, host) {
            Some(merged) => merged.policy(&self.mesh, port, subset),
            None => subset.is_none().then(|| self.without_rule.clone()),
        }
    }

    /// All rules for a host, and why each of them counts or does not; the one that counts first.
    pub(super) fn about(&self, source: SourceView<'_>, namespace: &str, host: &str) -> Vec<ObjectStanding> {
        let counting = self.rule(source, namespace, host);
        let by_host = self.by_namespace.values().flat_map(|rules| &rules.by_host);
        let all = by_host.filter(|(named, _)| named.covers(host)).flat_map(|(_, rules)| rules);
        let looked_at = [source.namespace, namespace, &*self.root_namespace];
        let mut about: Vec<_> = { all }
            .map(|merged| {
                let DestinationRuleObject { origin, host, exported_to, .. } = &*merged.rule;
                let is_visible = looked_at.contains(&&*origin.namespace) && exported_to.includes(source.namespace);
                let standing = match counting {
                    Some(counting) if std::ptr::eq(counting, merged) => Standing::Counts,
                    _ if !is_visible => Standing::NotExported,
                    _ => Standing::Overridden,
                };
                ObjectStanding {
                    origins: vec![origin.clone()],
                    host: host.text().into(),
                    standing,
                    left_out: Vec::new(),
                }
            })
            .collect();
        about.sort_by_key(|object| object.standing != Standing::Counts);
        about
    }

    fn rule(&self, source: SourceView<'_>, namespace: &str, host: &str) -> Option<&MergedRule> {
        if self.by_namespace.is_empty() {
            return None;
        }
        self.own_rule(source, host)
            .or_else(|| self.exported_rule(source, namespace, host))
            .or_else(|| self.exported_rule(source, &self.root_namespace, host))
    }

    /// Of the source's own namespace: among those it sees, the most specific host. In the root namespace, only private ones.
    fn own_rule(&self, source: SourceView<'_>, host: &str) -> Option<&MergedRule> {
        let is_root = *source.namespace == *self.root_namespace;
        self.most_specific(source.namespace, host, |merged| {
            merged.rule.exported_to.includes(source.namespace) && (!is_root || merged.is_private())
        })
        .and_then(|rules| for_source(rules, source))
    }

    /// Of another namespace: the most specific host of all exported rules, if those are exported to the source.
    fn exported_rule(&self, source: SourceView<'_>, namespace: &str, host: &str) -> Option<&MergedRule> {
        let rules = self.most_specific(namespace, host, |merged| !merged.is_private())?;
        for_source(
            rules.into_iter().filter(|merged| merged.rule.exported_to.includes(source.namespace)).collect(),
            source,
        )
    }

    /// The rules of a namespace for the most specific host for which there is one of a kind.
    fn most_specific(
        &self,
        namespace: &str,
        host: &str,
        is_kind: impl Fn(&MergedRule) -> bool,
    ) -> Option<Vec<&MergedRule>> {
        let all = self.by_namespace.get(namespace)?;
        let of_kind = |host: &str| all.by_host.get(host).filter(|rules| rules.iter().any(&is_kind));
        let covering = || all.wildcards.iter().filter(|wildcard| wildcard.covers(host));
        let rules = of_kind(host).or_else(|| covering().find_map(|wildcard| of_kind(wildcard.text())))?;
        Some(rules.iter().filter(|merged| is_kind(merged)).collect())
    }
}

/// The first rule that selects the source, else the first without a selector.
fn for_source<'a>(rules: Vec<&'a MergedRule>, source: SourceView<'_>) -> Option<&'a MergedRule> {
    let selects = |merged: &&&MergedRule| {
        merged
            .rule
            .selector
            .as_ref()
            .is_some_and(|selector| selector.iter().all(|(name, value)| source.labels.get(name) == Some(value)))
    };
    let selecting = rules.iter().find(selects);
    selecting.or_else(|| rules.iter().find(|merged| merged.rule.selector.is_none())).copied()
}

/// Adds a rule to those of its host: it is merged into each with as many or fewer namespaces that it is for as well, and is one
/// of its own unless one has the very same.
fn add(merged: &mut Vec<MergedRule>, rule: Arc<DestinationRuleObject>) {
    let mut is_in = false;
    for other in merged.iter_mut().filter(|other| other.rule.selector == rule.selector) {
        let covers = covers(&rule.exported_to, &other.rule.exported_to);
        if covers {
            is_in |= self::covers(&other.rule.exported_to, &rule.exported_to);
            other.merge(&rule);
        }
    }
    if !is_in {
        merged.push(MergedRule { rule, policies: Vec::new() });
    }
}

/// Whether all namespaces of `other` are among those of `exported_to`.
fn covers(exported_to: &ExportTo, other: &ExportTo) -> bool {
    match (exported_to, other) {
        (ExportTo::Everyone, _) => true,
        (ExportTo::Namespaces(_), ExportTo::Everyone) => false,
        (ExportTo::Namespaces(ours), ExportTo::Namespaces(theirs)) => theirs.iter().all(|name| ours.contains(name)),
    }
}

impl MergedRule {
    /// For its own namespace alone, or for nobody.
    fn is_private(&self) -> bool {
        match &self.rule.exported_to {
            ExportTo::Everyone => false,
            ExportTo::Namespaces(names) => names.iter().all(|name| *name == self.rule.origin.namespace),
        }
    }

    /// Of two with one subset, the older one's counts; of two with a policy for all, the older one's.
    fn merge(&mut self, younger: &DestinationRuleObject) {
        let own = Arc::make_mut(&mut self.rule);
        if own.policy.is_none() {
            own.policy.clone_from(&younger.policy);
        }
        for subset in &younger.subsets {
            if !own.subsets.iter().any(|own| own.name == subset.name) {
                own.subsets.push(subset.clone());
            }
        }
    }

    fn lay_out(&mut self) {
        let own_ports = || self.rule.policy.iter().flat_map(|policy| &policy.ports).map(|(port, _)| *port);
        let mut policies = Vec::new();
        let subsets = self.rule.subsets.iter().map(Some);
        for (number, subset) in std::iter::once(None).chain((0..).map(Some)).zip(std::iter::once(None).chain(subsets)) {
            let of_subset =
                subset.and_then(|subset| subset.policy.as_ref()).into_iter().flat_map(|policy| &policy.ports);
            let mut ports: Vec<_> = own_ports().chain(of_subset.map(|(port, _)| *port)).map(Some).collect();
            ports.push(None);
            ports.sort_unstable();
            ports.dedup();
            policies.extend(ports.into_iter().map(|port| (number, port, OnceLock::new())));
        }
        self.policies = policies;
    }

    fn policy(&self, mesh: &TrafficPolicy, port: u16, subset: Option<&str>) -> Option<Arc<DestinationPolicy>> {
        let number = match subset {
            None => None,
            Some(name) => {
                let at = self.rule.subsets.iter().position(|subset| *subset.name == *name)?;
                Some(u32::try_from(at).ok()?)
            }
        };
        let of =
            |wanted: Option<u16>| self.policies.iter().find(|(subset, port, _)| *subset == number && *port == wanted);
        let (_, port, known) = of(Some(port)).or_else(|| of(None))?;
        let subset: Option<&SubsetObject> = number.map(|number| &self.rule.subsets[number as usize]);
        let made = || policy(&self.rule.origin, self.rule.policy.as_ref(), mesh, subset, *port);
        Some(known.get_or_init(made).clone())
    }
}

fn asked_labels(rules: &[Arc<DestinationRuleObject>]) -> BTreeSet<String> {
    let of_rule = |rule: &DestinationRuleObject| {
        let of_subsets = rule.subsets.iter().filter_map(|subset| subset.policy.as_ref());
        let policies = rule.policy.iter().chain(of_subsets);
        let policies =
            policies.flat_map(|policy| std::iter::once(&policy.policy).chain(policy.ports.iter().map(|(_, own)| own)));
        let settings = policies.filter_map(|policy| policy.load_balancer.as_ref()?.locality.as_ref());
        let of_places = settings.flat_map(|setting| &setting.failover_priority).map(|label| label.name.to_string());
        let of_subsets = rule.subsets.iter().flat_map(|subset| subset.labels.keys().cloned());
        of_places.chain(of_subsets).collect::<Vec<_>>()
    };
    let asked = rules.iter().flat_map(|rule| of_rule(rule));
    asked.filter(|name| !Workload::says(name)).collect()
}
