//! What a route is: the requests it is for, and what becomes of them. Rules of a VirtualService, an HTTPRoute and a GRPCRoute
//! are all made of these. Names and meanings are those of Istio's `VirtualService` and the Gateway API's `HTTPRoute`; where
//! the two differ, [`Semantics`] says which counts. Which of its destinations a request goes to is by chance and weight.

use std::sync::Arc;
use std::time::Duration;

use super::field_changes::FieldChanges;
use super::head::Scheme;
use super::pattern::{Pattern, Substitution, TextMatch};
use super::policies::{Cors, Fault, RetryPolicy, Share};

/// The object a rule comes from, as users know it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    pub kind: OriginKind,
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    /// Which of the object's rules, from 0.
    pub rule: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OriginKind {
    VirtualService,
    HttpRoute,
    GrpcRoute,
    DestinationRule,
}

/// Whose rules count where VirtualService and Gateway API differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Semantics {
    /// A prefix is one of text: `/a` matches `/ab`. A missing destination answers 503.
    VirtualService,
    /// A prefix is one of path segments. A missing destination answers 500.
    GatewayApi,
}

/// One way into a rule: a rule with several matches comes to as many routes, which share it.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// What metrics, logs and `weir why` call it: Istio's name of the route.
    pub name: Arc<str>,
    pub matches: RequestMatch,
    /// Which sources and ports it is for, beside what is said of the whole object.
    pub applies: Applicability,
    pub rule: Arc<Rule>,
}

/// What is known of a route's requests before there is one. A route that applies to a source and a port is in its list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Applicability {
    /// The port of the service that was dialled; any where there is none.
    pub port: Option<u16>,
    /// Labels that the source must have, all of them.
    pub source_labels: Vec<(Box<str>, Box<str>)>,
    pub source_namespace: Option<Box<str>>,
}

/// Which requests a route is for: all conditions must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RequestMatch {
    pub path: PathMatch,
    /// Case of an exact path or a prefix does not count.
    pub ignores_path_case: bool,
    pub method: Option<TextMatch>,
    /// On `http` or `https`.
    pub scheme: Option<TextMatch>,
    /// On the authority as it was sent, with its port.
    pub authority: Option<TextMatch>,
    pub fields: Vec<FieldMatch>,
    pub query: Vec<QueryMatch>,
}

/// How the path (without query and fragment) is compared.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum PathMatch {
    #[default]
    Any,
    Exact(Box<str>),
    Prefix(Box<str>),
    /// Whole segments: `/a` and `/a/` match `/a` and `/a/b`, and do not match `/ab`. Kept without a slash at its end.
    SegmentPrefix(Box<str>),
    Regex(Pattern),
}

/// A condition on a field. Of several fields of one name it is enough that one has the value, as in Envoy 1.40.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldMatch {
    /// In lower case.
    pub name: Box<str>,
    pub value: TextMatch,
    /// The condition is that the value does not match (`withoutHeaders`); a missing field counts as empty text then.
    pub is_inverted: bool,
}

/// A condition on the first parameter of a name in the query, neither of them percent-decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryMatch {
    pub name: Box<str>,
    pub value: TextMatch,
}

/// What becomes of the requests of one or several routes.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    pub origin: Origin,
    pub semantics: Semantics,
    pub action: Action,
    pub request: FieldChanges,
    /// Also for the responses of redirects and direct responses.
    pub response: FieldChanges,
    pub fault: Option<Box<Fault>>,
    pub cors: Option<Box<Cors>>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    Forward(Box<Forward>),
    Redirect(Box<Redirect>),
    Respond(Box<DirectResponse>),
}

/// To one of several destinations.
#[derive(Debug, Clone, PartialEq)]
pub struct Forward {
    pub destinations: Vec<Destination>,
    /// Whether the rule lists several destinations, also where all but one of them have no weight and are not among these.
    pub has_several: bool,
    pub path: Option<PathRewrite>,
    /// What the upstream gets as its authority.
    pub authority: Option<Box<str>>,
    /// From the end of the request to the end of the response, over all attempts; `None` for no limit.
    pub timeout: Option<Duration>,
    /// `None`: nothing is sent a second time.
    pub retry: Option<RetryPolicy>,
    pub mirrors: Vec<Mirror>,
}

/// One of the places that requests of a rule go to.
#[derive(Debug, Clone, PartialEq)]
pub struct Destination {
    pub target: Target,
    /// Its share of the sum of all weights. It does not count where the rule has only one destination, unless
    /// the Gateway API says so.
    pub weight: u32,
    pub request: FieldChanges,
    pub response: FieldChanges,
    pub authority: Option<Box<str>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    Cluster(Cluster),
    /// An invalid reference: its share of the requests is answered with this status.
    Invalid {
        status: u16,
    },
}

/// What Envoy calls a cluster: endpoints of a service at one of its ports.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cluster {
    /// Fully qualified. Which service has it depends on the source's namespace.
    pub hostname: Arc<str>,
    /// The port that was dialled, where there is none.
    pub port: Option<u16>,
    /// A subset of the DestinationRule that counts for the source.
    pub subset: Option<Arc<str>>,
}

/// What the upstream gets in place of the path. The query stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathRewrite {
    /// In the place of what the route's prefix matched; of the whole path where it has no prefix.
    Prefix(Box<str>),
    Full(Box<str>),
    /// What matches is replaced, wherever in the path.
    Regex(Substitution),
}

/// A response that sends the client elsewhere. What is `None` stays as it was in the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    pub scheme: Option<Scheme>,
    /// Host, or host and port.
    pub authority: Option<Box<str>>,
    pub port: RedirectPort,
    pub path: Option<RedirectPath>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RedirectPort {
    /// That of the request's authority where neither scheme nor authority changes; none else.
    #[default]
    Unset,
    Number(u16),
    /// The port of the service that was dialled.
    Dialled,
    /// None, which means that of the scheme.
    OfScheme,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedirectPath {
    /// A `?` in it replaces the query too.
    Full(Box<str>),
    Prefix(Box<str>),
}

/// A response that no upstream is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectResponse {
    pub status: u16,
    pub body: Arc<[u8]>,
}

/// A copy of requests that goes to a further place; the response to it is thrown away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    pub target: Cluster,
    pub share: Share,
}

impl Route {
    /// The changes of fields of the response to a request that takes the route, in order. `at`: which of its destinations the request
    /// goes to, if to any.
    pub fn response_changes(&self, at: Option<usize>) -> impl Iterator<Item = &FieldChanges> {
        let rule = &self.rule.response;
        let levels = match &self.rule.action {
            Action::Forward(forward) => {
                let destination = at.and_then(|at| forward.destinations.get(at));
                forward.in_order(destination.map(|destination| &destination.response), rule)
            }
            Action::Redirect(_) | Action::Respond(_) => [Some(rule), None],
        };
        levels.into_iter().flatten()
    }
}

impl Forward {
    /// The changes of a destination and of its rule, in the order in which Istio has them made: where a rule has one destination, its
    /// changes come last and win; where it has several, those of the rule do.
    pub(super) fn in_order<'c>(
        &self,
        destination: Option<&'c FieldChanges>,
        rule: &'c FieldChanges,
    ) -> [Option<&'c FieldChanges>; 2] {
        if self.has_several { [destination, Some(rule)] } else { [Some(rule), destination] }
    }

    /// Which of the destinations a request goes to, for a uniform `random`. `None` where no destination has a weight: 503 is the answer.
    /// The weight of a VirtualService's only destination does not count.
    #[must_use]
    pub fn choose(&self, semantics: Semantics, random: u64) -> Option<usize> {
        if let [only] = &self.destinations[..] {
            return (semantics == Semantics::VirtualService || only.weight > 0).then_some(0);
        }
        let total: u64 = self.destinations.iter().map(|destination| u64::from(destination.weight)).sum();
        let mut rest = (u128::from(random) * u128::from(total)) >> 64;
        self.destinations.iter().position(|destination| {
            let weight = u128::from(destination.weight);
            let is_it = rest < weight;
            rest = rest.saturating_sub(weight);
            is_it
        })
    }

    /// The mirrors that get a copy of a request; `random` is uniform and drawn for each mirror.
    pub fn mirrors(&self, mut random: impl FnMut() -> u64) -> impl Iterator<Item = &Mirror> {
        self.mirrors.iter().filter(move |mirror| mirror.share.takes(random()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::http::policies::Share;
    use crate::model::http::sample::{forward, route, rule, to};

    #[test]
    fn destinations_get_their_share() {
        const VS: Semantics = Semantics::VirtualService;
        const GW: Semantics = Semantics::GatewayApi;
        type Weights = &'static [u32];
        let rows: [(Semantics, Weights, Weights); 8] = [
            (VS, &[0], &[100]),
            (GW, &[0], &[0]),
            (GW, &[1], &[100]),
            (VS, &[0, 100], &[0, 100]),
            (VS, &[1, 3], &[25, 75]),
            (GW, &[10, 0, 90], &[10, 0, 90]),
            (GW, &[0, 0], &[0, 0]),
            (VS, &[u32::MAX, u32::MAX], &[50, 50]),
        ];
        for (semantics, weights, expected) in rows {
            let names = ["a", "b", "c"];
            let rule = forward(names.iter().zip(weights).map(|(name, weight)| to(name, *weight)).collect());
            let mut shares = vec![0; weights.len()];
            for draw in 0..100 {
                let random = u64::MAX / 100 * draw + u64::MAX / 200;
                let Some(chosen) = rule.choose(semantics, random) else { continue };
                shares[chosen] += 1;
            }
            assert_eq!(shares, expected, "{weights:?}");
            for end in [0, u64::MAX] {
                let is_any = expected.iter().any(|share| *share > 0);
                let chosen = rule.choose(semantics, end);
                assert_eq!(chosen.is_some(), is_any, "{weights:?}");
                assert!(weights.len() == 1 || chosen.is_none_or(|chosen| weights[chosen] > 0), "{weights:?}");
            }
        }
    }

    #[test]
    fn the_changes_of_a_response_are_those_of_the_rule_and_the_destination_in_istios_order() {
        let remove = |name: &str| FieldChanges { remove: Box::new([name.into()]), ..FieldChanges::default() };
        let destination = || Destination { response: remove("destination"), ..to("a", 1) };
        let one = forward(vec![destination()]);
        let with_zero = Forward { has_several: true, ..forward(vec![destination()]) };
        let redirect = Redirect { status: 301, scheme: None, authority: None, port: RedirectPort::Unset, path: None };
        for (action, at, expected) in [
            (Action::Forward(Box::new(one.clone())), Some(0), &["rule", "destination"][..]),
            (Action::Forward(Box::new(one)), None, &["rule"]),
            (Action::Forward(Box::new(with_zero)), Some(0), &["destination", "rule"]),
            (Action::Redirect(Box::new(redirect)), None, &["rule"]),
        ] {
            let mut route = route("r", RequestMatch::default());
            route.rule = Arc::new(Rule { response: remove("rule"), ..rule(action) });
            let changes = route.response_changes(at).map(|changes| &*changes.remove[0]);
            assert_eq!(changes.collect::<Vec<_>>(), expected, "{:?}", route.rule.action);
        }
    }

    #[test]
    fn each_mirror_gets_its_own_share() {
        let mirror = |name: &str, percent: f64| Mirror {
            target: Cluster { hostname: name.into(), port: None, subset: None },
            share: Share::of_percent(percent),
        };
        let mirrors = vec![mirror("all", 100.0), mirror("half", 50.0), mirror("none", 0.0)];
        let rule = Forward { mirrors, ..forward(vec![to("a", 1)]) };
        let names = |random: u64| rule.mirrors(|| random).map(|mirror| &*mirror.target.hostname).collect::<Vec<_>>();
        assert_eq!(
            (names(0), names(u64::MAX / 4), names(u64::MAX)),
            (vec!["all", "half"], vec!["all", "half"], vec!["all"])
        );
    }
}
