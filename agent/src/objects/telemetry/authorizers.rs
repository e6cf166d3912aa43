//! External authorizers among MeshConfig's `extensionProviders`: `envoyExtAuthzGrpc` and `envoyExtAuthzHttp`, with istiod's checks
//! (`pilot/pkg/security/authz/builder/extauthz.go`).

use std::sync::Arc;
use std::time::Duration;

use crate::model::authorization::{
    Authorizer, AuthorizerProtocol, DEFAULT_STATUS_ON_ERROR, DEFAULT_TIMEOUT, FieldNames, HttpCheck, ShownContent,
    is_token_byte,
};
use crate::objects::networking::values;
use crate::objects::reading::{Fields, names};

/// Statuses that an answer may have.
const STATUSES: std::ops::RangeInclusive<u16> = 200..=599;
/// Content that is shown of a request, in bytes, at most: what may be kept of a request until its authorizer has answered.
const MAX_SHOWN_BYTES: u32 = 1 << 20;
/// The length of a provider's name that istiod accepts.
const MAX_NAME_BYTES: usize = 63;

/// An authorizer before it is checked.
#[derive(Debug, Default)]
pub(in crate::objects) struct WrittenAuthorizer {
    pub(in crate::objects) service: String,
    pub(in crate::objects) port: u32,
    pub(in crate::objects) timeout: Option<Duration>,
    pub(in crate::objects) fails_open: bool,
    pub(in crate::objects) status_on_error: String,
    /// Bytes; whether a part may be shown; whether it is shown as bytes.
    pub(in crate::objects) content: Option<(u32, bool, bool)>,
    /// `None`: it speaks gRPC.
    pub(in crate::objects) http: Option<WrittenHttpCheck>,
}

/// What is only in `envoyExtAuthzHttp`.
#[derive(Debug, Default)]
pub(in crate::objects) struct WrittenHttpCheck {
    pub(in crate::objects) path_prefix: String,
    pub(in crate::objects) shown: Vec<String>,
    pub(in crate::objects) added: Vec<(String, String)>,
    pub(in crate::objects) to_upstream: Vec<String>,
    pub(in crate::objects) to_client_on_allow: Vec<String>,
    pub(in crate::objects) to_client_on_deny: Vec<String>,
}

/// A field that is not valid, and why.
pub(in crate::objects) type Wrong = (&'static str, String);

impl WrittenAuthorizer {
    /// Checks the authorizer that a provider of this name is.
    ///
    /// # Errors
    /// The first field that is not valid.
    pub(in crate::objects) fn checked(self, name: &str) -> Result<Authorizer, Wrong> {
        check_name(name).map_err(|reason| ("name", reason))?;
        let host = host_of(&self.service);
        names::fqdn(host).map_err(|reason| ("service", reason))?;
        let port = u16::try_from(self.port).ok().filter(|port| *port > 0);
        let port = port.ok_or_else(|| ("port", format!("{} is no port: it must be from 1 to 65535", self.port)))?;
        let status_on_error = match &*self.status_on_error {
            "" => DEFAULT_STATUS_ON_ERROR,
            text => text.parse().ok().filter(|status| STATUSES.contains(status)).ok_or_else(|| {
                ("statusOnError", format!("{text:?} is no status of HTTP: write one from 200 to 599, in quotes"))
            })?,
        };
        let content = self.content.filter(|(max, ..)| *max > 0).map(|(max, allows_part, is_raw)| {
            let max_bytes = max.min(MAX_SHOWN_BYTES) as usize;
            ShownContent { max_bytes, allows_part, is_raw }
        });
        Ok(Authorizer {
            name: name.into(),
            service: self.service.into(),
            port,
            timeout: self.timeout.unwrap_or(DEFAULT_TIMEOUT),
            fails_open: self.fails_open,
            status_on_error,
            content,
            protocol: match self.http {
                Some(http) => AuthorizerProtocol::Http(Box::new(http.checked()?)),
                None => AuthorizerProtocol::Grpc,
            },
        })
    }
}

/// istiod's `validateProviderName`: a policy that names another one matches what is then denied.
fn check_name(name: &str) -> Result<(), String> {
    let is_label_byte = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_label = !name.starts_with('-') && !name.ends_with('-') && name.bytes().all(is_label_byte);
    if !name.is_empty() && name.len() <= MAX_NAME_BYTES && is_label {
        return Ok(());
    }
    Err(format!(
        "{name:?} is no name of an external authorizer: use lower-case letters, digits and hyphens, {MAX_NAME_BYTES} at most"
    ))
}

impl WrittenHttpCheck {
    fn checked(self) -> Result<HttpCheck, Wrong> {
        let Self { path_prefix, shown, added, to_upstream, to_client_on_allow, to_client_on_deny } = self;
        if !path_prefix.is_empty() && !path_prefix.starts_with('/') {
            return Err(("pathPrefix", format!("{path_prefix:?} must begin with a slash")));
        }
        for (name, value) in &added {
            let is_field = !name.is_empty() && name.bytes().all(is_token_byte);
            if !is_field || value.bytes().any(|byte| byte.is_ascii_control()) {
                return Err(("includeAdditionalHeadersInCheck", format!("{name:?} is no field that can be sent")));
            }
        }
        let names = |field: &'static str, names: &[String]| match names.iter().find(|name| *name == "*") {
            Some(_) => Err((field, "\"*\" alone is not supported: write a prefix or a suffix".to_owned())),
            None => Ok(FieldNames::written(names.iter().map(String::as_str))),
        };
        let lower = |(name, value): (String, String)| (Arc::from(name.to_ascii_lowercase()), Arc::from(value));
        Ok(HttpCheck {
            path_prefix: path_prefix.into(),
            shown: names("includeRequestHeadersInCheck", &shown)?,
            added: added.into_iter().map(lower).collect(),
            to_upstream: names("headersToUpstreamOnAllow", &to_upstream)?,
            to_client_on_allow: names("headersToDownstreamOnAllow", &to_client_on_allow)?,
            to_client_on_deny: names("headersToDownstreamOnDeny", &to_client_on_deny)?,
        })
    }
}

/// Reads `envoyExtAuthzGrpc`, or `envoyExtAuthzHttp`, of a provider of this name. `None`, which is reported, where it is not valid.
pub(in crate::objects) fn read(mut fields: Fields<'_>, name: &str, is_http: bool) -> Option<Authorizer> {
    let mut written = WrittenAuthorizer {
        service: fields.text("service").unwrap_or_default(),
        port: fields.number("port", 0..=i128::from(u32::MAX)).unwrap_or_default(),
        timeout: values::duration(&mut fields, "timeout"),
        fails_open: fields.flag("failOpen").unwrap_or(false),
        status_on_error: fields.text("statusOnError").unwrap_or_default(),
        content: fields.fields("includeRequestBodyInCheck").map(content),
        http: None,
    };
    fields.without_effect("clearRouteCache", "has no effect: no route is looked up where the authorizer is asked");
    if is_http {
        let (shown, deprecated) = (fields.texts("includeRequestHeadersInCheck"), fields.texts("includeHeadersInCheck"));
        written.http = Some(WrittenHttpCheck {
            path_prefix: fields.text("pathPrefix").unwrap_or_default(),
            shown: if shown.is_empty() { deprecated } else { shown },
            added: fields.text_map("includeAdditionalHeadersInCheck").into_iter().collect(),
            to_upstream: fields.texts("headersToUpstreamOnAllow"),
            to_client_on_allow: fields.texts("headersToDownstreamOnAllow"),
            to_client_on_deny: fields.texts("headersToDownstreamOnDeny"),
        });
    }
    let checked = written.checked(name).inspect_err(|(field, reason)| fields.error(field, reason.as_str())).ok();
    fields.finish();
    checked
}

fn content(mut fields: Fields<'_>) -> (u32, bool, bool) {
    let max = fields.number("maxRequestBytes", 0..=i128::from(u32::MAX)).unwrap_or_default();
    if max > MAX_SHOWN_BYTES {
        fields.notice("maxRequestBytes", format!("counts as {MAX_SHOWN_BYTES}: more is not kept of a request"));
    }
    let found = (max, fields.flag("allowPartialMessage").unwrap_or(false), fields.flag("packAsBytes").unwrap_or(false));
    fields.finish();
    found
}

/// The host of `host` or `namespace/host`.
pub(in crate::objects) fn host_of(service: &str) -> &str {
    service.rsplit_once('/').map_or(service, |(_, host)| host)
}
