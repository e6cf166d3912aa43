//! Times as RFC 3339 text in UTC.

use std::cell::RefCell;
use std::fmt::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

const SECONDS_PER_DAY: u64 = 86_400;

thread_local! {
    /// The last second since 1970 that this thread wrote, and its text.
    static LAST_SECOND: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
}

/// In whole seconds: `2026-11-21T14:03:22Z`. Times before 1970 are shown as its beginning.
#[must_use]
pub fn rfc3339_seconds(time: SystemTime) -> String {
    format!("{}Z", up_to_seconds(time))
}

/// With milliseconds: `2026-11-21T14:03:22.060Z`. Times before 1970 are shown as its beginning.
#[must_use]
pub fn rfc3339_milliseconds(time: SystemTime) -> String {
    let milliseconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().subsec_millis();
    format!("{}.{milliseconds:03}Z", up_to_seconds(time))
}

/// Writes it with microseconds: `2026-11-21T14:03:22.060000Z`. For times that follow each other closely: what is before the point
/// is made once a second. Times before 1970 are shown as its beginning.
///
/// # Errors
/// Those of `to`.
pub fn write_rfc3339_microseconds(time: SystemTime, to: &mut impl Write) -> fmt::Result {
    let since_1970 = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    LAST_SECOND.with_borrow_mut(|(second, text)| {
        if *second != since_1970.as_secs() || text.is_empty() {
            (*second, *text) = (since_1970.as_secs(), up_to_seconds(time));
        }
        to.write_str(text)
    })?;
    let mut text = *b".000000Z";
    let mut microseconds = since_1970.subsec_micros();
    for digit in text[1..7].iter_mut().rev() {
        *digit += u8::try_from(microseconds % 10).expect("a digit");
        microseconds /= 10;
    }
    to.write_str(std::str::from_utf8(&text).expect("digits"))
}

fn up_to_seconds(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (year, month, day) = date(seconds / SECONDS_PER_DAY);
    let of_day = seconds % SECONDS_PER_DAY;
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
}

/// The Gregorian date of a day counted from 1970-01-01. Years are taken to begin in March, so that the leap day is the
/// last day of a year and months have a simple rhythm (153 days in any five of them).
fn date(days_since_1970: u64) -> (u64, u64, u64) {
    const DAYS_PER_ERA: u64 = 146_097;
    let days = days_since_1970 + 719_468; // since 0000-03-01
    let (era, of_era) = (days / DAYS_PER_ERA, days % DAYS_PER_ERA);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn seconds_since_1970_as_dates() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (1_795_269_780, "2026-11-21T14:03:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn milliseconds_have_three_digits() {
        let time = UNIX_EPOCH + Duration::from_millis(1_795_269_780_060);
        assert_eq!(rfc3339_milliseconds(time), "2026-11-21T14:03:00.060Z");
    }

    #[test]
    fn microseconds_have_six_digits_and_follow_the_second() {
        for (microseconds, expected) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (1_795_269_780_000_060, "2026-11-21T14:03:00.000060Z"),
            (1_795_269_780_999_999, "2026-11-21T14:03:00.999999Z"),
            (1_795_269_781_500_000, "2026-11-21T14:03:01.500000Z"),
            (1_795_269_780_000_000, "2026-11-21T14:03:00.000000Z"),
        ] {
            let mut text = String::new();
            let time = UNIX_EPOCH + Duration::from_micros(microseconds);
            write_rfc3339_microseconds(time, &mut text).expect("a string takes everything");
            assert_eq!(text, expected);
        }
    }
}
