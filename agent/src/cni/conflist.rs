//! Edits of one CNI configuration file, as text: the plugin's section goes in behind the last plugin and out again, and
//! every other byte stays what its owner wrote. Pure: reads and writes nothing.
//!
//! A single configuration (`.conf`, `.json`) cannot be chained to; it becomes a list that holds it whole and remembers
//! the name of the file, so that it can be made a single configuration again.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use serde::Deserialize;
use serde_json::value::RawValue;
use weir_cni::section::{PLUGIN, Section};

/// The versions of CNI's specification whose chains hand results on from plugin to plugin.
const VERSIONS: [&str; 3] = ["0.3.", "0.4.", "1."];

/// Why a file is left alone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConflistError {
    #[error("it is not valid: {0}")]
    Invalid(String),
    #[error("it is of CNI version {0:?}, and plugins are chained from 0.3.0 on: set its cniVersion to 1.0.0")]
    Version(String),
}

/// Whether a file's name says that it holds a list of plugins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    List,
    Single,
}

impl Form {
    /// The form of a file in a directory of CNI configurations; `None` for files that container runtimes do not read.
    pub(super) fn of(name: &str) -> Option<Self> {
        match name.rsplit_once('.')?.1 {
            "conflist" => Some(Self::List),
            "conf" | "json" => Some(Self::Single),
            _ => None,
        }
    }
}

/// The name of the list that a single configuration becomes. It sorts right behind it, before all that did so before.
pub(super) fn list_name(single: &str) -> String {
    format!("{single}.conflist")
}

/// What to do about a section of ours that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Present {
    /// Leave it: another agent, perhaps of another release, wrote it for the same purpose.
    Suffices,
    /// Make it ours, if it differs.
    IsRenewed,
}

/// A list without our section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unchained {
    List(String),
    /// It was made of a single configuration: the name and the content of that file.
    Single(String, String),
    /// Nothing but our section was in it.
    Nothing,
}

/// A list with our section; `None` if it is as it should be.
///
/// # Errors
/// When the text is no list that can be chained to.
pub(super) fn chain(text: &str, section: &Section, present: Present) -> Result<Option<String>, ConflistError> {
    let list = List::parse(text)?;
    let Some(mine) = list.mine() else {
        let last = list.plugins.last().ok_or_else(|| ConflistError::Invalid("it lists no plugin".to_owned()))?;
        let before = list.plugins.len().checked_sub(2).map_or(list.start, |index| list.plugins[index].at.end);
        // Whatever stands between two plugins of this file: a comma is added where the last is the only one.
        let gap = text[before..last.at.start].rsplit([',', '[']).next().unwrap_or_default();
        let (head, tail) = text.split_at(last.at.end);
        return Ok(Some(format!("{head},{gap}{}{tail}", json(section))));
    };
    let made_of = mine.section().and_then(|section| section.made_of);
    let wanted = Section { made_of, ..section.clone() };
    if present == Present::Suffices || mine.section().as_ref() == Some(&wanted) {
        return Ok(None);
    }
    Ok(Some(format!("{}{}{}", &text[..mine.at.start], json(&wanted), &text[mine.at.end..])))
}

/// The list with our section that a single configuration becomes.
///
/// # Errors
/// When the text is no configuration that can be chained to.
pub(super) fn chain_single(text: &str, file: &str, section: &Section) -> Result<String, ConflistError> {
    let fields = fields(text)?;
    let plugin: PluginType = parse(text)?;
    if fields.contains_key("plugins") || plugin.is_missing() {
        return Err(ConflistError::Invalid("it has no type".to_owned()));
    }
    let version = known_version(&fields)?;
    let name = fields.get("name").ok_or_else(|| ConflistError::Invalid("it has no name".to_owned()))?;
    let section = Section { made_of: Some(file.to_owned()), ..section.clone() };
    Ok(format!(
        "{{\n  \"cniVersion\": {version},\n  \"name\": {name},\n  \"plugins\": [\n{},\n    {}\n  ]\n}}\n",
        text.trim(),
        json(&section)
    ))
}

/// What is left when our section is taken out; `None` if it is not in there, whatever the text is.
pub(super) fn unchain(text: &str) -> Option<Unchained> {
    let list = List::parse_any(text).ok()?;
    let index = list.plugins.iter().position(Plugin::is_mine)?;
    let mine = &list.plugins[index];
    let made_of = mine.section().and_then(|section| section.made_of).filter(|name| is_plain(name));
    let others: Vec<&Plugin<'_>> = list.plugins.iter().filter(|plugin| !plugin.is_mine()).collect();
    if let (Some(name), [only]) = (made_of, others.as_slice()) {
        return Some(Unchained::Single(name, format!("{}\n", &text[only.at.clone()])));
    }
    let cut = match (index.checked_sub(1), list.plugins.get(index + 1)) {
        (Some(before), _) => list.plugins[before].at.end..mine.at.end,
        (None, Some(next)) => mine.at.start..next.at.start,
        (None, None) => return Some(Unchained::Nothing),
    };
    let rest = format!("{}{}", &text[..cut.start], &text[cut.end..]);
    // Somebody may have chained it twice.
    Some(unchain(&rest).unwrap_or(Unchained::List(rest)))
}

/// The file that a list with our section was made of.
pub(super) fn made_of(text: &str) -> Option<String> {
    List::parse_any(text).ok()?.mine()?.section()?.made_of
}

/// A list of plugins, and where each stands in the text.
#[derive(Debug)]
struct List<'a> {
    /// Where the list begins, its bracket included.
    start: usize,
    plugins: Vec<Plugin<'a>>,
}

#[derive(Debug)]
struct Plugin<'a> {
    text: &'a str,
    at: Range<usize>,
}

#[derive(Debug, Deserialize)]
struct PluginType {
    #[serde(rename = "type", default)]
    name: Option<String>,
}

impl PluginType {
    fn is_missing(&self) -> bool {
        self.name.as_deref().is_none_or(str::is_empty)
    }
}

impl<'a> List<'a> {
    fn parse(text: &'a str) -> Result<Self, ConflistError> {
        known_version(&fields(text)?)?;
        Self::parse_any(text)
    }

    /// Of whatever version.
    fn parse_any(text: &'a str) -> Result<Self, ConflistError> {
        let fields = fields(text)?;
        let list = fields.get("plugins").ok_or_else(|| ConflistError::Invalid("it lists no plugins".to_owned()))?;
        let plugins: Vec<&RawValue> = parse(list.get())?;
        let plugin = |raw: &'a RawValue| Plugin { text: raw.get(), at: place(text, raw.get()) };
        let plugins: Vec<_> = plugins.into_iter().map(plugin).collect();
        for plugin in &plugins {
            if parse::<PluginType>(plugin.text)?.is_missing() {
                return Err(ConflistError::Invalid("a plugin in it has no type".to_owned()));
            }
        }
        Ok(Self { start: place(text, list.get()).start, plugins })
    }

    fn mine(&self) -> Option<&Plugin<'a>> {
        self.plugins.iter().find(|plugin| plugin.is_mine())
    }
}

impl Plugin<'_> {
    fn is_mine(&self) -> bool {
        parse::<PluginType>(self.text).is_ok_and(|plugin| plugin.name.as_deref() == Some(PLUGIN))
    }

    fn section(&self) -> Option<Section> {
        parse(self.text).ok()
    }
}

/// Where a part of a text stands in it.
fn place(text: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr().addr() - text.as_ptr().addr();
    start..start + part.len()
}

fn fields(text: &str) -> Result<BTreeMap<Cow<'_, str>, &RawValue>, ConflistError> {
    parse(text)
}

fn known_version<'a>(fields: &BTreeMap<Cow<'_, str>, &'a RawValue>) -> Result<&'a RawValue, ConflistError> {
    let missing = || ConflistError::Version(String::new());
    let version = fields.get("cniVersion").ok_or_else(missing)?;
    let text: Cow<'_, str> = parse(version.get())?;
    if VERSIONS.iter().any(|known| text.starts_with(known)) {
        return Ok(version);
    }
    Err(ConflistError::Version(text.into_owned()))
}

fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, ConflistError> {
    serde_json::from_str(text).map_err(|error| ConflistError::Invalid(error.to_string()))
}

fn json(section: &Section) -> String {
    serde_json::to_string(section).expect("a section is plain data")
}

/// True for the name of a file that is in the same directory.
fn is_plain(name: &str) -> bool {
    !name.contains('/') && Form::of(name) == Some(Form::Single)
}

#[cfg(test)]
mod tests;
