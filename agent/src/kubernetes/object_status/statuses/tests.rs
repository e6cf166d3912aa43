use super::*;

/// The first and the last that may write.
const FIRST: f64 = 0.0;
const LAST: f64 = 1.0;

fn seen(generation: i64, told: Vec<Json>) -> Seen {
    Seen {
        uid: "one".to_owned(),
        generation: Some(generation),
        version: format!("{generation}.{}", told.len()),
        is_being_deleted: false,
        told,
        invalid: None,
    }
}

fn name() -> Arc<str> {
    "shop/few".into()
}

fn nothing_missing(_: &str) -> Option<MissingReferences> {
    Some(MissingReferences::default())
}

fn missing(_: &str) -> Option<MissingReferences> {
    Some(MissingReferences { targets: vec!["no a".to_owned()], is_about_nobody: true, services: Vec::new() })
}

/// An agent, with the time that it lives in.
struct Agent {
    statuses: Statuses,
    now: Instant,
    chance: f64,
}

impl Agent {
    fn new(chance: f64) -> Self {
        Self { statuses: Statuses::default(), now: Instant::now(), chance }
    }

    fn sees(&mut self, seen: Seen) {
        self.statuses.take(Change::Put((name(), seen)));
    }

    fn judges(&mut self, find_missing: impl Fn(&str) -> Option<MissingReferences>) -> bool {
        let chance = self.chance;
        self.statuses.judge(self.now, find_missing, || chance)
    }

    /// What it would write now, if anything.
    fn next(&self) -> Option<Write> {
        match self.statuses.next(self.now) {
            Next::Write(write) => Some(*write),
            Next::At(_) | Next::Nothing => None,
        }
    }

    fn ended(&mut self, write: &Write, end: End) -> bool {
        let chance = self.chance;
        self.statuses.ended(write, end, self.now, || chance)
    }

    /// Lets time go by until it would write.
    fn in_time(&mut self) -> Write {
        let Next::At(at) = self.statuses.next(self.now) else { panic!("{:?}", self.statuses.next(self.now)) };
        self.now = at;
        self.next().expect("its time has come")
    }

    fn is_content(&self) -> bool {
        self.statuses.next(self.now) == Next::Nothing
    }
}

fn told(write: &Write) -> Vec<Json> {
    write.conditions("then").as_array().expect("a list").clone()
}

#[test]
fn one_agent_writes_and_the_others_leave_it_at_that() {
    let (mut first, mut last) = (Agent::new(FIRST), Agent::new(LAST));
    for agent in [&mut first, &mut last] {
        agent.sees(seen(1, Vec::new()));
        assert!(agent.judges(nothing_missing));
    }
    assert!(last.next().is_none(), "it waits");
    let write = first.next().expect("it is the first");
    assert_eq!((&*write.name, &*write.uid, &*write.version), ("shop/few", "one", "1.0"));
    first.ended(&write, End::Written);
    assert!(first.is_content());
    for agent in [&mut first, &mut last] {
        agent.sees(seen(1, told(&write)));
        agent.judges(nothing_missing);
        assert!(agent.is_content(), "all is said");
    }
    // Who was too late looks again, and finds it said.
    let mut late = Agent::new(FIRST);
    late.sees(seen(1, Vec::new()));
    late.judges(nothing_missing);
    let write = late.next().expect("it has not seen the other's");
    late.ended(&write, End::Overtaken);
    assert!(late.next().is_none(), "not at once");
    late.sees(seen(1, told(&write)));
    late.judges(nothing_missing);
    assert!(late.is_content());
}

#[test]
fn agents_that_disagree_write_once_each() {
    let (mut old, mut new) = (Agent::new(FIRST), Agent::new(LAST));
    let mut writes = 0;
    let mut conditions = Vec::new();
    for _ in 0..20 {
        for (agent, judge) in [(&mut old, nothing_missing as fn(&str) -> _), (&mut new, missing)] {
            agent.sees(seen(1, conditions.clone()));
            agent.judges(judge);
            if agent.is_content() {
                continue;
            }
            let write = agent.next().unwrap_or_else(|| agent.in_time());
            agent.ended(&write, End::Written);
            conditions = told(&write);
            writes += 1;
        }
    }
    assert_eq!(writes, 2);
    // A change of the object has both say what they think of that.
    for agent in [&mut old, &mut new] {
        agent.sees(seen(2, conditions.clone()));
        agent.judges(nothing_missing);
        assert!(!agent.is_content());
    }
}

#[test]
fn what_an_agent_thinks_of_an_object_may_change() {
    let mut agent = Agent::new(FIRST);
    agent.sees(seen(1, Vec::new()));
    assert!(!agent.judges(|_| None), "nobody can say yet");
    assert!(agent.is_content());
    // A Service that is applied along with the object is not told to be missing.
    agent.judges(missing);
    agent.now += SETTLING / 2;
    assert!(agent.next().is_none());
    agent.judges(nothing_missing);
    let write = agent.next().expect("it is there");
    agent.ended(&write, End::Written);
    agent.sees(seen(1, told(&write)));
    agent.judges(missing);
    let later = agent.in_time();
    assert_ne!(told(&later), told(&write), "it is gone");
    agent.ended(&later, End::Written);
    agent.sees(seen(1, told(&later)));
    agent.judges(nothing_missing);
    assert_eq!(told(&agent.next().expect("it is back"))[0]["status"], "True");
    // The control plane is away: what is said stays.
    assert!(!agent.judges(|_| None));
    assert!(agent.is_content());
    // What is not valid needs nobody else to say so.
    agent.sees(Seen { invalid: Some("spec: wrong".into()), ..seen(2, told(&later)) });
    assert!(agent.judges(|_| None));
    assert_eq!(told(&agent.next().expect("it is refused"))[0]["message"], "spec: wrong");
}

#[test]
fn failures_are_not_repeated_soon() {
    for (ends, pause, is_told) in [
        (&[End::Refused][..], REFUSED_PAUSE, false),
        (&[End::NotFound], NOT_FOUND_PAUSE, false),
        (&[End::NotFound, End::NotFound], REFUSED_PAUSE, true),
        (&[End::Overtaken], OVERTAKEN_PAUSE, false),
    ] {
        let mut agent = Agent::new(FIRST);
        agent.sees(seen(1, Vec::new()));
        agent.judges(nothing_missing);
        let mut told = false;
        for end in ends {
            let write = agent.next().unwrap_or_else(|| agent.in_time());
            told = agent.ended(&write, *end);
            agent.judges(nothing_missing);
        }
        assert_eq!(told, is_told, "{ends:?}");
        assert_eq!(agent.statuses.next(agent.now), Next::At(agent.now + pause), "{ends:?}");
    }
}

#[test]
fn objects_come_and_go() {
    let mut agent = Agent::new(FIRST);
    let put = |seen| Change::Put((name(), seen));
    for (change, is_content, what) in [
        (put(seen(1, Vec::new())), false, "it is created"),
        (put(Seen { is_being_deleted: true, ..seen(1, Vec::new()) }), true, "it is being deleted"),
        (put(Seen { uid: "two".to_owned(), ..seen(1, Vec::new()) }), false, "another of its name"),
        (
            put(Seen { generation: None, ..seen(1, Vec::new()) }),
            true,
            "without a generation nobody knows what is said of which",
        ),
        (put(seen(1, Vec::new())), false, "with one"),
        (Change::Removed((name(), seen(1, Vec::new()))), true, "it is gone"),
        (put(seen(1, Vec::new())), false, "it is created again"),
        (Change::Listing, true, "all are listed: until that has ended nothing is said"),
        (Change::Listed, true, "it is not among them"),
    ] {
        agent.statuses.take(change);
        agent.judges(nothing_missing);
        assert_eq!(agent.is_content(), is_content, "{what}");
    }
}
