//! What was read of both sides of a connection before its bytes are moved: to find out what it carries, or because the other side was
//! not open yet.

use std::sync::atomic::Ordering;

use bytes::BytesMut;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::splice::SpliceError;
use crate::telemetry::connection::ByteCounts;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct AlreadyRead {
    pub(super) of_client: BytesMut,
    pub(super) of_server: BytesMut,
}

impl AlreadyRead {
    /// Passes it on, and counts it. What the server has said first, its client may wait for.
    ///
    /// # Errors
    /// When either side takes no more.
    pub(super) async fn pass_on(
        self,
        downstream: &mut (impl AsyncWrite + Unpin),
        upstream: &mut (impl AsyncWrite + Unpin + ?Sized),
        bytes: &ByteCounts,
    ) -> Result<(), SpliceError> {
        let Self { of_client, of_server } = self;
        if !of_server.is_empty() {
            downstream.write_all(&of_server).await.map_err(SpliceError::Downstream)?;
            bytes.to_source.fetch_add(of_server.len() as u64, Ordering::Relaxed);
        }
        if !of_client.is_empty() {
            upstream.write_all(&of_client).await.map_err(SpliceError::Upstream)?;
            bytes.to_destination.fetch_add(of_client.len() as u64, Ordering::Relaxed);
        }
        Ok(())
    }
}
