//! Which rules of a policy are worth a closer look. Most rules ask for a peer, a method or a path, and most requests have another one.
//! That is seen by comparing hashes and the ends of texts, which lie side by side for all rules of a policy, before anything of a rule
//! itself is read.
//!
//! A rule that is left out does not match. One that is not may match or not.

use super::condition::RequestCondition;
use super::group::{Clause, Group, Match, ServiceAccountMatch};
use super::path_match::PathMatch;
use super::path_readings::is_ambiguous;
use super::principal::TrustDomains;
use super::string_match::StringMatch;
use crate::model::balance::{fnv, mixed};
use crate::model::identity::Identity;

/// What the groups of a policy ask for, in a form that is quickly compared.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct RuleFilter {
    /// One for each group, in their order.
    guards: Box<[Guard]>,
    peers: Box<[PeerKey]>,
    paths: Box<[PathGuard]>,
}

/// What one group asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Guard {
    methods: Methods,
    /// Where its peers and its paths end; they begin where those of the group before it end. Without any, all will do.
    peers_end: u32,
    paths_end: u32,
}

/// A hash of a service account with its namespace, or of a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PeerKey(u32);

/// A set of methods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Methods(u16);

/// A text that a path is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PathGuard {
    /// See [`end_of`].
    end: u64,
    length: u32,
    place: Place,
}

/// Where in a path a text has to stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Whole,
    Front,
    Back,
}

/// What a decision is about, in the form that a [`RuleFilter`] compares with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Probe<'a> {
    peer: PeerProbe,
    request: Option<RequestProbe<'a>>,
}

#[derive(Debug, Clone, Copy)]
enum PeerProbe {
    /// It has no identity.
    Nobody,
    Known {
        account: PeerKey,
        namespace: PeerKey,
    },
    /// Its principal cannot be taken apart without doubt: any rule may be about it.
    Unclear,
}

#[derive(Debug, Clone, Copy)]
struct RequestProbe<'a> {
    methods: Methods,
    path: &'a [u8],
    /// Servers may read the path in other ways too.
    is_ambiguous: bool,
}

impl RuleFilter {
    pub(super) fn of(groups: &[Group]) -> Self {
        let (mut peers, mut paths) = (Vec::new(), Vec::new());
        let end = |length: usize| u32::try_from(length).expect("what fits a message has fewer texts");
        let guards = groups.iter().map(|group| {
            // A clause without matches is true.
            let clauses = || group.clauses.iter().filter(|clause| !clause.matches.is_empty());
            peers.extend(clauses().find_map(|clause| of_each(clause, peers_of)).unwrap_or_default());
            paths.extend(clauses().find_map(|clause| of_each(clause, paths_of)).unwrap_or_default());
            let methods = clauses().filter_map(|clause| of_each(clause, methods_of));
            let methods = methods.map(Methods::any).fold(Methods::ALL, Methods::both);
            Guard { methods, peers_end: end(peers.len()), paths_end: end(paths.len()) }
        });
        let guards = guards.collect();
        Self { guards, peers: peers.into(), paths: paths.into() }
    }

    /// The positions of the groups that may match, in their order. `opens`: the policy must hold for the path as it is, and not for any
    /// way of reading it.
    pub(super) fn candidates(&self, probe: &Probe<'_>, opens: bool) -> impl Iterator<Item = usize> {
        let Probe { peer, request } = *probe;
        let path = request.filter(|request| opens || !request.is_ambiguous).map(|request| request.path);
        let (mut peers_begin, mut paths_begin) = (0, 0);
        self.guards.iter().enumerate().filter_map(move |(position, guard)| {
            let Guard { methods, peers_end, paths_end } = *guard;
            let peers = &self.peers[std::mem::replace(&mut peers_begin, peers_end as usize)..peers_end as usize];
            let paths = &self.paths[std::mem::replace(&mut paths_begin, paths_end as usize)..paths_end as usize];
            let may_match = (peers.is_empty() || peer.is_among(peers))
                && request.is_none_or(|request| methods.both(request.methods) != Methods::NONE)
                && (paths.is_empty() || path.is_none_or(|path| paths.iter().any(|guard| guard.may_match(path))));
            may_match.then_some(position)
        })
    }
}

/// What the matches of a clause ask for, any of which will do; `None` where one of them asks for nothing that can be compared.
fn of_each<T>(clause: &Clause, of: impl Fn(&Match) -> Option<Vec<T>>) -> Option<Vec<T>> {
    let each: Option<Vec<Vec<T>>> = clause.matches.iter().map(of).collect();
    each.map(|each| each.into_iter().flatten().collect())
}

/// The service accounts or else the namespaces of peers that a match is about.
fn peers_of(one: &Match) -> Option<Vec<PeerKey>> {
    fn all<T>(values: &[T], key: impl Fn(&T) -> Option<PeerKey>) -> Option<Vec<PeerKey>> {
        if values.is_empty() { None } else { values.iter().map(key).collect() }
    }
    let account =
        |account: &ServiceAccountMatch| Some(PeerKey::of_account(&account.namespace, &account.service_account));
    let namespace = |pattern: &StringMatch| match pattern {
        StringMatch::Exact(namespace) if !namespace.is_empty() => Some(PeerKey::of_namespace(namespace)),
        _ => None,
    };
    all(&one.service_accounts, account)
        .or_else(|| all(&one.principals, PeerKey::of_principal))
        .or_else(|| all(&one.namespaces, namespace))
}

fn methods_of(one: &Match) -> Option<Vec<Methods>> {
    one.request.iter().find_map(|condition| match condition {
        RequestCondition::Method(methods) if !methods.values.is_empty() => {
            Some(methods.values.iter().map(Methods::of_pattern).collect())
        }
        _ => None,
    })
}

fn paths_of(one: &Match) -> Option<Vec<PathGuard>> {
    one.request.iter().find_map(|condition| match condition {
        RequestCondition::Path(paths) if !paths.values.is_empty() => paths.values.iter().map(PathGuard::of).collect(),
        _ => None,
    })
}

impl PeerKey {
    fn of_account(namespace: &str, service_account: &str) -> Self {
        Self::truncated(mixed(fnv(namespace.as_bytes())) ^ fnv(service_account.as_bytes()))
    }

    fn of_namespace(namespace: &str) -> Self {
        Self::truncated(fnv(namespace.as_bytes()))
    }

    #[expect(clippy::cast_possible_truncation, reason = "some of the bits of a hash are a hash")]
    fn truncated(hash: u64) -> Self {
        Self(mixed(hash) as u32)
    }

    /// The service account that every principal has that a pattern matches, or the namespace; `None` where there is neither. Taken for
    /// granted is that no part of a principal has a slash, see [`PeerProbe::of`].
    fn of_principal(pattern: &StringMatch) -> Option<Self> {
        match pattern {
            StringMatch::Exact(text) | StringMatch::Suffix(text) => {
                let mut parts = text.rsplit('/');
                let (service_account, sa) = (parts.next()?, parts.next()?);
                let (namespace, ns) = (parts.next()?, parts.next()?);
                ((ns, sa) == ("ns", "sa")).then(|| Self::of_account(namespace, service_account))
            }
            StringMatch::Prefix(text) => {
                let mut parts = text.split('/');
                let (_trust_domain, ns) = (parts.next()?, parts.next()?);
                let namespace = parts.next()?;
                // Without a slash behind it, it may be the beginning of a longer name.
                (ns == "ns" && parts.next().is_some()).then(|| Self::of_namespace(namespace))
            }
            StringMatch::Presence => None,
        }
    }
}

impl Methods {
    const NONE: Self = Self(0);
    const ALL: Self = Self(u16::MAX);

    /// Those of RFC 9110 and RFC 5789 have a place each, all others share one.
    fn of(method: &[u8]) -> Self {
        const KNOWN: [&[u8]; 9] =
            [b"GET", b"POST", b"PUT", b"DELETE", b"HEAD", b"PATCH", b"OPTIONS", b"CONNECT", b"TRACE"];
        Self(1 << KNOWN.iter().position(|known| *known == method).unwrap_or(KNOWN.len()))
    }

    fn of_pattern(pattern: &StringMatch) -> Self {
        match pattern {
            StringMatch::Exact(method) => Self::of(method.as_bytes()),
            StringMatch::Prefix(_) | StringMatch::Suffix(_) | StringMatch::Presence => Self::ALL,
        }
    }

    fn any(sets: Vec<Self>) -> Self {
        sets.into_iter().fold(Self::NONE, |Self(all), Self(one)| Self(all | one))
    }

    fn both(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl PathGuard {
    fn of(path: &PathMatch) -> Option<Self> {
        let (text, place) = match path {
            PathMatch::Text(StringMatch::Exact(text)) => (&**text, Place::Whole),
            PathMatch::Text(StringMatch::Prefix(text)) => (&**text, Place::Front),
            PathMatch::Text(StringMatch::Suffix(text)) => (&**text, Place::Back),
            PathMatch::Text(StringMatch::Presence) => return None,
            PathMatch::Template(template) => (template.front(), Place::Front),
        };
        Some(Self { end: end_of(text.as_bytes()), length: u32::try_from(text.len()).ok()?, place })
    }

    fn may_match(self, path: &[u8]) -> bool {
        let length = self.length as usize;
        let part = match self.place {
            Place::Whole if path.len() != length => None,
            Place::Whole | Place::Front => path.get(..length),
            Place::Back => path.len().checked_sub(length).and_then(|begin| path.get(begin..)),
        };
        part.is_some_and(|part| end_of(part) == self.end)
    }
}

/// The last eight bytes of a text, or all of a shorter one, as a number.
fn end_of(text: &[u8]) -> u64 {
    let short = || text.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    text.last_chunk().map_or_else(short, |end| u64::from_be_bytes(*end))
}

impl<'a> Probe<'a> {
    /// A decision about this peer and, where a request is known, its method and its path.
    pub(super) fn new(
        identity: Option<&Identity>,
        domains: TrustDomains<'_>,
        request: Option<(&[u8], &'a [u8])>,
    ) -> Self {
        let request = request.map(|(method, path)| RequestProbe {
            methods: Methods::of(method),
            path,
            is_ambiguous: is_ambiguous(path),
        });
        Self { peer: PeerProbe::of(identity, domains), request }
    }
}

impl PeerProbe {
    /// What a certificate says never has slashes in its parts. Whatever else does is not compared by parts.
    fn of(identity: Option<&Identity>, domains: TrustDomains<'_>) -> Self {
        let Some(identity) = identity else { return Self::Nobody };
        let aliases = domains.aliases.iter().map(|alias| alias.as_str());
        let own =
            [identity.trust_domain.as_str(), &identity.namespace, &identity.service_account, domains.own.as_str()];
        if own.into_iter().chain(aliases).any(|part| part.contains('/')) {
            return Self::Unclear;
        }
        Self::Known {
            account: PeerKey::of_account(&identity.namespace, &identity.service_account),
            namespace: PeerKey::of_namespace(&identity.namespace),
        }
    }

    fn is_among(self, keys: &[PeerKey]) -> bool {
        match self {
            Self::Nobody => false,
            Self::Known { account, namespace } => keys.iter().any(|key| *key == account || *key == namespace),
            Self::Unclear => true,
        }
    }
}
