//! Documents that speak of code: the paths they name exist, and so do the settings and the commands.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::rules::Documents;
use crate::workspace;

/// Faults of all documents; `commands` are those that there are.
pub(super) fn faults(root: &Path, documents: &Documents, commands: &[String]) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for (document, text) in texts(root, &documents.paths, &["md"])? {
        let missing = paths(&text, &documents.roots).into_iter().filter(|path| !root.join(path).exists());
        faults.extend(missing.map(|path| format!("{}: there is no {path}", document.display())));
    }
    for (document, text) in texts(root, &documents.commands, &["md"])? {
        let named = words_after(&text, "cargo xtask ", '-');
        let unknown =
            named.into_iter().filter(|name| !name.is_empty() && !commands.iter().any(|command| command == name));
        faults.extend(unknown.map(|name| format!("{}: there is no cargo xtask {name}", document.display())));
    }
    let definitions: String = texts(root, &documents.definitions, &["rs"])?.into_iter().map(|(_, text)| text).collect();
    let settings = words_after(&definitions, "env = \"WEIR_", '_');
    for (document, text) in texts(root, &documents.settings, &["md", "yaml"])? {
        let unknown =
            words_after(&text, "WEIR_", '_').into_iter().filter(|name| !name.is_empty() && !settings.contains(name));
        faults.extend(unknown.map(|name| format!("{}: WEIR_{name} is no setting of the agent", document.display())));
    }
    Ok(faults)
}

/// The texts of these files, and of those with these extensions in these folders.
fn texts(root: &Path, names: &[String], extensions: &[&str]) -> Result<Vec<(PathBuf, String)>> {
    let mut texts = Vec::new();
    for name in names {
        for file in workspace::files_below(root, name, extensions)? {
            texts.push((file.clone(), fs::read_to_string(root.join(file))?));
        }
    }
    Ok(texts)
}

/// The paths of this workspace in backticks, with `{a,b}` written out.
fn paths(text: &str, roots: &[String]) -> Vec<String> {
    let quoted = text.split('`').skip(1).step_by(2);
    let is_ours = |word: &&str| roots.iter().any(|root| word.starts_with(root)) && !word.contains([' ', '*', '<', '…']);
    let written_out =
        |path: &str| match path.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?))) {
            Some((before, (choices, after))) => {
                choices.split(',').map(|choice| format!("{before}{choice}{after}")).collect()
            }
            None => vec![path.to_owned()],
        };
    quoted.filter(is_ours).flat_map(written_out).collect()
}

/// The words of letters, digits and one more character that follow a beginning.
fn words_after<'t>(text: &'t str, beginning: &str, more: char) -> BTreeSet<&'t str> {
    let ends = |letter: char| !letter.is_ascii_alphanumeric() && letter != more;
    text.split(beginning).skip(1).filter_map(|rest| rest.split(ends).next()).collect()
}
