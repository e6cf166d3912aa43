//! `/logging`: shows and changes the log filter, in the way that istioctl and Kiali ask for it.

use http::StatusCode;
use http::request::Parts;
use tracing::level_filters::LevelFilter;

use super::query::parameter;
use super::response::{AdminResponse, text};
use super::sources::AdminSources;

/// `?level=info` replaces the whole filter; `?level=weir::xds=debug` (or, as istioctl writes it, `weir::xds:debug`)
/// changes one module and leaves the rest; `?reset` takes the filter that the agent was started with.
pub(super) fn logging(sources: &AdminSources, request: &Parts) -> AdminResponse {
    let (level, reset) = (parameter(&request.uri, "level"), parameter(&request.uri, "reset"));
    if level.is_some() || reset.is_some() {
        let base = if reset.is_some() { sources.config.log.log.clone() } else { sources.log.filter() };
        // istioctl asks with an empty level what the level is.
        let level = level.filter(|level| !level.is_empty());
        let changed = level.map_or(Ok(base.clone()), |level| merged(&base, &level));
        if let Err(reason) = changed.and_then(|filter| sources.log.set_filter(&filter).map_err(|e| e.to_string())) {
            return text(StatusCode::BAD_REQUEST, format!("{reason}\n"));
        }
    }
    text(StatusCode::OK, format!("current log level is {}\n", sources.log.filter()))
}

/// The filter in force after a change, or what is wrong with the change.
fn merged(base: &str, change: &str) -> Result<String, String> {
    let changes: Vec<_> = change.split(',').map(|one| with_our_levels(&with_equals(one.trim()))).collect();
    if let Some(word) = changes.iter().find(|one| scope(one).is_none() && !is_level(one)) {
        // tracing would take any word for the name of a module, and silence everything else.
        return Err(format!("{word:?} is not a level: use error, warn, info, debug, trace or off"));
    }
    let scopes: Option<Vec<_>> = changes.iter().map(|one| scope(one)).collect();
    let Some(scopes) = scopes else { return Ok(changes.join(",")) };
    // What is said anew about a module replaces what was said before.
    let kept = base.split(',').filter(|one| scope(one).is_none_or(|scope| !scopes.contains(&scope)));
    Ok(kept.map(str::to_owned).chain(changes.iter().cloned()).collect::<Vec<_>>().join(","))
}

/// `module:level` as `module=level`; a module's own `::` stays.
fn with_equals(directive: &str) -> String {
    match directive.rsplit_once(':') {
        Some((module, level)) if !directive.contains('=') && !module.ends_with(':') => format!("{module}={level}"),
        _ => directive.to_owned(),
    }
}

/// Words of istioctl's for levels that go by other names here.
fn with_our_levels(directive: &str) -> String {
    let ours = |level| match level {
        "warning" => "warn",
        "critical" => "error",
        other => other,
    };
    match directive.rsplit_once('=') {
        Some((scope, level)) => format!("{scope}={}", ours(level)),
        None => ours(directive).to_owned(),
    }
}

fn is_level(word: &str) -> bool {
    !word.is_empty() && word.parse::<LevelFilter>().is_ok()
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
            ("info", "weir::xds:warning", "info,weir::xds=warn"),
            ("info", "critical", "error"),
        ] {
            assert_eq!(merged(base, change).as_deref(), Ok(expected), "{base} + {change}");
        }
    }

    #[test]
    fn a_word_that_is_no_level_is_refused() {
        for change in ["loud", "", "weir::xds", "info,loud", "weir=info,"] {
            assert!(merged("info", change).is_err(), "{change}");
        }
    }
}
