//! How long a request and each of its attempts may take: what the rule says, and what the client says in fields that Envoy
//! and gRPC define. A sidecar of Istio trusts its own application, and so does this.

use std::time::Duration;

use super::head::RequestHead;
use super::reply::Reason;

const TOTAL: &str = "x-envoy-upstream-rq-timeout-ms";
const PER_TRY: &str = "x-envoy-upstream-rq-per-try-timeout-ms";
/// Tells the upstream how long its answer is waited for.
const EXPECTED: &str = "x-envoy-expected-rq-timeout-ms";
const GRPC: &str = "grpc-timeout";

/// The greatest number that a `grpc-timeout` has, in digits (gRPC over HTTP/2, "Timeout").
const GRPC_DIGITS_MAX: usize = 8;

/// The limits of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timeouts {
    /// From the end of the request to the end of the response, over all attempts.
    pub total: Option<Duration>,
    /// Of each attempt; less than the total.
    pub per_try: Option<Duration>,
    /// Whether the total is the deadline that the client of a call of gRPC has set.
    pub is_deadline: bool,
}

impl Timeouts {
    /// From the rule's limits and the request. A `grpc-timeout` counts where it is shorter than the rule's; the fields of
    /// Envoy take the place of both, and 0 in them stands for no limit.
    #[must_use]
    pub fn of(rule: Option<Duration>, per_try: Option<Duration>, request: &RequestHead) -> Self {
        let (mut total, mut is_deadline) = (limit(rule), false);
        if request.is_grpc()
            && let Some(wanted) = request.fields.first(GRPC).and_then(parse_grpc)
            && total.is_none_or(|total| wanted < total)
        {
            (total, is_deadline) = (Some(wanted), true);
        }
        if let Some(wanted) = milliseconds(request, TOTAL) {
            (total, is_deadline) = (limit(Some(wanted)), false);
        }
        let per_try = limit(milliseconds(request, PER_TRY).or(per_try));
        let per_try = per_try.filter(|per_try| total.is_none_or(|total| *per_try < total));
        Self { total, per_try, is_deadline }
    }

    /// Why a request is answered whose time is over.
    #[must_use]
    pub fn reason(&self) -> Reason {
        if self.is_deadline { Reason::Deadline } else { Reason::Timeout }
    }

    /// Takes the fields that this end reads out of a request, and says in others how long the upstream has; in that of gRPC
    /// alone where Envoy's is not wanted.
    pub fn announce(&self, request: &mut RequestHead, tells_milliseconds: bool) {
        request.fields.remove(TOTAL);
        request.fields.remove(PER_TRY);
        request.fields.remove(EXPECTED);
        let Some(expected) = self.per_try.or(self.total) else { return };
        if tells_milliseconds {
            request.fields.append(EXPECTED.as_bytes(), expected.as_millis().to_string().as_bytes());
        }
        if request.is_grpc() {
            request.fields.set(GRPC, format_grpc(expected).as_bytes());
        }
    }
}

/// Zero stands for no limit.
fn limit(duration: Option<Duration>) -> Option<Duration> {
    duration.filter(|duration| !duration.is_zero())
}

fn milliseconds(request: &RequestHead, name: &str) -> Option<Duration> {
    let value = std::str::from_utf8(request.fields.first(name)?).ok()?;
    let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| value.parse().ok()).flatten().map(Duration::from_millis)
}

/// A `grpc-timeout`: digits and a unit.
fn parse_grpc(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > GRPC_DIGITS_MAX || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// The finest unit that holds it.
fn format_grpc(duration: Duration) -> String {
    let fits = |number: u128| number < 10_u128.pow(8);
    match duration {
        _ if fits(duration.as_millis()) => format!("{}m", duration.as_millis()),
        _ if fits(duration.as_secs().into()) => format!("{}S", duration.as_secs()),
        _ => format!("{}M", duration.as_secs() / 60 % 100_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::http::sample::get;

    const GRPC_TYPE: (&str, &str) = ("content-type", "application/grpc");

    #[test]
    fn the_rule_the_client_and_grpc_say_how_long_it_may_take() {
        /// Limits of the rule in milliseconds, fields, total and per attempt that come out.
        type Row = (u64, u64, &'static [(&'static str, &'static str)], u64, u64);
        let rows: [Row; 20] = [
            (0, 0, &[], 0, 0),
            (3000, 0, &[], 3000, 0),
            (3000, 1000, &[], 3000, 1000),
            (0, 1000, &[], 0, 1000),
            (1000, 1000, &[], 1000, 0),
            (1000, 3000, &[], 1000, 0),
            (0, 0, &[(TOTAL, "500")], 500, 0),
            (3000, 0, &[(TOTAL, "5000")], 5000, 0),
            (3000, 0, &[(TOTAL, "0")], 0, 0),
            (3000, 0, &[(TOTAL, "x")], 3000, 0),
            (3000, 0, &[(TOTAL, "+5")], 3000, 0),
            (3000, 0, &[(PER_TRY, "100")], 3000, 100),
            (3000, 500, &[(PER_TRY, "0")], 3000, 0),
            (3000, 0, &[GRPC_TYPE], 3000, 0),
            (0, 0, &[GRPC_TYPE, (GRPC, "5S")], 5000, 0),
            (3000, 0, &[GRPC_TYPE, (GRPC, "5S")], 3000, 0),
            (3000, 0, &[GRPC_TYPE, (GRPC, "200m")], 200, 0),
            (3000, 0, &[GRPC_TYPE, (GRPC, "123456789m")], 3000, 0),
            (3000, 0, &[GRPC_TYPE, (GRPC, "200m"), (TOTAL, "7")], 7, 0),
            (3000, 0, &[(GRPC, "200m")], 3000, 0),
        ];
        for (rule, per_try, fields, total, expected_per_try) in rows {
            let mut request = get("/");
            request.fields = fields.iter().copied().collect();
            let given = |milliseconds| Some(Duration::from_millis(milliseconds));
            let is_deadline = fields.contains(&GRPC_TYPE) && total > 0 && ![rule, 7].contains(&total);
            let expected =
                Timeouts { total: limit(given(total)), per_try: limit(given(expected_per_try)), is_deadline };
            assert_eq!(Timeouts::of(given(rule), given(per_try), &request), expected, "{rule} {per_try} {fields:?}");
        }
    }

    #[test]
    fn the_upstream_is_told_how_long_it_has() {
        for (total, per_try, is_grpc, expected, grpc) in [
            (0, 0, false, None, None),
            (3000, 0, false, Some("3000"), None),
            (3000, 500, false, Some("500"), None),
            (0, 500, true, Some("500"), Some("500m")),
            (100_000_000, 0, true, Some("100000000"), Some("100000S")),
            (0, 0, true, None, Some("1H")),
        ] {
            let mut request = get("/");
            request.fields = [(TOTAL, "1"), (PER_TRY, "1"), (EXPECTED, "1")].into_iter().collect();
            if is_grpc {
                request.fields.append(GRPC_TYPE.0.as_bytes(), GRPC_TYPE.1.as_bytes());
                request.fields.append(GRPC.as_bytes(), b"1H");
            }
            let given = |milliseconds| limit(Some(Duration::from_millis(milliseconds)));
            Timeouts { total: given(total), per_try: given(per_try), is_deadline: false }.announce(&mut request, true);
            let seen = |name| request.fields.first(name).map(|value| String::from_utf8_lossy(value).into_owned());
            assert_eq!((seen(EXPECTED).as_deref(), seen(GRPC).as_deref()), (expected, grpc), "{total} {per_try}");
            assert_eq!((seen(TOTAL), seen(PER_TRY)), (None, None));
        }
    }

    #[test]
    fn units_of_grpc() {
        for (text, expected) in [
            ("1H", Some(3_600_000_000_000)),
            ("2M", Some(120_000_000_000)),
            ("3S", Some(3_000_000_000)),
            ("4m", Some(4_000_000)),
            ("5u", Some(5000)),
            ("6n", Some(6)),
            ("6", None),
            ("S", None),
            ("-1S", None),
            ("1s", None),
            ("", None),
        ] {
            assert_eq!(parse_grpc(text.as_bytes()), expected.map(Duration::from_nanos), "{text}");
        }
    }
}
