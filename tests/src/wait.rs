//! Waiting for a condition with a deadline. Tests never sleep for a guessed time: they wait for what they need to see, and
//! only this file sleeps between two looks.
#![expect(clippy::disallowed_methods, reason = "here is the loop that waits with a deadline")]

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Pause between two looks: short enough not to show in measured times, long enough to leave the cores to Weir.
const PAUSE: Duration = Duration::from_millis(5);

/// Tries until it succeeds, for at most `within`.
///
/// # Errors
/// The last error, with what was waited for and how long, once time is up.
pub fn until<T>(what: &str, within: Duration, attempt: impl FnMut() -> Result<T>) -> Result<T> {
    until_every(PAUSE, what, within, attempt)
}

/// As [`until`], with a pause of its own between two attempts: for attempts that cost a process each.
///
/// # Errors
/// As of [`until`].
pub fn until_every<T>(
    pause: Duration,
    what: &str,
    within: Duration,
    mut attempt: impl FnMut() -> Result<T>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(error) if start.elapsed() >= within => {
                return Err(error).with_context(|| format!("{what}: not within {:.1} s", within.as_secs_f32()));
            }
            Err(_) => thread::sleep(pause),
        }
    }
}

/// Checks that something holds at every look for the whole of `lasting`.
///
/// # Errors
/// The first look that failed.
pub fn throughout(what: &str, lasting: Duration, mut look: impl FnMut() -> Result<()>) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < lasting {
        look().with_context(|| format!("{what}: did not hold after {:.1} s", start.elapsed().as_secs_f32()))?;
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// Lets time pass between two measurements that must be so far apart. Never instead of waiting for something.
pub fn between_measurements(distance: Duration) {
    thread::sleep(distance);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_true_is_returned() {
        let mut looks = 0;
        let got = until("the third look", Duration::from_secs(5), || {
            looks += 1;
            anyhow::ensure!(looks == 3, "only look {looks}");
            Ok(looks)
        });
        assert_eq!(got.unwrap(), 3);
    }

    #[test]
    fn the_last_error_says_what_was_missing() {
        let never = until("nothing", Duration::ZERO, || -> Result<()> { anyhow::bail!("still not") });
        assert_eq!(format!("{:#}", never.unwrap_err()), "nothing: not within 0.0 s: still not");
    }
}
