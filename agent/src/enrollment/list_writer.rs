//! Writes the list of enrolled pods, in a thread of its own: a disk that stands still (a filesystem that is frozen, a volume that
//! has lost its server) holds up nobody who enrols a pod for longer than [`LIST_WRITE_TIMEOUT`], and only the first of them.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::pod::PodSpec;
use super::store::PodStore;

/// How long the disk may take for a list until it counts as standing still: many times what a busy one needs.
const LIST_WRITE_TIMEOUT: Duration = Duration::from_secs(1);
/// Stack of the writing thread. Making JSON of a pod takes little.
const STACK_BYTES: usize = 256 * 1024;

/// Why the list on disk is not the one in force.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotWritten {
    #[error(transparent)]
    Failed(#[from] io::Error),
    /// It will be, once the disk goes on.
    #[error("the disk has not taken it within {LIST_WRITE_TIMEOUT:?}")]
    Stalled,
}

/// See the module.
#[derive(Debug)]
pub(super) struct ListWriter(Arc<Shared>);

/// Where the list goes.
trait Disk: fmt::Debug + Send + Sync {
    fn load(&self) -> Vec<PodSpec>;

    /// Writes a list in the place of the former one; may wait for as long as it likes.
    fn save(&self, list: Vec<PodSpec>) -> io::Result<()>;
}

impl Disk for PodStore {
    fn load(&self) -> Vec<PodSpec> {
        Self::load(self)
    }

    fn save(&self, list: Vec<PodSpec>) -> io::Result<()> {
        Self::save(self, list.into_iter())
    }
}

#[derive(Debug)]
struct Shared {
    disk: Box<dyn Disk>,
    state: Mutex<State>,
    /// Notified when a list is written, or cannot be, and when the thread ends.
    progress: Condvar,
}

#[derive(Debug)]
struct State {
    /// The newest list that the thread has not taken yet.
    next: Option<Vec<PodSpec>>,
    /// Lists that were to be written so far, and the number of the last one that was or could not be.
    wanted: u64,
    ended: u64,
    /// What became of that one.
    outcome: io::Result<()>,
    /// The thread runs. It ends when it has nothing to write.
    writing: bool,
}

impl ListWriter {
    pub(super) fn new(store: PodStore) -> Self {
        Self::onto(Box::new(store))
    }

    fn onto(disk: Box<dyn Disk>) -> Self {
        let state = State { next: None, wanted: 0, ended: 0, outcome: Ok(()), writing: false };
        Self(Arc::new(Shared { disk, state: Mutex::new(state), progress: Condvar::new() }))
    }

    /// The list as it is on disk; see [`PodStore::load`].
    pub(super) fn load(&self) -> Vec<PodSpec> {
        self.0.disk.load()
    }

    /// Has a list written in the place of the one on disk, and waits until it is, for at most [`LIST_WRITE_TIMEOUT`]; not at all where a
    /// former list still waits for the disk. To be called by one at a time.
    ///
    /// # Errors
    /// When it cannot be written, or is not yet.
    pub(super) fn write(&self, list: Vec<PodSpec>) -> Result<(), NotWritten> {
        self.write_within(list, LIST_WRITE_TIMEOUT)
    }

    fn write_within(&self, list: Vec<PodSpec>, patience: Duration) -> Result<(), NotWritten> {
        let deadline = Instant::now() + patience;
        let mut state = self.0.state.lock();
        let is_stalled = state.writing && state.ended < state.wanted;
        state.next = Some(list);
        state.wanted += 1;
        let number = state.wanted;
        if !state.writing {
            let shared = self.0.clone();
            let thread = std::thread::Builder::new().name("pod-list".to_owned()).stack_size(STACK_BYTES);
            thread.spawn(move || shared.write_what_waits())?;
            state.writing = true;
        }
        if is_stalled {
            return Err(NotWritten::Stalled);
        }
        while state.ended < number {
            if self.0.progress.wait_until(&mut state, deadline).timed_out() {
                return Err(NotWritten::Stalled);
            }
        }
        Ok(std::mem::replace(&mut state.outcome, Ok(()))?)
    }

    /// Waits until nothing is being written: for as long as the disk stands still.
    pub(super) fn wait_until_idle(&self) {
        let mut state = self.0.state.lock();
        self.0.progress.wait_while(&mut state, |state| state.writing);
    }
}

impl Shared {
    fn write_what_waits(&self) {
        let mut state = self.state.lock();
        while let Some(list) = state.next.take() {
            let number = state.wanted;
            drop(state);
            let outcome = self.disk.save(list);
            state = self.state.lock();
            state.ended = number;
            state.outcome = outcome;
            self.progress.notify_all();
        }
        state.writing = false;
        self.progress.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::enrollment::pod::Origin;

    /// Takes lists, and waits with each until it is told what becomes of it.
    #[derive(Debug)]
    struct Told {
        outcomes: Mutex<mpsc::Receiver<io::Result<()>>>,
        taken: mpsc::Sender<Vec<String>>,
    }

    impl Disk for Told {
        fn load(&self) -> Vec<PodSpec> {
            Vec::new()
        }

        fn save(&self, list: Vec<PodSpec>) -> io::Result<()> {
            self.taken.send(list.into_iter().map(|pod| pod.uid).collect()).expect("the test looks");
            self.outcomes.lock().recv().expect("the test says what becomes of it")
        }
    }

    fn disk() -> (ListWriter, mpsc::Sender<io::Result<()>>, mpsc::Receiver<Vec<String>>) {
        let ((go_on, outcomes), (taken, lists)) = (mpsc::channel(), mpsc::channel());
        (ListWriter::onto(Box::new(Told { outcomes: Mutex::new(outcomes), taken })), go_on, lists)
    }

    fn pod(uid: &str) -> PodSpec {
        PodSpec {
            uid: uid.to_owned(),
            kubelet_uid: None,
            name: "a".to_owned(),
            namespace: "default".to_owned(),
            workload_name: None,
            service_account: "default".to_owned(),
            netns: "/run/netns/a".into(),
            cgroup: None,
            addresses: Vec::new(),
            labels: std::collections::BTreeMap::new(),
            probe_ports: Vec::new(),
            resolv_conf: None,
            netns_cookie: None,
            origin: Origin::Node,
        }
    }

    #[test]
    fn whoever_writes_learns_what_became_of_his_list() {
        let (writer, go_on, lists) = disk();
        for outcome in [Ok(()), Err(io::ErrorKind::StorageFull), Ok(())] {
            go_on.send(outcome.map_err(io::Error::from)).expect("it waits");
            let written = writer.write_within(vec![pod("a")], Duration::from_secs(60));
            let kind = written.map_err(|error| match error {
                NotWritten::Failed(error) => error.kind(),
                NotWritten::Stalled => io::ErrorKind::TimedOut,
            });
            assert_eq!(kind, outcome);
            assert_eq!(lists.recv().as_deref(), Ok(&["a".to_owned()][..]));
        }
    }

    #[test]
    fn a_disk_that_stands_still_is_waited_for_once_and_gets_the_newest_list() {
        let (writer, go_on, lists) = disk();
        let is_stalled = |written| matches!(written, Err(NotWritten::Stalled));
        assert!(is_stalled(writer.write_within(vec![pod("a")], Duration::ZERO)));
        assert_eq!(lists.recv().as_deref(), Ok(&["a".to_owned()][..]), "it waits with this one");
        for uid in ["b", "c"] {
            // With patience for ever: it is not waited for.
            assert!(is_stalled(writer.write_within(vec![pod(uid)], Duration::from_secs(3600))));
        }
        for _ in 0..2 {
            go_on.send(Ok(())).expect("it waits");
        }
        writer.wait_until_idle();
        assert_eq!(lists.try_iter().collect::<Vec<_>>(), [["c"]]);
        go_on.send(Ok(())).expect("it waits");
        assert!(writer.write_within(vec![pod("d")], Duration::from_secs(60)).is_ok(), "the disk goes on");
    }
}
