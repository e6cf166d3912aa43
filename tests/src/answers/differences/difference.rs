//! A row of the table of known differences.

use crate::answers::groups::Subject;
use crate::answers::mismatch::Mismatch;

/// Where a difference is seen.
pub(super) const ROUTES: &[Subject] = &[Subject::Routes];
pub(super) const POLICIES: &[Subject] = &[Subject::Policies];
pub(super) const BOTH: &[Subject] = &[Subject::Routes, Subject::Policies];

/// A known difference.
#[derive(Debug, Clone, Copy)]
pub struct Difference {
    /// As the table of `docs/http.md` has it in its first column.
    pub name: &'static str,
    /// Where it is seen.
    pub subjects: &'static [Subject],
    /// Whether it is the reason of a mismatch, said as narrowly as can be.
    pub explains: fn(&Mismatch<'_>) -> bool,
}
