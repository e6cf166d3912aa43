//! Keeps the process small: what start-up and peaks needed goes back to the kernel. Must not change what anybody computes.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use nix::sys::prctl;

/// While the process starts it is kept small in short rounds, of which there are so many.
const START_UP_ROUNDS: u32 = 40;
const START_UP_ROUND: Duration = Duration::from_millis(250);
/// Code is unmapped in every one of so many of them: what runs anew is mapped anew, which takes a moment.
const CODE_ROUNDS: u32 = 4;
/// Between two rounds later on. The allocator itself only gives back when a thread allocates, which an idle agent's do not.
const ROUND: Duration = Duration::from_secs(10);

#[expect(unsafe_code, reason = "the allocator's own function, which its crate does not pass on")]
unsafe extern "C" {
    /// Returns free memory to the kernel: with `force` all, else what has been free for the allocator's purge delay.
    safe fn mi_collect(force: bool);
}

/// Takes no huge pages: one holds 2 MiB for whoever needs 4 KiB of it, and an idle agent would be half such pages. Call it
/// before anything large is allocated. True if that was so from the process's beginning.
///
/// # Errors
/// When the kernel refuses; the process is larger then.
pub(crate) fn no_huge_pages() -> io::Result<bool> {
    let from_the_beginning = prctl::get_thp_disable()?;
    prctl::set_thp_disable(true)?;
    Ok(from_the_beginning)
}

/// Begins this process anew, for what it has taken already: the allocator had a huge page before anybody could say no.
/// Returns only if that fails, and then nothing has changed.
pub(crate) fn begin_anew() -> io::Error {
    Command::new("/proc/self/exe").arg0("weir").args(std::env::args_os().skip(1)).exec()
}

/// Begins to keep the process small, in a thread of its own.
///
/// # Errors
/// When the thread cannot be started; the process is then as large as it happens to become.
pub(crate) fn keep_small() -> io::Result<()> {
    std::thread::Builder::new().name("memory".to_owned()).stack_size(64 * 1024).spawn(rounds)?;
    Ok(())
}

/// Gives back what a process needed that does little from now on.
pub(crate) fn forget_start() {
    forget_code();
    mi_collect(true);
}

fn rounds() {
    // The allocator collects nothing for a thread that has never allocated.
    drop(std::hint::black_box(Box::new(0_u8)));
    for round in 1..=START_UP_ROUNDS {
        std::thread::sleep(START_UP_ROUND);
        if round % CODE_ROUNDS == 0 {
            forget_code();
        }
        mi_collect(true);
    }
    loop {
        std::thread::sleep(ROUND);
        mi_collect(false);
    }
}

/// Unmaps the program's code and constants, most of which only start-up needs; what is still needed is mapped again as it
/// is used, from the page cache.
fn forget_code() {
    let (Ok(maps), Ok(program)) = (fs::read_to_string("/proc/self/maps"), fs::read_link("/proc/self/exe")) else {
        return;
    };
    for line in maps.lines().filter(|line| program.to_str().is_some_and(|program| line.ends_with(program))) {
        let mut fields = line.split_ascii_whitespace();
        let (Some(range), Some(rights), Some(offset)) = (fields.next(), fields.next(), fields.next()) else { continue };
        // Code, and the constants before it. What comes later and cannot be written to any more was, by the loader.
        let is_as_in_file = rights == "r-xp" || (rights == "r--p" && offset.bytes().all(|digit| digit == b'0'));
        if let Some((start, end)) = addresses(range).filter(|_| is_as_in_file) {
            unmap(start, end - start);
        }
    }
}

/// `start-end`, in hexadecimal.
fn addresses(range: &str) -> Option<(usize, usize)> {
    let (start, end) = range.split_once('-')?;
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
