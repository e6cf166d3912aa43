//! The threads of the data path: one per core, each with a runtime of its own, so that a connection, the HBONE connection
//! it travels on and the sockets of both never wake another thread. Everything that is no connection (the mesh, the
//! certificates, the admin port) runs elsewhere.

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::heartbeat::{self, Heartbeat};
use crate::lifecycle::Ready;
use crate::supervisor::SupervisorLink;

thread_local! {
    static CURRENT: Cell<usize> = const { Cell::new(0) };
}

/// See the module. Its threads end when it is dropped.
#[derive(Debug)]
pub struct Workers {
    workers: Box<[Worker]>,
    next: AtomicUsize,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

#[derive(Debug)]
struct Worker {
    runtime: Handle,
    /// Connections and streams that it serves now.
    load: Arc<AtomicUsize>,
    heartbeat: Heartbeat,
}

/// One connection or stream of a worker's load, until dropped.
#[derive(Debug)]
pub(super) struct Load(Arc<AtomicUsize>);

impl Drop for Load {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Workers {
    /// Starts so many threads; none means one per core that this process may use. They call `before_wait` whenever they have
    /// nothing to do.
    ///
    /// # Errors
    /// When the system gives no threads or no descriptors.
    pub fn start(count: usize, before_wait: fn()) -> io::Result<Self> {
        let count = if count > 0 { count } else { std::thread::available_parallelism()?.get() };
        let stop = CancellationToken::new();
        let workers =
            (0..count).map(|index| Worker::start(index, before_wait, stop.clone())).collect::<io::Result<_>>()?;
        Ok(Self { workers, next: AtomicUsize::new(0), stop: stop.clone(), _stop_on_drop: stop.drop_guard() })
    }

    /// Sends heartbeats to the supervisor while no thread hangs; while one does, the agent is not ready.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn watch(&self, supervisor: Arc<SupervisorLink>, ready: Ready) -> io::Result<()> {
        let heartbeats = self.workers.iter().map(|worker| worker.heartbeat.clone()).collect();
        heartbeat::watch(heartbeats, supervisor, ready, self.stop.clone())
    }

    pub(super) fn count(&self) -> usize {
        self.workers.len()
    }

    /// The worker that the caller runs on.
    pub(super) fn current() -> usize {
        CURRENT.get()
    }

    /// Starts a task on each worker in turn.
    pub(super) fn spawn_on_next(&self, task: impl Future<Output = ()> + Send + 'static) {
        let next = self.next.fetch_add(1, Ordering::Relaxed) % self.count();
        self.workers[next].runtime.spawn(task);
    }

    /// Starts a connection: here unless another worker has less to do.
    pub(super) fn spawn_connection<F>(&self, task: impl FnOnce() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let own = Self::current();
        let load = |index: usize| self.workers[index].load.load(Ordering::Relaxed);
        let least = (0..self.count()).min_by_key(|index| (load(*index), *index != own)).unwrap_or(own);
        let counted = self.count_load(least);
        let task = async move {
            task().await;
            drop(counted);
        };
        if least == own {
            tokio::spawn(task);
        } else {
            self.workers[least].runtime.spawn(task);
        }
    }

    /// The connections and streams that all workers serve now.
    pub(super) fn load(&self) -> usize {
        self.workers.iter().map(|worker| worker.load.load(Ordering::Relaxed)).sum()
    }

    /// Counts a connection or stream that a worker serves.
    pub(super) fn count_load(&self, worker: usize) -> Load {
        let load = self.workers[worker].load.clone();
        load.fetch_add(1, Ordering::Relaxed);
        Load(load)
    }
}

impl Worker {
    fn start(index: usize, before_wait: fn(), stop: CancellationToken) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().on_thread_park(before_wait).enable_all().build()?;
        let handle = runtime.handle().clone();
        let heartbeat = Heartbeat::default();
        let own = heartbeat.clone();
        let body = move || {
            CURRENT.set(index);
            runtime.block_on(async {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = own.run() => {}
                }
            });
            // Connections that the drain left behind are reset by the end of the process, not waited for here.
            runtime.shutdown_background();
        };
        std::thread::Builder::new().name(format!("weir-worker-{index}")).spawn(body)?;
        Ok(Self { runtime: handle, load: Arc::default(), heartbeat })
    }
}
