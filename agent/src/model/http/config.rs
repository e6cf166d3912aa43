//! The snapshot that requests are decided with: all objects, and which of them count for a source and a destination.

use std::sync::Arc;

use super::destination::DestinationPolicy;
use super::objects::{HttpObjects, PathNormalization};
use super::policies::RetryPolicy;
use super::service_routes::ServiceRoutes;
use crate::model::peer_authentication::Labels;
use crate::model::service::ServiceKey;

/// All that decides about requests. It does not change: other objects make another one.
#[derive(Debug, Default)]
pub struct HttpConfig {
    objects: HttpObjects,
}

/// What decisions depend on of the pod that sends a request.
#[derive(Debug, Clone, Copy)]
pub struct SourceView<'a> {
    pub namespace: &'a str,
    pub labels: &'a Labels,
}

impl HttpConfig {
    #[must_use]
    pub fn new(objects: HttpObjects) -> Self {
        Self { objects }
    }

    /// The routes for requests of a source to a port of a service; `None` where no object is about them, so that they go
    /// to the service itself.
    #[must_use]
    pub fn routes(&self, _source: SourceView<'_>, _service: &ServiceKey, _port: u16) -> Option<Arc<ServiceRoutes>> {
        None
    }

    /// The routes for requests with a host that is no service's, to a port. Without a port in `host`, in lower case.
    #[must_use]
    pub fn routes_by_authority(&self, _source: SourceView<'_>, _host: &str, _port: u16) -> Option<Arc<ServiceRoutes>> {
        None
    }

    /// What the DestinationRule that counts for a source says of a service's port, and a subset. `None` where the subset does
    /// not exist.
    #[must_use]
    pub fn destination_policy(
        &self,
        _source: SourceView<'_>,
        _service: &ServiceKey,
        _port: u16,
        subset: Option<&str>,
    ) -> Option<Arc<DestinationPolicy>> {
        subset.is_none().then(Arc::default)
    }

    /// For requests that go to a service without any rule.
    #[must_use]
    pub fn default_retry(&self) -> Option<&RetryPolicy> {
        self.objects.default_retry.as_ref()
    }

    #[must_use]
    pub fn path_normalization(&self) -> PathNormalization {
        self.objects.path_normalization
    }
}
