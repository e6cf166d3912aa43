//! Which cases of a table a command line asks for: `weir-netns-tests policy deny` runs those with both words in their name.

use std::ops::ControlFlow;
use std::process::ExitCode;

use crate::table::Case;

/// The part of a runner's command line that chooses cases.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Selection {
    /// Run only the cases whose name, "area: behaviour", contains every one of these words, in upper or lower case.
    filter: Vec<String>,
    /// Print the names of the chosen cases, one a line, and run nothing.
    #[arg(long)]
    list: bool,
    /// Succeed when no case is chosen. Otherwise that is an error: the filter is misspelt, or the case is gone.
    #[arg(long)]
    may_match_none: bool,
}

impl Selection {
    /// The chosen cases in their order, or the exit code of a program that has none to run.
    pub fn choose<C>(&self, cases: Vec<Case<C>>) -> ControlFlow<ExitCode, Vec<Case<C>>> {
        let chosen: Vec<Case<C>> = cases.into_iter().filter(|case| self.matches(case.name)).collect();
        if self.list {
            chosen.iter().for_each(|case| println!("{}", case.name));
            return ControlFlow::Break(ExitCode::SUCCESS);
        }
        if chosen.is_empty() {
            println!("0 cases match {:?}", self.filter.join(" "));
            return ControlFlow::Break(if self.may_match_none { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        ControlFlow::Continue(chosen)
    }

    fn matches(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        self.filter
            .iter()
            .flat_map(|argument| argument.split_whitespace())
            .all(|word| name.contains(&word.to_lowercase()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 3] = [
        "policy: DENY by identity refuses that client and no other",
        "policy: a dry run decides nothing",
        "wire: between nodes there is only TLS on 15008",
    ];

    fn selection(filter: &[&str]) -> Selection {
        Selection { filter: filter.iter().map(|word| (*word).to_owned()).collect(), ..Selection::default() }
    }

    fn chosen(filter: &[&str]) -> Vec<&'static str> {
        let cases = NAMES.into_iter().map(|name| Case { name, check: () }).collect();
        match selection(filter).choose(cases) {
            ControlFlow::Continue(cases) => cases.iter().map(|case| case.name).collect(),
            ControlFlow::Break(_) => Vec::new(),
        }
    }

    #[test]
    fn every_word_must_occur_anywhere_in_the_name() {
        for (filter, expected) in [
            (&[][..], &NAMES[..]),
            (&[""], &NAMES),
            (&["policy"], &NAMES[..2]),
            (&["policy:"], &NAMES[..2]),
            (&["deny"], &NAMES[..1]),
            (&["policy: DENY"], &NAMES[..1]),
            (&["identity", "policy"], &NAMES[..1]),
            (&["tls 15008"], &NAMES[2..]),
            (&["policy", "tls"], &[]),
            (&["no such case"], &[]),
        ] {
            assert_eq!(chosen(filter), expected, "{filter:?}");
        }
    }

    #[test]
    fn a_filter_that_matches_nothing_is_an_error_unless_that_is_allowed() {
        let code = |selection: &Selection| match selection.choose(vec![Case { name: NAMES[0], check: () }]) {
            ControlFlow::Break(code) => format!("{code:?}"),
            ControlFlow::Continue(cases) => format!("{} cases", cases.len()),
        };
        let none = selection(&["nothing"]);
        assert_eq!(code(&none), format!("{:?}", ExitCode::FAILURE));
        assert_eq!(code(&Selection { may_match_none: true, ..none }), format!("{:?}", ExitCode::SUCCESS));
        for filter in [&[][..], &["nothing"]] {
            assert_eq!(code(&Selection { list: true, ..selection(filter) }), format!("{:?}", ExitCode::SUCCESS));
        }
        assert_eq!(code(&selection(&["deny"])), "1 cases");
    }
}
