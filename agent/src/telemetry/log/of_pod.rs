//! Whose lines are being logged on this thread: those of a pod count as the pod's while they wait to be written.

use std::cell::RefCell;
use std::sync::Arc;

use crate::limits::Limit;

thread_local! {
    static POD: RefCell<Option<Arc<Limit>>> = const { RefCell::new(None) };
}

/// Nobody's lines again, whatever happens.
struct Nobody;

impl Drop for Nobody {
    fn drop(&mut self) {
        POD.set(None);
    }
}

/// What `log` logs on this thread are lines of the pod that may have so many bytes of them waiting.
pub(in crate::telemetry) fn of_pod(bytes: &Arc<Limit>, log: impl FnOnce()) {
    POD.set(Some(bytes.clone()));
    let _until_here = Nobody;
    log();
}

/// A line finds no room.
pub(super) struct NoRoom;

/// Takes room for a line that is logged now, in a buffer that has so many bytes left. Returns the limit of the pod whose line it is,
/// if it is one's.
///
/// # Errors
/// Where the buffer is full, or that pod has as much of it as it may.
pub(super) fn take_room(line: &[u8], free: usize) -> Result<Option<Arc<Limit>>, NoRoom> {
    let length = u32::try_from(line.len()).ok().filter(|length| *length as usize <= free).ok_or(NoRoom)?;
    POD.with_borrow(|pod| match pod {
        Some(limit) if limit.try_take_share(length, free) => Ok(Some(limit.clone())),
        Some(_) => Err(NoRoom),
        None => Ok(None),
    })
}
