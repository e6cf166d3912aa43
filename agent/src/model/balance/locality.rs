//! Where the endpoints of a service should be for a client: what Istio's `localityLbSetting` comes to.

use std::sync::Arc;

use crate::model::workload::{Locality, Workload};

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalityPreference {
    pub rule: LocalityRule,
    /// It is the mesh's: a service that says itself where its endpoints should be (`trafficDistribution`) is followed instead.
    pub yields_to_service: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalityRule {
    /// All endpoints alike.
    Anywhere,
    /// The nearest endpoints; each region may name the one that takes its place.
    Failover(Vec<(Arc<str>, Arc<str>)>),
    /// The endpoints that agree with the client in most of the first labels.
    Labels(Vec<FailoverLabel>),
    /// Shares by place. The first entry that is about the client's place counts; without one all endpoints are alike.
    Distribute(Vec<Distribution>),
}

/// An entry of `failoverPriority`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailoverLabel {
    pub name: Box<str>,
    /// The value that endpoints should have, in the place of the client's own.
    pub value: Option<Box<str>>,
}

/// An entry of `distribute`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution {
    pub from: LocalityPattern,
    /// With the share of each. Endpoints elsewhere get nothing.
    pub to: Vec<(LocalityPattern, u32)>,
}

impl FailoverLabel {
    /// From `name`, or `name=value`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text.split_once('=') {
            Some((name, value)) => Self { name: name.into(), value: Some(value.into()) },
            None => Self { name: text.into(), value: None },
        }
    }
}

impl Distribution {
    /// As in Istio, a place that is more exactly described takes its endpoints first.
    #[must_use]
    pub fn new(from: LocalityPattern, mut to: Vec<(LocalityPattern, u32)>) -> Self {
        to.sort_by(|(one, _), (other, _)| other.exactness().cmp(&one.exactness()).then_with(|| one.cmp(other)));
        Self { from, to }
    }
}

/// `region/zone/subzone`. Parts that are `*` or not there match all.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LocalityPattern(Vec<Box<str>>);

impl LocalityPattern {
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self(text.split('/').map(Box::from).collect())
    }

    /// As an object has it.
    #[must_use]
    pub fn text(&self) -> String {
        self.0.join("/")
    }

    /// How many parts it names.
    fn exactness(&self) -> usize {
        self.0.iter().filter(|part| !matches!(&***part, "*" | "")).count()
    }

    fn matches(&self, locality: &Locality) -> bool {
        let parts = [&*locality.region, &*locality.zone, &*locality.subzone];
        self.0.iter().zip(parts).all(|(pattern, part)| matches!(&**pattern, "*" | "") || **pattern == *part)
    }
}

impl LocalityRule {
    /// How many ranks of healthy endpoints there are for a client.
    pub(super) fn ranks(&self, client: &ClientPlace) -> usize {
        match self {
            Self::Anywhere => 1,
            Self::Failover(_) => 5,
            Self::Labels(labels) => labels.len() + 1,
            Self::Distribute(_) => self.shares(client).len().max(1),
        }
    }

    /// The shares of the first ranks; none where ranks are an order.
    pub(super) fn shares(&self, client: &ClientPlace) -> Vec<u32> {
        self.distribution(client).map(|found| found.to.iter().map(|(_, share)| *share).collect()).unwrap_or_default()
    }

    /// The rank of an endpoint, best first; `None` where it gets nothing.
    pub(super) fn rank(&self, client: &ClientPlace, endpoint: &Workload) -> Option<usize> {
        match self {
            Self::Anywhere => Some(0),
            Self::Failover(regions) => Some(by_distance(regions, &client.locality, &endpoint.locality)),
            Self::Labels(labels) => {
                let pairs = labels.iter().zip(&client.labels);
                let agreeing = pairs.take_while(|(label, own)| *endpoint.label(&label.name) == ***own).count();
                Some(labels.len() - agreeing)
            }
            Self::Distribute(_) => match self.distribution(client) {
                Some(found) => found.to.iter().position(|(place, _)| place.matches(&endpoint.locality)),
                None => Some(0),
            },
        }
    }

    fn distribution(&self, client: &ClientPlace) -> Option<&Distribution> {
        let Self::Distribute(all) = self else { return None };
        all.iter().find(|entry| entry.from.matches(&client.locality))
    }
}

/// As Istio ranks places: the same subzone, zone, region, any; last, where the region names another in its place, all others.
fn by_distance(regions: &[(Arc<str>, Arc<str>)], client: &Locality, endpoint: &Locality) -> usize {
    if client == endpoint {
        0
    } else if client.region != endpoint.region {
        let instead = regions.iter().find(|(from, _)| *from == client.region);
        if instead.is_some_and(|(_, to)| *to != endpoint.region) { 4 } else { 3 }
    } else if client.zone == endpoint.zone {
        1
    } else {
        2
    }
}

/// What of a client its preference depends on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ClientPlace {
    locality: Locality,
    /// The values that endpoints should have, label by label.
    labels: Vec<Box<str>>,
}

impl ClientPlace {
    pub(super) fn of(rule: &LocalityRule, client: &Workload) -> Self {
        let labels = wanted(rule, client).map(Box::from).collect();
        Self { locality: (*client.locality).clone(), labels }
    }

    /// Whether it is the place of such a client, too.
    pub(super) fn is_of(&self, rule: &LocalityRule, client: &Workload) -> bool {
        match rule {
            LocalityRule::Anywhere => true,
            LocalityRule::Failover(_) | LocalityRule::Distribute(_) => self.locality == *client.locality,
            LocalityRule::Labels(_) => wanted(rule, client).eq(self.labels.iter().map(|label| &**label)),
        }
    }
}

fn wanted<'a>(rule: &'a LocalityRule, client: &'a Workload) -> impl Iterator<Item = &'a str> {
    let labels = match rule {
        LocalityRule::Labels(labels) => &labels[..],
        _ => &[],
    };
    labels.iter().map(|label| label.value.as_deref().unwrap_or_else(|| client.label(&label.name)))
}
