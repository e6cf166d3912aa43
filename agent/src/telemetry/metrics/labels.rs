//! The labels of Istio's standard metrics that name the two ends, and those of the TCP metrics. Dashboards select by them, so
//! names, values and their number are fixed.

use std::fmt::{self, Write};
use std::sync::Arc;

use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};

use crate::model::identity::Identity;
use crate::model::service::Service;
use crate::model::workload::Workload;
use crate::telemetry::connection::{RequestProtocol, ResponseFlag};
use crate::telemetry::ends::{ConnectionEnds, Reporter};

/// Stands for every value that is not known, as everywhere in Istio.
const UNKNOWN: &str = "unknown";
/// The revision of a workload that names none.
const DEFAULT_REVISION: &str = "latest";

/// Takes a label and its value.
pub(super) type PutLabel<'a> = dyn FnMut(&'static str, &dyn fmt::Display) -> fmt::Result + 'a;

/// A combination of label values that can be told label by label.
pub(super) trait EachLabel {
    /// Every label with its value, in order.
    fn each(&self, put: &mut PutLabel<'_>) -> fmt::Result;
}

/// The labels that say who the two ends are. Cheap to build: they share the strings of the model, and nothing is formatted until
/// a scrape.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct EndsLabels {
    reporter: Reporter,
    source: WorkloadLabels,
    service: Option<ServiceLabels>,
    destination: WorkloadLabels,
}

/// One combination of label values of a TCP metric.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct TrafficLabels {
    ends: EndsLabels,
    flag: ResponseFlag,
    mutual_tls: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct WorkloadLabels {
    workload: Option<NamedWorkload>,
    principal: Option<Identity>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct NamedWorkload {
    workload_name: Arc<str>,
    namespace: Arc<str>,
    canonical_name: Arc<str>,
    canonical_revision: Arc<str>,
    cluster_id: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ServiceLabels {
    hostname: Arc<str>,
    name: Arc<str>,
    namespace: Arc<str>,
}

impl EndsLabels {
    pub(super) fn new(ends: &ConnectionEnds) -> Self {
        // A source is only ever named by what it proved. A destination's identity is what its certificate must show.
        let destination_identity =
            ends.destination_identity.clone().or_else(|| ends.destination.as_ref().map(|workload| workload.identity()));
        Self {
            reporter: ends.reporter,
            source: WorkloadLabels::new(ends.source.as_deref(), ends.source_identity.clone()),
            service: ends.service.as_deref().map(ServiceLabels::new),
            destination: WorkloadLabels::new(ends.destination.as_deref(), destination_identity),
        }
    }

    /// Labels of ends about which nothing is known.
    fn unknown(reporter: Reporter) -> Self {
        let nobody = WorkloadLabels::default();
        Self { reporter, source: nobody.clone(), service: None, destination: nobody }
    }

    pub(super) fn reporter(&self) -> Reporter {
        self.reporter
    }

    /// Every label with its value, in the order in which ztunnel writes them. A destination that no service stands for is named
    /// `no_service`.
    pub(super) fn each(&self, no_service: &'static str, put: &mut PutLabel<'_>) -> fmt::Result {
        let [source, destination] = [&self.source, &self.destination];
        put("reporter", &self.reporter.label())?;
        put("source_workload", &source.text(|w| &w.workload_name))?;
        put("source_canonical_service", &source.text(|w| &w.canonical_name))?;
        put("source_canonical_revision", &source.revision())?;
        put("source_workload_namespace", &source.text(|w| &w.namespace))?;
        put("source_principal", source.principal())?;
        put("source_app", &source.text(|w| &w.canonical_name))?;
        put("source_version", &source.revision())?;
        put("source_cluster", &source.text(|w| &w.cluster_id))?;
        let (service, namespace) = (self.service_text(|s| &s.hostname), self.service_text(|s| &s.namespace));
        put("destination_service", &service)?;
        put("destination_service_namespace", &namespace)?;
        let name = self.service.as_ref().map_or(no_service, |service| known(&service.name));
        put("destination_service_name", &name)?;
        put("destination_workload", &destination.text(|w| &w.workload_name))?;
        put("destination_canonical_service", &destination.text(|w| &w.canonical_name))?;
        put("destination_canonical_revision", &destination.revision())?;
        put("destination_workload_namespace", &destination.text(|w| &w.namespace))?;
        put("destination_principal", destination.principal())?;
        put("destination_app", &destination.text(|w| &w.canonical_name))?;
        put("destination_version", &destination.revision())?;
        put("destination_cluster", &destination.text(|w| &w.cluster_id))
    }

    fn service_text(&self, field: impl Fn(&ServiceLabels) -> &Arc<str>) -> &str {
        self.service.as_ref().map_or(UNKNOWN, |service| known(field(service)))
    }
}

impl TrafficLabels {
    pub(super) fn new(ends: &ConnectionEnds, flag: ResponseFlag) -> Self {
        Self { ends: EndsLabels::new(ends), flag, mutual_tls: ends.mutual_tls }
    }

    /// Labels of a connection about whose ends nothing is known.
    pub(super) fn unknown(reporter: Reporter, flag: ResponseFlag) -> Self {
        Self { ends: EndsLabels::unknown(reporter), flag, mutual_tls: false }
    }

    pub(super) fn flag(&self) -> ResponseFlag {
        self.flag
    }
}

impl EachLabel for TrafficLabels {
    fn each(&self, put: &mut PutLabel<'_>) -> fmt::Result {
        self.ends.each(UNKNOWN, put)?;
        put("request_protocol", &RequestProtocol::Tcp.label())?;
        put("response_flags", &self.flag.label())?;
        put("connection_security_policy", &security_policy(self.mutual_tls))
    }
}

impl EncodeLabelSet for TrafficLabels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        self.each(&mut |name, value| put(encoder, name, value))
    }
}

/// The value of `connection_security_policy`, as ztunnel has it on either side.
pub(super) fn security_policy(mutual_tls: bool) -> &'static str {
    if mutual_tls { "mutual_tls" } else { UNKNOWN }
}

/// Writes a label and its value.
pub(super) fn put(encoder: &mut LabelSetEncoder<'_>, name: &str, value: &dyn fmt::Display) -> fmt::Result {
    let mut label = encoder.encode_label();
    let mut key = label.encode_label_key()?;
    key.write_str(name)?;
    let mut text = key.encode_label_value()?;
    write!(text, "{value}")?;
    text.finish()
}

impl WorkloadLabels {
    fn new(workload: Option<&Workload>, principal: Option<Identity>) -> Self {
        let workload = workload.map(|workload| NamedWorkload {
            workload_name: workload.workload_name.clone(),
            namespace: workload.namespace.clone(),
            canonical_name: workload.canonical_name.clone(),
            canonical_revision: workload.canonical_revision.clone(),
            cluster_id: workload.cluster_id.clone(),
        });
        Self { workload, principal }
    }

    fn text(&self, field: impl Fn(&NamedWorkload) -> &Arc<str>) -> &str {
        self.workload.as_ref().map_or(UNKNOWN, |workload| known(field(workload)))
    }

    fn revision(&self) -> &str {
        match &self.workload {
            Some(workload) if workload.canonical_revision.is_empty() => DEFAULT_REVISION,
            Some(workload) => &workload.canonical_revision,
            None => UNKNOWN,
        }
    }

    fn principal(&self) -> &dyn fmt::Display {
        self.principal.as_ref().map_or(&UNKNOWN, |identity| identity)
    }
}

impl ServiceLabels {
    fn new(service: &Service) -> Self {
        Self {
            hostname: service.key.hostname.clone(),
            name: service.name.clone(),
            namespace: service.key.namespace.clone(),
        }
    }
}

fn known(text: &Arc<str>) -> &str {
    if text.is_empty() { UNKNOWN } else { text }
}
