//! Prometheus text as a test asks it: the sum of a metric over the series that carry some labels.

use std::collections::BTreeMap;

/// One series at one time.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

/// What a metrics endpoint answered. A page may have tens of thousands of lines: only those that are asked for are read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metrics {
    text: String,
}

impl Metrics {
    /// Takes the text form.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self { text }
    }

    /// All series; lines that are no samples are left out.
    pub fn samples(&self) -> impl Iterator<Item = Sample> {
        self.text.lines().filter_map(parse_line)
    }

    /// The series of a metric that carry all of the labels.
    pub fn matching<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = Sample> + 'a {
        let lines = self.text.lines().filter(move |line| line.starts_with(name));
        lines.filter_map(parse_line).filter(move |sample| {
            sample.name == name
                && labels.iter().all(|(key, value)| sample.labels.get(*key).is_some_and(|found| found == value))
        })
    }

    /// The sum over the series of a metric that carry all of the labels; 0 if there is none.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.matching(name, labels).map(|sample| sample.value).sum()
    }
}

fn parse_line(line: &str) -> Option<Sample> {
    if line.starts_with('#') {
        return None;
    }
    let (series, value) = match line.find('}') {
        Some(end) => line.split_at(end + 1),
        None => line.split_once(' ')?,
    };
    let value = value.split_whitespace().next()?.parse().ok()?;
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    Some(Sample { name: name.to_owned(), labels: parse_labels(labels.trim_end_matches('}')), value })
}

fn parse_labels(mut text: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    while let Some((key, rest)) = text.split_once("=\"") {
        let Some(end) = rest.find('"') else { break };
        labels.insert(key.trim_start_matches(',').to_owned(), rest[..end].to_owned());
        text = &rest[end + 1..];
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP x_total Things.\n# TYPE x_total counter\n\
        x_total{reporter=\"source\",who=\"spiffe://a/b\"} 3\nx_total{reporter=\"destination\",who=\"-\"} 4\nplain 1.5 1700\n# EOF\n";

    #[test]
    fn lines_that_are_no_samples_are_left_out() {
        let metrics = Metrics::new(TEXT.to_owned());
        let names: Vec<String> = metrics.samples().map(|sample| sample.name).collect();
        assert_eq!(names, ["x_total", "x_total", "plain"]);
    }

    #[test]
    fn sums_what_carries_the_labels() {
        let metrics = Metrics::new(TEXT.to_owned());
        for (name, labels, expected) in [
            ("x_total", &[][..], 7.0),
            ("x_total", &[("reporter", "source")][..], 3.0),
            ("x_total", &[("reporter", "source"), ("who", "spiffe://a/b")][..], 3.0),
            ("x_total", &[("reporter", "nobody")][..], 0.0),
            ("plain", &[][..], 1.5),
            ("x", &[][..], 0.0),
            ("absent", &[][..], 0.0),
        ] {
            assert_eq!(metrics.sum(name, labels), expected, "{name} {labels:?}");
        }
    }
}
