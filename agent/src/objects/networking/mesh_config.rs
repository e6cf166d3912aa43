//! MeshConfig: settings of the whole mesh. Istio's fields that matter here are read; its other fields are known by name.

use std::time::Duration;

use super::ca_certificates::{self, CaCertificate};
use super::connection_pool;
use super::locality;
use super::mesh_traffic_policy::{self, MeshTrafficPolicy};
use super::proxy_config;
use super::retries::{self, Retries};
use super::values::{self, ExportTo};
use crate::model::http::destination::{LocalitySetting, TcpKeepalive};
use crate::model::http::objects::PathNormalization;
use crate::model::http::proxy_headers::ProxyHeaders;
use crate::model::identity::DEFAULT_TRUST_DOMAIN;
use crate::model::mesh::{AccessLogEncoding, IstioAccessLog, OutboundTrafficPolicy};
use crate::model::telemetry::providers::TelemetryDefaults;
use crate::objects::labels::{self, LabelSelector};
use crate::objects::reading::yaml::{self, Node};
use crate::objects::reading::{Fields, Item, Report, names};
use crate::objects::telemetry::providers;

/// `istio.mesh.v1alpha1.MeshConfig`. A field that is not set is `None`: a control plane fills in Istio's default, an agent
/// keeps what it was started with.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MeshConfig {
    pub root_namespace: Option<String>,
    pub trust_domain: Option<String>,
    pub trust_domain_aliases: Vec<String>,
    pub outbound_traffic_policy: Option<OutboundTrafficPolicy>,
    /// `accessLogFormat` and `accessLogEncoding`, where `accessLogFile` names a file. Lines go where the agent's log goes.
    pub access_log: Option<IstioAccessLog>,
    /// Further root certificates, which agents trust besides those of the CA.
    pub ca_certificates: Vec<CaCertificate>,
    /// Namespaces that belong to the mesh; empty: all.
    pub discovery_selectors: Vec<LabelSelector>,
    pub service_entry_visibility: Option<ServiceEntryVisibility>,
    pub http: HttpDefaults,
    pub telemetry: TelemetryDefaults,
    /// What of it has no effect, and why: `field: reason`.
    pub without_effect: Vec<String>,
}

/// What of MeshConfig counts for HTTP, where objects do not say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HttpDefaults {
    /// `defaultHttpRetryPolicy`.
    pub retry: Option<Retries>,
    pub path_normalization: Option<PathNormalization>,
    pub connect_timeout: Option<Duration>,
    /// `defaultConfig.proxyHeaders`.
    pub proxy_headers: ProxyHeaders,
    pub virtual_service_export_to: ExportTo,
    pub destination_rule_export_to: ExportTo,
    /// `localityLbSetting`.
    pub locality: Option<LocalitySetting>,
    /// `h2UpgradePolicy: UPGRADE`.
    pub upgrades_to_http2: bool,
    pub tcp_keepalive: TcpKeepalive,
    /// `defaultTrafficPolicy`.
    pub traffic_policy: Option<MeshTrafficPolicy>,
}

/// Istio's default of `rootNamespace`.
pub(in crate::objects) const DEFAULT_ROOT_NAMESPACE: &str = "istio-system";

impl MeshConfig {
    /// The namespace whose policies count for the whole mesh.
    #[must_use]
    pub fn root_namespace(&self) -> &str {
        self.root_namespace.as_deref().unwrap_or(DEFAULT_ROOT_NAMESPACE)
    }

    #[must_use]
    pub fn trust_domain(&self) -> &str {
        self.trust_domain.as_deref().unwrap_or(DEFAULT_TRUST_DOMAIN)
    }

    /// What becomes of connections to destinations that no object names.
    #[must_use]
    pub fn outbound_traffic_policy(&self) -> OutboundTrafficPolicy {
        self.outbound_traffic_policy.unwrap_or_default()
    }
}

/// `serviceEntryVisibility`: who sees the services of ServiceEntries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceEntryVisibility {
    pub default: EntryVisibility,
    /// The first whose selectors all match the namespace decides.
    pub policies: Vec<(EntryVisibility, Vec<VisibilityRule>)>,
}

/// An item of `matchingRules`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VisibilityRule {
    /// `None` never matches.
    pub namespace_selector: Option<LabelSelector>,
}

/// Which namespaces see the services of a ServiceEntry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryVisibility {
    Public,
    Namespace,
    /// The object counts as absent.
    None,
}

/// Fields of MeshConfig that have no use here.
const NOT_USED: [&str; 29] = [
    "proxyListenPort",
    "proxyInboundListenPort",
    "proxyHttpPort",
    "hboneIdleTimeout",
    "protocolDetectionTimeout",
    "ingressClass",
    "ingressService",
    "ingressControllerMode",
    "ingressSelector",
    "enableEnvoyAccessLogService",
    "disableEnvoyListenerLog",
    "inboundTrafficPolicy",
    "configSources",
    "enableAutoMtls",
    "defaultServiceExportTo",
    "zoneAwareLbSetting",
    "dnsRefreshRate",
    "inboundClusterStatName",
    "outboundClusterStatName",
    "enablePrometheusMerge",
    "meshMTLS",
    "tlsDefaults",
    "verifyCertificateAtClient",
    "certificates",
    "thriftConfig",
    "serviceSettings",
    "ca",
    "serviceScopeConfigs",
    "defaultInboundHttpRetryPolicy",
];

/// Reads MeshConfig's own fields.
pub(in crate::objects) fn read(fields: Fields<'_>) -> MeshConfig {
    let report = fields.report();
    let config = read_fields(fields);
    MeshConfig { without_effect: report.notices(), ..config }
}

fn read_fields(mut fields: Fields<'_>) -> MeshConfig {
    let (access_log, log_form) = access_log(&mut fields);
    let telemetry = providers::read(&mut fields, log_form);
    let proxy = fields.fields("defaultConfig").map(proxy_config::read).unwrap_or_default();
    let config = MeshConfig {
        root_namespace: root_namespace(&mut fields),
        trust_domain: trust_domain(&mut fields),
        trust_domain_aliases: fields.texts("trustDomainAliases"),
        outbound_traffic_policy: fields.fields("outboundTrafficPolicy").map(mesh_outbound_traffic_policy),
        access_log,
        ca_certificates: ca_certificates::read(&mut fields),
        discovery_selectors: selectors(&mut fields, "discoverySelectors"),
        service_entry_visibility: fields.fields("serviceEntryVisibility").map(visibility),
        http: HttpDefaults { proxy_headers: proxy.headers, ..http_defaults(&mut fields) },
        telemetry: TelemetryDefaults {
            sampling_percent: proxy.tracing.sampling_percent,
            custom_tags: proxy.tracing.custom_tags,
            has_istio_tags: proxy.tracing.has_istio_tags,
            ..telemetry
        },
        without_effect: Vec::new(),
    };
    for (at, alias) in config.trust_domain_aliases.iter().enumerate() {
        if let Err(reason) = names::fqdn(alias) {
            fields.error(&format!("trustDomainAliases[{at}]"), reason);
        }
    }
    for name in NOT_USED {
        fields.without_effect(name, "has no effect here");
    }
    fields.finish();
    config
}

/// Reads the YAML text in `data.mesh` of the ConfigMap `istio`; its lines are given as those of `item`.
pub(in crate::objects) fn read_config_map(item: &Item<'_>, report: &Report) -> Option<MeshConfig> {
    let text = item.text(report)?;
    let node = match yaml::parse(text) {
        Ok(node) => node,
        Err((line, reason)) => {
            item.error(report, format!("is not YAML: line {line}: {reason}"));
            return None;
        }
    };
    let node = on_one_line(node, item.node.line);
    // Findings are copied out of the inner report: it borrows a tree that lives only here.
    let inner = Report::default();
    let config = Fields::of(&node, &item.path, &inner).map(read);
    for finding in inner.into_findings() {
        if finding.rejects {
            report.error(finding.field, finding.line, finding.reason);
        } else {
            report.notice(finding.field, finding.line, finding.reason);
        }
    }
    config
}

/// Gives every node of a tree one line.
fn on_one_line(node: Node, line: usize) -> Node {
    let value = match node.value {
        yaml::Value::List(list) => yaml::Value::List(list.into_iter().map(|node| on_one_line(node, line)).collect()),
        yaml::Value::Map(map) => {
            yaml::Value::Map(map.into_iter().map(|(key, node)| (key, on_one_line(node, line))).collect())
        }
        other => other,
    };
    Node { line, value }
}

fn root_namespace(fields: &mut Fields<'_>) -> Option<String> {
    let name = fields.text("rootNamespace").filter(|name| !name.is_empty())?;
    if let Err(reason) = names::label(&name) {
        fields.error("rootNamespace", reason);
    }
    Some(name)
}

fn trust_domain(fields: &mut Fields<'_>) -> Option<String> {
    let name = fields.text("trustDomain")?;
    if name.is_empty() {
        fields.error("trustDomain", "must not be empty: remove it for cluster.local");
    } else if let Err(reason) = names::fqdn(&name) {
        fields.error("trustDomain", reason);
    }
    Some(name)
}

/// What is written where no object says anything; and the form of providers that have none of their own.
fn access_log(fields: &mut Fields<'_>) -> (Option<IstioAccessLog>, IstioAccessLog) {
    let file = fields.text("accessLogFile").unwrap_or_default();
    let format = fields.text("accessLogFormat").unwrap_or_default();
    let encodings = [("TEXT", AccessLogEncoding::Text), ("JSON", AccessLogEncoding::Json)];
    let encoding = fields.word("accessLogEncoding", &encodings).unwrap_or_default();
    if !matches!(&*file, "" | "/dev/stdout") {
        fields.notice(
            "accessLogFile",
            "has no effect as a path: lines go to the output of the agent, as with /dev/stdout",
        );
    }
    let form = IstioAccessLog { format: format.into(), encoding };
    (Some(form.clone()).filter(|_| !file.is_empty()), form)
}

pub(super) fn outbound_traffic_policy(mut fields: Fields<'_>) -> OutboundTrafficPolicy {
    let modes =
        [("ALLOW_ANY", OutboundTrafficPolicy::AllowAny), ("REGISTRY_ONLY", OutboundTrafficPolicy::RegistryOnly)];
    // In Istio's definition the first value, the one an empty message has, is REGISTRY_ONLY.
    let mode = fields.word("mode", &modes).unwrap_or(OutboundTrafficPolicy::RegistryOnly);
    fields.without_effect("egressProxy", "has no effect: there is no proxy for unknown destinations");
    fields.finish();
    mode
}

/// That of MeshConfig, which has a mode and TLS of it that a Sidecar does not have.
fn mesh_outbound_traffic_policy(mut fields: Fields<'_>) -> OutboundTrafficPolicy {
    const DYNAMIC: &str = "ALLOW_ANY_DYNAMIC_DNS";
    let is_dynamic = fields.any("mode").is_some_and(|item| item.node.value == yaml::Value::Text(DYNAMIC.to_owned()));
    if !is_dynamic {
        fields.without_effect("tls", "has no effect with this mode");
        return outbound_traffic_policy(fields);
    }
    let tls = fields.fields("tls");
    let has_tls = tls.is_some_and(|mut tls| tls.text("mode").is_some_and(|mode| mode != "DISABLE"));
    let (counts_as, why) = dynamic_dns(has_tls);
    fields.notice("mode", why);
    fields.finish();
    counts_as
}

/// What `ALLOW_ANY_DYNAMIC_DNS` counts as, and what is said of it. Requests go to the address that was dialled. Where TLS is wanted for
/// them they would go there in plaintext, so they do not go at all.
pub(super) fn dynamic_dns(has_tls: bool) -> (OutboundTrafficPolicy, &'static str) {
    if has_tls {
        let why = "counts as REGISTRY_ONLY: the tls that is wanted for unknown destinations is not supported";
        return (OutboundTrafficPolicy::RegistryOnly, why);
    }
    let why =
        "counts as ALLOW_ANY: unknown destinations are reached at the address that was dialled, not looked up again";
    (OutboundTrafficPolicy::AllowAny, why)
}

fn http_defaults(fields: &mut Fields<'_>) -> HttpDefaults {
    let normalizations = [
        ("DEFAULT", PathNormalization::Base),
        ("NONE", PathNormalization::None),
        ("BASE", PathNormalization::Base),
        ("MERGE_SLASHES", PathNormalization::MergeSlashes),
        ("DECODE_AND_MERGE_SLASHES", PathNormalization::DecodeAndMergeSlashes),
    ];
    let path_normalization = fields.fields("pathNormalization").and_then(|mut fields| {
        let found = fields.word("normalization", &normalizations);
        fields.finish();
        found
    });
    let upgrades = [("DO_NOT_UPGRADE", false), ("UPGRADE", true)];
    HttpDefaults {
        retry: fields.fields("defaultHttpRetryPolicy").map(retries::read),
        path_normalization,
        connect_timeout: values::duration(fields, "connectTimeout"),
        proxy_headers: ProxyHeaders::default(),
        virtual_service_export_to: ExportTo::of(&fields.texts("defaultVirtualServiceExportTo")),
        destination_rule_export_to: ExportTo::of(&fields.texts("defaultDestinationRuleExportTo")),
        locality: fields.fields("localityLbSetting").map(locality::read),
        upgrades_to_http2: fields.word("h2UpgradePolicy", &upgrades).unwrap_or(false),
        tcp_keepalive: fields.fields("tcpKeepalive").map(connection_pool::tcp_keepalive).unwrap_or_default(),
        traffic_policy: traffic_policy(fields),
    }
}

fn traffic_policy(fields: &mut Fields<'_>) -> Option<MeshTrafficPolicy> {
    let (report, item) = (fields.report(), fields.get("defaultTrafficPolicy")?);
    item.fields(report).map(|fields| mesh_traffic_policy::read(fields, item.node))
}

fn visibility(mut fields: Fields<'_>) -> ServiceEntryVisibility {
    let report = fields.report();
    let default = visibility_word(&mut fields, "defaultVisibility");
    let mut policies = Vec::new();
    for item in fields.items("policies") {
        let Some(mut policy) = item.fields(report) else { continue };
        let visibility = visibility_word(&mut policy, "visibility");
        let mut rules = Vec::new();
        for item in policy.items("matchingRules") {
            let Some(mut rule) = item.fields(report) else { continue };
            rules.push(VisibilityRule { namespace_selector: rule.fields("namespaceSelector").map(labels::selector) });
            rule.finish();
        }
        policy.finish();
        policies.push((visibility, rules));
    }
    fields.without_effect("applyToSidecars", "has no effect: agents see what the control plane sends them");
    fields.finish();
    ServiceEntryVisibility { default, policies }
}

fn visibility_word(fields: &mut Fields<'_>, name: &'static str) -> EntryVisibility {
    let words = [
        ("PUBLIC", EntryVisibility::Public),
        ("NAMESPACE", EntryVisibility::Namespace),
        ("NONE", EntryVisibility::None),
    ];
    fields.word(name, &words).unwrap_or(EntryVisibility::Public)
}

fn selectors(fields: &mut Fields<'_>, name: &'static str) -> Vec<LabelSelector> {
    let report = fields.report();
    fields.items(name).iter().filter_map(|item| item.fields(report).map(labels::selector)).collect()
}
