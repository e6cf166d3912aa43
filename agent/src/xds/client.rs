//! Keeps the discovery stream up: connects, and reconnects with backoff, forever.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::last_good;
use super::receiver::ConfigReceiver;
use super::session::{self, StreamError, XdsOptions};
use super::status::XdsStatus;
use super::version_naming::VersionNaming;
use crate::causes::with_causes;
use crate::lifecycle::ReadyBlocker;
use crate::pauses::Pauses;
use crate::resources::WantedObjects;
use crate::state::SharedMesh;
use crate::telemetry::metrics::XdsTermination;

/// First and longest pause before the next attempt to reach the control plane.
const MIN_BACKOFF: Duration = Duration::from_millis(10);
const MAX_BACKOFF: Duration = Duration::from_secs(15);
/// A stream that lasted at least this long resets the backoff: the next may follow at once.
const BACKOFF_RESET_AFTER: Duration = Duration::from_secs(5);

/// Another source of users' objects beside the stream, as a future that runs forever: it gives what it finds to the receiver.
pub type ObjectSource = Box<dyn FnOnce(ConfigReceiver) -> BoxFuture<'static, ()> + Send>;

/// Receives the mesh from the control plane; runs forever. `ready` is dropped at the first complete mesh, be it from disk.
/// `objects` starts once the last good configuration is loaded.
pub async fn run(
    options: XdsOptions,
    mesh: SharedMesh,
    status: XdsStatus,
    ready: ReadyBlocker,
    objects: Option<ObjectSource>,
) {
    let receiver = ConfigReceiver::new(mesh, status.clone(), options.settings.clone());
    status.set_objects_source({
        let (receiver, dir) = (receiver.clone(), options.destination_tls_dir.clone());
        move || receiver.objects(&dir)
    });
    options.metrics.register_fields_without_effect({
        let receiver = receiver.clone();
        move || receiver.fields_without_effect()
    });
    let journal = options.state_dir.as_deref().map(|dir| receiver.load_last_good(last_good::file_in(dir)));
    let save = async {
        match journal {
            Some(journal) => receiver.save_changes(journal, &options.metrics, options.may_save.clone()).await,
            None => std::future::pending().await,
        }
    };
    let release = async {
        status.first_sync().await;
        drop(ready);
        std::future::pending::<()>().await;
    };
    let objects = async {
        match objects {
            Some(source) => source(receiver.clone()).await,
            None => std::future::pending().await,
        }
    };
    tokio::join!(connect_forever(&options, &receiver, &status), save, release, objects);
}

async fn connect_forever(options: &XdsOptions, receiver: &ConfigReceiver, status: &XdsStatus) {
    status.set_source(&options.address);
    let mut pauses = Pauses::new(MIN_BACKOFF, MAX_BACKOFF);
    let mut naming = VersionNaming::default();
    let mut objects = options.objects;
    loop {
        let started = Instant::now();
        let Err(error) = session::run(options, receiver, status, &mut naming, objects).await;
        let was_connected = status.report().connected;
        options.metrics.xds_connection_ended(match &error {
            StreamError::Ended => XdsTermination::Complete,
            _ if was_connected => XdsTermination::Error,
            _ => XdsTermination::ConnectionError,
        });
        if was_connected && started.elapsed() >= BACKOFF_RESET_AFTER {
            pauses.reset();
        }
        // A control plane that fails at types it does not know is asked without them the next time.
        let types_refused = objects != WantedObjects::None && !was_connected && error.is_about_types();
        objects = if types_refused { WantedObjects::None } else { options.objects };
        if error.is_exhausted()
            && let Some(bytes) = naming.exhausted()
        {
            tracing::warn!(
                address = options.address,
                bytes,
                "the control plane may not accept a request that names all known versions: the next one names none, and is \
                 answered with the whole mesh"
            );
        }
        let pause = pauses.take().max(error.min_pause());
        let error = with_causes(&error);
        if status.set_disconnected(&error) {
            tracing::warn!(%error, address = options.address, "no configuration stream, retrying");
        } else {
            tracing::debug!(%error, ?pause, "still no configuration stream");
        }
        tokio::time::sleep(pause).await;
    }
}
