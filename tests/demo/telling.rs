//! How a story is told: headings, and below them what was just seen.

use std::time::Duration;

/// How long a change of an object may take to be in effect.
pub(crate) const DELIVERED: Duration = Duration::from_secs(10);

/// A heading.
pub(crate) fn act(text: &str) {
    println!("\n▌ {text}");
}

/// Something that was just seen.
pub(crate) fn seen(text: impl AsRef<str>) {
    println!("    {}", text.as_ref());
}

/// A series of a metric with the labels that matter here; the others are left out, visibly.
pub(crate) fn shortened(line: &str, shown: &[&str]) -> String {
    let Some((name, rest)) = line.split_once('{') else { return line.to_owned() };
    let Some((labels, value)) = rest.rsplit_once('}') else { return line.to_owned() };
    let is_shown = |label: &&str| shown.iter().any(|shown| label.split('=').next() == Some(*shown));
    let labels: Vec<&str> = labels.split(',').filter(is_shown).collect();
    format!("{name}{{{},…}}{value}", labels.join(","))
}
