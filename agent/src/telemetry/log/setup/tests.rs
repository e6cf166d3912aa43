//! What lines look like, and which are written.

use std::io::{self, Write};
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tracing::{info, info_span, subscriber};

use super::*;

/// Keeps what is written.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(lines);
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The lines that `log` writes under a filter.
pub(crate) fn lines(filter: &str, format: LogFormat, log: impl FnOnce(&LogHandle)) -> Vec<String> {
    let kept = Kept::default();
    let (subscriber, handle) = build(filter, format, kept.clone()).unwrap();
    subscriber::with_default(subscriber, || log(&handle));
    handle.flush();
    let bytes = kept.0.lock().clone();
    String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
}

/// A log that nobody writes to; it lasts as long as the first of the two.
pub(crate) fn unused(filter: &str) -> (impl Subscriber + Send + Sync, LogHandle) {
    build(filter, LogFormat::Text, io::sink()).unwrap()
}

#[test]
fn text_lines_are_time_level_scope_message_and_fields() {
    let lines = lines("info", LogFormat::Text, |_| {
        let span = info_span!("inbound", id = 7);
        let _inside = span.enter();
        info!(target: "weir::test", count = 3, name = "a b", peer = %"10.0.0.1:80", "it \"happened\"");
    });
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    let (time, rest) = line.split_once('\t').unwrap();
    assert!(time.ends_with('Z'), "{time}");
    assert_eq!(rest, "info\tweir::test:inbound{id=7}\tit \"happened\"\tcount=3 name=\"a b\" peer=10.0.0.1:80");
}

#[test]
fn values_of_text_lines_read_as_their_debug_form_whatever_is_in_them() {
    let lines = lines("info", LogFormat::Text, |_| {
        let none: Option<&str> = None;
        info!(target: "t", unsigned = 7_u8, signed = -7, flag = true, some = Some("x"), none, shown = ?[1], "m");
        info!(target: "t", quote = "a\"b", back = "a\\b", tab = "a\tb", other = "\u{e9}'", line = "a\nb", "m\tn");
        info!(target: "t", quote = %"a\"b", back = %"a\\b", tab = %"a\tb", other = %"\u{e9}'", line = %"a\nb", "m");
    });
    let rest: Vec<_> = lines.iter().map(|line| line.split_once("\tinfo\tt\t").map(|(_, rest)| rest)).collect();
    let expected = [
        "m\tunsigned=7 signed=-7 flag=true some=\"x\" shown=[1]",
        r#"m\u0009n	quote="a\"b" back="a\\b" tab="a\tb" other="é'" line="a\nb""#,
        r#"m	quote=a"b back=a\b tab=a\u0009b other=é' line=a\nb"#,
    ];
    assert_eq!(rest, expected.map(Some));
}

#[test]
fn json_lines_are_one_object_with_typed_fields() {
    let lines = lines("info", LogFormat::Json, |_| {
        info!(target: "weir::test", count = 3, ok = true, name = "a\t\"b\"\\", peer = %"10.0.0.1:80", "it happened");
    });
    let mut line: Value = serde_json::from_str(&lines[0]).unwrap();
    assert!(line.as_object_mut().unwrap().remove("time").is_some());
    let expected = json!({
        "level": "info", "scope": "weir::test", "message": "it happened",
        "count": 3, "ok": true, "name": "a\t\"b\"\\", "peer": "10.0.0.1:80",
    });
    assert_eq!(line, expected);
}

#[test]
fn no_value_can_start_a_line_of_its_own() {
    for format in [LogFormat::Text, LogFormat::Json] {
        let lines = lines("info", format, |_| {
            info!(plain = %"a\nb\u{1b}[2J", quoted = "c\r\nd", "e\nf");
        });
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(!lines[0].contains(|c: char| c.is_control() && c != '\t'), "{lines:?}");
    }
}

#[test]
fn the_filter_changes_while_running_and_stays_when_the_new_one_is_bad() {
    let lines = lines("warn", LogFormat::Text, |handle| {
        info!("too early");
        handle.set_filter("info,weir=off").unwrap();
        info!(target: "other", "in time");
        assert!(handle.set_filter("nonsense=loud").is_err());
        assert_eq!(handle.filter(), "info,weir=off");
        info!(target: "other", "still");
    });
    assert_eq!(lines.len(), 2, "{lines:?}");
}

#[test]
fn records_of_the_log_crate_keep_their_own_scope() {
    let lines = lines("info", LogFormat::Text, |_| {
        let record = log::Record::builder()
            .level(log::Level::Warn)
            .target("aya::bpf")
            .args(format_args!("from the kernel"))
            .build();
        tracing_log::format_trace(&record).unwrap();
    });
    assert!(lines[0].ends_with("warn\taya::bpf\tfrom the kernel"), "{lines:?}");
}
