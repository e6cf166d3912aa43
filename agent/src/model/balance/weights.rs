//! Weights by slot, with a choice in proportion to them. All operations are O(log n) (a Fenwick tree), unless they say another.

/// Weights of numbered slots; a slot never mentioned weighs nothing.
#[derive(Debug, Clone, Default)]
pub(super) struct Weights {
    /// `tree[i]` is the sum of the slots that the lowest set bit of `i` spans, ending at slot `i - 1`; `tree[0]` is unused.
    /// Its length is zero, or a power of two and one more.
    tree: Vec<u64>,
    /// The weight of each slot.
    weights: Vec<u64>,
    total: u64,
}

impl Weights {
    pub(super) fn add(&mut self, slot: u32, weight: u32) {
        self.add_wide(slot, weight.into());
    }

    fn add_wide(&mut self, slot: u32, weight: u64) {
        self.grow(slot as usize + 1);
        self.walk(slot, |sum| *sum += weight);
        self.weights[slot as usize] += weight;
        self.total += weight;
    }

    /// Takes back what was added to a slot.
    pub(super) fn remove(&mut self, slot: u32, weight: u32) {
        let weight = u64::from(weight);
        self.walk(slot, |sum| *sum -= weight);
        if let Some(own) = self.weights.get_mut(slot as usize) {
            *own -= weight;
            self.total -= weight;
        }
    }

    /// A slot, in proportion to its weight for a uniform `random`; `None` where nothing weighs anything.
    pub(super) fn pick(&self, random: u64) -> Option<u32> {
        if self.total == 0 {
            return None;
        }
        let scaled = (u128::from(random) * u128::from(self.total)) >> 64;
        let mut rest = u64::try_from(scaled).expect("a product with a u64, shifted by 64, is a u64");
        let mut position = 0;
        let mut step = self.capacity();
        while step > 0 {
            let next = position + step;
            if next <= self.capacity() && self.tree[next] <= rest {
                rest -= self.tree[next];
                position = next;
            }
            step /= 2;
        }
        Some(u32::try_from(position).expect("slots are numbered in u32"))
    }

    /// The same among the slots that are not excluded. It costs no more than [`Self::pick`] where the first choice is not,
    /// and O(n log n) else.
    pub(super) fn pick_except(&self, excluded: impl Fn(u32) -> bool, random: &mut impl FnMut() -> u64) -> Option<u32> {
        // Nothing is drawn where there is nothing to choose from.
        let first = (self.total > 0).then(&mut *random).and_then(|random| self.pick(random))?;
        if !excluded(first) {
            return Some(first);
        }
        let mut rest = Self::default();
        for (slot, weight) in self.slots().filter(|(slot, _)| !excluded(*slot)) {
            rest.add_wide(slot, weight);
        }
        // Drawn anew, or the share of an excluded slot would go to its neighbours.
        (rest.total > 0).then(random).and_then(|random| rest.pick(random))
    }

    /// The slot with the greatest score among those that weigh something and are not excluded; O(n).
    pub(super) fn pick_greatest(&self, excluded: impl Fn(u32) -> bool, score: impl Fn(u32, u64) -> f64) -> Option<u32> {
        let candidates = self.slots().filter(|(slot, _)| !excluded(*slot));
        let scored = candidates.map(|(slot, weight)| (slot, score(slot, weight)));
        scored.max_by(|(_, one), (_, other)| one.total_cmp(other)).map(|(slot, _)| slot)
    }

    /// A slot by chance, in proportion to other weights than its own, which `weight` makes of them; O(n).
    pub(super) fn pick_weighing(
        &self,
        weight: impl Fn(u32, u64) -> u64,
        random: &mut impl FnMut() -> u64,
    ) -> Option<u32> {
        let weighed = || self.slots().map(|(slot, own)| (slot, weight(slot, own)));
        let total: u128 = weighed().map(|(_, weight)| u128::from(weight)).sum();
        let rest = (total > 0).then(|| (u128::from(random()) * total) >> 64)?;
        at_place(weighed().map(|(slot, weight)| (slot, u128::from(weight))), rest)
    }

    /// The slot whose turn it is, in proportion to weights that `weight` makes of those of the slots; O(n). Slots of equal weight
    /// take turns one after the other; else those of one slot are spread over all turns, as far as that goes without remembering any.
    pub(super) fn pick_in_turn(&self, weight: impl Fn(u32, u64) -> u64, turn: u64) -> Option<u32> {
        let weighed = || self.slots().map(|(slot, own)| (slot, weight(slot, own))).filter(|(_, weight)| *weight > 0);
        let (mut slots, mut total, mut unit) = (0_u128, 0_u128, 0);
        for (_, weight) in weighed() {
            (slots, total, unit) = (slots + 1, total + u128::from(weight), common_divisor(unit, weight));
        }
        if total == 0 {
            return None;
        }
        let turns = total / u128::from(unit);
        let stride = if turns == slots { 1 } else { stride(turns) };
        let place = u128::from(turn) * stride % turns;
        at_place(weighed().map(|(slot, weight)| (slot, u128::from(weight / unit))), place)
    }

    /// The slots that weigh something.
    pub(super) fn slots(&self) -> impl Iterator<Item = (u32, u64)> {
        (0..).zip(self.weights.iter().copied()).filter(|(_, weight)| *weight > 0)
    }

    fn capacity(&self) -> usize {
        self.tree.len().saturating_sub(1)
    }

    /// Doubles as often as needed. Only the new last entry spans old slots: all of them.
    fn grow(&mut self, slots: usize) {
        self.weights.resize(self.weights.len().max(slots), 0);
        while self.capacity() < slots {
            let capacity = (self.capacity() * 2).max(1);
            self.tree.resize(capacity + 1, 0);
            self.tree[capacity] = self.total;
        }
    }

    fn walk(&mut self, slot: u32, change: impl Fn(&mut u64)) {
        let mut index = slot as usize + 1;
        while index <= self.capacity() {
            change(&mut self.tree[index]);
            index += index & index.wrapping_neg();
        }
    }
}

/// The slot that a place belongs to where each slot has as many places as it weighs.
fn at_place(weighed: impl Iterator<Item = (u32, u128)>, place: u128) -> Option<u32> {
    let mut rest = place;
    for (slot, weight) in weighed {
        if rest < weight {
            return Some(slot);
        }
        rest -= weight;
    }
    None
}

/// A step that comes to each of so many places once, and neighbours late: near the golden section, without a common divisor.
fn stride(places: u128) -> u128 {
    let first = (places * 618 / 1000).max(1);
    (first..places).find(|step| common_divisor(*step, places) == 1).unwrap_or(1)
}

fn common_divisor<N: Copy + PartialEq + From<u8> + std::ops::Rem<Output = N>>(one: N, other: N) -> N {
    let (mut one, mut other) = (one, other);
    while other != N::from(0) {
        (one, other) = (other, one % other);
    }
    one
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each slot gets when `random` runs evenly through its range.
    fn shares(weights: &Weights, slots: usize, draws: u64) -> Vec<u64> {
        let mut shares = vec![0; slots];
        for draw in 0..draws {
            let random = u64::MAX / draws * draw + u64::MAX / draws / 2;
            shares[weights.pick(random).expect("there is weight") as usize] += 1;
        }
        shares
    }

    #[test]
    fn slots_get_their_share_in_whatever_order_they_come_and_go() {
        let mut weights = Weights::default();
        assert_eq!(weights.pick(7), None);
        for (slot, weight) in [(5, 3), (0, 1), (2, 4), (9, 2), (1, 0)] {
            weights.add(slot, weight);
        }
        assert_eq!(shares(&weights, 10, 1000), [100, 0, 400, 0, 0, 300, 0, 0, 0, 200]);
        weights.remove(2, 4);
        weights.add(20, 4);
        let shares = shares(&weights, 21, 1000);
        assert_eq!((shares[0], shares[2], shares[5], shares[9], shares[20]), (100, 0, 300, 200, 400));
        for (slot, weight) in [(5, 3), (0, 1), (20, 4), (9, 2)] {
            weights.remove(slot, weight);
        }
        assert_eq!(weights.pick(u64::MAX), None);
    }

    #[test]
    fn an_excluded_slot_leaves_its_share_to_all_others() {
        let mut weights = Weights::default();
        for (slot, weight) in [(0, 1), (1, 3), (3, 4), (4, 2)] {
            weights.add(slot, weight);
        }
        let shares = |excluded: &[u32]| {
            let mut shares = [0; 5];
            for draw in 0..100u64 {
                for again in 0..10u64 {
                    let mut draws =
                        [u64::MAX / 100 * draw + u64::MAX / 200, u64::MAX / 10 * again + u64::MAX / 20].into_iter();
                    let slot = weights.pick_except(|slot| excluded.contains(&slot), &mut || draws.next().expect("two"));
                    shares[slot.expect("one is left") as usize] += 1;
                }
            }
            shares
        };
        assert_eq!(shares(&[]), [100, 300, 0, 400, 200]);
        assert_eq!(shares(&[1, 3])[1..4], [0; 3]);
        assert_eq!(shares(&[0, 3, 4]), [0, 1000, 0, 0, 0]);
        let others = shares(&[4]);
        assert_eq!((others[4], others.iter().sum::<u32>()), (0, 1000));
        assert!(others[3] > others[1] && others[1] > others[0] && others[0] > 100, "{others:?}");
        assert_eq!(weights.pick_except(|_| true, &mut || 0), None);
        assert_eq!(Weights::default().pick_except(|_| false, &mut || unreachable!("nothing to choose from")), None);
    }

    #[test]
    fn turns_follow_each_other_and_are_in_proportion() {
        let of = |all: &[(u32, u32)]| {
            let mut weights = Weights::default();
            all.iter().for_each(|(slot, weight)| weights.add(*slot, *weight));
            weights
        };
        let turns = |weights: &Weights, excluded: &[u32], turns: u64| -> Vec<u32> {
            let weight = |slot: u32, own: u64| if excluded.contains(&slot) { 0 } else { own * 100 };
            (0..turns).map(|turn| weights.pick_in_turn(weight, turn).expect("one is left")).collect()
        };
        let equal = of(&[(0, 7), (2, 7), (5, 7), (6, 7)]);
        assert_eq!(turns(&equal, &[], 9), [0, 2, 5, 6, 0, 2, 5, 6, 0]);
        assert_eq!(turns(&equal, &[2], 7), [0, 5, 6, 0, 5, 6, 0], "an excluded one has no turn");
        let unequal = turns(&of(&[(0, 3), (1, 1), (2, 4)]), &[], 80);
        for (slot, expected) in [(0, 30), (1, 10), (2, 40)] {
            assert_eq!(unequal.iter().filter(|seen| **seen == slot).count(), expected, "{slot}");
        }
        let longest = unequal.chunk_by(|one, other| one == other).map(<[u32]>::len).max();
        assert!(longest <= Some(2), "{unequal:?}");
        assert_eq!(equal.pick_in_turn(|_, _| 0, 5), None);
        assert_eq!(Weights::default().pick_in_turn(|_, own| own, 5), None);
        assert_eq!(of(&[(3, u32::MAX)]).pick_in_turn(|_, own| own * 100, u64::MAX), Some(3));
    }

    #[test]
    fn other_weights_than_their_own_decide_by_chance() {
        let mut weights = Weights::default();
        [0, 1, 2].into_iter().for_each(|slot| weights.add(slot, 1));
        let weight = |slot: u32, own: u64| [10, 0, 30][slot as usize] * own;
        let mut shares = [0; 3];
        for draw in 0..100 {
            let random = u64::MAX / 100 * draw + u64::MAX / 200;
            shares[weights.pick_weighing(weight, &mut || random).expect("there is weight") as usize] += 1;
        }
        assert_eq!(shares, [25, 0, 75]);
        assert_eq!(weights.pick_weighing(|_, _| 0, &mut || 0), None);
    }

    #[test]
    fn the_ends_of_the_range_pick_the_first_and_last_slot() {
        let mut weights = Weights::default();
        for slot in 0..1000 {
            weights.add(slot, u32::MAX);
        }
        assert_eq!(weights.pick(0), Some(0));
        assert_eq!(weights.pick(u64::MAX), Some(999));
    }
}
