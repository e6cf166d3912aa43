//! Keeps the process small: memory that start-up and peaks needed goes back to the kernel.

use std::cell::Cell;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sys::prctl;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

/// Rounds of giving memory back while the process starts, and the time between two of them.
const START_UP_ROUNDS: u32 = 40;
const START_UP_INTERVAL: Duration = Duration::from_millis(250);
/// Code is unmapped only in one of so many of these rounds: code that runs again is mapped again, which takes a moment.
const ROUNDS_BETWEEN_UNMAPS: u32 = 4;
/// The time between two rounds later on.
const INTERVAL: Duration = Duration::from_secs(1);
/// The allocator gives back what threads keep in reserve in one of so many of these rounds. By itself it does so only when a thread
/// allocates, which those of an idle agent do not.
const ROUNDS_BETWEEN_COLLECTIONS: u32 = 10;
/// A process that used less processor time in a round is idle.
const IDLE_TIME: Duration = Duration::from_millis(5);
/// Code that ran for so long since code was unmapped last is worth to be unmapped once the process is idle.
const BUSY_TIME: Duration = Duration::from_millis(10);

/// How often the process has become idle.
static TIMES_IDLE: AtomicU32 = AtomicU32::new(0);

thread_local! {
    /// What [`TIMES_IDLE`] was as this thread gave back its memory last.
    static COLLECTED: Cell<u32> = const { Cell::new(0) };
}

#[expect(unsafe_code, reason = "the allocator's own function, which its crate does not pass on")]
unsafe extern "C" {
    /// Returns to the kernel what the calling thread holds and does not need; with `force` also what it keeps in reserve.
    safe fn mi_collect(force: bool);
    /// Sets an option for the whole process.
    safe fn mi_option_set(option: libc::c_int, value: libc::c_long);
}

/// `mi_option_purge_delay` of mimalloc.h: milliseconds from the time that a slice of 64 KiB is free until the kernel gets it.
const PURGE_DELAY: libc::c_int = 15;

/// Turns transparent huge pages off for this process: one takes 2 MiB where 4 KiB are needed, and half of an idle agent would
/// be such pages. To be called before anything large is allocated. True if they were off from the process's beginning.
///
/// # Errors
/// When the kernel refuses; the process is larger then.
pub(crate) fn no_huge_pages() -> io::Result<bool> {
    let from_the_beginning = prctl::get_thp_disable()?;
    prctl::set_thp_disable(true)?;
    Ok(from_the_beginning)
}

/// Executes this program again in the same process, to be rid of the huge page that the allocator took before they were off.
/// Returns only if that fails, and then nothing has changed.
pub(crate) fn exec_again() -> io::Error {
    Command::new("/proc/self/exe").arg0("weir").args(std::env::args_os().skip(1)).exec()
}

/// Begins to keep the process small: what is free goes back to the kernel at once, and a thread of its own sees to the rest.
/// After its usual delay the allocator does not find all of it again: up to 5 MiB of what start-up needed to parse the kernel's BTF
/// stayed.
///
/// # Errors
/// When the thread cannot be started; the process is then as large as it happens to become.
pub(crate) fn keep_small() -> io::Result<()> {
    mi_option_set(PURGE_DELAY, 0);
    std::thread::Builder::new().name("memory".to_owned()).stack_size(64 * 1024).spawn(rounds)?;
    Ok(())
}

/// Gives back what the start of a process needed that does little from now on.
pub(crate) fn release_start_up_memory() {
    unmap_code();
    mi_collect(true);
}

/// Gives back what the calling thread holds and does not need, once whenever the process has become idle: the allocator
/// does not reach into another thread's memory. Threads call it before they wait.
pub(crate) fn release_idle_thread_memory() {
    let times = TIMES_IDLE.load(Ordering::Relaxed);
    if COLLECTED.replace(times) != times {
        mi_collect(true);
    }
}

fn rounds() {
    // The allocator collects nothing for a thread that has never allocated.
    drop(std::hint::black_box(Box::new(0_u8)));
    for round in 1..=START_UP_ROUNDS {
        std::thread::sleep(START_UP_INTERVAL);
        if round % ROUNDS_BETWEEN_UNMAPS == 0 {
            become_idle();
        }
        mi_collect(true);
    }
    let (mut activity, mut was_busy) = (Activity::default(), false);
    for round in (0..ROUNDS_BETWEEN_COLLECTIONS).cycle() {
        std::thread::sleep(INTERVAL);
        let has_ended = processor_time().is_some_and(|used| activity.has_ended(used));
        if has_ended {
            become_idle();
        }
        // A round later, too: by then the other threads have given back what they held.
        if has_ended || was_busy || round == 0 {
            mi_collect(has_ended || was_busy);
        }
        was_busy = has_ended;
    }
}

fn become_idle() {
    unmap_code();
    TIMES_IDLE.fetch_add(1, Ordering::Relaxed);
}

/// Tells by the processor time that a process has used when it has become idle.
#[derive(Debug, Default)]
struct Activity {
    /// What it had used in the round before.
    before: Duration,
    /// What it had used when it was last found to have become idle.
    ended: Duration,
}

impl Activity {
    /// Whether the process did something since this last returned true, and does nothing now. To be asked once a round.
    fn has_ended(&mut self, used: Duration) -> bool {
        let is_idle = used.saturating_sub(self.before) < IDLE_TIME;
        self.before = used;
        let has_ended = is_idle && used.saturating_sub(self.ended) >= BUSY_TIME;
        if has_ended {
            self.ended = used;
        }
        has_ended
    }
}

/// What the process has used so far.
fn processor_time() -> Option<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Some(Duration::from_micros(micros.try_into().ok()?))
}

/// Unmaps code and constants of the program and its libraries, most of which only start-up needs; what is still needed is mapped
/// again as it is used, from the page cache.
fn unmap_code() {
    let Ok(maps) = fs::read_to_string("/proc/self/maps") else { return };
    for (start, end) in maps.lines().filter_map(unchanged) {
        unmap(start, end - start);
    }
}

/// The addresses of a mapping, by its line in proc_pid_maps(5), if all of it is what its file says: code, and the constants
/// before it. Later mappings that are read-only now were written to by the loader.
fn unchanged(line: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_ascii_whitespace();
    let (range, rights, offset) = (fields.next()?, fields.next()?, fields.next()?);
    let is_of_file = fields.nth(2)?.starts_with('/');
    let is_first = offset.bytes().all(|digit| digit == b'0');
    let (start, end) =
        range.split_once('-').filter(|_| is_of_file && (rights == "r-xp" || (rights == "r--p" && is_first)))?;
    Some((usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?))
}

fn unmap(start: usize, length: usize) {
    // SAFETY: the range is a private mapping of a file that cannot be written to, so what it shows is the file's and
    // comes back from there at the next access. A failure changes nothing.
    #[expect(unsafe_code, reason = "madvise takes addresses")]
    unsafe {
        libc::madvise(std::ptr::without_provenance_mut(start), length, libc::MADV_DONTNEED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_files_hold_unchanged_is_unmapped() {
        for (line, expected) in [
            ("5633000-5634000 r--p 00000000 00:2a 1077  /usr/bin/weir", true),
            ("5634000-5635000 r-xp 00733000 00:2a 1077  /usr/bin/weir", true),
            ("5635000-5636000 r--p 01651000 00:2a 1077  /usr/bin/weir", false),
            ("5636000-5637000 rw-p 01718000 00:2a 1077  /usr/bin/weir", false),
            ("5634000-5635000 r-xp 00733000 00:2a 1077  /usr/bin/weir (deleted)", true),
            ("7f12000-7f13000 r-xp 00026000 08:01 301  /usr/lib/x86_64-linux-gnu/libc.so.6", true),
            ("2000000-2040000 r-xp 00000000 00:00 0", false),
            ("7ffe000-7fff000 r-xp 00000000 00:00 0  [vdso]", false),
            ("", false),
        ] {
            assert_eq!(unchanged(line).is_some(), expected, "{line}");
        }
        assert_eq!(unchanged("a000-c000 r-xp 00000000 00:2a 1  /x"), Some((0xa000, 0xc000)));
    }

    #[test]
    fn a_process_that_was_busy_becomes_idle_once() {
        let mut activity = Activity::default();
        // Milliseconds that it has used by the end of each second.
        for (used, expected) in [
            (900, false),
            (1500, false),
            (1501, true),
            (1502, false),
            (1506, false),
            (1519, false),
            (1522, true),
            (1523, false),
        ] {
            assert_eq!(activity.has_ended(Duration::from_millis(used)), expected, "{used} ms");
        }
    }
}
