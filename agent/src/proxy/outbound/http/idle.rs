//! The connections of a pod that wait for requests, and when they are given up.

use std::time::Duration;

use super::io::UpstreamIo;
use crate::http::UpstreamPool;
use crate::model::resolve::Transport;

/// How long idle connections are kept where nothing else is said.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// How often connections without requests are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);

/// The upstream connections of one pod on one worker.
pub(in crate::proxy) type HttpPool = UpstreamPool<Transport, UpstreamIo>;

/// Closes connections of a pod that were without requests for long, until it leaves; then all of them.
pub(in crate::proxy) async fn sweep(pools: &[HttpPool], left: impl Future<Output = ()>) {
    let mut interval = tokio::time::interval(SWEEP_INTERVAL);
    let mut left = std::pin::pin!(left);
    loop {
        tokio::select! {
            _ = interval.tick() => pools.iter().for_each(|pool| pool.sweep(IDLE_TIMEOUT)),
            () = &mut left => break,
        }
    }
    pools.iter().for_each(HttpPool::clear);
}
