//! Which objects count for a pod, and what they come to together.

use std::sync::Arc;

use super::config::TelemetryConfig;
use super::expression::Expression;
use super::objects::*;
use super::providers::{Collector, Provider, ProviderKind, TelemetryDefaults};
use super::setting::{SideSetting, TelemetrySetting};
use crate::model::peer_authentication::Labels;

fn labels(app: &str) -> Labels {
    [("app".to_owned(), app.to_owned())].into()
}

fn names(names: &[&str]) -> Vec<Arc<str>> {
    names.iter().map(|name| Arc::from(*name)).collect()
}

fn object(namespace: &str, selector: Option<&str>, spec: TelemetrySpec) -> Arc<TelemetryObject> {
    let selector = selector.map(labels).unwrap_or_default();
    Arc::new(TelemetryObject {
        namespace: namespace.into(),
        name: "x".into(),
        spec: TelemetrySpec { selector, ..spec },
    })
}

fn config(objects: Vec<Arc<TelemetryObject>>) -> TelemetryConfig {
    let provider = |name: &str, kind| Provider { name: name.into(), kind };
    let collector = Collector { service: "otel.obs.svc.cluster.local".into(), port: 4317 };
    let providers = vec![
        provider("otel", ProviderKind::Spans(collector)),
        provider("stackdriver", ProviderKind::Unsupported("stackdriver".into())),
    ];
    let defaults = TelemetryDefaults { providers, ..TelemetryDefaults::default() };
    TelemetryConfig { objects, root_namespace: "istio-system".into(), defaults }
}

fn setting(objects: Vec<Arc<TelemetryObject>>) -> TelemetrySetting {
    config(objects).setting("shop", &labels("web"))
}

fn of(setting: &TelemetrySetting, side: WorkloadMode) -> &SideSetting {
    match side {
        WorkloadMode::Client => &setting.client,
        WorkloadMode::Server => &setting.server,
    }
}

fn logging(entry: AccessLogging) -> TelemetrySpec {
    TelemetrySpec { access_logging: vec![entry], ..TelemetrySpec::default() }
}

/// Providers with their filters, of the client and of the server.
fn logs(setting: &TelemetrySetting) -> String {
    let side = |side| {
        let one = |log: &super::setting::LogSetting| {
            let filter = log.filter.as_ref().map(|filter| format!(" if {}", filter.source())).unwrap_or_default();
            format!("{}{filter}", if log.provider.is_empty() { "own" } else { &log.provider })
        };
        of(setting, side).access_log.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    format!("{} | {}", side(WorkloadMode::Client), side(WorkloadMode::Server))
}

fn filter(source: &str) -> Option<Arc<Expression>> {
    Some(Arc::new(Expression::filter(source).expect("tests have good ones")))
}

#[test]
fn access_logs_are_those_of_the_last_level_that_names_providers() {
    let entry = AccessLogging::default;
    let named = |providers: &[&str]| AccessLogging { providers: names(providers), ..entry() };
    let off = || AccessLogging { is_disabled: true, ..entry() };
    let bad = || AccessLogging { filter: filter("response.code >= 500"), ..entry() };
    let root = |entry| object("istio-system", None, logging(entry));
    let shop = |entry| object("shop", None, logging(entry));
    let web = |entry| object("shop", Some("web"), logging(entry));
    for (objects, expected) in [
        (vec![], "own | own"),
        (vec![root(named(&["envoy"]))], "envoy | envoy"),
        (vec![root(named(&["envoy"])), shop(named(&["file"]))], "file | file"),
        (vec![root(named(&["envoy"])), shop(off())], " | "),
        (vec![root(off()), web(entry())], "own | own"),
        (vec![root(off()), shop(named(&["envoy"]))], "envoy | envoy"),
        (vec![shop(bad())], "own if response.code >= 500 | own if response.code >= 500"),
        (vec![root(named(&["envoy"])), shop(bad())], "envoy if response.code >= 500 | envoy if response.code >= 500"),
        // What names its provider again without a filter has none.
        (vec![shop(bad()), web(named(&["envoy"]))], "envoy | envoy"),
        // An entry for one side leaves the other without any, but for one that only disables.
        (vec![root(AccessLogging { sides: Sides::Only(WorkloadMode::Client), ..named(&["envoy"]) })], "envoy | "),
        (vec![root(AccessLogging { sides: Sides::Only(WorkloadMode::Server), ..off() })], "own | "),
        // Objects that are not about the pod.
        (vec![object("shop", Some("other"), logging(off()))], "own | own"),
        (vec![object("istio-system", Some("web"), logging(off()))], "own | own"),
        (vec![object("elsewhere", None, logging(off()))], "own | own"),
        (vec![object("shop", None, TelemetrySpec { is_for_waypoints: true, ..logging(off()) })], "own | own"),
        // Of several without a selector in a namespace, the oldest.
        (vec![shop(named(&["first"])), shop(named(&["second"]))], "first | first"),
        // Of several with one, all.
        (vec![web(named(&["first"])), web(named(&["second"]))], "second | second"),
    ] {
        let label = format!("{objects:#?}");
        let seen = logs(&setting(objects));
        assert_eq!(seen, expected, "{label}");
    }
}

#[test]
fn default_providers_count_where_objects_name_none() {
    let mut config = config(Vec::new());
    config.defaults.access_logging = names(&["envoy"]);
    assert_eq!(logs(&config.setting("shop", &labels("web"))), "envoy | envoy");
    config.objects =
        vec![object("shop", None, logging(AccessLogging { is_disabled: true, ..AccessLogging::default() }))];
    assert_eq!(logs(&config.setting("shop", &labels("web"))), " | ");
}

fn metrics(providers: &[&str], overrides: Vec<MetricsOverride>) -> TelemetrySpec {
    TelemetrySpec { metrics: vec![MetricsRule { providers: names(providers), overrides }], ..TelemetrySpec::default() }
}

fn tag(metric: Option<Metric>, name: &str, tag: TagOverride) -> MetricsOverride {
    MetricsOverride { metric, tags: vec![(name.into(), tag)], ..MetricsOverride::default() }
}

fn host() -> TagOverride {
    TagOverride::Upsert(Arc::new(Expression::tag("request.host").expect("it is one")))
}

/// Of one side: `-` for a metric that is not counted, `=` for one as usual, else its tags.
fn shown(setting: &TelemetrySetting, side: WorkloadMode) -> String {
    let Some(metrics) = &of(setting, side).metrics else { return "standard".to_owned() };
    let one = |metric| {
        let metric = metrics.of(metric);
        let tags = metric.tags.iter().map(|(name, tag)| format!("{}{name}", if tag.is_some() { "+" } else { "-" }));
        match (metric.is_disabled, metric.tags.is_empty()) {
            (true, _) => "-".to_owned(),
            (false, true) => "=".to_owned(),
            (false, false) => tags.collect::<Vec<_>>().join(","),
        }
    };
    Metric::ALL[..2].iter().chain(&Metric::ALL[4..5]).map(|metric| one(*metric)).collect::<Vec<_>>().join(" ")
}

#[test]
fn overrides_of_metrics_apply_in_order_over_all_levels() {
    let off = |metric, sides| MetricsOverride { metric, sides, is_disabled: Some(true), ..MetricsOverride::default() };
    let on = |metric, sides| MetricsOverride { is_disabled: Some(false), ..off(metric, sides) };
    let root = |spec| object("istio-system", None, spec);
    let shop = |spec| object("shop", None, spec);
    let count = Some(Metric::RequestCount);
    let server = Sides::Only(WorkloadMode::Server);
    for (objects, client, of_server) in [
        (vec![], "standard", "standard"),
        (vec![shop(metrics(&[], vec![tag(count, "host", host())]))], "+host = =", "+host = ="),
        (
            vec![shop(metrics(&["prometheus"], vec![tag(None, "host", host())]))],
            "+host +host +host",
            "+host +host +host",
        ),
        (
            vec![
                root(metrics(&[], vec![tag(count, "host", host()), tag(count, "b", host())])),
                shop(metrics(&[], vec![tag(count, "host", TagOverride::Remove)])),
            ],
            "+b,-host = =",
            "+b,-host = =",
        ),
        (vec![shop(metrics(&[], vec![off(count, Sides::Both)]))], "- = =", "- = ="),
        (vec![root(metrics(&[], vec![off(None, Sides::Both)]))], "- - -", "- - -"),
        (vec![root(metrics(&[], vec![off(None, server)]))], "standard", "- - -"),
        // Whatever is said of one metric behind it brings the others back: as in istiod.
        (
            vec![root(metrics(&[], vec![off(None, Sides::Both)])), shop(metrics(&[], vec![on(count, server)]))],
            "- - -",
            "standard",
        ),
        // The last level that names providers does not name this one.
        (vec![shop(metrics(&["stackdriver"], vec![]))], "- - -", "- - -"),
        (
            vec![
                root(metrics(&["prometheus"], vec![tag(count, "host", host())])),
                shop(metrics(&["stackdriver", "prometheus"], vec![])),
            ],
            "+host = =",
            "+host = =",
        ),
    ] {
        let label = format!("{objects:#?}");
        let setting = setting(objects);
        assert_eq!(
            [shown(&setting, WorkloadMode::Client), shown(&setting, WorkloadMode::Server)],
            [client, of_server],
            "{label}"
        );
    }
}

#[test]
fn later_levels_of_tracing_override_field_by_field() {
    let tag = |value: &str| CustomTag { name: "a".into(), value: CustomTagValue::Literal(value.into()) };
    let root = TracingRule {
        sampling_percent: Some(10.0),
        custom_tags: Some([tag("root")].into()),
        providers: names(&["otel"]),
        ..TracingRule::default()
    };
    let shop = TracingRule {
        sides: Sides::Only(WorkloadMode::Client),
        disable_span_reporting: Some(true),
        custom_tags: Some([tag("shop")].into()),
        enable_istio_tags: Some(false),
        disable_context_propagation: Some(true),
        use_request_id_for_trace_sampling: Some(false),
        ..TracingRule::default()
    };
    let at =
        |namespace, rule| object(namespace, None, TelemetrySpec { tracing: vec![rule], ..TelemetrySpec::default() });
    let setting = setting(vec![at("istio-system", root), at("shop", shop)]);
    let (client, server) = (&setting.client.tracing, &setting.server.tracing);
    assert_eq!((client.sampling_percent, server.sampling_percent), (Some(10.0), Some(10.0)));
    assert_eq!((client.provider.as_deref(), server.provider.as_deref()), (Some("otel"), Some("otel")));
    assert_eq!((&*client.custom_tags, &*server.custom_tags), (&[tag("shop")][..], &[tag("root")][..]));
    let flags = |of: &super::setting::TracingSetting| {
        [of.reports_spans, of.has_istio_tags, of.propagates_context, of.samples_by_request_id]
    };
    assert_eq!((flags(client), flags(server)), ([false; 4], [true; 4]));
}

#[test]
fn tags_of_mesh_config_count_where_no_object_has_some() {
    let tag = |value: &str| CustomTag { name: "a".into(), value: CustomTagValue::Literal(value.into()) };
    let of = |rules: Vec<TracingRule>| {
        let spec = TelemetrySpec { tracing: rules, ..TelemetrySpec::default() };
        let mut config = config(vec![object("shop", None, spec)]);
        config.defaults.custom_tags = [tag("mesh")].into();
        config.defaults.has_istio_tags = Some(false);
        let setting = config.setting("shop", &labels("web")).client.tracing;
        (setting.custom_tags.to_vec(), setting.has_istio_tags)
    };
    assert_eq!(of(Vec::new()), (vec![tag("mesh")], false));
    let rule = TracingRule {
        custom_tags: Some([tag("shop")].into()),
        enable_istio_tags: Some(true),
        ..TracingRule::default()
    };
    assert_eq!(of(vec![rule]), (vec![tag("shop")], true));
}

#[test]
fn sampling_of_mesh_config_counts_where_it_is_not_zero() {
    let mut config = config(Vec::new());
    for (percent, expected) in [(None, None), (Some(0.0), None), (Some(5.0), Some(5.0))] {
        config.defaults.sampling_percent = percent;
        assert_eq!(config.setting("shop", &labels("web")).client.tracing.sampling_percent, expected);
    }
}
