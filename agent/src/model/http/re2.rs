//! Regular expressions in the syntax of RE2, which Istio's objects use, written for the crate `regex`.
//!
//! Both search in linear time and agree in most of their syntax. What differs is translated here: in RE2, `\d`, `\s`, `\w` and
//! `\b` are about ASCII alone, `{` is text where no repetition follows, `[`, `&`, `~` within a class are text, and `\Q…\E`
//! quotes. What RE2 refuses and `regex` would read in its own way is refused (`(?x)`, `\b{start}` apart from its `\b`, classes of
//! Unicode by other names than those of general categories and scripts).

use std::fmt::Write as _;
use std::iter::Peekable;
use std::str::Chars;

/// RE2's greatest count in a repetition.
const REPETITION_MAX: u32 = 1000;

/// Why an expression is none of RE2, as far as the translation knows; the rest is found when the result is compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("\\C is not supported")]
    AnyByte,
    #[error("a repetition of more than 1000")]
    Repetition,
    #[error("flag {0:?}")]
    Flag(char),
    #[error("it ends in a backslash")]
    TrailingBackslash,
    #[error("a class without an end")]
    OpenClass,
    #[error("escape \\{0}")]
    Escape(char),
    #[error("class [:{0}:]")]
    Class(String),
    #[error("class \\p of {0:?}")]
    UnicodeClass(String),
    #[error("a group that is called {0:?}")]
    GroupName(String),
    #[error("a repetition of a repetition")]
    DoubleRepetition,
}

/// The same expression in the syntax of `regex`.
///
/// # Errors
/// For what RE2 refuses and `regex` does not.
pub(super) fn translate(expression: &str) -> Result<String, Refused> {
    let mut translation =
        Translation { rest: expression.chars().peekable(), out: String::new(), repetition: Repetition::None };
    while let Some(next) = translation.rest.next() {
        let before = std::mem::take(&mut translation.repetition);
        match next {
            '*' | '+' | '?' => translation.operator(next, before)?,
            '{' => translation.brace(before)?,
            '\\' => translation.escape()?,
            '[' => translation.class()?,
            '(' => translation.group()?,
            _ => translation.out.push(next),
        }
    }
    Ok(translation.out)
}

struct Translation<'a> {
    rest: Peekable<Chars<'a>>,
    out: String,
    /// What was read last.
    repetition: Repetition,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Repetition {
    #[default]
    None,
    /// A `?` may follow, which makes it lazy.
    Greedy,
    Lazy,
}

impl Translation<'_> {
    fn operator(&mut self, operator: char, before: Repetition) -> Result<(), Refused> {
        self.repetition = match (before, operator) {
            (Repetition::None, _) => Repetition::Greedy,
            (Repetition::Greedy, '?') => Repetition::Lazy,
            _ => return Err(Refused::DoubleRepetition),
        };
        self.out.push(operator);
        Ok(())
    }

    /// Behind a backslash, outside of a class.
    fn escape(&mut self) -> Result<(), Refused> {
        match self.rest.next().ok_or(Refused::TrailingBackslash)? {
            'b' => self.out.push_str(r"(?-u:\b)"),
            'B' => self.out.push_str(r"(?-u:\B)"),
            'Q' => self.quoted(),
            escaped => match ascii_class(escaped) {
                Some(class) => self.out.push_str(class),
                None => self.other_escape(escaped)?,
            },
        }
        Ok(())
    }

    /// An escape that means the same within a class and outside.
    fn other_escape(&mut self, escaped: char) -> Result<(), Refused> {
        match escaped {
            'C' => return Err(Refused::AnyByte),
            'p' | 'P' => self.unicode_class(escaped == 'P')?,
            '0' => self.octal(0),
            '1'..='7' if self.rest.peek().is_some_and(|next| ('0'..='7').contains(next)) => {
                self.octal(escaped.to_digit(8).unwrap_or(0));
            }
            'x' => self.hexadecimal()?,
            'a' | 'f' | 't' | 'n' | 'r' | 'v' | 'A' | 'z' => {
                self.out.push('\\');
                self.out.push(escaped);
            }
            _ if escaped.is_ascii_alphanumeric() || !escaped.is_ascii() => return Err(Refused::Escape(escaped)),
            _ => self.literal(escaped),
        }
        Ok(())
    }

    fn literal(&mut self, text: char) {
        if text.is_ascii_punctuation() || text == ' ' {
            _ = write!(self.out, "\\x{:02X}", u32::from(text));
        } else {
            self.out.push(text);
        }
    }

    /// Up to two further octal digits.
    fn octal(&mut self, first: u32) {
        let mut code = first;
        for _ in 0..2 {
            let Some(digit) = self.rest.peek().and_then(|next| next.to_digit(8)) else { break };
            code = code * 8 + digit;
            self.rest.next();
        }
        _ = write!(self.out, "\\x{{{code:X}}}");
    }

    /// `\x41` or `\x{41}`.
    fn hexadecimal(&mut self) -> Result<(), Refused> {
        let digits = match self.rest.next_if_eq(&'{') {
            Some(_) => self.braced().filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit())),
            None => Some(std::iter::from_fn(|| self.rest.next_if(char::is_ascii_hexdigit)).take(2).collect())
                .filter(|digits: &String| digits.len() == 2),
        };
        let code = digits.and_then(|digits| u32::from_str_radix(&digits, 16).ok()).ok_or(Refused::Escape('x'))?;
        _ = write!(self.out, "\\x{{{code:X}}}");
        Ok(())
    }

    /// What stands before a closing brace; `None` without one.
    fn braced(&mut self) -> Option<String> {
        let mut text = String::new();
        loop {
            match self.rest.next()? {
                '}' => return Some(text),
                next => text.push(next),
            }
        }
    }

    /// `\pN`, `\p{Greek}` and, in RE2 alone, `\p{^Greek}`.
    fn unicode_class(&mut self, mut is_negated: bool) -> Result<(), Refused> {
        let name = match self.rest.next() {
            Some('{') => {
                is_negated ^= self.rest.next_if_eq(&'^').is_some();
                self.braced().unwrap_or_default()
            }
            letter => letter.into_iter().collect(),
        };
        let is_among = |names: &str| names.split(' ').any(|known| known == name);
        let class = match &*name {
            // Code points that are not assigned are not among it, as they are in `regex`.
            "C" => r"\p{Cc}\p{Cf}\p{Co}".to_owned(),
            _ if name.is_empty() => return Err(Refused::UnicodeClass(name)),
            _ if is_among(CATEGORIES) => format!("\\p{{{name}}}"),
            _ if is_among(SCRIPTS) => format!("\\p{{Script={name}}}"),
            _ => return Err(Refused::UnicodeClass(name)),
        };
        _ = write!(self.out, "[{}{class}]", if is_negated { "^" } else { "" });
        Ok(())
    }

    /// Text up to `\E`.
    fn quoted(&mut self) {
        while let Some(next) = self.rest.next() {
            if next == '\\' && self.rest.next_if_eq(&'E').is_some() {
                return;
            }
            self.literal(next);
        }
    }

    /// A repetition, or the text `{`.
    fn brace(&mut self, before: Repetition) -> Result<(), Refused> {
        let Some(counts) = counts(self.rest.clone()) else {
            self.literal('{');
            return Ok(());
        };
        if before != Repetition::None {
            return Err(Refused::DoubleRepetition);
        }
        self.repetition = Repetition::Greedy;
        let is_too_many = |count: &str| count.parse::<u32>().map_or(!count.is_empty(), |count| count > REPETITION_MAX);
        if counts.split(',').any(is_too_many) {
            return Err(Refused::Repetition);
        }
        _ = write!(self.out, "{{{counts}}}");
        self.rest.nth(counts.len());
        Ok(())
    }

    /// Flags behind `(?`; any other group means the same to both.
    fn group(&mut self) -> Result<(), Refused> {
        self.out.push('(');
        if self.rest.peek() != Some(&'?') {
            return Ok(());
        }
        let flags = self.rest.clone().skip(1).take_while(|next| !matches!(next, ':' | ')' | '<' | 'P'));
        if let Some(flag) = flags.into_iter().find(|flag| !matches!(flag, 'i' | 'm' | 's' | 'U' | '-')) {
            return Err(Refused::Flag(flag));
        }
        let mut ahead = self.rest.clone();
        ahead.next();
        ahead.next_if_eq(&'P');
        if ahead.next_if_eq(&'<').is_some() {
            let name: String = ahead.take_while(|next| *next != '>').collect();
            if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                return Err(Refused::GroupName(name));
            }
        }
        Ok(())
    }

    /// Behind the `[` of a class.
    fn class(&mut self) -> Result<(), Refused> {
        self.out.push('[');
        if self.rest.next_if_eq(&'^').is_some() {
            self.out.push('^');
        }
        let mut is_first = true;
        while let Some(next) = self.rest.next() {
            match next {
                ']' if !is_first => {
                    self.out.push(']');
                    return Ok(());
                }
                '[' if self.rest.peek() == Some(&':') => self.named_class()?,
                '\\' => self.escape_in_class()?,
                _ => {
                    self.literal(next);
                    self.end_of_range()?;
                }
            }
            is_first = false;
        }
        Err(Refused::OpenClass)
    }

    fn escape_in_class(&mut self) -> Result<(), Refused> {
        let escaped = self.rest.next().ok_or(Refused::TrailingBackslash)?;
        if let Some(class) = ascii_class(escaped) {
            self.out.push_str(class);
            return Ok(());
        }
        self.other_escape(escaped)?;
        // Behind a class a hyphen is text.
        if matches!(escaped, 'p' | 'P') { Ok(()) } else { self.end_of_range() }
    }

    /// Behind a character of a class: what a range ends with, if it is one. A hyphen at the end of the class is text.
    fn end_of_range(&mut self) -> Result<(), Refused> {
        let mut ahead = self.rest.clone();
        if ahead.next() != Some('-') || ahead.peek().is_none_or(|next| *next == ']') {
            return Ok(());
        }
        self.rest.next();
        self.out.push('-');
        match self.rest.next() {
            Some('\\') => {
                let escaped = self.rest.next().ok_or(Refused::TrailingBackslash)?;
                self.other_escape(escaped)
            }
            next => {
                self.literal(next.unwrap_or('-'));
                Ok(())
            }
        }
    }

    /// `[:alpha:]`, or the text `[`.
    fn named_class(&mut self) -> Result<(), Refused> {
        let mut ahead = self.rest.clone().skip(1);
        let name: String = ahead.by_ref().take_while(|next| *next != ':').collect();
        if ahead.next() != Some(']') {
            self.literal('[');
            return Ok(());
        }
        if !NAMED_CLASSES.contains(&name.strip_prefix('^').unwrap_or(&name)) {
            return Err(Refused::Class(name));
        }
        _ = write!(self.out, "[:{name}:]");
        self.rest.nth(name.chars().count() + 2);
        Ok(())
    }
}

/// The general categories that RE2 knows, besides `C`, and the scripts (those of Unicode 15).
const CATEGORIES: &str =
    "Any L M N P S Z Cc Cf Co Ll Lm Lo Lt Lu Mc Me Mn Nd Nl No Pc Pd Pe Pf Pi Po Ps Sc Sk Sm So Zl Zp Zs";
const SCRIPTS: &str = "\
    Adlam Ahom Anatolian_Hieroglyphs Arabic Armenian Avestan Balinese Bamum Bassa_Vah Batak Bengali Bhaiksuki \
    Bopomofo Brahmi Braille Buginese Buhid Canadian_Aboriginal Carian Caucasian_Albanian Chakma Cham Cherokee \
    Chorasmian Common Coptic Cuneiform Cypriot Cypro_Minoan Cyrillic Deseret Devanagari Dives_Akuru Dogra Duployan \
    Egyptian_Hieroglyphs Elbasan Elymaic Ethiopic Georgian Glagolitic Gothic Grantha Greek Gujarati Gunjala_Gondi \
    Gurmukhi Han Hangul Hanifi_Rohingya Hanunoo Hatran Hebrew Hiragana Imperial_Aramaic Inherited \
    Inscriptional_Pahlavi Inscriptional_Parthian Javanese Kaithi Kannada Katakana Kawi Kayah_Li Kharoshthi \
    Khitan_Small_Script Khmer Khojki Khudawadi Lao Latin Lepcha Limbu Linear_A Linear_B Lisu Lycian Lydian \
    Mahajani Makasar Malayalam Mandaic Manichaean Marchen Masaram_Gondi Medefaidrin Meetei_Mayek Mende_Kikakui \
    Meroitic_Cursive Meroitic_Hieroglyphs Miao Modi Mongolian Mro Multani Myanmar Nabataean Nag_Mundari \
    Nandinagari New_Tai_Lue Newa Nko Nushu Nyiakeng_Puachue_Hmong Ogham Ol_Chiki Old_Hungarian Old_Italic \
    Old_North_Arabian Old_Permic Old_Persian Old_Sogdian Old_South_Arabian Old_Turkic Old_Uyghur Oriya Osage \
    Osmanya Pahawh_Hmong Palmyrene Pau_Cin_Hau Phags_Pa Phoenician Psalter_Pahlavi Rejang Runic Samaritan \
    Saurashtra Sharada Shavian Siddham SignWriting Sinhala Sogdian Sora_Sompeng Soyombo Sundanese Syloti_Nagri \
    Syriac Tagalog Tagbanwa Tai_Le Tai_Tham Tai_Viet Takri Tamil Tangsa Tangut Telugu Thaana Thai Tibetan Tifinagh \
    Tirhuta Toto Ugaritic Vai Vithkuqi Wancho Warang_Citi Yezidi Yi Zanabazar_Square";

/// The classes of POSIX and Perl that RE2 knows by name, all of them about ASCII.
const NAMED_CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "word",
    "xdigit",
];

/// The classes that are about ASCII alone in RE2. `\s` is without `\v` there.
fn ascii_class(escaped: char) -> Option<&'static str> {
    Some(match escaped {
        'd' => "[0-9]",
        'D' => "[^0-9]",
        's' => r"[\t\n\f\r ]",
        'S' => r"[^\t\n\f\r ]",
        'w' => "[0-9A-Za-z_]",
        'W' => "[^0-9A-Za-z_]",
        _ => return None,
    })
}

/// What is between the braces of a repetition: `n`, `n,` or `n,m`.
fn counts(rest: Peekable<Chars<'_>>) -> Option<String> {
    let mut counts = String::new();
    for next in rest {
        match next {
            '0'..='9' => counts.push(next),
            ',' if !counts.is_empty() && !counts.contains(',') => counts.push(next),
            '}' => return Some(counts).filter(|counts| !counts.is_empty()),
            _ => return None,
        }
    }
    None
}
