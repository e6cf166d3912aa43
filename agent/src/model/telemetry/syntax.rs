//! Reads an expression, and checks that its types fit.

use super::attribute::{Attribute, TextAttribute};
use super::node::{Comparison, Node, Search};
use super::token::{Token, tokens};
use crate::model::http::pattern::Pattern;

/// Bytes of an expression, at most.
const MAX_BYTES: usize = 2048;
/// Parts may lie this deep in each other.
const MAX_DEPTH: usize = 32;

/// The type of what an expression comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Text,
    Number,
    Flag,
}

impl Type {
    /// In words.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Number => "a number",
            Self::Flag => "true or false",
        }
    }
}

/// A part of an expression, and its type.
type Typed = (Node, Type);

/// What is left to read.
pub(super) struct Parser {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
    depth: usize,
}

impl Parser {
    /// Reads a whole expression.
    ///
    /// # Errors
    /// With what is not understood, or not supported.
    pub(super) fn parse(source: &str) -> Result<Typed, String> {
        if source.len() > MAX_BYTES {
            return Err(format!("is longer than {MAX_BYTES} bytes"));
        }
        let mut parser = Self { tokens: tokens(source)?.into_iter().peekable(), depth: 0 };
        let found = parser.choice()?;
        match parser.tokens.next() {
            None => Ok(found),
            Some(token) => Err(format!("{} is not expected", shown(&token))),
        }
    }

    fn takes(&mut self, sign: &'static str) -> bool {
        self.tokens.next_if_eq(&Token::Sign(sign)).is_some()
    }

    fn expects(&mut self, sign: &'static str) -> Result<(), String> {
        if self.takes(sign) { Ok(()) } else { Err(format!("{sign:?} is missing")) }
    }

    /// `condition ? one : other`, or what binds more closely.
    fn choice(&mut self) -> Result<Typed, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("its parts lie too deep in each other".to_owned());
        }
        let found = self.any()?;
        let found = if self.takes("?") {
            let condition = flag(found, "the condition before ?")?;
            let one = self.choice()?;
            self.expects(":")?;
            let other = self.choice()?;
            if one.1 != other.1 {
                return Err(format!("? : chooses between {} and {}", one.1.name(), other.1.name()));
            }
            (Node::Choice(Box::new([condition, one.0, other.0])), one.1)
        } else {
            found
        };
        self.depth -= 1;
        Ok(found)
    }

    fn any(&mut self) -> Result<Typed, String> {
        self.chain("||", Self::all, Node::Any)
    }

    fn all(&mut self) -> Result<Typed, String> {
        self.chain("&&", Self::comparison, Node::All)
    }

    fn chain(
        &mut self,
        sign: &'static str,
        part: fn(&mut Self) -> Result<Typed, String>,
        whole: fn(Vec<Node>) -> Node,
    ) -> Result<Typed, String> {
        let first = part(self)?;
        if self.tokens.peek() != Some(&Token::Sign(sign)) {
            return Ok(first);
        }
        let mut parts = vec![flag(first, sign)?];
        while self.takes(sign) {
            parts.push(flag(part(self)?, sign)?);
        }
        Ok((whole(parts), Type::Flag))
    }

    fn comparison(&mut self) -> Result<Typed, String> {
        let one = self.sum()?;
        if self.tokens.next_if_eq(&Token::Name("in".to_owned())).is_some() {
            return self.list(one);
        }
        let known = [
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        let Some((sign, comparison)) = known.into_iter().find(|(sign, _)| self.takes(sign)) else { return Ok(one) };
        let other = self.sum()?;
        if one.1 != other.1 {
            return Err(format!("{sign} compares {} with {}", one.1.name(), other.1.name()));
        }
        Ok((Node::Compare(comparison, Box::new([one.0, other.0])), Type::Flag))
    }

    /// What follows `in`: a list of literals, or the fields of a head.
    fn list(&mut self, value: Typed) -> Result<Typed, String> {
        if !self.takes("[") {
            let path = self.path()?;
            let is_request = Attribute::is_heads_of_request(&path);
            let is_request = is_request.ok_or("in is supported over lists of literals and over headers only")?;
            let Node::Text(name) = value.0 else { return Err("before in, a header's name is expected".to_owned()) };
            let name = name.to_ascii_lowercase().into();
            let field = if is_request { TextAttribute::Request(name) } else { TextAttribute::Response(name) };
            return Ok((Node::Has(Attribute::Text(field)), Type::Flag));
        }
        let mut items = Vec::new();
        while !self.takes("]") {
            let item = self.sum()?;
            if item.1 != value.1 || !matches!(item.0, Node::Text(_) | Node::Number(_) | Node::Flag(_)) {
                return Err(format!("a list behind in may have literals only, here {}", value.1.name()));
            }
            items.push(item.0);
            if !self.takes(",") {
                self.expects("]")?;
                break;
            }
        }
        Ok((Node::OneOf(Box::new(value.0), items), Type::Flag))
    }

    fn sum(&mut self) -> Result<Typed, String> {
        let (first, found) = self.unary()?;
        if self.tokens.peek() != Some(&Token::Sign("+")) {
            return Ok((first, found));
        }
        let mut parts = vec![first];
        while self.takes("+") {
            let (part, other) = self.unary()?;
            if other != found || found == Type::Flag {
                return Err(format!("+ joins {} and {}: use string()", found.name(), other.name()));
            }
            parts.push(part);
        }
        Ok((Node::Sum(parts), found))
    }

    fn unary(&mut self) -> Result<Typed, String> {
        let mut is_inverted = None;
        while self.takes("!") {
            is_inverted = Some(!is_inverted.unwrap_or(false));
        }
        let is_negative = self.takes("-");
        let found = match (self.member()?, is_negative) {
            ((Node::Number(number), _), true) => (Node::Number(-number), Type::Number),
            (_, true) => return Err("- is supported before a literal number only".to_owned()),
            (found, false) => found,
        };
        match is_inverted {
            None => Ok(found),
            Some(true) => Ok((Node::Not(Box::new(flag(found, "!")?)), Type::Flag)),
            Some(false) => Ok((flag(found, "!")?, Type::Flag)),
        }
    }

    /// A value, and what is asked of it: `value.contains('x')`.
    fn member(&mut self) -> Result<Typed, String> {
        let found = self.primary()?;
        if !self.takes(".") {
            return Ok(found);
        }
        match self.tokens.next() {
            Some(Token::Name(method)) => self.method(found, &method),
            _ => Err("after a dot, a name is expected".to_owned()),
        }
    }

    fn primary(&mut self) -> Result<Typed, String> {
        let name = match self.tokens.next() {
            Some(Token::Text(text)) => return Ok((Node::Text(text.into()), Type::Text)),
            Some(Token::Number(number)) => return Ok((Node::Number(number), Type::Number)),
            Some(Token::Sign("(")) => {
                let found = self.choice()?;
                self.expects(")")?;
                return Ok(found);
            }
            Some(Token::Name(name)) => name,
            Some(token) => return Err(format!("{} is not expected", shown(&token))),
            None => return Err("it ends where a value is expected".to_owned()),
        };
        match name.as_str() {
            "true" => Ok((Node::Flag(true), Type::Flag)),
            "false" => Ok((Node::Flag(false), Type::Flag)),
            _ if self.takes("(") => self.call(&name),
            _ => self.attribute(name),
        }
    }

    fn call(&mut self, name: &str) -> Result<Typed, String> {
        let found = match name {
            "has" => {
                let path = self.path()?;
                (Node::Has(attribute(&path)?), Type::Flag)
            }
            "string" => (Node::ToText(Box::new(self.choice()?.0)), Type::Text),
            "int" => (Node::ToNumber(Box::new(self.choice()?.0)), Type::Number),
            _ => return Err(format!("the function {name}() is not supported")),
        };
        self.expects(")")?;
        Ok(found)
    }

    fn method(&mut self, (value, found): Typed, method: &str) -> Result<Typed, String> {
        let search = match method {
            "startsWith" => Some(Search::StartsWith),
            "endsWith" => Some(Search::EndsWith),
            "contains" => Some(Search::Contains),
            "matches" => None,
            _ => return Err(format!("{method} is not supported here")),
        };
        if found != Type::Text {
            return Err(format!("{method}() is asked of text, not of {}", found.name()));
        }
        self.expects("(")?;
        let (wanted, type_of_wanted) = self.choice()?;
        self.expects(")")?;
        let node = match (search, wanted) {
            (Some(search), wanted) if type_of_wanted == Type::Text => Node::Search(search, Box::new([value, wanted])),
            (None, Node::Text(expression)) => Node::Matches(Box::new(value), Box::new(found_anywhere(&expression)?)),
            _ => return Err(format!("{method}() takes a text")),
        };
        Ok((node, Type::Flag))
    }

    /// An attribute that begins with a name, or the value that a method is asked of.
    fn attribute(&mut self, first: String) -> Result<Typed, String> {
        let (path, method) = self.path_from(first)?;
        let found = attribute(&path)?;
        let type_of = match found {
            Attribute::Text(_) => Type::Text,
            Attribute::Number(_) => Type::Number,
            Attribute::MutualTls => Type::Flag,
        };
        let found = (Node::Attribute(found), type_of);
        match method {
            Some(method) => self.method(found, &method),
            None => Ok(found),
        }
    }

    fn path(&mut self) -> Result<Vec<String>, String> {
        let Some(Token::Name(first)) = self.tokens.next() else { return Err("an attribute is expected".to_owned()) };
        let (path, method) = self.path_from(first)?;
        if method.is_some() { Err("an attribute is expected".to_owned()) } else { Ok(path) }
    }

    /// The parts of a path; and the name before a parenthesis, which is that of a method.
    fn path_from(&mut self, first: String) -> Result<(Vec<String>, Option<String>), String> {
        let mut path = vec![first];
        loop {
            if self.takes("[") {
                let Some(Token::Text(key)) = self.tokens.next() else {
                    return Err("between [ and ], a text is expected".to_owned());
                };
                self.expects("]")?;
                path.push(key);
            } else if self.takes(".") {
                let Some(Token::Name(name)) = self.tokens.next() else {
                    return Err("after a dot, a name is expected".to_owned());
                };
                if self.tokens.peek() == Some(&Token::Sign("(")) {
                    return Ok((path, Some(name)));
                }
                path.push(name);
            } else {
                return Ok((path, None));
            }
        }
    }
}

fn attribute(path: &[String]) -> Result<Attribute, String> {
    Attribute::at(path).ok_or_else(|| format!("the attribute {} is not known here", path.join(".")))
}

fn flag((node, found): Typed, what: &str) -> Result<Node, String> {
    if found == Type::Flag { Ok(node) } else { Err(format!("{what} is about true and false, not {}", found.name())) }
}

/// CEL's `matches` searches: the expression need not match the whole text.
fn found_anywhere(expression: &str) -> Result<Pattern, String> {
    // Alone first: a parenthesis too many must not close the group around it.
    Pattern::new(expression).map_err(|error| error.to_string())?;
    Pattern::new(&format!("(?s:.*)(?:{expression})(?s:.*)")).map_err(|error| error.to_string())
}

fn shown(token: &Token) -> String {
    match token {
        Token::Name(name) => name.clone(),
        Token::Text(text) => format!("{text:?}"),
        Token::Number(number) => number.to_string(),
        Token::Sign(sign) => format!("{sign:?}"),
    }
}
