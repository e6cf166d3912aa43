//! `/logging`: shows and changes the log filter, in the way that istioctl and Kiali ask for it.

use http::StatusCode;
use http::request::Parts;

use super::AdminSources;
use super::query::parameter;
use super::routes::{Answer, text};

/// `?level=info` replaces the whole filter; `?level=weir::xds=debug` (or, as istioctl writes it, `weir::xds:debug`)
/// changes one module and leaves the rest; `?reset` takes the filter that the agent was started with.
pub(super) fn logging(sources: &AdminSources, request: &Parts) -> Answer {
    let (level, reset) = (parameter(&request.uri, "level"), parameter(&request.uri, "reset"));
    let base = if reset.is_some() { sources.config.log.clone() } else { sources.log.filter() };
    let filter = match level {
        Some(level) if !level.is_empty() => merged(&base, &level),
        Some(_) if reset.is_none() => return text(StatusCode::BAD_REQUEST, "level is empty\n"),
        _ => base,
    };
    if filter != sources.log.filter()
        && let Err(error) = sources.log.set_filter(&filter)
    {
        return text(StatusCode::BAD_REQUEST, format!("{error}\n"));
    }
    text(StatusCode::OK, format!("current log level is {}\n", sources.log.filter()))
}

/// The filter in force after a change.
fn merged(base: &str, change: &str) -> String {
    let changes: Vec<_> = change.split(',').map(|one| with_equals(one.trim())).collect();
    let scopes: Option<Vec<_>> = changes.iter().map(|one| scope(one)).collect();
    let Some(scopes) = scopes else { return changes.join(",") };
    // What is said anew about a module replaces what was said before.
    let kept = base.split(',').filter(|one| scope(one).is_none_or(|scope| !scopes.contains(&scope)));
    kept.map(str::to_owned).chain(changes.iter().cloned()).collect::<Vec<_>>().join(",")
}

/// `module:level` as `module=level`; a module's own `::` stays.
fn with_equals(directive: &str) -> String {
    match directive.rsplit_once(':') {
        Some((module, level)) if !directive.contains('=') && !module.ends_with(':') => format!("{module}={level}"),
        _ => directive.to_owned(),
    }
}

fn scope(directive: &str) -> Option<&str> {
    directive.rsplit_once('=').map(|(scope, _level)| scope)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_replaces_and_a_module_is_merged() {
        for (base, change, expected) in [
            ("info", "debug", "debug"),
            ("info,weir=debug", "warn", "warn"),
            ("info", "weir::xds=debug", "info,weir::xds=debug"),
            ("info", "weir::xds:debug", "info,weir::xds=debug"),
            ("info,access=debug", "access:off, weir=trace", "info,access=off,weir=trace"),
            ("info", "warn,weir=trace", "warn,weir=trace"),
            ("info", "weir::xds", "weir::xds"),
        ] {
            assert_eq!(merged(base, change), expected, "{base} + {change}");
        }
    }
}
