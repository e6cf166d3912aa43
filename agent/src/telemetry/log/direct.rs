//! A log without a thread, for a process that logs little and must never wait: a line that cannot be written at once is
//! left out.

use std::io;
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tracing_subscriber::fmt::MakeWriter;

/// Writes whole lines to standard output.
#[derive(Debug, Clone, Copy)]
pub(super) struct Direct;

impl<'a> MakeWriter<'a> for Direct {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        Self
    }
}

impl io::Write for Direct {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut output = io::stdout().lock();
        // A pipe that polls as writable takes `PIPE_BUF` bytes without blocking (pipe(7)).
        let is_writable = poll(&mut [PollFd::new(output.as_fd(), PollFlags::POLLOUT)], PollTimeout::ZERO)? > 0;
        if is_writable && line.len() <= libc::PIPE_BUF {
            output.write_all(line)?;
            output.flush()?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
