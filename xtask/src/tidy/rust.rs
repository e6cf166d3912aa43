//! A crate as the rules see it: its modules, and the paths that each names. Paths are followed to the module that defines
//! the name: through `use`, renaming and re-exports. Code is read as tokens, so that the arguments of macros are seen too;
//! test code (`#[cfg(test)]`) is left out, and its lines are counted. What only the compiler can know (methods, fields, the
//! inside of a macro's definition) is not seen, nor is what `use …::*` brings, which clippy allows in tests alone.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::UseTree;

/// How many re-exports are followed: a longer chain is a name that leads back to itself.
const MOST_REEXPORTS: usize = 12;

/// All modules of a crate; the first is its root.
#[derive(Default)]
pub(super) struct Crate {
    pub(super) modules: Vec<Module>,
    /// Each file, and how many of its lines are tests.
    pub(super) test_lines: BTreeMap<PathBuf, usize>,
}

/// A module: a file, or a part of one that is written `mod name { … }`.
#[derive(Default)]
pub(super) struct Module {
    /// The names from the crate's root on.
    pub(super) names: Vec<String>,
    /// The file, relative to the workspace.
    pub(super) file: PathBuf,
    parent: usize,
    children: BTreeMap<String, usize>,
    /// What `use` brings into the module, by the name it has here.
    imported: BTreeMap<String, Vec<String>>,
    /// Every path, with its line. Not those of `pub use`: what is only passed on is not used.
    named: Vec<(Vec<String>, usize)>,
}

/// A path that a module names, and where it leads.
pub(super) struct Use<'c> {
    pub(super) line: usize,
    /// In full, beginning with `crate` or the name of another crate.
    pub(super) path: String,
    /// The file that defines the name, and the name, if it is of this crate and no module.
    pub(super) item: Option<(&'c Path, String)>,
}

impl Crate {
    /// Reads a crate from its root file on, which is relative to the workspace, with all files that it declares.
    pub(super) fn read(workspace: &Path, root: &Path) -> Result<Self> {
        let mut read = Self { modules: vec![Module::default()], test_lines: BTreeMap::new() };
        read.file(workspace, 0, root.to_owned(), root.parent().context("a file is in a folder")?)?;
        Ok(read)
    }

    /// Reads the file that a module is; the modules that it declares are below `folder`.
    fn file(&mut self, workspace: &Path, module: usize, file: PathBuf, folder: &Path) -> Result<()> {
        let text = fs::read_to_string(workspace.join(&file)).with_context(|| format!("reading {}", file.display()))?;
        let tokens = text.parse().map_err(|error| anyhow::anyhow!("{}: {error}", file.display()))?;
        self.test_lines.insert(file.clone(), 0);
        self.modules[module].file = file;
        self.tokens(workspace, module, tokens, folder)
    }

    fn tokens(&mut self, workspace: &Path, module: usize, tokens: TokenStream, folder: &Path) -> Result<()> {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let is = |at: usize, letter: char| matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == letter);
        let is_colons = |at: usize| is(at, ':') && is(at + 1, ':');
        let mut own_path = None;
        let mut at = 0;
        while at < tokens.len() {
            let line = tokens[at].span().start().line;
            match &tokens[at] {
                TokenTree::Punct(_) if is(at, '#') && is_test_attribute(tokens.get(at + 1)) => {
                    at = end_of_item(&tokens, at + 2);
                    let lines = tokens[at].span().end().line + 1 - line;
                    *self.test_lines.get_mut(&self.modules[module].file).expect("it is being read") += lines;
                }
                TokenTree::Punct(_) if is(at, '#') => own_path = path_attribute(tokens.get(at + 1)).or(own_path),
                TokenTree::Ident(word) if word == "mod" && matches!(tokens.get(at + 1), Some(TokenTree::Ident(_))) => {
                    let name = tokens[at + 1].to_string();
                    self.declare(workspace, module, name, tokens.get(at + 2), own_path.take(), folder)?;
                    at += 2;
                }
                TokenTree::Ident(word) if word == "use" && !is(at + 1, '<') => {
                    let end = (at..tokens.len()).find(|end| is(*end, ';')).unwrap_or(tokens.len());
                    let is_pub = tokens[at.saturating_sub(2)..at].iter().any(|token| token.to_string() == "pub");
                    // In a macro's definition it may be none that can be read.
                    if let Ok(tree) = syn::parse2(tokens[at + 1..end].iter().cloned().collect()) {
                        self.modules[module].import(&tree, Vec::new(), is_pub);
                    }
                    at = end;
                }
                // Who may see something is no use of it: `pub(in crate::m)`.
                TokenTree::Ident(word) if word == "pub" => {
                    at += usize::from(matches!(tokens.get(at + 1), Some(TokenTree::Group(_))));
                }
                TokenTree::Ident(first) => {
                    let continues = at > 0 && (is(at - 1, '.') || is(at - 1, '$') || at > 1 && is_colons(at - 2));
                    let mut path = vec![first.to_string()];
                    while is_colons(at + 1)
                        && let Some(TokenTree::Ident(next)) = tokens.get(at + 3)
                    {
                        path.push(next.to_string());
                        at += 3;
                    }
                    if !continues {
                        self.modules[module].named.push((path, line));
                    }
                }
                TokenTree::Group(group) => self.tokens(workspace, module, group.stream(), folder)?,
                _ => {}
            }
            at += 1;
        }
        Ok(())
    }

    /// Adds a module: the one that is written in place, or that of a file below `folder`, or at its own path.
    fn declare(
        &mut self,
        workspace: &Path,
        parent: usize,
        name: String,
        body: Option<&TokenTree>,
        own_path: Option<String>,
        folder: &Path,
    ) -> Result<()> {
        let (child, below) = (self.modules.len(), folder.join(&name));
        let Module { names, file, children, .. } = &mut self.modules[parent];
        let (names, file) = (names.iter().cloned().chain([name.clone()]).collect(), file.clone());
        children.insert(name, child);
        self.modules.push(Module { names, file: file.clone(), parent, ..Module::default() });
        match (body, own_path) {
            (Some(TokenTree::Group(body)), _) => self.tokens(workspace, child, body.stream(), &below),
            (_, Some(path)) => {
                let path = file.parent().context("a file is in a folder")?.join(path);
                let path = workspace.join(path).canonicalize()?.strip_prefix(workspace.canonicalize()?)?.to_owned();
                let folder = path.parent().context("a file is in a folder")?.to_owned();
                self.file(workspace, child, path, &folder)
            }
            _ => {
                let beside = below.with_extension("rs");
                let file = if workspace.join(&beside).exists() { beside } else { below.join("mod.rs") };
                self.file(workspace, child, file, &below)
            }
        }
    }

    /// What a module names of others. Names of the language itself and of variables lead nowhere.
    pub(super) fn uses(&self, module: usize) -> impl Iterator<Item = Use<'_>> {
        self.modules[module].named.iter().filter_map(move |(path, line)| {
            let (path, at) = self.target(module, path, 0)?;
            let name = at.and_then(|at| path.get(self.modules[at].names.len() + 1).cloned());
            let item = name.map(|name| (self.modules[at.unwrap_or_default()].file.as_path(), name));
            Some(Use { line: *line, path: path.join("::"), item })
        })
    }

    /// A path in full, and the module of this crate that its name is in.
    fn target(&self, from: usize, path: &[String], depth: usize) -> Option<(Vec<String>, Option<usize>)> {
        let (first, rest) = path.split_first()?;
        let module = &self.modules[from];
        match (first.as_str(), module.imported.get(first)) {
            _ if depth > MOST_REEXPORTS => None,
            ("crate", _) => self.inside(0, rest, depth),
            ("self" | "super", _) => self.inside(from, path, depth),
            (name, _) if module.children.contains_key(name) => self.inside(from, path, depth),
            // `use tokio;` names the crate, not itself again.
            (_, Some(imported)) if imported[0] != *first => self.inside(from, path, depth),
            (_, imported) => (imported.is_some() || !rest.is_empty()).then(|| (path.to_vec(), None)),
        }
    }

    /// What a path leads to from inside a module on.
    fn inside(&self, module: usize, path: &[String], depth: usize) -> Option<(Vec<String>, Option<usize>)> {
        let at = &self.modules[module];
        let own = ["crate".to_owned()].into_iter().chain(at.names.iter().cloned());
        let Some((first, rest)) = path.split_first() else { return Some((own.collect(), Some(module))) };
        match (first.as_str(), at.children.get(first), at.imported.get(first)) {
            ("self", ..) => self.inside(module, rest, depth),
            ("super", ..) => self.inside(at.parent, rest, depth),
            (_, Some(child), _) => self.inside(*child, rest, depth),
            (_, _, Some(imported)) => {
                let path: Vec<String> = imported.iter().chain(rest).cloned().collect();
                self.target(module, &path, depth + 1)
            }
            _ => Some((own.chain([first.clone()]).collect(), Some(module))),
        }
    }

    /// The files of the modules that a module is a part of.
    pub(super) fn above(&self, module: usize) -> Vec<&Path> {
        let parents = std::iter::successors(Some(module), |at| (*at != 0).then(|| self.modules[*at].parent));
        let own = &self.modules[module].file;
        parents.map(|at| self.modules[at].file.as_path()).filter(|file| file != own).collect()
    }
}

impl Module {
    fn import(&mut self, tree: &UseTree, mut trunk: Vec<String>, is_pub: bool) {
        let (name, as_name) = match tree {
            UseTree::Path(path) => {
                trunk.push(path.ident.to_string());
                return self.import(&path.tree, trunk, is_pub);
            }
            UseTree::Group(group) => {
                return group.items.iter().for_each(|tree| self.import(tree, trunk.clone(), is_pub));
            }
            UseTree::Glob(_) => return,
            UseTree::Name(name) => (&name.ident, &name.ident),
            UseTree::Rename(rename) => (&rename.ident, &rename.rename),
        };
        if name != "self" {
            trunk.push(name.to_string());
        }
        let as_name = if as_name == "self" { trunk.last().cloned().unwrap_or_default() } else { as_name.to_string() };
        if !is_pub {
            self.named.push((trunk.clone(), name.span().start().line));
        }
        self.imported.insert(as_name, trunk);
    }
}

/// Where an item, a field or a statement that begins at `from` ends.
fn end_of_item(tokens: &[TokenTree], from: usize) -> usize {
    let begins_item = |token: &TokenTree| ["fn", "impl", "mod", "use"].contains(&token.to_string().as_str());
    let is_item = tokens[from..].iter().take(4).any(begins_item);
    let ends = |token: &TokenTree| match token {
        TokenTree::Punct(punct) => punct.as_char() == ';' || punct.as_char() == ',' && !is_item,
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        _ => false,
    };
    (from..tokens.len()).find(|at| ends(&tokens[*at])).unwrap_or(tokens.len() - 1)
}

/// True for what `#` makes `#[cfg(test)]`, or one that asks for more besides.
fn is_test_attribute(token: Option<&TokenTree>) -> bool {
    let text = token.map(|token| token.to_string().replace(' ', "")).unwrap_or_default();
    text == "[cfg(test)]" || text.starts_with("[cfg(all(") && text.contains("test")
}

/// The value of `#[path = "…"]`.
fn path_attribute(token: Option<&TokenTree>) -> Option<String> {
    Some(token?.to_string().strip_prefix("[path = \"")?.strip_suffix("\"]")?.to_owned())
}
