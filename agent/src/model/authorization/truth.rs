//! What is known of a condition before a request has been read.

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Truth {
    No,
    /// That depends on the request.
    Maybe,
    Yes,
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }
}

impl Truth {
    /// Whether all hold. What follows one that does not is not asked.
    pub(super) fn all(conditions: impl IntoIterator<Item = Self>) -> Self {
        let mut all = Self::Yes;
        for one in conditions {
            all = all.min(one);
            if all == Self::No {
                break;
            }
        }
        all
    }

    /// Whether any holds. What follows one that does is not asked.
    pub(super) fn any(conditions: impl IntoIterator<Item = Self>) -> Self {
        let mut any = Self::No;
        for one in conditions {
            any = any.max(one);
            if any == Self::Yes {
                break;
            }
        }
        any
    }
}

#[cfg(test)]
mod tests {
    use super::Truth::{self, Maybe, No, Yes};

    #[test]
    fn what_depends_on_the_request_counts_where_nothing_else_decides() {
        let rows: [(&[Truth], Truth, Truth); 6] = [
            (&[], Yes, No),
            (&[Yes, Maybe], Maybe, Yes),
            (&[No, Maybe], No, Maybe),
            (&[Maybe, No, Yes], No, Yes),
            (&[Yes, Yes], Yes, Yes),
            (&[Maybe], Maybe, Maybe),
        ];
        for (conditions, all, any) in rows {
            let found = (Truth::all(conditions.iter().copied()), Truth::any(conditions.iter().copied()));
            assert_eq!(found, (all, any), "{conditions:?}");
        }
    }
}
