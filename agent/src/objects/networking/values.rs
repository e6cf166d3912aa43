//! Values that several kinds of objects share: durations, percentages, string matches, changes of fields, and the namespaces
//! that see an object.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::http::field_changes::{FieldFormat, FormatError};
use crate::model::http::pattern::{Pattern, TextMatch};
use crate::model::http::policies::Share;
use crate::objects::reading::yaml::Value;
use crate::objects::reading::{Fields, Item, Place, Report, names};

/// Of `google.protobuf.Duration`.
const MAX_SECONDS: u64 = 315_576_000_000;

/// What is done to the fields of a head: first `remove`, then `set`, which replaces, then `add`, which appends.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeaderOperations {
    pub remove: Vec<String>,
    pub set: Vec<(String, String)>,
    pub add: Vec<(String, String)>,
}

/// `headers` of a rule or of a destination.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeaderChanges {
    pub request: HeaderOperations,
    pub response: HeaderOperations,
}

/// `exportTo`: the namespaces that see an object.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ExportTo {
    /// Not set: what MeshConfig says.
    #[default]
    Unset,
    Public,
    /// `~`.
    Nobody,
    /// By name; the object's own namespace is `.` until it is resolved by [`ExportTo::is_visible_to`].
    Namespaces(Vec<String>),
}

impl ExportTo {
    /// What a list of values means: `*` counts alone, then `~` does.
    pub(in crate::objects) fn of(values: &[String]) -> Self {
        let has = |text: &str| values.iter().any(|value| value == text);
        match values {
            [] => Self::Unset,
            _ if has("*") => Self::Public,
            _ if has("~") => Self::Nobody,
            _ => Self::Namespaces(values.to_vec()),
        }
    }

    /// The list of values that means this.
    #[must_use]
    pub fn values(&self) -> Vec<String> {
        match self {
            Self::Unset => Vec::new(),
            Self::Public => vec!["*".to_owned()],
            Self::Nobody => vec!["~".to_owned()],
            Self::Namespaces(names) => names.clone(),
        }
    }

    /// Reads and checks `exportTo`.
    pub(in crate::objects) fn read(fields: &mut Fields<'_>) -> Self {
        let values = fields.texts("exportTo");
        for (at, value) in values.iter().enumerate() {
            if !matches!(value.as_str(), "." | "*" | "~") && names::label(value).is_err() {
                let reason = format!("{value:?} is not a namespace: use \".\", \"*\", \"~\" or a name");
                fields.error(&format!("exportTo[{at}]"), reason);
            }
        }
        Self::of(&values)
    }

    /// True if `namespace` sees an object of the namespace `own`; `default` is what MeshConfig says of this kind.
    #[must_use]
    pub fn is_visible_to(&self, namespace: &str, own: &str, default: &Self) -> bool {
        match self {
            Self::Unset if matches!(default, Self::Unset) => true,
            Self::Unset => default.is_visible_to(namespace, own, &Self::Unset),
            Self::Public => true,
            Self::Nobody => false,
            Self::Namespaces(names) => names.iter().any(|name| name == namespace || (name == "." && namespace == own)),
        }
    }
}

/// Reads a duration such as `1h30m`, `3s` or `500ms`.
pub(in crate::objects) fn duration(fields: &mut Fields<'_>, name: &'static str) -> Option<Duration> {
    let text = fields.text(name)?;
    let duration = parse_duration(&text);
    if duration.is_none() {
        fields.error(name, format!("{text:?} is not a duration: write it as 3s, 500ms or 1h30m"));
    }
    duration
}

/// A duration as Go and protobuf write it: numbers with units, largest unit first or not.
pub(in crate::objects) fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let nanos_per_unit: u128 = match unit {
            "ns" => 1,
            "us" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60 * 1_000_000_000,
            "h" => 3_600 * 1_000_000_000,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.len() > 12 || fraction.len() > 18 || (whole.is_empty() && fraction.is_empty()) {
            return None;
        }
        let parse = |digits: &str| if digits.is_empty() { Some(0) } else { digits.parse::<u128>().ok() };
        let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
        let nanos = parse(whole)? * nanos_per_unit + parse(fraction)? * nanos_per_unit / scale;
        let seconds = u64::try_from(nanos / 1_000_000_000).ok().filter(|seconds| *seconds <= MAX_SECONDS)?;
        total += Duration::new(seconds, u32::try_from(nanos % 1_000_000_000).ok()?);
        rest = after;
    }
    (total.as_secs() <= MAX_SECONDS && !text.is_empty()).then_some(total)
}

/// Reads `name: {value: 12.5}`, a percentage. One that does not say how much is 0.
pub(in crate::objects) fn percentage(fields: &mut Fields<'_>, name: &'static str) -> Option<Share> {
    let mut percent = fields.fields(name)?;
    let value = percent.decimal("value").unwrap_or(0.0);
    if !(0.0..=100.0).contains(&value) {
        percent.error("value", format!("{value} is no percentage: use 0 to 100"));
    }
    percent.finish();
    Some(Share::of_percent(value))
}

/// Reads the older form of a percentage, a whole number.
pub(in crate::objects) fn whole_percentage(fields: &mut Fields<'_>, name: &'static str) -> Option<Share> {
    fields.number::<u32>(name, 0..=100).map(|percent| Share::of_fraction(percent, 100))
}

/// Reads a `StringMatch`. One that is neither exact, prefix nor regex, and the expression `*`, ask for presence only. `None`
/// after an error.
pub(in crate::objects) fn string_match(mut fields: Fields<'_>) -> Option<TextMatch> {
    let [exact, prefix, regex] = ["exact", "prefix", "regex"].map(|name| fields.text(name));
    if [&exact, &prefix, &regex].into_iter().flatten().count() > 1 {
        fields.error("exact", "only one of exact, prefix and regex may be set");
    }
    let found = match (exact, prefix, regex) {
        (Some(text), ..) => Some(TextMatch::Exact(text.into())),
        (_, Some(text), _) => Some(TextMatch::Prefix(text.into())),
        (_, _, Some(text)) if text != "*" => self::regex(&text, &fields.place().field("regex")).map(TextMatch::Regex),
        _ => Some(TextMatch::Present),
    };
    fields.finish();
    found
}

/// Compiles the regular expression that stands at `place`.
pub(in crate::objects) fn regex(text: &str, place: &Place<'_>) -> Option<Pattern> {
    match Pattern::new(text) {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            place.error(error.to_string());
            None
        }
    }
}

/// Reads a map from names to matches. `x:` with nothing behind it asks for presence, as `x: {}` does.
pub(in crate::objects) fn string_matches(fields: &mut Fields<'_>, name: &'static str) -> Vec<(String, TextMatch)> {
    let report = fields.report();
    let one = |(key, item): (&str, Item<'_>)| {
        let found = if item.node.value == Value::Null {
            Some(TextMatch::Present)
        } else {
            item.fields(report).and_then(string_match)
        };
        Some((key.to_owned(), found?))
    };
    fields.entries(name).unwrap_or_default().into_iter().filter_map(one).collect()
}

/// Reads `headers`.
pub(in crate::objects) fn header_changes(fields: &mut Fields<'_>) -> HeaderChanges {
    let Some(mut headers) = fields.fields("headers") else { return HeaderChanges::default() };
    let changes = HeaderChanges {
        request: headers.fields("request").map(operations).unwrap_or_default(),
        response: headers.fields("response").map(operations).unwrap_or_default(),
    };
    headers.finish();
    changes
}

fn operations(mut fields: Fields<'_>) -> HeaderOperations {
    let pairs = |map: BTreeMap<String, String>| map.into_iter().collect::<Vec<_>>();
    let found = HeaderOperations {
        remove: fields.texts("remove"),
        set: pairs(fields.text_map("set")),
        add: pairs(fields.text_map("add")),
    };
    for (list, entries) in [("set", &found.set), ("add", &found.add)] {
        for (name, value) in entries {
            let place = format!("{list}[{name}]");
            if let Err(reason) = field_name(name).and_then(|()| literal_field_value(value)) {
                fields.error(&place, reason);
                continue;
            }
            match FieldFormat::parse(value) {
                Ok(_) => {}
                // Istio takes any command. What is not known of one field is no reason to leave the whole object out.
                Err(error @ FormatError::UnknownCommand { .. }) if list == "set" => {
                    fields.notice(&place, format!("the field is removed and not set: {error}"));
                }
                Err(error @ FormatError::UnknownCommand { .. }) => {
                    fields.notice(&place, format!("the field is not added: {error}"));
                }
                Err(error) => fields.error(&place, error.to_string()),
            }
        }
    }
    for (at, name) in found.remove.iter().enumerate() {
        if let Err(reason) = field_name(name) {
            fields.error(&format!("remove[{at}]"), reason);
        }
    }
    fields.finish();
    found
}

/// A name of a field (RFC 9110 §5.1). `:authority` is one too: it stands for the host.
pub(in crate::objects) fn field_name(name: &str) -> Result<(), String> {
    let token = name.strip_prefix(':').unwrap_or(name);
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if !token.is_empty() && token.bytes().all(allowed) {
        return Ok(());
    }
    Err(format!("{name:?} is not a name of a header: use letters, digits, - and _"))
}

/// A value of a field (RFC 9110 §5.5).
pub(in crate::objects) fn literal_field_value(value: &str) -> Result<(), String> {
    if value.bytes().any(|byte| byte == b'\r' || byte == b'\n' || byte == 0) {
        return Err("a value of a header must not contain line breaks or NUL".to_owned());
    }
    Ok(())
}

/// Reads `port: {number: 80}`.
pub(in crate::objects) fn port_selector(fields: &mut Fields<'_>) -> Option<u16> {
    let mut port = fields.fields("port")?;
    let number = port.number("number", 1..=65_535);
    if number.is_none() && port.get("number").is_none() {
        port.error("number", "a port needs its number, 1..65535");
    }
    port.finish();
    number
}

/// A host that a rule names: a domain name, perhaps with a star at its beginning, or an IP address.
pub(in crate::objects) fn host(item: &Item<'_>, text: &str, report: &Report) {
    if text.parse::<std::net::IpAddr>().is_err()
        && let Err(reason) = names::wildcard_host(text)
    {
        item.error(report, reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_and_protobuf_write_them() {
        let cases = [
            ("3s", Some(Duration::from_secs(3))),
            ("0s", Some(Duration::ZERO)),
            ("500ms", Some(Duration::from_millis(500))),
            ("1.5s", Some(Duration::from_millis(1_500))),
            ("1h30m", Some(Duration::from_secs(5_400))),
            ("0.000000001s", Some(Duration::from_nanos(1))),
            ("86400s", Some(Duration::from_secs(86_400))),
            ("", None),
            ("3", None),
            ("-3s", None),
            ("3 s", None),
            ("9999999999999h", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_duration(text), expected, "{text:?}");
        }
    }

    #[test]
    fn who_sees_an_object() {
        let list = |values: &[&str]| ExportTo::of(&values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>());
        let cases: [(&[&str], &[&str], bool, bool); 7] = [
            (&[], &[], true, true),
            (&[], &["."], true, false),
            (&["*", "~"], &["."], true, true),
            (&["~", "own"], &["*"], false, false),
            (&["."], &["*"], true, false),
            (&["other"], &["*"], false, true),
            (&["own", "other"], &["*"], true, true),
        ];
        for (values, default, own, other) in cases {
            let (export_to, default) = (list(values), list(default));
            assert_eq!(export_to.is_visible_to("own", "own", &default), own, "{values:?}");
            assert_eq!(export_to.is_visible_to("other", "own", &default), other, "{values:?}");
        }
    }
}
