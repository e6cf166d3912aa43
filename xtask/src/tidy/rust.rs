//! A crate as the rules see it: its modules, and what each of them uses of others. Paths are followed to the file that
//! defines the name: through `use`, renaming, re-exports and globs. What only the compiler can know (methods, fields, the
//! inside of a macro's definition) is not seen.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result};
use syn::Item;

use super::reader::{Names, Text};

/// How many re-exports are followed: a longer chain is a name that leads back to itself.
const MOST_REEXPORTS: usize = 12;

/// All modules of a crate; the first is its root.
#[derive(Default)]
pub(super) struct Crate {
    pub(super) modules: Vec<Module>,
}

/// A module: a file, or a part of one that is written `mod name { … }`.
#[derive(Default)]
pub(super) struct Module {
    /// The names from the crate's root on.
    pub(super) names: Names,
    /// The file, relative to the workspace.
    pub(super) file: PathBuf,
    parent: usize,
    children: BTreeMap<String, usize>,
    text: Text,
}

/// What a path leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// A name in another crate, by its full path.
    Foreign(Names),
    /// A module of this crate.
    Module(usize),
    /// A name that a module of this crate defines.
    Item(usize, String),
}

impl Crate {
    /// Reads a crate from its root file on, which is relative to the workspace, with all files that it declares.
    pub(super) fn read(workspace: &Path, root: &Path) -> Result<Self> {
        let mut read = Self::default();
        read.add_file(workspace, root, root.parent().unwrap_or(Path::new("")), Names::new(), 0)?;
        Ok(read)
    }

    /// Adds the module that a file is, whose own modules are files in `folder`; and these.
    fn add_file(&mut self, workspace: &Path, file: &Path, folder: &Path, names: Names, parent: usize) -> Result<usize> {
        let path = workspace.join(file);
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let parsed = syn::parse_file(&text).with_context(|| format!("parsing {}", path.display()))?;
        let own = self.add_module(&parsed.items, file, names, parent);
        for module in own..self.modules.len() {
            let inside: PathBuf = self.modules[module].names[self.modules[own].names.len()..].iter().collect();
            for (name, path) in std::mem::take(&mut self.modules[module].text.declared) {
                let below = folder.join(&inside).join(&name);
                let beside = below.with_extension("rs");
                let (child, below) = match path {
                    Some(path) => {
                        let child = resolved(&file.parent().unwrap_or(Path::new("")).join(path));
                        let folder = child.parent().unwrap_or(Path::new("")).to_owned();
                        (child, folder)
                    }
                    None if workspace.join(&beside).exists() => (beside, below),
                    None => (below.join("mod.rs"), below),
                };
                let names = self.modules[module].names.iter().cloned().chain([name.clone()]).collect();
                let child = self.add_file(workspace, &child, &below, names, module)?;
                self.modules[module].children.insert(name, child);
            }
        }
        Ok(own)
    }

    /// Adds the module that these items are, and those written inside of it.
    fn add_module(&mut self, items: &[Item], file: &Path, names: Names, parent: usize) -> usize {
        let own = self.modules.len();
        let mut text = Text::read(items);
        let inside = std::mem::take(&mut text.inside);
        self.modules.push(Module { names, file: file.to_owned(), parent, children: BTreeMap::new(), text });
        for (name, items) in inside {
            let names = self.modules[own].names.iter().cloned().chain([name.clone()]).collect();
            let child = self.add_module(&items, file, names, own);
            self.modules[own].text.test_lines += self.modules[child].text.test_lines;
            self.modules[own].children.insert(name, child);
        }
        own
    }

    /// What a module names and where these paths lead, with their lines. Names of the language itself and of variables
    /// lead nowhere.
    pub(super) fn named(&self, module: usize) -> impl Iterator<Item = (Target, usize)> {
        let named = self.modules[module].text.named.iter();
        named.filter_map(move |(path, line)| Some((self.target(module, path, 0)?, *line)))
    }

    fn target(&self, from: usize, path: &[String], depth: usize) -> Option<Target> {
        let (first, rest) = path.split_first()?;
        let module = &self.modules[from];
        match first.as_str() {
            _ if depth > MOST_REEXPORTS => None,
            "crate" => self.inside(0, rest, depth),
            "self" => self.inside(from, rest, depth),
            "super" => self.inside(module.parent, rest, depth),
            name if module.knows(name) && !module.imports_crate(name) => self.inside(from, path, depth),
            name => self.through_globs(from, path, depth).or_else(|| {
                let is_foreign = !rest.is_empty() || module.imports_crate(name);
                is_foreign.then(|| Target::Foreign(path.to_vec()))
            }),
        }
    }

    /// What a path leads to from inside a module on.
    fn inside(&self, module: usize, path: &[String], depth: usize) -> Option<Target> {
        let Some((first, rest)) = path.split_first() else { return Some(Target::Module(module)) };
        let at = &self.modules[module];
        if first == "super" {
            self.inside(at.parent, rest, depth)
        } else if let Some(child) = at.children.get(first) {
            self.inside(*child, rest, depth)
        } else if at.text.defined.contains(first) {
            Some(Target::Item(module, first.clone()))
        } else if let Some(imported) = at.text.imported.get(first) {
            let path: Names = imported.iter().chain(rest).cloned().collect();
            self.target(module, &path, depth + 1)
        } else {
            // Generated code has names that no file shows. At the root, it is a macro, which may be written anywhere.
            let generated = || (module != 0).then(|| Target::Item(module, first.clone()));
            self.through_globs(module, path, depth).or_else(generated)
        }
    }

    /// What a path leads to by way of a module's `use …::*`.
    fn through_globs(&self, module: usize, path: &[String], depth: usize) -> Option<Target> {
        self.modules[module].text.globs.iter().find_map(|glob| {
            let Target::Module(other) = self.target(module, glob, depth + 1)? else { return None };
            let knows = other != module && self.modules[other].knows(path.first()?);
            knows.then(|| self.inside(other, path, depth + 1))?
        })
    }

    /// The file that a target is in, if it is of this crate.
    pub(super) fn file_of(&self, target: &Target) -> Option<&Path> {
        match target {
            Target::Foreign(_) => None,
            Target::Module(module) | Target::Item(module, _) => Some(&self.modules[*module].file),
        }
    }

    /// A target's full path, beginning with `crate` or the name of another crate.
    pub(super) fn path_of(&self, target: &Target) -> String {
        let own = |module: &usize| ["crate"].into_iter().chain(self.modules[*module].names.iter().map(String::as_str));
        let names: Vec<&str> = match target {
            Target::Foreign(names) => names.iter().map(String::as_str).collect(),
            Target::Module(module) => own(module).collect(),
            Target::Item(module, name) => own(module).chain([name.as_str()]).collect(),
        };
        names.join("::")
    }

    /// The files of the crate, each with its lines that are tests.
    pub(super) fn files(&self) -> BTreeMap<&Path, usize> {
        // The module that is the whole file comes before those inside of it.
        self.modules.iter().rev().map(|module| (module.file.as_path(), module.text.test_lines)).collect()
    }

    /// The files of the modules that a module is a part of.
    pub(super) fn above(&self, module: usize) -> Vec<&Path> {
        let parents = std::iter::successors(Some(module), |at| (*at != 0).then(|| self.modules[*at].parent));
        let own = &self.modules[module].file;
        parents.map(|at| self.modules[at].file.as_path()).filter(|file| file != own).collect()
    }
}

/// A path without `..`.
fn resolved(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut resolved, part| {
        match part {
            Component::ParentDir => drop(resolved.pop()),
            part => resolved.push(part),
        }
        resolved
    })
}

impl Module {
    fn knows(&self, name: &str) -> bool {
        let Text { defined, imported, .. } = &self.text;
        self.children.contains_key(name) || defined.contains(name) || imported.contains_key(name)
    }

    /// `use tokio;` names the crate, not itself again.
    fn imports_crate(&self, name: &str) -> bool {
        let begins = |path: &Names| path.first().is_some_and(|first| first == name);
        !self.children.contains_key(name) && self.text.imported.get(name).is_some_and(begins)
    }
}
