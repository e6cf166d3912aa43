//! The older text format of Prometheus, for those who do not ask for OpenMetrics: curl, promtool, old scrapers. The
//! samples are the same; only what is said about counters goes by another name.

use std::fmt::{self, Write};

/// Takes text in the OpenMetrics format and passes it on in the older one, line by line.
pub(super) struct Classic<W> {
    to: W,
    /// The beginning of the line that is being written.
    line: String,
    /// Name and help of the metric whose type comes next: only that says under which name it goes.
    described: Option<(String, String)>,
}

impl<W: Write> Classic<W> {
    pub(super) fn new(to: W) -> Self {
        Self { to, line: String::new(), described: None }
    }

    fn pass_on(&mut self, line: &str) -> fmt::Result {
        if let Some(described) = line.strip_prefix("# HELP ") {
            self.described = described.split_once(' ').map(|(name, help)| (name.to_owned(), help.to_owned()));
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|typed| typed.split_once(' ')) {
            let total = if kind == "counter" { "_total" } else { "" };
            if let Some((_, help)) = self.described.take().filter(|(described, _)| described == name) {
                writeln!(self.to, "# HELP {name}{total} {help}")?;
            }
            writeln!(self.to, "# TYPE {name}{total} {kind}")?;
        } else if !line.starts_with('#') {
            writeln!(self.to, "{line}")?;
        }
        Ok(())
    }
}

impl<W: Write> Write for Classic<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive('\n') {
            self.line.push_str(part);
            if self.line.ends_with('\n') {
                let mut line = std::mem::take(&mut self.line);
                self.pass_on(line.trim_end_matches('\n'))?;
                line.clear();
                self.line = line;
            }
        }
        Ok(())
    }
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
        for pieces in [1, 7, open_metrics.len()] {
            let mut classic = Classic::new(String::new());
            for piece in open_metrics.as_bytes().chunks(pieces) {
                classic.write_str(std::str::from_utf8(piece).expect("it is ASCII")).expect("a string takes everything");
            }
            assert_eq!(classic.to, expected, "in pieces of {pieces}");
        }
    }
}
