//! The requests of all groups: each that a group was written for as it is, and then other spellings of it.

use std::collections::BTreeSet;

use super::ask::Ask;
use super::groups::Subject;
use super::spellings;
use crate::smuggling::random::Random;

/// How many requests are made of one that takes long, where others are made without end.
const OF_A_SLOW_ONE: u64 = 4;
/// How often each template is asked at most, and how many changes are tried for one that was not there.
const ROUNDS: u64 = 100;
const TRIES: u64 = 8;

impl Ask {
    /// So many requests at least, no two of which are the same, and the same for each seed: every template over HTTP/1 and HTTP/2 as
    /// it is, and then changed.
    #[must_use]
    pub fn generated(subject: Subject, seed: u64, count: usize) -> Vec<Self> {
        let (mut asks, mut known) = (Vec::new(), BTreeSet::new());
        for round in 0..ROUNDS {
            if asks.len() >= count && round > 0 {
                break;
            }
            for (place, group) in subject.groups().iter().enumerate() {
                let wanted = group.templates.iter().filter(|template| !template.is_slow || round < OF_A_SLOW_ONE);
                for template in wanted {
                    let number = asks.len() as u64;
                    let mut tries = (0..TRIES).map(|attempt| {
                        let mut random = Random::of(seed.wrapping_add(attempt << 32), number);
                        Self::plain(number, subject, place, template).varied(round, &mut random)
                    });
                    let new = tries.find(|ask| ask.is_sayable() && known.insert(ask.text_without_number()));
                    asks.extend(new);
                }
            }
        }
        asks
    }

    fn text_without_number(&self) -> String {
        Self { number: 0, changes: Vec::new(), ..self.clone() }.to_string()
    }

    /// The first round is HTTP/1, the second HTTP/2, and later ones have changes.
    fn varied(mut self, round: u64, random: &mut Random) -> Self {
        self.is_http2 |= round == 1 || (round > 1 && random.below(4) == 0);
        if round > 1 {
            for _ in 0..=random.below(2) {
                let change = random.of_these(if self.is_http2 { spellings::OF_BOTH } else { spellings::OF_HTTP1 });
                if (change.make)(&mut self, random) {
                    self.changes.push(change.name);
                }
            }
        }
        self
    }

    /// Whether its version of HTTP can say it.
    fn is_sayable(&self) -> bool {
        !self.is_http2 || self.uri().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_seed_has_its_requests_and_every_template_is_asked_as_it_is_and_changed() {
        let shown = |seed| Ask::generated(Subject::Routes, seed, 2000).iter().map(Ask::to_string).collect::<Vec<_>>();
        let asks = Ask::generated(Subject::Routes, 15, 2000);
        assert!(asks.len() >= 2000);
        assert_eq!(shown(15), shown(15));
        assert_ne!(shown(15), shown(16));
        let templates: usize = Subject::Routes.groups().iter().map(|group| group.templates.len()).sum();
        let distinct: BTreeSet<_> = asks.iter().map(Ask::text_without_number).collect();
        assert_eq!(distinct.len(), asks.len());
        assert!(asks.iter().take(templates).all(|ask| ask.changes.is_empty()));
        assert!(asks.iter().enumerate().all(|(place, ask)| ask.number == place as u64));
    }
}
