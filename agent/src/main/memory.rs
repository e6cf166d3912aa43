//! Keeps the process small: memory that start-up and peaks needed goes back to the kernel.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use nix::sys::prctl;

/// Rounds of giving memory back while the process starts, and the time between two of them.
const START_UP_ROUNDS: u32 = 40;
const START_UP_INTERVAL: Duration = Duration::from_millis(250);
/// Code is unmapped only in one of so many of these rounds: code that runs again is mapped again, which takes a moment.
const ROUNDS_BETWEEN_UNMAPS: u32 = 4;
/// The time between two rounds later on. By itself the allocator gives memory back only when a thread allocates, which those of
/// an idle agent do not.
const INTERVAL: Duration = Duration::from_secs(10);

#[expect(unsafe_code, reason = "the allocator's own function, which its crate does not pass on")]
unsafe extern "C" {
    /// Returns free memory to the kernel: with `force` all, else what has been free for the allocator's purge delay.
    safe fn mi_collect(force: bool);
}

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

/// Begins to keep the process small, in a thread of its own.
///
/// # Errors
/// When the thread cannot be started; the process is then as large as it happens to become.
pub(crate) fn keep_small() -> io::Result<()> {
    std::thread::Builder::new().name("memory".to_owned()).stack_size(64 * 1024).spawn(rounds)?;
    Ok(())
}

/// Gives back what the start of a process needed that does little from now on.
pub(crate) fn release_start_up_memory() {
    unmap_code();
    mi_collect(true);
}

fn rounds() {
    // The allocator collects nothing for a thread that has never allocated.
    drop(std::hint::black_box(Box::new(0_u8)));
    for round in 1..=START_UP_ROUNDS {
        std::thread::sleep(START_UP_INTERVAL);
        if round % ROUNDS_BETWEEN_UNMAPS == 0 {
            unmap_code();
        }
        mi_collect(true);
    }
    loop {
        std::thread::sleep(INTERVAL);
        mi_collect(false);
    }
}

/// Unmaps the program's code and constants, most of which only start-up needs; what is still needed is mapped again as it
/// is used, from the page cache.
fn unmap_code() {
    let (Ok(maps), Ok(program)) = (fs::read_to_string("/proc/self/maps"), fs::read_link("/proc/self/exe")) else {
        return;
    };
    for line in maps.lines().filter(|line| program.to_str().is_some_and(|program| line.ends_with(program))) {
        let mut fields = line.split_ascii_whitespace();
        let (Some(range), Some(rights), Some(offset)) = (fields.next(), fields.next(), fields.next()) else { continue };
        // Code, and the constants before it. Later mappings that are read-only now were written to by the loader.
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
