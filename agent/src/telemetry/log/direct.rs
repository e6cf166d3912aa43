//! A log without a thread, for a process that says little and must never wait: a line that cannot be written at once is
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
        // A pipe that can be written to takes some kilobytes without making anybody wait.
        let mut watched = [PollFd::new(output.as_fd(), PollFlags::POLLOUT)];
        if poll(&mut watched, PollTimeout::ZERO)? > 0 && line.len() <= libc::PIPE_BUF {
            drop(watched);
            output.write_all(line)?;
            output.flush()?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
