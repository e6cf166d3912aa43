//! The form of access lines of requests: the fields that lines of connections have too, or a text or a JSON object as MeshConfig's
//! `accessLogFormat` and `accessLogEncoding` say it.

use serde_json::{Map, Value as Json};

use super::operator::WantedFields;
use super::template::{Template, Value, Values};
use crate::model::mesh::{AccessLogEncoding, IstioAccessLog};

/// Istio's default format (`pilot/pkg/model/telemetry_logging.go`), without the line break at its end.
pub(super) const ISTIO_TEXT: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" \
    %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% \
    \"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% \
    %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \
    \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% \
    %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%";

/// The same as the members of an object.
const ISTIO_JSON: [(&str, &str); 24] = [
    ("start_time", "%START_TIME%"),
    ("route_name", "%ROUTE_NAME%"),
    ("method", "%REQ(:METHOD)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("response_code", "%RESPONSE_CODE%"),
    ("response_flags", "%RESPONSE_FLAGS%"),
    ("response_code_details", "%RESPONSE_CODE_DETAILS%"),
    ("connection_termination_details", "%CONNECTION_TERMINATION_DETAILS%"),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    ("duration", "%DURATION%"),
    ("upstream_service_time", "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%"),
    ("x_forwarded_for", "%REQ(X-FORWARDED-FOR)%"),
    ("user_agent", "%REQ(USER-AGENT)%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("authority", "%REQ(:AUTHORITY)%"),
    ("upstream_host", "%UPSTREAM_HOST%"),
    ("upstream_cluster", "%UPSTREAM_CLUSTER_RAW%"),
    ("upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%"),
    ("downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("requested_server_name", "%REQUESTED_SERVER_NAME%"),
    ("upstream_transport_failure_reason", "%UPSTREAM_TRANSPORT_FAILURE_REASON%"),
];

/// How the line of a request is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::telemetry) enum RequestLogForm {
    /// The fields that [`super::notes`] lists, in the form of all other lines of the log.
    Fields,
    /// As Istio's sidecars write it.
    Istio { wanted: WantedFields, format: IstioFormat },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::telemetry) enum IstioFormat {
    Text(Template),
    Json(Node),
}

/// A part of a JSON format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::telemetry) enum Node {
    Template(Template),
    Object(Vec<(String, Self)>),
    List(Vec<Self>),
    /// Neither text nor made of any: written as it is.
    Fixed(Json),
}

impl RequestLogForm {
    /// The form that MeshConfig asks for, and what of its format is not understood, in words.
    pub(in crate::telemetry) fn of(settings: &IstioAccessLog) -> (Self, Vec<String>) {
        let (mut wanted, mut unknown, mut problems) = (WantedFields::default(), Vec::new(), Vec::new());
        let custom = Some(settings.format.trim_end_matches('\n')).filter(|format| !format.is_empty());
        let format = match (settings.encoding, custom) {
            (AccessLogEncoding::Text, custom) => {
                IstioFormat::Text(Template::parse(custom.unwrap_or(ISTIO_TEXT), &mut wanted, &mut unknown))
            }
            (AccessLogEncoding::Json, custom) => {
                let custom = custom.and_then(|custom| match serde_json::from_str::<Map<String, Json>>(custom) {
                    Ok(object) => Some(Json::Object(object)),
                    Err(error) => {
                        problems.push(format!(
                            "accessLogFormat is no JSON object, as accessLogEncoding JSON wants it, and Istio's own is used: {error}"
                        ));
                        None
                    }
                });
                let format = custom.unwrap_or_else(|| {
                    Json::Object(ISTIO_JSON.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect())
                });
                IstioFormat::Json(Node::parse(format, &mut wanted, &mut unknown))
            }
        };
        if !unknown.is_empty() {
            problems.push(format!("accessLogFormat: not known here, and shown as -: {}", unknown.join(", ")));
        }
        (Self::Istio { wanted, format }, problems)
    }
}

impl IstioFormat {
    /// One line, without its end.
    pub(super) fn line(&self, values: &impl Values) -> String {
        match self {
            Self::Text(template) => template.text(values),
            Self::Json(node) => node.value(values).to_string(),
        }
    }
}

impl Node {
    fn parse(format: Json, wanted: &mut WantedFields, unknown: &mut Vec<String>) -> Self {
        match format {
            Json::String(text) => Self::Template(Template::parse(&text, wanted, unknown)),
            Json::Array(items) => {
                Self::List(items.into_iter().map(|item| Self::parse(item, wanted, unknown)).collect())
            }
            Json::Object(members) => {
                let member = |(name, value)| (name, Self::parse(value, wanted, unknown));
                Self::Object(members.into_iter().map(member).collect())
            }
            fixed => Self::Fixed(fixed),
        }
    }

    fn value(&self, values: &impl Values) -> Json {
        match self {
            Self::Template(template) => match template.value(values) {
                Some(Value::Text(text)) => text.into(),
                Some(Value::Number(number)) => number.into(),
                None => Json::Null,
            },
            Self::Object(members) => {
                Json::Object(members.iter().map(|(name, node)| (name.clone(), node.value(values))).collect())
            }
            Self::List(nodes) => nodes.iter().map(|node| node.value(values)).collect(),
            Self::Fixed(fixed) => fixed.clone(),
        }
    }
}
