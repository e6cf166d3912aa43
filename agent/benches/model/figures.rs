//! What was measured, as a table with its bounds.

use std::fmt;

/// One line of the table.
#[derive(Debug)]
struct Figure {
    what: String,
    value: f64,
    unit: &'static str,
    /// At most this much; `None` where the figure is only shown.
    bound: Option<f64>,
}

/// The table.
#[derive(Debug, Default)]
pub(crate) struct Figures(Vec<Figure>);

impl Figures {
    /// A figure that may be at most `bound`, in the same unit. What was not measured, because the command line asks for other benchmarks
    /// alone, has no value and no line.
    pub(crate) fn bounded(
        &mut self,
        what: impl Into<String>,
        value: impl Into<Option<f64>>,
        unit: &'static str,
        bound: f64,
    ) {
        self.add(what.into(), value.into(), unit, Some(bound));
    }

    /// A figure without a bound.
    pub(crate) fn shown(&mut self, what: impl Into<String>, value: impl Into<Option<f64>>, unit: &'static str) {
        self.add(what.into(), value.into(), unit, None);
    }

    fn add(&mut self, what: String, value: Option<f64>, unit: &'static str, bound: Option<f64>) {
        self.0.extend(value.map(|value| Figure { what, value, unit, bound }));
    }

    pub(crate) fn all_met(&self) -> bool {
        self.0.iter().all(Figure::is_met)
    }
}

impl Figure {
    fn is_met(&self) -> bool {
        self.bound.is_none_or(|bound| self.value <= bound)
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.0.iter().map(|figure| figure.what.len()).max().unwrap_or_default();
        writeln!(f, "\n| {:<width$} | measured | unit | bound | met |", "figure")?;
        writeln!(f, "|-{}-|---:|---|---:|---|", "-".repeat(width))?;
        for figure in &self.0 {
            let bound = figure.bound.map_or_else(|| "-".to_owned(), short);
            let met = match figure.bound {
                None => "-",
                Some(_) if figure.is_met() => "yes",
                Some(_) => "NO",
            };
            let (value, unit) = (short(figure.value), figure.unit);
            writeln!(f, "| {:<width$} | {value} | {unit} | {bound} | {met} |", figure.what)?;
        }
        Ok(())
    }
}

/// A number with as many digits as anybody reads.
fn short(value: f64) -> String {
    if value >= 100.0 {
        format!("{value:.0}")
    } else if value >= 1.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.3}")
    }
}
