//! A thread of its own writes the log. Loggers only append to a buffer; when it is full the line is dropped and counted,
//! because a stalled log must not stall connections. Access lines of a pod fill no more of it than they leave free, so that a pod
//! with more lines than can be written costs no other pod's, nor the agent's own. A line after a moment of silence is written at once, and lines that
//! follow it closely are written together: waking the thread for each would cost more than the lines.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use parking_lot::{Condvar, Mutex};
use tracing_subscriber::fmt::MakeWriter;

use super::of_pod::take_room;
use crate::limits::Limit;

/// Some ten thousand lines.
const CAPACITY_BYTES: usize = 4 * 1024 * 1024;
/// How long lines gather after others were written.
const GATHERING: Duration = Duration::from_millis(5);

/// Appends lines for the writing thread. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct LineWriter(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    pending: Mutex<Pending>,
    filled: Condvar,
    written: Condvar,
}

#[derive(Debug, Default)]
struct Pending {
    lines: Vec<u8>,
    /// Of which pods they are, with how many bytes.
    of_pods: Vec<(Arc<Limit>, u32)>,
    /// The thread has taken lines that are not written yet, or lets lines gather.
    writing: bool,
    /// Whoever waits for the lines to be written: they gather no longer.
    flushing: u32,
    dropped: u64,
}

impl LineWriter {
    /// Starts the thread; it runs as long as the process.
    pub(super) fn start(sink: impl io::Write + Send + 'static) -> io::Result<Self> {
        Self::start_gathering(sink, GATHERING)
    }

    fn start_gathering(sink: impl io::Write + Send + 'static, gathering: Duration) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let own = shared.clone();
        std::thread::Builder::new().name("log".to_owned()).spawn(move || own.write_for_ever(sink, gathering))?;
        Ok(Self(shared))
    }

    pub(super) fn dropped(&self) -> u64 {
        self.0.pending.lock().dropped
    }

    /// Waits until everything appended so far is written, or the time is over.
    pub(super) fn flush(&self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        let mut pending = self.0.pending.lock();
        pending.flushing += 1;
        self.0.filled.notify_one();
        while pending.writing || !pending.lines.is_empty() {
            if self.0.written.wait_until(&mut pending, deadline).timed_out() {
                break;
            }
        }
        pending.flushing -= 1;
    }

    fn append(&self, line: &[u8]) {
        let mut pending = self.0.pending.lock();
        let Ok(pod) = take_room(line, CAPACITY_BYTES - pending.lines.len()) else {
            pending.dropped += 1;
            return;
        };
        if let Some(pod) = pod {
            pending.note(pod, line.len());
        }
        let idle = pending.lines.is_empty() && !pending.writing;
        pending.lines.extend_from_slice(line);
        drop(pending);
        if idle {
            self.0.filled.notify_one();
        }
    }
}

impl Pending {
    /// Notes that so many bytes are a pod's.
    fn note(&mut self, pod: Arc<Limit>, bytes: usize) {
        // No longer than the buffer.
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        match self.of_pods.last_mut() {
            Some((last, counted)) if Arc::ptr_eq(last, &pod) => *counted += bytes,
            _ => self.of_pods.push((pod, bytes)),
        }
    }
}

impl Shared {
    fn write_for_ever(&self, mut sink: impl io::Write, gathering: Duration) {
        let (mut lines, mut of_pods) = (Vec::new(), Vec::new());
        loop {
            let mut pending = self.pending.lock();
            if pending.writing && pending.flushing == 0 {
                // Nobody wakes the thread meanwhile but who flushes.
                self.filled.wait_for(&mut pending, gathering);
            }
            pending.writing = false;
            if pending.lines.is_empty() {
                self.written.notify_all();
                self.filled.wait_while(&mut pending, |pending| pending.lines.is_empty());
            }
            pending.writing = true;
            std::mem::swap(&mut pending.lines, &mut lines);
            std::mem::swap(&mut pending.of_pods, &mut of_pods);
            drop(pending);
            // An error of the log itself cannot be logged.
            let _ = sink.write_all(&lines).and_then(|()| sink.flush());
            lines.clear();
            of_pods.drain(..).for_each(|(pod, bytes): (Arc<Limit>, u32)| pod.give_back(bytes));
        }
    }
}

impl<'a> MakeWriter<'a> for LineWriter {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl io::Write for LineWriter {
    /// Takes a whole line at once: the formatter writes each in one piece.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.append(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes whole lines to standard output without a thread, for a process that logs little and must never wait: a line that
/// cannot be written at once is left out.
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

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::mpsc;

    use super::*;
    use crate::limits::{LimitKind, NodeLimits};
    use crate::telemetry::log::of_pod;

    /// Takes nothing until it is released.
    struct Stalled {
        release: mpsc::Receiver<()>,
        taken: mpsc::Sender<usize>,
    }

    impl Write for Stalled {
        fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
            self.release.recv().map_err(io::Error::other)?;
            self.taken.send(lines.len()).map_err(io::Error::other)?;
            Ok(lines.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stalled_sink_costs_lines_and_never_blocks() {
        let (release, released) = mpsc::channel();
        let (taken, lengths) = mpsc::channel();
        let mut writer = LineWriter::start(Stalled { release: released, taken }).unwrap();
        let line = vec![b'x'; 1024 * 1024];
        for _ in 0..10 {
            writer.write_all(&line).unwrap();
        }
        // Four fill the buffer, and the thread may have taken up to four more out of it.
        assert!((2..=6).contains(&writer.dropped()), "{}", writer.dropped());
        let kept = 10 - usize::try_from(writer.dropped()).unwrap();
        for _ in 0..2 {
            release.send(()).unwrap();
        }
        let mut written = 0;
        while written < kept * line.len() {
            written += lengths.recv().unwrap();
        }
        writer.flush(Duration::from_secs(10));
        assert!(writer.0.pending.lock().lines.is_empty());
    }

    #[test]
    fn a_pod_that_floods_the_log_costs_no_line_of_another_nor_of_the_agent() {
        let (release, released) = mpsc::channel();
        let (taken, lengths) = mpsc::channel();
        let mut writer = LineWriter::start(Stalled { release: released, taken }).unwrap();
        let node = NodeLimits::new(|_| u32::MAX >> 3);
        let pods = [(); 2].map(|()| node.for_pod());
        let [flooding, bystander] = pods.each_ref().map(|pod| Arc::new(pod.of(LimitKind::LogBytes).clone()));
        let line = vec![b'x'; 64 * 1024];
        let mut log = |pod: &Arc<Limit>, times: u32| {
            (0..times).for_each(|_| of_pod(pod, || writer.write_all(&line).unwrap()));
            writer.dropped()
        };
        let dropped = log(&flooding, 1000);
        // As much as it leaves free, and what the thread had taken before.
        assert!((1000 - 64..1000).contains(&dropped), "{dropped}");
        assert_eq!(log(&bystander, 10), dropped, "all of the other pod's are kept");
        writer.write_all(&line).unwrap();
        assert_eq!(writer.dropped(), dropped, "and what the agent itself says");
        assert_eq!(pods[0].reached().first().map(|reached| reached.times), Some(dropped));
        assert_eq!((pods[1].reached(), bystander.held()), (Vec::new(), 10 * 64 * 1024));
        drop(release);
        drop(lengths);
        writer.flush(Duration::from_secs(10));
        assert_eq!([flooding.held(), bystander.held()], [0, 0], "what is written, or cannot be, is given back");
    }

    #[test]
    fn lines_that_follow_closely_are_written_together() {
        let (release, released) = mpsc::channel();
        let (taken, lengths) = mpsc::channel();
        let sink = Stalled { release: released, taken };
        let mut writer = LineWriter::start_gathering(sink, Duration::from_secs(3600)).unwrap();
        writer.write_all(b"first").unwrap();
        release.send(()).unwrap();
        assert_eq!(lengths.recv(), Ok(5), "at once, after silence");
        for _ in 0..100 {
            writer.write_all(b"next").unwrap();
        }
        release.send(()).unwrap();
        writer.flush(Duration::from_secs(10));
        assert_eq!(lengths.try_recv(), Ok(400), "together, once somebody waits for them");
        assert_eq!(lengths.try_recv(), Err(mpsc::TryRecvError::Empty));
    }
}
