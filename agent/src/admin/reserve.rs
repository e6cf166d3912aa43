//! File descriptors held in reserve for the admin listeners: whoever operates an agent that has run out of them must be
//! able to ask it why.

use std::fs::File;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

/// Connections that one listener can accept while the process has no other descriptor left.
const RESERVED: usize = 4;

/// The reserved descriptors of one listener.
#[derive(Debug, Default)]
pub(super) struct Reserve(Mutex<Vec<File>>);

/// Goes with a connection that may have been given a reserved descriptor: drop it after the connection, and the reserve
/// is filled up again.
#[derive(Debug)]
pub(super) struct Refill(Arc<Reserve>);

impl Drop for Refill {
    fn drop(&mut self) {
        self.0.refill();
    }
}

impl Reserve {
    pub(super) fn new() -> Arc<Self> {
        let reserve = Arc::<Self>::default();
        reserve.refill();
        reserve
    }

    /// Accepts a connection, in place of a reserved descriptor if there is no other.
    pub(super) async fn accept<T, F>(self: &Arc<Self>, accept: impl Fn() -> F) -> io::Result<(T, Refill)>
    where
        F: Future<Output = io::Result<T>>,
    {
        let mut accepted = accept().await;
        // The descriptor that is given up is free for any thread of the process, but there is no await before it is used.
        if accepted.as_ref().is_err_and(is_shortage) && self.0.lock().pop().is_some() {
            accepted = accept().await;
        }
        accepted.map(|accepted| (accepted, Refill(self.clone())))
    }

    fn refill(&self) {
        let mut reserve = self.0.lock();
        while reserve.len() < RESERVED {
            let Ok(placeholder) = File::open("/dev/null") else { return };
            reserve.push(placeholder);
        }
    }
}

fn is_shortage(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn a_reserved_descriptor_is_given_up_for_want_of_others_and_taken_back() {
        let reserve = Reserve::new();
        let attempts = Cell::new(0);
        let accept = || {
            attempts.set(attempts.get() + 1);
            let first = attempts.get() == 1;
            async move { if first { Err(io::Error::from_raw_os_error(libc::EMFILE)) } else { Ok(()) } }
        };
        let ((), refill) = reserve.accept(accept).await.expect("the second attempt succeeds");
        assert_eq!((attempts.get(), reserve.0.lock().len()), (2, RESERVED - 1));
        drop(refill);
        assert_eq!(reserve.0.lock().len(), RESERVED);
    }

    #[tokio::test]
    async fn other_errors_cost_no_reserved_descriptor() {
        let reserve = Reserve::new();
        let refused = reserve.accept(|| async { Err::<(), _>(io::Error::from_raw_os_error(libc::ECONNABORTED)) }).await;
        assert!(refused.is_err());
        assert_eq!(reserve.0.lock().len(), RESERVED);
    }
}
