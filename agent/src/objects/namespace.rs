//! Namespace: its labels and annotations are inherited by what lives in it.

use super::fields::Fields;

/// Reads the rest of a v1 Namespace: nothing in it matters.
pub(super) fn read(mut fields: Fields<'_>) {
    fields.skip("finalizers");
    fields.finish();
}
