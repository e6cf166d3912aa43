//! The paths of each listener, and the endpoints behind them.

use http::header::{ACCEPT, ALLOW, HeaderValue};
use http::request::Parts;
use http::{Method, StatusCode};
use serde::Serialize;

use super::config_dump::config_dump;
use super::logging::logging;
use super::plaintext::plaintext;
use super::query::{parameter, parameters};
use super::response::{AdminResponse, json, scrape, text};
use super::sources::AdminSources;
use super::status;
use crate::telemetry::metrics::TextFormat;
use crate::why::{Question, QuestionError};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const CLASSIC_METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// One endpoint.
pub(super) struct Route {
    path: &'static str,
    methods: Methods,
    about: &'static str,
    handler: fn(&AdminSources, &Parts) -> AdminResponse,
}

#[derive(Clone, Copy)]
enum Methods {
    Get,
    Post,
    GetOrPost,
}

pub(super) const METRICS: &[Route] = &[
    Route { path: "/metrics", methods: Methods::Get, about: "metrics for Prometheus", handler: metrics },
    Route { path: "/stats/prometheus", methods: Methods::Get, about: "the same", handler: metrics },
];

pub(super) const READINESS: &[Route] = &[Route {
    path: "/healthz/ready",
    methods: Methods::Get,
    about: "ready, or what is waited for",
    handler: readiness,
}];

pub(super) const ADMIN: &[Route] = &[
    Route { path: "/", methods: Methods::Get, about: "this list", handler: index },
    Route {
        path: "/config_dump",
        methods: Methods::Get,
        about: "everything the agent acts by (istioctl ztunnel-config reads it)",
        handler: dump,
    },
    Route {
        path: "/logging",
        methods: Methods::GetOrPost,
        about: "the log filter; ?level=debug or ?level=weir::xds=debug changes it, ?reset takes the first one again",
        handler: logging,
    },
    Route {
        path: "/plaintext",
        methods: Methods::GetOrPost,
        about: "plaintext connections that could be over HBONE by now; POST ends them, ?pod=namespace/name those of a pod",
        handler: plaintext,
    },
    Route {
        path: "/objects",
        methods: Methods::Get,
        about: "users' objects, and what of them is rejected or has no effect",
        handler: objects,
    },
    Route { path: "/quitquitquit", methods: Methods::Post, about: "drain and end the agent", handler: quit },
    Route { path: "/status", methods: Methods::Get, about: "what weir status shows, as JSON", handler: show_status },
    Route { path: "/version", methods: Methods::Get, about: "the agent's version", handler: version },
    Route {
        path: "/why",
        methods: Methods::Get,
        about: "what would become of a request: ?pod=namespace/name&url=http://host/path, and method=, header=name: value",
        handler: why,
    },
];

impl Methods {
    fn allowed(self) -> &'static str {
        match self {
            Self::Get => "GET, HEAD",
            Self::Post => "POST",
            Self::GetOrPost => "GET, HEAD, POST",
        }
    }

    fn allow(self, method: &Method) -> bool {
        self.allowed().split(", ").any(|allowed| allowed == method.as_str())
    }
}

/// Finds the endpoint and asks it.
pub(super) fn respond(routes: &[Route], sources: &AdminSources, request: &Parts) -> AdminResponse {
    let Some(route) = routes.iter().find(|route| route.path == request.uri.path()) else {
        return text(StatusCode::NOT_FOUND, "there is no such endpoint\n");
    };
    if !route.methods.allow(&request.method) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "the endpoint does not take this method\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(route.methods.allowed()));
        return response;
    }
    (route.handler)(sources, request)
}

/// In the OpenMetrics format for those who ask for it, as Prometheus does, and in the older one for all others.
fn metrics(sources: &AdminSources, request: &Parts) -> AdminResponse {
    let mut accepted = request.headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let (format, content_type) = if accepted.any(|types| types.contains("application/openmetrics-text")) {
        (TextFormat::OpenMetrics, OPEN_METRICS)
    } else {
        (TextFormat::Classic, CLASSIC_METRICS)
    };
    match sources.metrics.scrape(format) {
        Ok(written) => scrape(request, content_type, &written),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("metrics cannot be written: {error}\n")),
    }
}

fn readiness(sources: &AdminSources, _request: &Parts) -> AdminResponse {
    let waiting_for = sources.ready.waiting_for();
    if waiting_for.is_empty() {
        return text(StatusCode::OK, "ready\n");
    }
    text(StatusCode::SERVICE_UNAVAILABLE, format!("waiting for: {}\n", waiting_for.join(", ")))
}

fn index(_sources: &AdminSources, _request: &Parts) -> AdminResponse {
    let lines: String = ADMIN
        .iter()
        .map(|route| format!("{:<16} {:<16} {}\n", route.path, route.methods.allowed(), route.about))
        .collect();
    text(StatusCode::OK, lines)
}

fn dump(sources: &AdminSources, _request: &Parts) -> AdminResponse {
    json(config_dump(sources))
}

fn objects(sources: &AdminSources, _request: &Parts) -> AdminResponse {
    json(serde_json::to_vec(&(sources.objects)()))
}

fn quit(sources: &AdminSources, _request: &Parts) -> AdminResponse {
    (sources.quit)();
    text(StatusCode::OK, "shutdown now\n")
}

fn show_status(sources: &AdminSources, _request: &Parts) -> AdminResponse {
    json(serde_json::to_vec(&status::collect(sources)))
}

fn why(sources: &AdminSources, request: &Parts) -> AdminResponse {
    let one = |name| parameter(&request.uri, name).unwrap_or_default();
    let question = Question {
        pod: one("pod"),
        url: one("url"),
        method: one("method"),
        headers: parameters(&request.uri, "header").collect(),
    };
    match (sources.why)(&question) {
        Ok(explanation) => json(serde_json::to_vec(&explanation)),
        Err(error @ QuestionError::UnknownPod { .. }) => text(StatusCode::NOT_FOUND, format!("{error}\n")),
        Err(error) => text(StatusCode::BAD_REQUEST, format!("{error}\n")),
    }
}

fn version(_sources: &AdminSources, _request: &Parts) -> AdminResponse {
    #[derive(Serialize)]
    struct Version {
        component: &'static str,
        version: &'static str,
    }
    json(serde_json::to_vec(&Version { component: "weir", version: env!("CARGO_PKG_VERSION") }))
}
