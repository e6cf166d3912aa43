//! Reads from a TCP connection. After a short read the runtime is told that the socket is empty, which saves the read
//! that would only return `EAGAIN`.

use std::io::{self, IoSliceMut};

use nix::sys::uio::readv;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Reads into several places in turn. A short read means that the kernel has no more for now.
///
/// # Errors
/// `WouldBlock` when there is nothing; those of readv(2).
pub(crate) fn read_vectored(tcp: &TcpStream, places: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
    let wanted = places.iter().map(|place| place.len()).sum();
    let mut short = 0;
    let outcome = tcp.try_io(Interest::READABLE, || {
        let count = readv(tcp, places)?;
        if 0 < count && count < wanted {
            // The runtime takes this for `EAGAIN` and waits for the next readiness event of the socket.
            short = count;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(count)
    });
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock && short > 0 => Ok(short),
        outcome => outcome,
    }
}

/// Reads into one place. See [`read_vectored`].
///
/// # Errors
/// `WouldBlock` when there is nothing; those of readv(2).
pub(crate) fn read(tcp: &TcpStream, place: &mut [u8]) -> io::Result<usize> {
    read_vectored(tcp, &mut [IoSliceMut::new(place)])
}
