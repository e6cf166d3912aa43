//! Which destinations a request of a rule goes to, by chance and weight.

use super::route::{Destination, Forward, Mirror, Semantics};

impl Forward {
    /// The destination of a request, for a uniform `random`. `None` where no destination has a weight: 503 is the answer. The
    /// weight of a VirtualService's only destination does not count.
    #[must_use]
    pub fn choose(&self, semantics: Semantics, random: u64) -> Option<&Destination> {
        if let [only] = &self.destinations[..] {
            return (semantics == Semantics::VirtualService || only.weight > 0).then_some(only);
        }
        let total: u64 = self.destinations.iter().map(|destination| u64::from(destination.weight)).sum();
        let mut rest = (u128::from(random) * u128::from(total)) >> 64;
        self.destinations.iter().find(|destination| {
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
    use crate::model::http::route::{Cluster, Target};
    use crate::model::http::sample::{forward, to};

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
                let Target::Cluster(cluster) = &chosen.target else { panic!("all are clusters") };
                shares[names.iter().position(|name| **name == *cluster.hostname).expect("one of them")] += 1;
            }
            assert_eq!(shares, expected, "{weights:?}");
            for end in [0, u64::MAX] {
                let is_any = expected.iter().any(|share| *share > 0);
                let chosen = rule.choose(semantics, end);
                assert_eq!(chosen.is_some(), is_any, "{weights:?}");
                assert!(weights.len() == 1 || chosen.is_none_or(|chosen| chosen.weight > 0), "{weights:?}");
            }
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
