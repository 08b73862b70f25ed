//! Constellations of relays and histories of runs, all from one seed.

use std::time::Duration;

use crate::node::Intake;
use crate::quirks::{
    Challenge, Comparing, Door, Login, Order, Quirks, Refusal, Rule, Speech, Stored, TooMuch,
    Verdict, Withholds,
};
use crate::run::Run;
use crate::world::{DAY, KINDS, World};

/// Kinds that relays keep for the parties to them.
const PRIVATE: &[u64] = &[4, 1059];

/// Events are published at most so many seconds late: a little less than a run allows for.
const LATE: u64 = DAY - 600;

/// Most authors.
const AUTHORS: usize = 6;

/// Which relays there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relays {
    /// Such as keep to NIP-01.
    Honest,
    /// With all quirks that there are.
    Wild,
}

/// Lives through the history of one seed: some runs, and one plain run with honest peers at its end.
/// Returns how many messages it took.
///
/// # Errors
/// What was wrong, with all that led to it.
pub async fn live(seed: u64, relays: Relays) -> Result<usize, String> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let authors = rng.usize(1..=AUTHORS);
    let mut life = Life { world: World::new(&format!("seed {seed}"), authors), rng };
    for number in 0..life.rng.u64(1..=3) {
        let quirks = match relays {
            Relays::Honest => honest(&mut life.rng),
            Relays::Wild => wild(&mut life.rng),
        };
        life.world.add_peer(quirks, seed + number);
    }
    let past = life.past();
    life.publish(past);
    for number in 0..life.world.peers() {
        life.keep_alive(number);
    }
    let mut messages = 0;
    for _ in 0..life.rng.u64(1..=4) {
        let run = life.draw_run();
        messages += life.world.perform(&run).await?.1;
        let before = life.world.now();
        life.world.pass(life.rng.u64(600..3 * DAY));
        let new = life.news(before);
        life.publish(new);
    }
    Ok(messages + life.world.end().await?)
}

/// A world that chance rules.
struct Life {
    world: World,
    rng: fastrand::Rng,
}

impl Life {
    fn make(&mut self, kind: u64, created_at: u64) -> Stored {
        let author = self.rng.usize(..self.world.authors().len());
        self.world.make(author, kind, created_at)
    }

    /// What has been published before the first run.
    fn past(&mut self) -> Vec<Stored> {
        let mut events = Vec::new();
        for _ in 0..self.rng.usize(0..60) {
            let (kind, age) = (self.rng.choice(KINDS).unwrap(), self.rng.u64(1..12 * DAY));
            events.push(self.make(kind, self.world.now() - age));
        }
        for _ in 0..self.rng.usize(0..3) {
            // A second, or a few, with many events.
            let (second, kind) =
                (self.world.now() - self.rng.u64(1..6 * DAY), self.rng.choice([1, 7]));
            let length = self.rng.u64(1..3);
            for _ in 0..self.rng.usize(5..60) {
                let created_at = second - self.rng.u64(0..length);
                events.push(self.make(kind.unwrap(), created_at));
            }
        }
        for second in 0..self.rng.u64(0..3) {
            events.push(self.make(1, second));
        }
        events
    }

    /// A relay that answers long questions with nothing is told from an empty one by what it has of the
    /// last days.
    fn keep_alive(&mut self, peer: usize) {
        if self.world.quirks(peer).refuses.iter().any(hides_by_time) {
            let recent = self.make(1, self.world.now() - DAY / 2);
            self.world.give(peer, vec![recent]);
        }
    }

    /// What has been published since that second, some of it late: it says that it is older.
    fn news(&mut self, since: u64) -> Vec<Stored> {
        let count = self.rng.usize(0..12);
        let mut events = Vec::new();
        for _ in 0..count {
            let kind = self.rng.choice(KINDS).unwrap();
            let published = self.rng.u64(since + 1..=self.world.now());
            let late = if self.rng.bool() { self.rng.u64(0..LATE) } else { 0 };
            events.push(self.make(kind, published - late));
        }
        events
    }

    /// Each event gets to some of the relays.
    fn publish(&mut self, events: Vec<Stored>) {
        let count = self.world.peers();
        let mut new = vec![Vec::new(); count];
        for event in events {
            let first = self.rng.usize(..count);
            for (number, new) in new.iter_mut().enumerate() {
                if number == first || self.rng.u8(..) < 100 {
                    new.push(event.clone());
                }
            }
        }
        for (peer, new) in new.into_iter().enumerate() {
            self.world.give(peer, new);
        }
    }

    fn draw_run(&mut self) -> Run {
        let rng = &mut self.rng;
        let one_of = |rng: &mut fastrand::Rng, most: u32| rng.u32(..most) == 0;
        let mut kinds = KINDS.to_vec();
        let (few_kinds, no_messages) = (one_of(rng, 4), one_of(rng, 6));
        kinds.retain(|&kind| !(few_kinds && rng.bool() || no_messages && kind == 4));
        if kinds.is_empty() {
            kinds = vec![1];
        }
        let mut authors = self.world.authors().to_vec();
        if one_of(rng, 3) {
            authors.truncate(rng.usize(1..=authors.len()));
        }
        let mut peers: Vec<usize> = (0..self.world.peers()).collect();
        if one_of(rng, 4) {
            rng.shuffle(&mut peers);
            peers.truncate(rng.usize(1..=peers.len()));
        }
        Run {
            authors,
            kinds,
            days: rng.choice([0, 1, 1, 2, 5]).unwrap(),
            peers,
            ignores_state: one_of(rng, 8),
            is_dry: one_of(rng, 10),
            intake: Intake {
                window: rng.usize(1..20),
                rejects: if one_of(rng, 5) { rng.u64(2..9) } else { 0 },
                stops_after: one_of(rng, 6).then(|| rng.usize(0..40)),
            },
            is_stopped: rng.bool(),
            dies_at: one_of(rng, 3).then(|| rng.usize(1..120)),
            dies_at_the_end: one_of(rng, 12),
        }
    }
}

/// A relay that keeps to NIP-01.
fn honest(rng: &mut fastrand::Rng) -> Quirks {
    let comparing = if rng.bool() { Comparing::Works } else { Quirks::default().comparing };
    Quirks { cap: rng.choice([100, 500]).unwrap(), comparing, ..Quirks::default() }
}

/// A relay with some of the quirks there are.
fn wild(rng: &mut fastrand::Rng) -> Quirks {
    let one_of = |rng: &mut fastrand::Rng, most: u32| rng.u32(..most) == 0;
    let mut quirks = Quirks {
        cap: rng.choice([5, 20, 20, 100, 500, 500]).unwrap(),
        caps_all_filters_together: one_of(rng, 8),
        until_is_exclusive: one_of(rng, 12),
        since_is_exclusive: one_of(rng, 12),
        heeds_the_first_filter_only: one_of(rng, 12),
        finds_no_ids: one_of(rng, 15),
        ..Quirks::default()
    };
    if one_of(rng, 4) {
        let orders = [
            Order::Oldest,
            Order::Shuffled,
            Order::ByAuthor,
            Order::ByKind,
            Order::ByAuthorAndKind,
            Order::Random,
        ];
        quirks.order = rng.choice(orders).unwrap();
    }
    if one_of(rng, 15) {
        quirks.ignores = rng.choice([&["limit"], &["until"], &["kinds"], &["ids"]]).unwrap();
    }
    while one_of(rng, 2) && quirks.refuses.len() < 2 {
        quirks.refuses.push(rule(rng));
    }
    if quirks.refuses.iter().any(hides_by_time) {
        // What would tell it from an empty one would be refused.
        quirks.refuses.retain(|rule| !matches!(rule.what, TooMuch::Matches(_)));
    }
    if one_of(rng, 5) {
        let how = rng.choice([
            None,
            Some(Refusal::Closed("auth-required: these are not yours")),
            Some(Refusal::Notice("restricted: these are not yours")),
        ]);
        let how = how.unwrap();
        quirks.withholds = Some(Withholds { kinds: PRIVATE, how, names_them: rng.bool() });
    }
    if quirks.ignores.contains(&"kinds") {
        // What it leaves out after it has cut its answer makes it look whole.
        quirks.withholds = quirks.withholds.filter(|_| quirks.order == Order::Newest);
    }
    if one_of(rng, 6) {
        quirks.login = Some(login(rng));
    }
    quirks.comparing = match rng.u32(..10) {
        0..5 => Comparing::Works,
        5 => Comparing::EmptySet,
        6 => Comparing::NamesMore(rng.usize(1..9)),
        7 => Comparing::Refuses(refusal(rng)),
        _ => quirks.comparing,
    };
    if one_of(rng, 4) {
        let usual = Speech::default();
        let speeches = [
            Speech { ends_first: true, ..usual },
            Speech { ends_twice: true, ..usual },
            Speech { ends_others: true, ..usual },
            Speech { closes_after_the_end: true, ..usual },
            Speech { closes_in_place_of_the_end: true, ..usual },
            Speech { keeps_alive: true, ..usual },
            Speech { cuts_after: Some(rng.usize(5..40)), ..usual },
            Speech { embellishes: true, ..usual },
            Speech { pause: Some(Duration::from_millis(rng.u64(1..900))), ..usual },
        ];
        quirks.speech = rng.choice(speeches).unwrap();
    }
    if one_of(rng, 12) {
        let times = rng.usize(1..4);
        quirks.door = Door::Busy { times, status: 503, retry_after: None };
    }
    quirks
}

/// We have a key, and are let in.
fn login(rng: &mut fastrand::Rng) -> Login {
    let challenges = [
        Challenge::AtConnect,
        Challenge::BeforeRefusal,
        Challenge::AfterRefusal,
        Challenge::LongAfterRefusal,
        Challenge::InsteadOfRefusal,
        Challenge::Again,
    ];
    let refusals = [
        Refusal::Closed("auth-required: log in first"),
        Refusal::Closed("restricted: members only"),
        Refusal::Notice("auth-required: log in first"),
        Refusal::NoticeAndClosed("auth-required: log in first"),
        Refusal::End,
    ];
    let verdicts = [Verdict::Accepts, Verdict::AcceptsInSilence, Verdict::RejectsTheFirst];
    let challenge = rng.choice(challenges).unwrap();
    let guards = if rng.bool() { None } else { Some(PRIVATE) };
    Login {
        challenge,
        guards,
        refusal: rng.choice(refusals).unwrap(),
        verdict: rng.choice(verdicts).unwrap(),
    }
}

fn refusal(rng: &mut fastrand::Rng) -> Refusal {
    let refusals = [
        Refusal::Closed("no"),
        Refusal::Closed("error: too much"),
        Refusal::Notice("too much"),
        Refusal::NoticeAndEnd("too much"),
        Refusal::NoticeAndClosed("too much"),
        Refusal::End,
        Refusal::Silence,
        Refusal::HangUp,
        Refusal::Cut,
    ];
    rng.choice(refusals).unwrap()
}

/// Whether it answers long questions with nothing.
fn hides_by_time(rule: &Rule) -> bool {
    matches!((rule.what, rule.how), (TooMuch::Span(_), Refusal::End))
}

fn rule(rng: &mut fastrand::Rng) -> Rule {
    let kind = rng.choice(KINDS).unwrap();
    let rules = [
        TooMuch::Kinds(10),
        TooMuch::Kinds(3),
        TooMuch::Kinds(1),
        TooMuch::Authors(1),
        TooMuch::Authors(3),
        TooMuch::Ids(0),
        TooMuch::Ids(5),
        TooMuch::Filters(1),
        TooMuch::Limit(100),
        TooMuch::Limit(20),
        TooMuch::Span(60 * DAY),
        TooMuch::Matches(50),
        TooMuch::Kind(kind),
        TooMuch::Open(1),
        TooMuch::Open(2),
        TooMuch::Every(3),
    ];
    let what = rng.choice(rules).unwrap();
    let how = refusal(rng);
    // A few small questions cannot tell these from relays that have nothing.
    let hides_much = matches!(
        what,
        TooMuch::Kinds(1 | 3)
            | TooMuch::Authors(_)
            | TooMuch::Matches(_)
            | TooMuch::Kind(_)
            | TooMuch::Every(_)
            | TooMuch::Open(_)
    );
    let is_a_lie = hides_much && matches!(how, Refusal::End);
    Rule { what, how: if is_a_lie { Refusal::Closed("no") } else { how } }
}
