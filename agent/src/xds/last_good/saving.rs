//! Writes changes to the last good configuration in the background, many at a time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::journal::Journal;
use super::records::Records;
use crate::telemetry::metrics::{Metrics, StateFile};
use crate::xds::status::XdsStatus;

/// Changes that come within this time are written to disk together.
const SAVE_DELAY: Duration = Duration::from_millis(100);
/// After writing, nothing is written for this many times as long as it took, however often the mesh changes.
const SAVE_PAUSE_FACTOR: u32 = 20;
/// The pause between attempts to write what could not be written.
const SAVE_RETRY_PAUSE: Duration = Duration::from_secs(3);
/// The most that is kept in memory while nothing can be written; beyond it the file is given up.
const MAX_UNSAVED_BYTES: usize = 256 * 1024 * 1024;

/// Changes that are not written yet.
#[derive(Debug, Default)]
pub(in crate::xds) struct UnsavedChanges {
    /// False where no last good configuration is kept.
    enabled: AtomicBool,
    records: Mutex<Records>,
    added: Notify,
}

impl UnsavedChanges {
    pub(in crate::xds) fn enable(&self) {
        self.enabled.store(true, Ordering::Relaxed);
    }

    /// Whether changes are to be added.
    pub(in crate::xds) fn is_enabled(&self) -> bool {
        self.enabled.load(Ordering::Relaxed)
    }

    pub(in crate::xds) fn add(&self, records: Records) {
        if !records.is_empty() {
            self.records.lock().append(records);
            self.added.notify_one();
        }
    }

    /// Puts records that could not be written before those that were added since.
    fn put_back(&self, mut records: Records, journal: &mut Journal) {
        let mut since = self.records.lock();
        records.append(std::mem::take(&mut *since));
        if records.as_bytes().len() > MAX_UNSAVED_BYTES {
            tracing::error!("the last good configuration is given up: too much could not be written");
            self.enabled.store(false, Ordering::Relaxed);
            journal.discard();
            return;
        }
        *since = records;
        self.added.notify_one();
    }
}

/// Writes changes as they are added, as long as the file is this process's to write (`is_ours`); runs forever. Nothing is
/// written before the first complete mesh.
pub(in crate::xds) async fn save_forever(
    unsaved: &UnsavedChanges,
    mut journal: Journal,
    status: &XdsStatus,
    metrics: &Metrics,
    mut is_ours: watch::Receiver<bool>,
) {
    let mut delay = SAVE_DELAY;
    loop {
        unsaved.added.notified().await;
        tokio::time::sleep(delay).await;
        status.first_sync().await;
        if !*is_ours.borrow_and_update() {
            if is_ours.wait_for(|ours| *ours).await.is_err() {
                return std::future::pending().await;
            }
            journal = journal.reopened();
        }
        let started = Instant::now();
        let records = std::mem::take(&mut *unsaved.records.lock());
        if records.is_empty() {
            continue;
        }
        let saving = tokio::task::spawn_blocking(move || {
            let saved = journal.append(&records);
            (journal, records, saved)
        });
        let Ok((returned, records, saved)) = saving.await else {
            tracing::error!("the last good configuration is no longer written");
            return std::future::pending().await;
        };
        journal = returned;
        delay = SAVE_DELAY.max(started.elapsed() * SAVE_PAUSE_FACTOR);
        match saved {
            Err(error) => {
                metrics.state_write_failed(StateFile::LastGood);
                if status.record_save_failure(&error.to_string()) {
                    tracing::warn!(%error, "the last good configuration could not be written, it is being retried");
                }
                unsaved.put_back(records, &mut journal);
                delay = SAVE_RETRY_PAUSE;
            }
            Ok(()) if status.record_saved() => tracing::info!("the last good configuration is written again"),
            Ok(()) => {}
        }
    }
}
