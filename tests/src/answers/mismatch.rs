//! In which aspects two answers to a request differ.

use std::collections::BTreeSet;

use super::ask::Ask;
use super::aspects::Aspects;

/// What a proxy answers to a request that it refuses as not valid.
const REFUSED: &str = "400 by nobody";

/// An aspect in which the two answers differ.
#[derive(Debug, Clone, Copy)]
pub struct Mismatch<'a> {
    pub ask: &'a Ask,
    /// Its name, and the value on each side.
    pub aspect: &'a str,
    pub envoy: Option<&'a str>,
    pub weir: Option<&'a str>,
    /// All aspects of both.
    pub all: (&'a Aspects, &'a Aspects),
}

/// What differs. Where somebody else answered, or otherwise, nothing more is compared.
#[must_use]
pub fn mismatches<'a>(ask: &'a Ask, envoy: &'a Aspects, weir: &'a Aspects) -> Vec<Mismatch<'a>> {
    let of = |aspect: &'a str| Mismatch {
        ask,
        aspect,
        envoy: envoy.get(aspect).map(String::as_str),
        weir: weir.get(aspect).map(String::as_str),
        all: (envoy, weir),
    };
    let answer = of("answer");
    if answer.envoy != answer.weir {
        return vec![answer];
    }
    let names: BTreeSet<&str> = envoy.keys().chain(weir.keys()).map(String::as_str).collect();
    names.into_iter().map(of).filter(|mismatch| mismatch.envoy != mismatch.weir).collect()
}

impl Mismatch<'_> {
    /// Whether this is the aspect, with these two values.
    pub(super) fn is(&self, aspect: &str, envoy: Option<&str>, weir: Option<&str>) -> bool {
        self.aspect == aspect && (self.envoy, self.weir) == (envoy, weir)
    }

    /// Whether the answers differ, and Envoy's is one of these.
    pub(super) fn envoy_answers(&self, answers: &[&str]) -> bool {
        self.aspect == "answer" && self.envoy.is_some_and(|answer| answers.contains(&answer))
    }

    /// Whether only Envoy refuses the request as not valid.
    pub(super) fn envoy_refuses(&self) -> bool {
        self.envoy_answers(&[REFUSED])
    }

    /// Whether only Weir refuses the request as not valid.
    pub(super) fn weir_refuses(&self) -> bool {
        self.aspect == "answer" && self.weir == Some(REFUSED)
    }

    /// Whether both refuse it as not valid: a call of gRPC with a status of its own.
    pub(super) fn is_refused_by_both(&self) -> bool {
        let refuses = |aspects: &Aspects| {
            let is = |aspect: &str, value: &str| aspects.get(aspect).is_some_and(|known| known == value);
            is("answer", REFUSED) || (is("answer", "200 by nobody") && is("header grpc-status", "13"))
        };
        refuses(self.all.0) && refuses(self.all.1)
    }

    /// Whether both answers have this value of an aspect.
    pub(super) fn both_have(&self, aspect: &str, value: &str) -> bool {
        [self.all.0, self.all.1].iter().all(|aspects| aspects.get(aspect).is_some_and(|known| known == value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answers::group::get;
    use crate::answers::groups::Subject;

    #[test]
    fn nothing_more_is_compared_where_the_answers_differ() {
        let ask = Ask::plain(0, Subject::Routes, 0, &get("/"));
        let aspects = |pairs: &[(&str, &str)]| -> Aspects {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let names = |envoy, weir| {
            let (envoy, weir) = (aspects(envoy), aspects(weir));
            mismatches(&ask, &envoy, &weir).iter().map(|one| one.aspect.to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(&[("answer", "200 by v1"), ("flags", "-")], &[("answer", "503 by nobody")]), ["answer"]);
        let envoy = [("answer", "200 by v1"), ("flags", "-"), ("takes", "long"), ("target", "/")];
        assert_eq!(names(&envoy, &[("answer", "200 by v1"), ("flags", "UC"), ("target", "/")]), ["flags", "takes"]);
    }
}
