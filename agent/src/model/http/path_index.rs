//! Which of many texts a path begins with: the exact paths and prefixes of all routes, in a tree (radix tree). A node stands for
//! what all texts below it begin with, so a path takes one step for each place where texts part on its way, however many there are.

/// Routes by the text that a path must begin with for them to match.
#[derive(Debug, Default)]
pub(super) struct PathIndex {
    /// The root first. The children of a node stand together, in the order of their first bytes.
    nodes: Vec<Node>,
    /// The first byte of the label of each node; 0 for the root, which has none.
    first_bytes: Vec<u8>,
    /// The labels of all nodes, one behind the other.
    labels: Vec<u8>,
    /// The routes of all nodes, one behind the other.
    routes: Vec<u32>,
}

#[derive(Debug)]
struct Node {
    /// What the node adds to the text of its parent.
    label: Span,
    /// Of its own text, ascending.
    routes: Span,
    children: Span,
    /// The next node on the way to the root that has routes; [`NO_NODE`] where there is none.
    shorter: u32,
}

const NO_NODE: u32 = u32::MAX;

/// A part of one of the lists.
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    start: u32,
    end: u32,
}

/// One of the texts, and its routes.
type Text<'t> = (&'t [u8], Span);

/// Texts that begin with that of a node, which is `length` long. The children of the node are not made yet.
struct Below<'s, 't> {
    node: usize,
    texts: &'s [Text<'t>],
    length: usize,
}

impl PathIndex {
    /// From the text of each route and its number.
    pub(super) fn new(mut all: Vec<(&[u8], u32)>) -> Self {
        all.sort_unstable();
        let mut index = Self::default();
        let mut texts: Vec<Text<'_>> = Vec::new();
        for same in all.chunk_by(|one, next| one.0 == next.0) {
            let start = narrow(index.routes.len());
            index.routes.extend(same.iter().map(|(_, route)| *route));
            texts.push((same[0].0, Span { start, end: narrow(index.routes.len()) }));
        }
        if texts.is_empty() {
            return index;
        }
        index.push(&[], NO_NODE);
        // No recursion: objects may hold texts that each begin with the one before, however many.
        let mut pending = vec![Below { node: 0, texts: &texts, length: 0 }];
        while let Some(below) = pending.pop() {
            index.grow(below, &mut pending);
        }
        index
    }

    /// Gives a node its routes and children.
    fn grow<'s, 't>(&mut self, below: Below<'s, 't>, pending: &mut Vec<Below<'s, 't>>) {
        let Below { node, mut texts, length } = below;
        if let [(text, routes), others @ ..] = texts
            && text.len() == length
        {
            self.nodes[node].routes = *routes;
            texts = others;
        }
        let shorter = if self.nodes[node].routes.is_empty() { self.nodes[node].shorter } else { narrow(node) };
        let start = narrow(self.nodes.len());
        for group in texts.chunk_by(|one, next| one.0[length] == next.0[length]) {
            // They are sorted: what the first and the last have in common all have.
            let (first, last) = (group[0].0, group[group.len() - 1].0);
            let more = first[length..].iter().zip(&last[length..]).take_while(|(one, other)| one == other).count();
            let common = length + more;
            pending.push(Below { node: self.nodes.len(), texts: group, length: common });
            self.push(&first[length..common], shorter);
        }
        self.nodes[node].children = Span { start, end: narrow(self.nodes.len()) };
    }

    fn push(&mut self, label: &[u8], shorter: u32) {
        let start = narrow(self.labels.len());
        self.labels.extend_from_slice(label);
        self.first_bytes.push(label.first().copied().unwrap_or_default());
        let label = Span { start, end: narrow(self.labels.len()) };
        self.nodes.push(Node { label, routes: Span::default(), children: Span::default(), shorter });
    }

    /// The routes of all texts that a path begins with, longest text first.
    pub(super) fn beginning(&self, path: &[u8]) -> impl Iterator<Item = &[u32]> {
        let mut at = self.longest(path);
        std::iter::from_fn(move || {
            let node = self.nodes.get(at as usize)?;
            at = node.shorter;
            Some(&self.routes[node.routes.range()])
        })
    }

    /// The node with routes of the longest text that a path begins with.
    fn longest(&self, path: &[u8]) -> u32 {
        let (mut at, mut rest, mut longest) = (0, path, NO_NODE);
        while let Some(node) = self.nodes.get(at) {
            let Some(behind) = rest.strip_prefix(&self.labels[node.label.range()]) else { break };
            if !node.routes.is_empty() {
                longest = narrow(at);
            }
            let Some(next) = behind.first() else { break };
            let children = &self.first_bytes[node.children.range()];
            let Some(child) = children.iter().position(|first| first == next) else { break };
            (at, rest) = (node.children.start as usize + child, behind);
        }
        longest
    }
}

impl Span {
    fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }

    fn is_empty(self) -> bool {
        self.start == self.end
    }
}

fn narrow(number: usize) -> u32 {
    u32::try_from(number).expect("memory ends long before 2^32 bytes of routes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(index: &PathIndex, path: &str) -> Vec<u32> {
        index.beginning(path.as_bytes()).flatten().copied().collect()
    }

    #[test]
    fn texts_that_a_path_begins_with_come_longest_first() {
        let texts = ["/a", "/a/b", "", "/abc", "/a/b", "/q/r/s"];
        let index = PathIndex::new((0..).zip(texts).map(|(number, text)| (text.as_bytes(), number)).collect());
        for (path, expected) in [
            ("/a/b/c", &[1, 4, 0, 2][..]),
            ("/a/b", &[1, 4, 0, 2]),
            ("/a/", &[0, 2]),
            ("/abcd", &[3, 0, 2]),
            ("/ab", &[0, 2]),
            ("/q/r/t", &[2]),
            ("/q/r/s", &[5, 2]),
            ("", &[2]),
        ] {
            assert_eq!(found(&index, path), expected, "{path}");
        }
        assert_eq!(found(&PathIndex::new(Vec::new()), "/a"), [] as [u32; 0]);
    }

    #[test]
    fn thousands_of_texts_may_each_begin_with_the_one_before() {
        let long = "a".repeat(5000);
        let index = PathIndex::new((0..5000).map(|length| (&long.as_bytes()[..length], narrow(length))).collect());
        assert_eq!(found(&index, "aaab"), [3, 2, 1, 0]);
        assert_eq!(index.beginning(long.as_bytes()).count(), 5000);
    }
}
