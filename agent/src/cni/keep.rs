//! Keeps the plugin installed: looks when something happens in the node's directories, and now and then anyway. Decides
//! nothing about files; `install` does.

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::unix::AsyncFd;
use tokio_util::sync::CancellationToken;

use super::install::{InstallError, Installed, Installer};

/// How often it is looked without anything having happened: a watch can miss what another mount does.
const POLL: Duration = Duration::from_secs(10);
/// The same where the kernel gives no watch.
const POLL_ALONE: Duration = Duration::from_secs(1);
/// Pause before something is put back. It doubles, up to the second, while somebody takes it out again and again, and is
/// the first again after the third without a fight: two that rewrite one file must not keep a core busy.
const PAUSE: (Duration, Duration, Duration) =
    (Duration::from_millis(10), Duration::from_secs(5), Duration::from_secs(60));

/// Installs the plugin and keeps it installed until `stop`, and then ends without a half-written file. The plugin stays
/// installed.
pub async fn keep(installer: Installer, stop: CancellationToken) {
    let watch = Watch::new([&installer.plugins_dir, &installer.configurations_dir]);
    if let Err(error) = &watch {
        tracing::warn!(%error, "the CNI directories cannot be watched, they are looked at every second");
    }
    let mut log = Log::default();
    let mut fight = Fight::default();
    log.report(&installer, run(&installer, Installer::install).await);
    let wait = async |fight: &Fight| {
        match &watch {
            Ok(watch) => drop(tokio::time::timeout(POLL, watch.changed()).await),
            Err(_) => tokio::time::sleep(POLL_ALONE).await,
        }
        tokio::time::sleep(fight.pause()).await;
    };
    while stop.run_until_cancelled(wait(&fight)).await.is_some() {
        let outcome = run(&installer, Installer::put_back).await;
        if matches!(outcome, Ok(Installed::Now)) {
            fight.blow(Instant::now());
        }
        log.report(&installer, outcome);
    }
}

/// On a thread that may wait for a disk.
async fn run(
    installer: &Installer,
    act: fn(&Installer) -> Result<Installed, InstallError>,
) -> Result<Installed, InstallError> {
    let installer = installer.clone();
    let acting = tokio::task::spawn_blocking(move || act(&installer));
    acting.await.expect("file operations do not panic")
}

/// Says what changed, and says an error once.
#[derive(Debug, Default)]
struct Log {
    last_error: Option<String>,
    is_waiting: bool,
}

impl Log {
    fn report(&mut self, installer: &Installer, outcome: Result<Installed, InstallError>) {
        let directory = installer.configurations_dir.display();
        match outcome {
            Err(error) => {
                let text = error.to_string();
                if self.last_error.as_ref() != Some(&text) {
                    tracing::warn!(
                        error = text,
                        "the CNI plugin is not installed: pods may start before they are enrolled"
                    );
                }
                self.last_error = Some(text);
            }
            Ok(installed) => {
                if installed == Installed::Waiting && !self.is_waiting {
                    tracing::info!(%directory, "the node has no CNI configuration yet");
                }
                if installed == Installed::Now || (installed == Installed::Already && self.last_error.is_some()) {
                    tracing::info!(%directory, "the CNI plugin is installed");
                }
                self.last_error = None;
                self.is_waiting = installed == Installed::Waiting;
            }
        }
    }
}

/// Somebody else who writes what we write.
#[derive(Debug, Default)]
struct Fight {
    last: Option<Instant>,
    pause: Duration,
}

impl Fight {
    fn pause(&self) -> Duration {
        self.pause.max(PAUSE.0)
    }

    fn blow(&mut self, now: Instant) {
        let is_going_on = self.last.is_some_and(|last| now.duration_since(last) < PAUSE.2);
        self.pause = if is_going_on { (self.pause() * 2).min(PAUSE.1) } else { PAUSE.0 };
        self.last = Some(now);
    }
}

/// Tells when something happens in directories.
#[derive(Debug)]
struct Watch(AsyncFd<Descriptor>);

#[derive(Debug)]
struct Descriptor(Inotify);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Watch {
    fn new<'a>(directories: impl IntoIterator<Item = &'a std::path::PathBuf>) -> std::io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let events = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_ONLYDIR;
        for directory in directories {
            let directory: &Path = directory;
            inotify.add_watch(directory, events)?;
        }
        Ok(Self(register(Descriptor(inotify))?))
    }

    async fn changed(&self) {
        // An error is an event, too: it is looked then.
        if let Ok(mut ready) = self.0.readable().await {
            // Which events they were is no matter; all that wait are one.
            while self.0.get_ref().0.read_events().is_ok() {}
            ready.clear_ready();
        }
    }
}

fn register(descriptor: Descriptor) -> std::io::Result<AsyncFd<Descriptor>> {
    #[expect(unsafe_code, reason = "the only way to wait for a descriptor that tokio has no type for")]
    // SAFETY: the descriptor is owned by what is registered, open, always the same, and closed only when that is dropped.
    let registered = unsafe { AsyncFd::register(descriptor) };
    Ok(registered?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fight_slows_down_and_is_forgotten() {
        let start = Instant::now();
        let mut fight = Fight::default();
        assert_eq!(fight.pause(), PAUSE.0);
        fight.blow(start);
        assert_eq!(fight.pause(), PAUSE.0, "a single rewrite is no fight");
        let mut pauses = Vec::new();
        for second in 1..=12 {
            fight.blow(start + Duration::from_secs(second));
            pauses.push(fight.pause());
        }
        assert!(pauses.is_sorted() && pauses[0] == 2 * PAUSE.0 && pauses[11] == PAUSE.1, "{pauses:?}");
        fight.blow(start + Duration::from_secs(12) + PAUSE.2);
        assert_eq!(fight.pause(), PAUSE.0);
    }

    #[tokio::test]
    async fn what_happens_in_a_directory_is_told() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().to_owned();
        let watch = Watch::new([&path]).expect("a watch");
        for act in [
            |path: &Path| std::fs::write(path.join("a"), "x").expect("written"),
            |path: &Path| std::fs::rename(path.join("a"), path.join("b")).expect("renamed"),
            |path: &Path| std::fs::remove_file(path.join("b")).expect("removed"),
        ] {
            act(&path);
            tokio::time::timeout(Duration::from_secs(5), watch.changed()).await.expect("told");
        }
        let silence = tokio::time::timeout(Duration::from_millis(50), watch.changed()).await;
        assert!(silence.is_err(), "all was told");
    }
}
