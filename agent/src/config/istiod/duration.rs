//! Durations as ztunnel's settings write them.

use std::time::Duration;

/// Reads `90`, `90s`, `1h30m`, `1m + 30s`: numbers with a unit each (ns, us, ms, s, m, h, d, w); seconds where it has none.
///
/// # Errors
/// Where a part is not of that form, or the sum is more than any setting may ask for.
pub fn duration(text: &str) -> Result<Duration, String> {
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
