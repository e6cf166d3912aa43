//! A request while it is served: everything that its phases share.

use std::sync::Arc;
use std::time::SystemTime;

use super::connection::HttpConnection;
use super::watcher::RequestWatcher;
use crate::http::BodyLength;
use crate::model::http::config::HttpConfig;
use crate::model::http::head::RequestHead;

/// See the module.
pub(super) struct Request<'a, D> {
    pub(super) connection: &'a HttpConnection,
    /// The snapshot that decides about it, from its beginning to its end.
    pub(super) config: Arc<HttpConfig>,
    pub(super) downstream: &'a mut D,
    pub(super) watcher: RequestWatcher<'a>,
    pub(super) head: &'a mut RequestHead,
    pub(super) length: BodyLength,
    pub(super) started: SystemTime,
}
