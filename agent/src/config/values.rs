//! How the values of settings are read. A value that cannot be meant is refused here, by the setting's name, before anything
//! starts.

use std::net::SocketAddr;
use std::time::Duration;

/// The longest time that any setting may ask for, in seconds: a day. With much more some clocks overflow.
pub(super) const MAX_SECONDS: u64 = 86_400;

/// A name as Kubernetes gives them; it becomes part of the id by which a control plane knows this agent.
pub(super) fn name(text: &str) -> Result<String, String> {
    match text.chars().find(|c| !(c.is_ascii_alphanumeric() || "-._".contains(*c))) {
        Some(c) => Err(format!("{c:?} is not allowed in a name (letters, digits, '-', '.' and '_' are)")),
        None if text.len() > 253 => Err("a name has at most 253 characters".to_owned()),
        None => Ok(text.to_owned()),
    }
}

/// A trust domain in the form of SPIFFE; empty means the default.
pub(super) fn trust_domain(text: &str) -> Result<String, String> {
    match text.chars().find(|c| !(c.is_ascii_lowercase() || c.is_ascii_digit() || "-._".contains(*c))) {
        Some(c) => Err(format!("{c:?} is not allowed in a trust domain (a-z, 0-9, '-', '.' and '_' are)")),
        None if text.len() > 255 => Err("a trust domain has at most 255 characters".to_owned()),
        None => Ok(text.to_owned()),
    }
}

/// An address on loopback: the admin interface can stop the agent, and no other machine may do that.
pub(super) fn on_loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| "expected an IP address with a port".to_owned())?;
    if address.ip().to_canonical().is_loopback() {
        return Ok(address);
    }
    Err("the admin interface can stop the agent: it must listen on loopback".to_owned())
}

/// The form of a control plane's address; what it means is decided where it is connected to.
pub(super) fn control_address(text: &str) -> Result<String, String> {
    // Istio's charts give no scheme.
    let whole = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    let host = whole.strip_prefix("https://").or_else(|| whole.strip_prefix("http://"));
    match host {
        Some(host) if !host.is_empty() && !host.trim_end_matches('/').contains(['/', ' ', '@']) => Ok(whole),
        _ => Err("expected https://host:port".to_owned()),
    }
}

/// The address of a collector of spans.
pub(super) fn collector(text: &str) -> Result<String, String> {
    let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    match whole.strip_prefix("http://") {
        Some(host) if !host.is_empty() && !host.trim_end_matches('/').contains(['/', ' ', '@']) => Ok(whole),
        _ => Err("expected http://host:port".to_owned()),
    }
}

/// A share of a hundred.
pub(super) fn percent(text: &str) -> Result<f64, String> {
    let percent = text.parse().ok().filter(|percent| (0.0..=100.0).contains(percent));
    percent.ok_or_else(|| "expected a number from 0 to 100".to_owned())
}

/// A number of threads, or a share of the cores.
pub(super) fn worker_threads(text: &str) -> Result<usize, String> {
    const MAX: usize = 1024;
    if let Some(share) = text.strip_suffix('%') {
        let share: usize = share.parse().ok().filter(|share| (1..=100).contains(share)).ok_or("expected 1% to 100%")?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        return Ok((cores * share).div_ceil(100).max(1));
    }
    let count: usize = text.parse().map_err(|_| "expected a number or a share such as 50%".to_owned())?;
    if count > MAX { Err(format!("{count} is not in 0..={MAX}")) } else { Ok(count) }
}

/// A duration as ztunnel's settings write them: `90`, `90s`, `1h30m`, `1m + 30s`: numbers with a unit each (ns, us, ms, s, m, h, d, w); seconds where it has none.
///
/// # Errors
/// Where a part is not of that form, or the sum is more than any setting may ask for.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let form = || format!("{text:?} is not a duration such as 90s, 5m or 24h");
    let mut rest = text.trim();
    let mut sum = Duration::ZERO;
    if rest.is_empty() {
        return Err(form());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: u64 = rest[..digits].parse().map_err(|_| form())?;
        rest = rest[digits..].trim_start();
        let letters = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
        let unit = unit(&rest[..letters]).ok_or_else(form)?;
        rest = rest[letters..].trim_start();
        rest = rest.strip_prefix('+').map_or(rest, str::trim_start);
        let part = u32::try_from(number).ok().and_then(|number| unit.checked_mul(number)).ok_or_else(form)?;
        sum = sum.checked_add(part).ok_or_else(form)?;
    }
    Ok(sum)
}

fn unit(name: &str) -> Option<Duration> {
    Some(match name.to_ascii_lowercase().as_str() {
        "ns" | "nsec" => Duration::from_nanos(1),
        "us" | "µs" | "usec" => Duration::from_micros(1),
        "ms" | "msec" => Duration::from_millis(1),
        "" | "s" | "sec" | "secs" | "second" | "seconds" => Duration::from_secs(1),
        "m" | "min" | "mins" | "minute" | "minutes" => Duration::from_secs(60),
        "h" | "hr" | "hour" | "hours" => Duration::from_secs(3600),
        "d" | "day" | "days" => Duration::from_secs(86_400),
        "w" | "week" | "weeks" => Duration::from_secs(7 * 86_400),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_ztunnel_reads_them() {
        for (text, milliseconds) in [
            ("90", 90_000),
            ("5s", 5_000),
            ("250ms", 250),
            ("24h", 86_400_000),
            ("1h30m", 5_400_000),
            ("1m + 30s", 90_000),
            ("1d 1h", 90_000_000),
            ("0s", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", " ", "s", "5x", "-1s", "1.5h", "5s,", "99999999999999999999s"] {
            assert!(duration(text).is_err(), "{text:?}");
        }
    }
}
