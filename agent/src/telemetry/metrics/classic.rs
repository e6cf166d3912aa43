//! The older text format of Prometheus, for those who do not ask for OpenMetrics: curl, promtool, old scrapers. The
//! samples are the same; only what is said about counters goes by another name.

/// The text in the older format.
pub(super) fn from_open_metrics(text: &str) -> String {
    let mut classic = String::with_capacity(text.len());
    let mut help = None;
    for line in text.lines() {
        if let Some(described) = line.strip_prefix("# HELP ") {
            // Under which name, only the type says, which comes next.
            help = described.split_once(' ');
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|typed| typed.split_once(' ')) {
            let total = if kind == "counter" { "_total" } else { "" };
            if let Some((_, help)) = help.take().filter(|(described, _)| *described == name) {
                push(&mut classic, &["# HELP ", name, total, " ", help]);
            }
            push(&mut classic, &["# TYPE ", name, total, " ", kind]);
        } else if !line.starts_with('#') {
            push(&mut classic, &[line]);
        }
    }
    classic
}

fn push(text: &mut String, parts: &[&str]) {
    parts.iter().for_each(|part| text.push_str(part));
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_described_by_the_name_of_their_samples() {
        let open_metrics = "# HELP opened How many there were.\n# TYPE opened counter\nopened_total{who=\"a\"} 3\n\
                            # HELP open_now How many there are.\n# TYPE open_now gauge\n# UNIT open_now connections\nopen_now 1\n# EOF\n";
        let expected = "# HELP opened_total How many there were.\n# TYPE opened_total counter\nopened_total{who=\"a\"} 3\n\
                        # HELP open_now How many there are.\n# TYPE open_now gauge\nopen_now 1\n";
        assert_eq!(from_open_metrics(open_metrics), expected);
    }
}
