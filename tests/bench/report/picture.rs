//! The ratios to no mesh as a picture: grouped bars by case, a whisker from the least to the greatest of the rounds. A
//! panel each for what is better when more, for latency and for CPU time; memory, of which no mesh has none, has none.

use std::fmt::Write as _;

use super::table::figures;
use crate::row::{Ratio, Row};

const BAR: f64 = 17.0;
const GAP: f64 = 30.0;
const LEFT: f64 = 60.0;
const PLOT: f64 = 230.0;
const TITLE: f64 = 34.0;
/// Of a line of the header.
const LETTERS: usize = 115;
const PANEL: f64 = PLOT + TITLE + 44.0;
/// Of subjects that have no colour of their own, in turn.
const COLOURS: &[&str] = &["#3d8b83", "#5b8c5a", "#8c6bb1", "#d9a441"];
/// Cases whose latency says something else than their throughput does: where connections do not wait for each other.
const UNHURRIED: &[&str] = &["keepalive1", "rate2000", "newconn1"];

/// What is drawn on one scale.
struct Panel {
    title: &'static str,
    shows: fn(&Row) -> bool,
}

const PANELS: &[Panel] = &[
    Panel { title: "throughput as a share of no mesh: more is better", shows: |row| row.figure.more },
    Panel {
        title: "latency as a multiple of no mesh: less is better",
        shows: |row| row.figure.unit == "µs" && UNHURRIED.contains(&row.case),
    },
    Panel {
        title: "CPU time of the whole machine as a multiple of no mesh: less is better",
        shows: |row| row.figure.suffix == "cpu",
    },
];

/// One bar.
struct Bar<'a> {
    subject: usize,
    name: &'a str,
    ratio: Ratio,
}

/// The bars of a case.
struct Group<'a> {
    label: String,
    bars: Vec<Bar<'a>>,
}

/// The whole picture; the header's lines stand below it.
pub(super) fn write(rows: &[Row], header: &str) -> String {
    let measured: Vec<&Row> = rows.iter().filter(|row| row.ratio.is_some() && !is_baseline(&row.subject)).collect();
    let mut subjects: Vec<&str> = Vec::new();
    for row in &measured {
        if !subjects.contains(&row.subject.as_str()) {
            subjects.push(&row.subject);
        }
    }
    let panels: Vec<_> = PANELS.iter().map(|panel| (panel.title, groups(&measured, &subjects, panel.shows))).collect();
    let width = panels.iter().map(|(_, groups)| width(groups)).fold(860.0, f64::max);
    let mut body = legend(&subjects);
    let mut top = 44.0;
    for (title, groups) in panels.iter().filter(|(_, groups)| !groups.is_empty()) {
        body += &panel(title, groups, top, width);
        top += PANEL;
    }
    for line in header.lines().filter(|line| !line.is_empty()) {
        top += 15.0;
        let _ = writeln!(body, "<text x='{LEFT}' y='{top}' class='note'>{}</text>", escaped(&cut(line)));
    }
    format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {0}' width='{width}' height='{0}'>\n\
         <style>text{{font:12px sans-serif;fill:#222}}.title{{font:bold 14px sans-serif}}.note{{font:11px monospace;fill:#555}}\
         .value{{font:9px sans-serif}}</style>\n<rect width='100%' height='100%' fill='white'/>\n{body}</svg>\n",
        top + 20.0
    )
}

fn is_baseline(subject: &str) -> bool {
    subject.starts_with(crate::subject::DIRECT)
}

fn groups<'a>(rows: &[&'a Row], subjects: &[&str], shows: fn(&Row) -> bool) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for row in rows.iter().filter(|row| shows(row)) {
        let Some(ratio) = row.ratio else { continue };
        let subject = subjects.iter().position(|name| *name == row.subject).expect("all subjects were collected");
        let bar = Bar { subject, name: &row.subject, ratio };
        match groups.iter_mut().find(|group| group.label == row.name()) {
            Some(group) => group.bars.push(bar),
            None => groups.push(Group { label: row.name(), bars: vec![bar] }),
        }
    }
    groups
}

/// The colour of a subject.
fn colour(index: usize, name: &str) -> &'static str {
    match name {
        "weir" => "#1b6ca8",
        "relay" => "#9a9a9a",
        "envoy" => "#c8553d",
        same_node if same_node.ends_with("-same-node") => "#7fb8e0",
        _ => COLOURS[index % COLOURS.len()],
    }
}

fn width(groups: &[Group<'_>]) -> f64 {
    LEFT + groups.iter().map(group_width).sum::<f64>() + GAP
}

fn group_width(group: &Group<'_>) -> f64 {
    f64::from(u32::try_from(group.bars.len()).unwrap_or(u32::MAX)) * BAR + GAP
}

fn legend(subjects: &[&str]) -> String {
    let mut text = String::new();
    let mut x = LEFT;
    for (index, name) in subjects.iter().enumerate() {
        let _ = writeln!(
            text,
            "<rect x='{x}' y='14' width='12' height='12' fill='{}'/><text x='{}' y='24'>{}</text>",
            colour(index, name),
            x + 17.0,
            escaped(name)
        );
        x += 40.0 + 7.0 * f64::from(u32::try_from(name.len()).unwrap_or(u32::MAX));
    }
    text
}

fn panel(title: &str, groups: &[Group<'_>], top: f64, width: f64) -> String {
    let greatest = groups.iter().flat_map(|group| &group.bars).map(|bar| bar.ratio.median).fold(0.0, f64::max);
    // Whiskers may leave the picture; a wild round must not flatten all others.
    let step = step(greatest);
    let limit = (greatest * 1.12 / step).ceil() * step;
    let base = top + TITLE + PLOT;
    let height = |value: f64| (value.min(limit) / limit) * PLOT;
    let mut text = format!("<text x='{LEFT}' y='{}' class='title'>{title}</text>\n", top + 18.0);
    let mut line = 0.0;
    while line <= limit + step / 2.0 {
        let y = base - height(line);
        let _ = writeln!(text, "<line x1='{LEFT}' x2='{}' y1='{y:.1}' y2='{y:.1}' stroke='#ddd'/>", width - 10.0);
        let _ =
            writeln!(text, "<text x='{}' y='{:.1}' text-anchor='end'>{}</text>", LEFT - 6.0, y + 4.0, figures(line));
        line += step;
    }
    let mut x = LEFT + GAP / 2.0;
    for group in groups {
        let middle = x + (group_width(group) - GAP) / 2.0;
        for bar in &group.bars {
            text += &drawn(bar, x, base, &height);
            x += BAR;
        }
        x += GAP;
        let _ = writeln!(
            text,
            "<text x='{middle:.1}' y='{}' text-anchor='middle'>{}</text>",
            base + 16.0,
            escaped(&group.label)
        );
    }
    text
}

fn drawn(bar: &Bar<'_>, x: f64, base: f64, height: &impl Fn(f64) -> f64) -> String {
    let ratio = &bar.ratio;
    let (tall, low, high) = (height(ratio.median), base - height(ratio.min), base - height(ratio.max));
    let colour = colour(bar.subject, bar.name);
    let middle = x + BAR / 2.0 - 1.0;
    format!(
        "<rect x='{x:.1}' y='{:.1}' width='{}' height='{tall:.1}' fill='{colour}'><title>{} {} [{}..{}]</title></rect>\n\
         <line x1='{middle:.1}' x2='{middle:.1}' y1='{low:.1}' y2='{high:.1}' stroke='#222'/>\n\
         <text x='{middle:.1}' y='{:.1}' text-anchor='middle' class='value'>{}</text>\n",
        base - tall,
        BAR - 2.0,
        escaped(bar.name),
        figures(ratio.median),
        figures(ratio.min),
        figures(ratio.max),
        high.min(base - tall) - 3.0,
        short(ratio.median),
    )
}

/// A number that fits above a bar.
fn short(value: f64) -> String {
    if value < 0.995 { format!("{value:.2}").trim_start_matches('0').to_owned() } else { format!("{value:.1}") }
}

/// A round distance of lines, of which about five fit.
fn step(greatest: f64) -> f64 {
    [0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0]
        .into_iter()
        .find(|step| greatest / step <= 6.0)
        .unwrap_or(greatest / 5.0)
}

/// A line that fits beside the margin: a command may be of any length.
fn cut(line: &str) -> String {
    if line.chars().count() <= LETTERS { line.to_owned() } else { line.chars().take(LETTERS).chain(['…']).collect() }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_with_strange_letters_cannot_break_the_picture() {
        assert_eq!(escaped("<a & b>"), "&lt;a &amp; b&gt;");
    }

    #[test]
    fn about_five_lines_whatever_the_greatest() {
        for greatest in [0.07, 0.4, 0.9, 1.0, 7.0, 40.0, 1234.0] {
            let lines = greatest / step(greatest);
            assert!((1.0..=6.0).contains(&lines), "{greatest}: {lines}");
        }
    }
}
