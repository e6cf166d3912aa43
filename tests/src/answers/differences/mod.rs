//! What is known to differ between a sidecar of Istio's and Weir, each with its reason in `docs/http.md`.

mod answers;
mod difference;
mod forwarded;
mod policies;
mod reading;

pub use difference::Difference;

use super::groups::Subject;
use super::mismatch::Mismatch;

/// All of them, in the order of the table in the document.
fn all() -> impl Iterator<Item = &'static Difference> {
    [reading::KNOWN, forwarded::KNOWN, answers::KNOWN, policies::KNOWN].into_iter().flatten()
}

/// The name of the first difference that explains a mismatch.
#[must_use]
pub fn explanation(mismatch: &Mismatch<'_>) -> Option<&'static str> {
    of_subject(mismatch.ask.subject)
        .find(|difference| (difference.explains)(mismatch))
        .map(|difference| difference.name)
}

/// Those that are seen in requests about a subject. One that explains nothing of a whole run no longer exists, and is to be taken off.
pub fn of_subject(subject: Subject) -> impl Iterator<Item = &'static Difference> {
    all().filter(move |difference| difference.subjects.contains(&subject))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The heading of the section with the table.
    const HEADING: &str = "## The same answers as Envoy";

    #[test]
    fn the_document_lists_exactly_these() {
        let document = include_str!("../../../../docs/http.md");
        let section = document.split_once(HEADING).expect("the document has the section").1;
        let section = section.split("\n## ").next().unwrap_or_default();
        let rows = section.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" |"));
        let listed: Vec<&str> = rows.map(|(name, _)| name).filter(|name| *name != "what differs").collect();
        let known: Vec<&str> = all().map(|difference| difference.name).collect();
        assert_eq!(listed, known);
    }
}
