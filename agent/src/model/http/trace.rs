//! The context of a distributed trace in a request's fields: W3C's `traceparent` (<https://www.w3.org/TR/trace-context/>) and B3 in one
//! field or in several (<https://github.com/openzipkin/b3-propagation>). Also `x-request-id`, as Envoy gives requests one.
//!
//! Randomness is a parameter. `tracestate` belongs to who set it and stays as it came.

use std::fmt::{self, Write};

use super::head::HttpFields;

const TRACEPARENT: &str = "traceparent";
const B3: &str = "b3";
const B3_TRACE_ID: &str = "x-b3-traceid";
const B3_SPAN_ID: &str = "x-b3-spanid";
const B3_PARENT_SPAN_ID: &str = "x-b3-parentspanid";
const B3_SAMPLED: &str = "x-b3-sampled";
const B3_FLAGS: &str = "x-b3-flags";
const REQUEST_ID: &str = "x-request-id";

/// 128 bits, not zero. Shown as 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(u128);

/// 64 bits, not zero. Shown as 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId(u64);

impl TraceId {
    #[must_use]
    pub fn bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

impl SpanId {
    #[must_use]
    pub fn bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What a request says of the trace that it is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallerSpan {
    pub trace: TraceId,
    pub span: SpanId,
    /// Whether its caller's span is recorded. `None` where the caller leaves that to whoever comes next.
    pub sampled: Option<bool>,
}

/// The span of one request here, as further proxies and applications are told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanContext {
    pub trace: TraceId,
    pub span: SpanId,
    /// The caller's.
    pub parent: Option<SpanId>,
    pub sampled: bool,
}

/// How many of the requests whose callers have not decided are recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampling {
    /// Of 2^32.
    share: u64,
}

impl Sampling {
    /// A share of a hundred; Istio's default is 1. What is beyond 0 and 100 counts as these.
    #[must_use]
    pub fn percent(percent: f64) -> Self {
        // Between 0 and 2^32.
        let share = (percent.clamp(0.0, 100.0) / 100.0 * 4_294_967_296.0) as u64;
        Self { share }
    }

    /// Whether a request is recorded; `random` is any number, each as likely as another.
    #[must_use]
    pub fn wants(self, random: u32) -> bool {
        u64::from(random) < self.share
    }
}

impl CallerSpan {
    /// The context in these fields, W3C's before B3's; `None` where there is none, or none that is well-formed.
    #[must_use]
    pub fn of(fields: &HttpFields) -> Option<Self> {
        let text = |name| fields.first(name).and_then(|value| std::str::from_utf8(value).ok()).map(str::trim);
        text(TRACEPARENT).and_then(Self::w3c).or_else(|| text(B3).and_then(Self::b3_single)).or_else(|| {
            let flag = |name| text(name).and_then(sampled);
            Some(Self {
                trace: trace_id(text(B3_TRACE_ID)?)?,
                span: span_id(text(B3_SPAN_ID)?)?,
                // The flag of debugging has a span recorded whatever else is said.
                sampled: flag(B3_FLAGS).filter(|debug| *debug).or_else(|| flag(B3_SAMPLED)),
            })
        })
    }

    /// `version-trace-parent-flags`. A later version may have more behind it.
    fn w3c(value: &str) -> Option<Self> {
        let mut parts = value.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let is_known = match version {
            "00" => parts.next().is_none(),
            "ff" => false,
            later => hexadecimal(later, 2).is_some(),
        };
        if !is_known || trace.len() != 32 {
            return None;
        }
        let flags = hexadecimal(flags, 2)?;
        Some(Self { trace: trace_id(trace)?, span: span_id(span)?, sampled: Some(flags & 1 == 1) })
    }

    /// `trace-span`, `trace-span-sampled` or `trace-span-sampled-parent`.
    fn b3_single(value: &str) -> Option<Self> {
        let mut parts = value.split('-');
        let (trace, span) = (trace_id(parts.next()?)?, span_id(parts.next()?)?);
        Some(Self { trace, span, sampled: parts.next().and_then(sampled) })
    }
}

impl SpanContext {
    /// The span of a request here: within the trace that its caller tells, or at the beginning of one of its own. `wants_sampled`
    /// decides where the caller has not. `random` gives a number that is not to be guessed, anew with each call.
    pub fn begin(
        caller: Option<CallerSpan>,
        wants_sampled: impl FnOnce() -> bool,
        mut random: impl FnMut() -> u64,
    ) -> Self {
        let span = SpanId(random().max(1));
        match caller {
            Some(CallerSpan { trace, span: parent, sampled }) => {
                Self { trace, span, parent: Some(parent), sampled: sampled.unwrap_or_else(wants_sampled) }
            }
            None => {
                let trace = TraceId((u128::from(random()) << 64 | u128::from(random())).max(1));
                Self { trace, span, parent: None, sampled: wants_sampled() }
            }
        }
    }

    /// Tells whoever gets these fields: in W3C's form, and in those forms of B3 that the fields have already.
    pub fn write(&self, fields: &mut HttpFields) {
        let Self { trace, span, parent, sampled } = self;
        let sampled = u8::from(*sampled);
        let mut text = String::with_capacity(80);
        let mut set = |name: &str, value: fmt::Arguments<'_>, fields: &mut HttpFields| {
            text.clear();
            // Writing to a string never fails.
            let _ = text.write_fmt(value);
            fields.set(name, text.as_bytes());
        };
        set(TRACEPARENT, format_args!("00-{trace}-{span}-{sampled:02x}"), fields);
        if fields.contains(B3) {
            match parent {
                Some(parent) => set(B3, format_args!("{trace}-{span}-{sampled}-{parent}"), fields),
                None => set(B3, format_args!("{trace}-{span}-{sampled}"), fields),
            }
        }
        if fields.contains(B3_TRACE_ID) {
            set(B3_TRACE_ID, format_args!("{trace}"), fields);
            set(B3_SPAN_ID, format_args!("{span}"), fields);
            match parent {
                Some(parent) => set(B3_PARENT_SPAN_ID, format_args!("{parent}"), fields),
                None => fields.remove(B3_PARENT_SPAN_ID),
            }
            if !fields.contains(B3_FLAGS) {
                set(B3_SAMPLED, format_args!("{sampled}"), fields);
            }
        }
    }
}

/// Gives a request an `x-request-id` where it has none: a random UUID (RFC 9562 §5.4) of 128 random bits, six of which are fixed.
pub fn ensure_request_id(fields: &mut HttpFields, random: impl FnOnce() -> u128) {
    if fields.contains(REQUEST_ID) {
        return;
    }
    let bits = random() & !(0xf000 << 64) & !(0xc000 << 48) | 0x4000 << 64 | 0x8000 << 48;
    fields.append(REQUEST_ID.as_bytes(), &uuid_text(bits));
}

/// The text of a UUID (RFC 9562 §4): groups of 8, 4, 4, 4 and 12 digits.
fn uuid_text(bits: u128) -> [u8; 36] {
    let mut text = [b'-'; 36];
    let places = (0..36).filter(|place| !matches!(place, 8 | 13 | 18 | 23));
    for (place, digit) in places.zip((0..32).rev()) {
        text[place] = b"0123456789abcdef"[(bits >> (digit * 4) & 0xf) as usize];
    }
    text
}

/// 32 digits, or 16 of the older form of B3.
fn trace_id(text: &str) -> Option<TraceId> {
    let length = if text.len() == 16 { 16 } else { 32 };
    hexadecimal(text, length).filter(|id| *id != 0).map(TraceId)
}

fn span_id(text: &str) -> Option<SpanId> {
    hexadecimal(text, 16).and_then(|id| u64::try_from(id).ok()).filter(|id| *id != 0).map(SpanId)
}

/// Exactly so many digits, at most 32; those of W3C are in lower case, those of B3 as they come.
fn hexadecimal(text: &str, digits: usize) -> Option<u128> {
    let are_digits = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    are_digits.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

/// B3's word for whether a span is recorded; `d` is debugging.
fn sampled(text: &str) -> Option<bool> {
    match text {
        "1" | "d" | "true" => Some(true),
        "0" | "false" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    fn fields(fields: &[(&str, &str)]) -> HttpFields {
        fields.iter().copied().collect()
    }

    /// `trace span sampled`, or `-`.
    fn read(of: &[(&str, &str)]) -> String {
        CallerSpan::of(&fields(of)).map_or("-".to_owned(), |caller| {
            let sampled = caller.sampled.map_or("?", |sampled| if sampled { "1" } else { "0" });
            format!("{} {} {sampled}", caller.trace, caller.span)
        })
    }

    #[test]
    fn w3c_contexts_are_read_where_they_are_well_formed() {
        for (value, expected) in [
            (format!("00-{TRACE}-{SPAN}-01"), format!("{TRACE} {SPAN} 1")),
            (format!(" 00-{TRACE}-{SPAN}-00 "), format!("{TRACE} {SPAN} 0")),
            (format!("00-{TRACE}-{SPAN}-03"), format!("{TRACE} {SPAN} 1")),
            (format!("cc-{TRACE}-{SPAN}-01-more"), format!("{TRACE} {SPAN} 1")),
            (format!("00-{TRACE}-{SPAN}-01-more"), "-".into()),
            (format!("ff-{TRACE}-{SPAN}-01"), "-".into()),
            (format!("0-{TRACE}-{SPAN}-01"), "-".into()),
            (format!("00-{TRACE}-{SPAN}"), "-".into()),
            (format!("00-{TRACE}-{SPAN}-1"), "-".into()),
            (format!("00-{TRACE}-{SPAN}-0x"), "-".into()),
            (format!("00-{}-{SPAN}-01", "0".repeat(32)), "-".into()),
            (format!("00-{}-{SPAN}-01", &TRACE[..16]), "-".into()),
            (format!("00-{TRACE}-0000000000000000-01"), "-".into()),
            (format!("00-+{}-{SPAN}-01", &TRACE[1..]), "-".into()),
            (String::new(), "-".into()),
        ] {
            assert_eq!(read(&[("traceparent", &value)]), expected, "{value}");
        }
    }

    #[test]
    fn b3_contexts_are_read_in_both_forms() {
        for (of, expected) in [
            (&[("b3", format!("{TRACE}-{SPAN}"))][..], format!("{TRACE} {SPAN} ?")),
            (&[("b3", format!("{TRACE}-{SPAN}-1"))], format!("{TRACE} {SPAN} 1")),
            (&[("b3", format!("{TRACE}-{SPAN}-d-{SPAN}"))], format!("{TRACE} {SPAN} 1")),
            (&[("b3", format!("{}-{SPAN}-0", &TRACE[16..]))], format!("0000000000000000{} {SPAN} 0", &TRACE[16..])),
            // Only whether, and not of what.
            (&[("b3", "0".to_owned())], "-".into()),
            (&[("x-b3-traceid", TRACE.to_owned()), ("x-b3-spanid", SPAN.to_owned())], format!("{TRACE} {SPAN} ?")),
            (
                &[
                    ("x-b3-traceid", TRACE.to_owned()),
                    ("x-b3-spanid", SPAN.to_owned()),
                    ("x-b3-sampled", "0".to_owned()),
                ],
                format!("{TRACE} {SPAN} 0"),
            ),
            (
                &[
                    ("x-b3-traceid", TRACE.to_uppercase()),
                    ("x-b3-spanid", SPAN.to_owned()),
                    ("x-b3-sampled", "0".to_owned()),
                    ("x-b3-flags", "1".to_owned()),
                ],
                format!("{TRACE} {SPAN} 1"),
            ),
            (&[("x-b3-traceid", TRACE.to_owned())], "-".into()),
        ] {
            let of: Vec<_> = of.iter().map(|(name, value)| (*name, &**value)).collect();
            assert_eq!(read(&of), expected, "{of:?}");
        }
        let both = [("b3", "1111111111111111-2222222222222222-0"), ("traceparent", &*format!("00-{TRACE}-{SPAN}-01"))];
        assert_eq!(read(&both), format!("{TRACE} {SPAN} 1"), "W3C's before B3's");
        let malformed = [("b3", &*format!("{TRACE}-{SPAN}-1")), ("traceparent", "none")];
        assert_eq!(read(&malformed), format!("{TRACE} {SPAN} 1"));
    }

    #[test]
    fn a_span_continues_its_callers_trace_or_begins_one() {
        let numbers = || {
            let mut next = 0;
            move || {
                next += 1;
                next
            }
        };
        let caller = |sampled| {
            let (trace, span) = (TraceId(7), SpanId(9));
            Some(CallerSpan { trace, span, sampled })
        };
        for (caller, wanted, expected) in [
            (caller(Some(true)), false, "7 1 Some(SpanId(9)) true"),
            (caller(Some(false)), true, "7 1 Some(SpanId(9)) false"),
            (caller(None), true, "7 1 Some(SpanId(9)) true"),
            (None, true, "36893488147419103235 1 None true"),
            (None, false, "36893488147419103235 1 None false"),
        ] {
            let SpanContext { trace, span, parent, sampled } = SpanContext::begin(caller, || wanted, numbers());
            assert_eq!(format!("{} {} {parent:?} {sampled}", trace.0, span.0), expected);
        }
        let zeros = SpanContext::begin(None, || true, || 0);
        assert_eq!((zeros.trace, zeros.span), (TraceId(1), SpanId(1)), "neither is zero");
    }

    #[test]
    fn a_span_is_told_in_w3cs_form_and_in_those_that_came() {
        let context = |parent| SpanContext { trace: TraceId(0xa), span: SpanId(0xb), parent, sampled: true };
        let (trace, span, parent) = ("0".repeat(31) + "a", "000000000000000b", "000000000000000c");
        let traceparent = format!("traceparent: 00-{trace}-{span}-01");
        for (came, context, expected) in [
            (&[][..], context(None), traceparent.clone()),
            (
                &[("traceparent", "old"), ("tracestate", "a=b")],
                context(None),
                format!("tracestate: a=b, {traceparent}"),
            ),
            (&[("b3", "old")], context(None), format!("{traceparent}, b3: {trace}-{span}-1")),
            (&[("b3", "old")], context(Some(SpanId(0xc))), format!("{traceparent}, b3: {trace}-{span}-1-{parent}")),
            (
                &[("x-b3-traceid", "old"), ("x-b3-parentspanid", "old")],
                context(None),
                format!("{traceparent}, x-b3-traceid: {trace}, x-b3-spanid: {span}, x-b3-sampled: 1"),
            ),
            (
                &[("x-b3-traceid", "old"), ("x-b3-flags", "1")],
                context(Some(SpanId(0xc))),
                format!(
                    "x-b3-flags: 1, {traceparent}, x-b3-traceid: {trace}, x-b3-spanid: {span}, x-b3-parentspanid: {parent}"
                ),
            ),
        ] {
            let mut fields = fields(came);
            context.write(&mut fields);
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let all: Vec<_> = fields.iter().map(|(name, value)| format!("{}: {}", text(name), text(value))).collect();
            assert_eq!(all.join(", "), expected, "{came:?}");
        }
    }

    #[test]
    fn a_share_of_the_requests_is_sampled() {
        for (percent, below) in
            [(0.0, 0), (-1.0, 0), (50.0, 1 << 31), (1.0, 42_949_672), (100.0, 1 << 32), (1e9, 1 << 32)]
        {
            let sampling = Sampling::percent(percent);
            assert_eq!(sampling.share, below, "{percent}");
            let last = u32::MAX;
            assert_eq!((sampling.wants(0), sampling.wants(last)), (below > 0, below > u64::from(last)), "{percent}");
        }
    }

    #[test]
    fn a_request_without_an_id_gets_a_random_uuid() {
        for (came, random, expected) in [
            (&[("x-request-id", "mine")][..], 0, "mine"),
            (&[], 0, "00000000-0000-4000-8000-000000000000"),
            (&[], u128::MAX, "ffffffff-ffff-4fff-bfff-ffffffffffff"),
            (&[], 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff, "00112233-4455-4677-8899-aabbccddeeff"),
        ] {
            let mut fields = fields(came);
            ensure_request_id(&mut fields, || random);
            assert_eq!(fields.values("x-request-id").collect::<Vec<_>>(), [expected.as_bytes()]);
        }
    }
}
