//! Regular expressions against RE2 itself: expressions of its syntax and of any text, on texts of the same parts, judged by the
//! agent and by Google's library in a process beside (`fuzz/re2_oracle.py`).
//!
//! Must hold: nothing panics; what RE2 refuses is refused; and what both take matches the same texts. The agent may refuse more:
//! its bounds are others, and the classes of Unicode have other names in part.
#![no_main]

use std::io::{BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{LazyLock, Mutex};

use libfuzzer_sys::fuzz_target;
use weir::api::model::http::Pattern;

/// What expressions are made of, beside single bytes.
#[rustfmt::skip]
const TOKENS: &[&str] = &[
    "a", "b", "c", "A", "B", "k", "s", "0", "1", "9", "_", " ", "\n", "\t", "-", ",", "é", "É", "\u{212a}", "\u{17f}",
    "ß", "Ω", "€", "😀", ".", "^", "$", "|", "(", ")", "(?:", "(?i)", "(?s)", "(?m)", "(?U)", "(?i:", "(?-i)",
    "(?P<n>", "(?<n>", "(?x)", "*", "+", "?", "*?", "+?", "??", "{", "}", "{2}", "{1,2}", "{0,}", "{,2}", "{2}?", "[",
    "]", "[^", "[a-c]", "[^a]", "[]a]", "[a-]", "[--a]", "[[:alpha:]]", "[[:^alpha:]]", "[[:word:]", "[:alpha:]",
    "[&&a]", "[a~~b]", "[\\d]", "[^\\W]", "[\\pL]", "\\", "\\d", "\\D", "\\w", "\\W", "\\s", "\\S", "\\b", "\\B",
    "\\A", "\\z", "\\Z", "\\C", "\\pL", "\\PL", "\\p{Greek}", "\\P{Greek}", "\\p{^Greek}", "\\pN", "\\p{Lu}", "\\x41",
    "\\x{e9}", "\\x", "\\0", "\\07", "\\101", "\\1", "\\8", "\\a", "\\f", "\\n", "\\r", "\\t", "\\v", "\\Q", "\\E",
    "\\Qa.b\\E", "\\.", "\\-", "\\&", "\\~", "\\/", "\\<", "\\b{start}", "\\u0041", "/", "#", "&&", "~~", "--",
];

/// The library of Google, in a process of its own.
struct Oracle {
    _process: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

static ORACLE: LazyLock<Mutex<Oracle>> = LazyLock::new(|| {
    let mut python = Command::new("python3");
    python.arg("-c").arg(include_str!("re2_oracle.py")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = python.spawn().expect("there is Python");
    let questions = process.stdin.take().expect("it was asked for");
    let answers = BufReader::new(process.stdout.take().expect("it was asked for"));
    Mutex::new(Oracle { _process: process, questions, answers })
});

impl Oracle {
    /// Whether the whole of each text matches; `None` where the expression is none.
    fn ask(&mut self, expression: &str, texts: &[String]) -> Option<Vec<bool>> {
        let mut question = Vec::new();
        let count = u32::try_from(texts.len()).expect("a few");
        question.extend(count.to_le_bytes());
        for text in [expression].into_iter().chain(texts.iter().map(String::as_str)) {
            question.extend(u32::try_from(text.len()).expect("short").to_le_bytes());
            question.extend(text.bytes());
        }
        self.questions.write_all(&question).and_then(|()| self.questions.flush()).expect("the oracle lives");
        let mut answer = vec![0; texts.len() + 1];
        self.answers.read_exact(&mut answer).expect("the oracle lives");
        (answer[0] == 1).then(|| answer[1..].iter().map(|matches| *matches == 1).collect())
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((choice, rest)) = data.split_first() else { return };
    let mut parts = rest.split(|byte| *byte == 0xff);
    let Some(expression) = text(parts.next().unwrap_or_default(), choice & 1 == 0) else { return };
    let mut texts: Vec<String> = parts.take(8).filter_map(|part| text(part, choice & 2 == 0)).collect();
    texts.extend([String::new(), "a".to_owned(), expression.clone()]);
    let own = Pattern::new(&expression);
    let found = ORACLE.lock().expect("nobody panics with it").ask(&expression, &texts);
    let (own, found) = match (own, found) {
        (Ok(own), Some(found)) => (own, found),
        (Ok(_), None) => panic!("RE2 refuses {expression:?}"),
        (Err(_), _) => return,
    };
    for (text, expected) in texts.iter().zip(found) {
        assert_eq!(own.is_match(text.as_bytes()), expected, "{expression:?} on {text:?}");
    }
});

/// Text of tokens or of bytes.
fn text(bytes: &[u8], of_tokens: bool) -> Option<String> {
    if of_tokens {
        return Some(bytes.iter().take(40).map(|byte| TOKENS[usize::from(*byte) % TOKENS.len()]).collect());
    }
    std::str::from_utf8(bytes).ok().map(str::to_owned)
}
