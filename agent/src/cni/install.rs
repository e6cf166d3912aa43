//! The plugin on the node: its file among the CNI plugins, its section in the configuration that is in force. What others
//! wrote is not changed. Each call acts once; `keep` decides when.

use std::io;
use std::path::{Path, PathBuf};

use weir_cni::section::{PLUGIN, Section};

use super::conflist::{self, ConflistError, Form, Present, Unchained};
use super::directory::{self, Entry};

/// Modes of files that were not there before.
const PLUGIN_MODE: u32 = 0o755;
const CONFIGURATION_MODE: u32 = 0o600;

/// Why the plugin is not installed as it should be.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    #[error("{what} {path}: {source}")]
    File { what: &'static str, path: PathBuf, source: io::Error },
    #[error("CNI configuration {path}: {source}")]
    Unusable { path: PathBuf, source: ConflistError },
    #[error("CNI configuration {path} is in the way: it is not ours, and {single} would become it")]
    InTheWay { path: PathBuf, single: String },
}

/// How the plugin is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Installed {
    /// It was so already.
    Already,
    /// Something had to be done.
    Now,
    /// There is no CNI configuration yet: nothing was done to any.
    Waiting,
}

/// The plugin's directories on this node, and what its section says.
#[derive(Debug, Clone)]
pub struct Installer {
    /// The plugin as it came with the agent.
    pub plugin: PathBuf,
    /// The node's directories of plugins and of configurations.
    pub plugins_dir: PathBuf,
    pub configurations_dir: PathBuf,
    pub section: Section,
}

impl Installer {
    /// Installs this release's plugin and section.
    ///
    /// # Errors
    /// See [`InstallError`]; the node's configuration is as before.
    pub fn install(&self) -> Result<Installed, InstallError> {
        let is_new = self.copy_plugin(Present::IsRenewed)?;
        Ok(with(is_new, self.chain(Present::IsRenewed)?))
    }

    /// Puts back what somebody has taken out; another release's plugin and section are fine: two agents that take turns
    /// must not fight.
    ///
    /// # Errors
    /// As [`Installer::install`].
    pub fn put_back(&self) -> Result<Installed, InstallError> {
        let is_new = self.copy_plugin(Present::Suffices)?;
        Ok(with(is_new, self.chain(Present::Suffices)?))
    }

    /// Takes the section out of every file of the directory, in force or not. The plugin itself stays: CRI-O and Multus keep
    /// the configuration with which they made a sandbox, and call its plugins to take the sandbox down, long after the
    /// configuration has changed. A plugin that is missing then keeps the pod from ending. Without an agent the plugin lets
    /// every sandbox go at once.
    ///
    /// # Errors
    /// When a file cannot be written; what could be taken out is out.
    pub fn uninstall(plugins_dir: &Path, configurations_dir: &Path) -> Result<Installed, InstallError> {
        let listed = directory::files(configurations_dir);
        let entries = listed.map_err(|source| file("reading", configurations_dir, source))?;
        let mut is_changed = false;
        for Entry { name, text } in entries {
            let path = configurations_dir.join(&name);
            let Some(rest) = conflist::unchain(&text) else { continue };
            is_changed = true;
            match rest {
                Unchained::List(rest) => write(&path, rest.as_bytes(), CONFIGURATION_MODE)?,
                Unchained::Nothing => remove(&path)?,
                Unchained::Single(single, text) => {
                    let single = configurations_dir.join(single);
                    if !single.exists() {
                        write(&single, text.as_bytes(), directory::mode_of(&path, CONFIGURATION_MODE))?;
                    }
                    remove(&path)?;
                }
            }
        }
        for directory in [plugins_dir, configurations_dir] {
            directory::remove_unfinished(directory).map_err(|source| file("cleaning", directory, source))?;
        }
        Ok(if is_changed { Installed::Now } else { Installed::Already })
    }

    /// True if it had to be copied.
    fn copy_plugin(&self, present: Present) -> Result<bool, InstallError> {
        let target = self.plugins_dir.join(PLUGIN);
        if present == Present::Suffices && target.exists() {
            return Ok(false);
        }
        let wanted = std::fs::read(&self.plugin).map_err(|source| file("reading the plugin", &self.plugin, source))?;
        if std::fs::read(&target).is_ok_and(|found| found == wanted) {
            return Ok(false);
        }
        write(&target, &wanted, PLUGIN_MODE)?;
        Ok(true)
    }

    /// Chains the plugin into the configuration in force: the first that a container runtime would take.
    fn chain(&self, present: Present) -> Result<Installed, InstallError> {
        let directory = &self.configurations_dir;
        let listed = directory::configurations(directory).map_err(|source| file("reading", directory, source))?;
        let mut first_failure = None;
        for Entry { name, text } in &listed {
            let path = directory.join(name);
            let chained = match Form::of(name) {
                Some(Form::Single) => conflist::chain_single(text, name, &self.section).map(Some),
                _ => conflist::chain(text, &self.section, present),
            };
            match chained {
                Ok(None) => return Ok(Installed::Already),
                Ok(Some(list)) if Form::of(name) == Some(Form::Single) => {
                    return self.replace_single(name, &list).map(|()| Installed::Now);
                }
                Ok(Some(list)) => return write(&path, list.as_bytes(), CONFIGURATION_MODE).map(|()| Installed::Now),
                // Some runtimes go on to the next file, others wait until somebody mends this one.
                Err(source) => first_failure = first_failure.or(Some(InstallError::Unusable { path, source })),
            }
        }
        first_failure.map_or(Ok(Installed::Waiting), Err)
    }

    /// The list first, then the file that it replaces goes: that is the one in force as long as both are there.
    fn replace_single(&self, name: &str, list: &str) -> Result<(), InstallError> {
        let path = self.configurations_dir.join(conflist::list_name(name));
        let there = std::fs::read_to_string(&path).ok();
        if there.is_some_and(|text| conflist::made_of(&text).as_deref() != Some(name)) {
            return Err(InstallError::InTheWay { path, single: name.to_owned() });
        }
        let single = self.configurations_dir.join(name);
        write(&path, list.as_bytes(), directory::mode_of(&single, CONFIGURATION_MODE))?;
        remove(&single)
    }
}

fn with(plugin_is_new: bool, chained: Installed) -> Installed {
    if plugin_is_new && chained == Installed::Already { Installed::Now } else { chained }
}

fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), InstallError> {
    directory::replace(path, content, mode).map_err(|source| file("writing", path, source))
}

fn remove(path: &Path) -> Result<(), InstallError> {
    directory::remove(path).map_err(|source| file("removing", path, source))
}

fn file(what: &'static str, path: &Path, source: io::Error) -> InstallError {
    InstallError::File { what, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests;
