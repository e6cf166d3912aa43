//! What the text of one module says: what it defines, what it imports, every path that it names. Test code
//! (`#[cfg(test)]`) is left out, and its lines are counted.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Attribute, Expr, ExprLit, Item, Lit, Meta, UseTree};

/// A path as it is written, by its names.
pub(super) type Names = Vec<String>;

/// Words after which an item's name comes, and those that may stand between.
const KEYWORDS: &[&str] = &["const", "enum", "fn", "macro_rules", "static", "struct", "trait", "type", "union"];
const BETWEEN: &[&str] = &["async", "extern", "fn", "mut", "unsafe"];

/// What one module says.
#[derive(Default)]
pub(super) struct Text {
    pub(super) defined: BTreeSet<String>,
    /// What `use` brings into the module, by the name it has here.
    pub(super) imported: BTreeMap<String, Names>,
    /// The modules of `use …::*`.
    pub(super) globs: Vec<Names>,
    /// Every path, with its line. Not those of `pub use`: what is only passed on is not used.
    pub(super) named: Vec<(Names, usize)>,
    /// Modules that are written inside of this one.
    pub(super) inside: Vec<(String, Vec<Item>)>,
    /// Modules that are files, and the path of those that have one of their own.
    pub(super) declared: Vec<(String, Option<String>)>,
    pub(super) test_lines: usize,
}

impl Text {
    /// Reads a module's items.
    pub(super) fn read(items: &[Item]) -> Self {
        let mut text = Self::default();
        for item in items {
            match item {
                Item::Mod(module) if !module.attrs.iter().any(is_cfg_test) => {
                    let name = module.ident.to_string();
                    match &module.content {
                        Some((_, items)) => text.inside.push((name, items.clone())),
                        None => text.declared.push((name, module.attrs.iter().find_map(path_attribute))),
                    }
                }
                _ => {
                    text.defined.extend(name_of(item.to_token_stream()));
                    text.tokens(item.to_token_stream());
                }
            }
        }
        text
    }

    fn tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let is = |at: usize, letter: char| matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == letter);
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at] {
                TokenTree::Punct(_) if is(at, '#') && is_test_attribute(tokens.get(at + 1)) => {
                    let end = end_of_item(&tokens, at + 2);
                    self.test_lines += tokens[end].span().end().line + 1 - tokens[at].span().start().line;
                    at = end;
                }
                TokenTree::Ident(word) if word == "use" && !is(at + 1, '<') => {
                    let end = end_of_item(&tokens, at);
                    let tree = syn::parse2(tokens[at + 1..end].iter().cloned().collect());
                    let passed_on = tokens[..at].iter().any(|token| token.to_string() == "pub");
                    tree.into_iter().for_each(|tree| self.import(&tree, Names::new(), passed_on));
                    at = end;
                }
                // Who may see something is no use of it: `pub(in crate::m)`.
                TokenTree::Ident(word) if word == "pub" => {
                    at += usize::from(matches!(tokens.get(at + 1), Some(TokenTree::Group(_))));
                }
                TokenTree::Ident(first) => {
                    let continues =
                        at > 0 && (is(at - 1, '.') || is(at - 1, '$') || at > 1 && is(at - 1, ':') && is(at - 2, ':'));
                    let mut path = vec![first.to_string()];
                    while is(at + 1, ':')
                        && is(at + 2, ':')
                        && let Some(TokenTree::Ident(next)) = tokens.get(at + 3)
                    {
                        path.push(next.to_string());
                        at += 3;
                    }
                    if !continues {
                        self.named.push((path, first.span().start().line));
                    }
                }
                TokenTree::Group(group) => self.tokens(group.stream()),
                _ => {}
            }
            at += 1;
        }
    }

    fn import(&mut self, tree: &UseTree, mut trunk: Names, passed_on: bool) {
        let (name, as_name) = match tree {
            UseTree::Path(path) => {
                trunk.push(path.ident.to_string());
                return self.import(&path.tree, trunk, passed_on);
            }
            UseTree::Group(group) => {
                return group.items.iter().for_each(|tree| self.import(tree, trunk.clone(), passed_on));
            }
            UseTree::Glob(_) => return self.globs.push(trunk),
            UseTree::Name(name) => (&name.ident, &name.ident),
            UseTree::Rename(rename) => (&rename.ident, &rename.rename),
        };
        if name != "self" {
            trunk.push(name.to_string());
        }
        let as_name = if as_name == "self" { trunk.last().cloned().unwrap_or_default() } else { as_name.to_string() };
        if !passed_on {
            self.named.push((trunk.clone(), name.span().start().line));
        }
        self.imported.insert(as_name, trunk);
    }
}

/// The name that an item defines.
fn name_of(item: TokenStream) -> Option<String> {
    let words = item.into_iter().filter_map(|token| match token {
        TokenTree::Ident(word) => Some(word.to_string()),
        _ => None,
    });
    words.skip_while(|word| !KEYWORDS.contains(&word.as_str())).skip(1).find(|word| !BETWEEN.contains(&word.as_str()))
}

/// Where an item, a field or a statement that begins at `from` ends.
fn end_of_item(tokens: &[TokenTree], from: usize) -> usize {
    let ends = |token: &TokenTree| match token {
        TokenTree::Punct(punct) => matches!(punct.as_char(), ';' | ','),
        TokenTree::Group(group) => group.delimiter() == proc_macro2::Delimiter::Brace,
        _ => false,
    };
    let is_use = tokens[from..].iter().take(3).any(|token| token.to_string() == "use");
    let end = (from..tokens.len()).find(|at| if is_use { tokens[*at].to_string() == ";" } else { ends(&tokens[*at]) });
    end.unwrap_or(tokens.len() - 1)
}

/// True for what `#` makes `#[cfg(test)]`, or one that asks for more besides.
fn is_test_attribute(token: Option<&TokenTree>) -> bool {
    let Some(TokenTree::Group(group)) = token else { return false };
    syn::parse2::<Meta>(group.stream()).is_ok_and(|meta| is_test_meta(&meta))
}

fn is_cfg_test(attribute: &Attribute) -> bool {
    is_test_meta(&attribute.meta)
}

fn is_test_meta(meta: &Meta) -> bool {
    let Meta::List(list) = meta else { return false };
    let condition = list.tokens.to_string();
    list.path.is_ident("cfg") && (condition == "test" || condition.starts_with("all") && condition.contains("test"))
}

/// The value of `#[path = "…"]`.
fn path_attribute(attribute: &Attribute) -> Option<String> {
    let Meta::NameValue(pair) = &attribute.meta else { return None };
    match &pair.value {
        Expr::Lit(ExprLit { lit: Lit::Str(path), .. }) if pair.path.is_ident("path") => Some(path.value()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Text {
        Text::read(&syn::parse_file(text).unwrap().items)
    }

    #[test]
    fn paths_are_found_wherever_they_stand_but_not_in_tests() {
        for (text, paths) in [
            ("use a::{b, c as d, e::{self, F}};", "a::b a::c a::e a::e::F"),
            ("pub use a::b; pub(crate) use c::d;", ""),
            ("fn f() { use a::b; m!(x.y(), c::d) }", "fn f a::b m x c::d"),
            ("#[derive(a::B)] pub(in crate::m) struct S { x: c::D }", "derive a::B struct S x c::D"),
            ("fn f() -> impl Trait + use<'_> {}", "fn f impl Trait use _"),
            ("struct S { #[cfg(test)] x: a::B, y: C }", "struct S y C"),
            ("impl S { #[cfg(test)] fn f() { a::b() } const C: u8 = 1; }", "impl S const C u8"),
            ("#[cfg(test)] mod tests { use a::b; }\n#[cfg(test)]\nuse c::{d, e};", ""),
            ("/// a::b\nfn f() {} // c::d", "doc fn f"),
        ] {
            let named = read(text).named;
            let named: Vec<String> = named.into_iter().map(|(path, _)| path.join("::")).collect();
            assert_eq!(named.join(" "), paths, "{text}");
        }
    }

    #[test]
    fn what_is_defined_is_known_and_lines_of_tests_are_counted() {
        let text = read(
            "pub const fn f() {}\nstatic mut X: u8 = 1;\nmacro_rules! m { () => {} }\nimpl Y {}\n#[cfg(test)]\nmod tests {\n}\n",
        );
        assert_eq!(text.defined.into_iter().collect::<Vec<_>>(), ["X", "f", "m"]);
        assert_eq!(text.test_lines, 3);
    }
}
