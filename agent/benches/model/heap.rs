//! The agent's allocator, with a count of what is asked of it. Must not change what it gives.

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicUsize, Ordering};

use mimalloc::MiMalloc;

/// Bytes asked for and not given back yet.
static LIVE: AtomicUsize = AtomicUsize::new(0);

/// mimalloc, counted.
#[derive(Debug)]
pub(crate) struct Counting;

#[expect(unsafe_code, reason = "an allocator is an unsafe trait")]
// SAFETY: every call goes to mimalloc with the caller's own arguments, and its answer goes back unchanged; the count
// beside it neither allocates nor panics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps what `GlobalAlloc::alloc` asks for, which is all that mimalloc asks for.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the block came from `alloc` or `realloc` above, thus from mimalloc, with this layout.
        unsafe { MiMalloc.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        LIVE.fetch_add(new_size, Ordering::Relaxed);
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as for `dealloc`; the new size is the caller's.
        unsafe { MiMalloc.realloc(block, layout, new_size) }
    }
}

/// Bytes in use now.
pub(crate) fn live_bytes() -> usize {
    LIVE.load(Ordering::Relaxed)
}

/// Resident memory of this process now, in bytes.
pub(crate) fn resident_bytes() -> usize {
    const PAGE_BYTES: usize = 4096;
    let statm = std::fs::read_to_string("/proc/self/statm").expect("every process can read its own");
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("the second is resident");
    pages * PAGE_BYTES
}
