//! The kernel programs' own debug lines, relayed into the agent's log under the target `ebpf`. Unless that target is
//! enabled when the programs are loaded, a constant in them rules the lines out and the verifier removes their code.

use aya::EbpfLoader;
use aya_log::EbpfLogger;
use log::{Log, Metadata, Record};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::error::CaptureError;

const LINES: &str = "AYA_LOGS";
/// The smallest size of a ring buffer, used when nothing is written to it.
const UNUSED_BYTES: u32 = 4096;

/// Whether somebody reads debug lines of the kernel programs.
pub(super) fn is_wanted() -> bool {
    tracing::enabled!(target: "ebpf", tracing::Level::DEBUG)
}

/// Puts the lines into the programs that will be loaded, or leaves them out.
pub(super) fn configure(loader: &mut EbpfLoader<'_>) {
    let level: &u8 = if is_wanted() { &(aya_log::Level::Debug as u8) } else { &0 };
    loader.override_global(aya_log::LEVEL, level, true);
    if !is_wanted() {
        loader.map_max_entries(LINES, UNUSED_BYTES);
    }
}

/// Relays lines until the future is dropped.
pub(super) async fn relay(program: u32) -> Result<(), CaptureError> {
    let failed = || "cannot read the log of the kernel programs".to_owned();
    let logger = EbpfLogger::init_from_id_with_logger(program, Relay).map_err(CaptureError::because(failed))?;
    // SAFETY: the logger owns its descriptor and is owned by the registration, so neither outlives the other.
    #[expect(unsafe_code, reason = "the logger cannot promise that its descriptor stays the same; it never changes it")]
    let registration = unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) };
    let mut logger = registration.map_err(CaptureError::because(failed))?;
    loop {
        let mut ready = logger.readable_mut().await.map_err(CaptureError::because(failed))?;
        ready.get_inner_mut().flush();
        ready.clear_ready();
    }
}

struct Relay;

impl Log for Relay {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        tracing::debug!(target: "ebpf", hook = record.module_path(), "{}", record.args());
    }

    fn flush(&self) {}
}
