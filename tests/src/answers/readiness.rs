//! Requests by which one sees that all objects count.

use super::ask::Ask;
use super::group::get;
use super::groups::Subject;
use super::seen::Seen;

/// The number of the request with a token that is none.
const BAD_TOKEN: u64 = 2;

impl Subject {
    /// Requests that tell whether the objects count, as [`Subject::is_ready`] reads it: of each route group one that only its
    /// objects answer with a field, of policies one for each kind of object.
    #[must_use]
    pub fn of_readiness(self) -> Vec<Ask> {
        match self {
            Self::Routes => {
                let one = |place| Ask::plain(place as u64, self, place, &get("/_ready"));
                (0..self.groups().len()).map(one).collect()
            }
            Self::Policies => {
                let bad = get("/open").with(&[("authorization", "Bearer not.a.token")]);
                let templates = [(0, get("/deny/exact")), (1, get("/_closed")), (BAD_TOKEN, bad)];
                templates.iter().map(|(number, template)| Ask::plain(*number, self, 0, template)).collect()
            }
        }
    }

    /// Whether the objects of what was asked count, by its answer.
    #[must_use]
    pub fn is_ready(self, seen: &Seen) -> bool {
        match self {
            Self::Routes => seen.header("x-ready").is_some(),
            Self::Policies => seen.status == if seen.number == BAD_TOKEN { 401 } else { 403 },
        }
    }
}
