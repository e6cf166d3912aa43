//! File descriptors kept for when there are no others: whoever operates an agent that has run out of them must be able
//! to ask it why. It counts nothing and accepts nothing itself.

use std::fs::File;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

/// Requests that can be served at once while descriptors are short.
const SPARES: usize = 4;

/// Spare descriptors of one listener.
#[derive(Debug, Default)]
pub(super) struct Spares(Mutex<Vec<File>>);

/// A spare was given up, perhaps. Once dropped, what is missing is taken back: drop it after the connection.
#[derive(Debug)]
pub(super) struct Lent(Arc<Spares>);

impl Drop for Lent {
    fn drop(&mut self) {
        self.0.refill();
    }
}

impl Spares {
    pub(super) fn new() -> Arc<Self> {
        let spares = Arc::<Self>::default();
        spares.refill();
        spares
    }

    /// Accepts; in place of a spare, if there is no other descriptor.
    pub(super) async fn accept<T, F>(self: &Arc<Self>, accept: impl Fn() -> F) -> io::Result<(T, Lent)>
    where
        F: Future<Output = io::Result<T>>,
    {
        let mut accepted = accept().await;
        // Nothing waits between giving up a descriptor and taking it: hardly anybody else can be faster.
        if accepted.as_ref().is_err_and(is_shortage) && self.0.lock().pop().is_some() {
            accepted = accept().await;
        }
        accepted.map(|accepted| (accepted, Lent(self.clone())))
    }

    fn refill(&self) {
        let mut spares = self.0.lock();
        while spares.len() < SPARES {
            let Ok(spare) = File::open("/dev/null") else { return };
            spares.push(spare);
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
    async fn a_spare_is_given_up_for_want_of_descriptors_and_taken_back() {
        let spares = Spares::new();
        let attempts = Cell::new(0);
        let accept = || {
            attempts.set(attempts.get() + 1);
            let first = attempts.get() == 1;
            async move { if first { Err(io::Error::from_raw_os_error(libc::EMFILE)) } else { Ok(()) } }
        };
        let ((), lent) = spares.accept(accept).await.expect("the second attempt succeeds");
        assert_eq!((attempts.get(), spares.0.lock().len()), (2, SPARES - 1));
        drop(lent);
        assert_eq!(spares.0.lock().len(), SPARES);
    }

    #[tokio::test]
    async fn other_errors_cost_no_spare() {
        let spares = Spares::new();
        let refused = spares.accept(|| async { Err::<(), _>(io::Error::from_raw_os_error(libc::ECONNABORTED)) }).await;
        assert!(refused.is_err());
        assert_eq!(spares.0.lock().len(), SPARES);
    }
}
