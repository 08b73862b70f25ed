//! One run over peers of every sort at once. Each has events that no other has, and some that all
//! have: whatever one sort does, the others' events come, and its own as far as it gives them.

mod support;

use std::collections::BTreeSet;
use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use support::events::{Author, events, id_of};
use support::no_relays::ClosedPort;
use support::node::Node;
use support::scripted::{Act, Answer, Archive, Arrival, Request, Round, ScriptedRelay, answer};
use support::{real_strfry, strfry_bin};

const AUTHORS: u64 = 12;
/// Events that every peer has.
const COMMON: usize = 60;
/// Events that a peer may send again: of the second in which a page ends, or before it is cut off.
const TWICE: usize = 20;
/// Seconds that the silent ones are waited for.
const TIME_OUT: &str = "8";

type Answering = Box<dyn Fn(&Request) -> Answer + Send + Sync>;
type Comparing = Box<dyn Fn(&Round) -> Answer + Send + Sync>;

/// What a relay does.
struct Ways {
    info: Option<Value>,
    greeting: Vec<Act>,
    answering: Answering,
    comparing: Comparing,
}

impl Ways {
    /// Compares, and gives what is asked for.
    fn comparing(archive: &Archive) -> Self {
        let comparing = Box::new(archive.comparer());
        let archive = archive.clone();
        let answering = Box::new(move |request: &Request| archive.answer(request));
        Self { info: None, greeting: Vec::new(), answering, comparing }
    }

    /// Does not know what a comparison is.
    fn paging(archive: &Archive) -> Self {
        let comparing: Comparing =
            Box::new(|_| answer([Act::Notice("ERROR: bad msg: unknown cmd".into())]));
        Self { comparing, ..Self::comparing(archive) }
    }

    fn informing(self, info: Value) -> Self {
        Self { info: Some(info), ..self }
    }

    /// Makes something else of the answers to requests.
    fn changing(
        self,
        change: impl Fn(&Request, Vec<Act>) -> Vec<Act> + Send + Sync + 'static,
    ) -> Self {
        let honest = self.answering;
        let answering = move |request: &Request| answer(change(request, honest(request).collect()));
        Self { answering: Box::new(answering), ..self }
    }

    /// Refuses requests and comparisons that `is_private` says, as long as it does not know who
    /// asks.
    fn asking_who(self, is_private: fn(&Value) -> bool) -> Self {
        const WHO: &str = "auth-required: who are you";
        let (honest, comparer) = (self.answering, self.comparing);
        let answering = move |request: &Request| match request.is_known {
            false if is_private(&request.filter) => answer([Act::Closed(WHO.into())]),
            _ => honest(request),
        };
        let comparing = move |round: &Round| match &round.filter {
            Some(filter) if !round.is_known && is_private(filter) => {
                answer([Act::NegErr(WHO.into(), None)])
            }
            _ => comparer(round),
        };
        Self {
            greeting: vec![Act::Text(json!(["AUTH", "challenge"]).to_string())],
            answering: Box::new(answering),
            comparing: Box::new(comparing),
            ..self
        }
    }

    fn start(self) -> ScriptedRelay {
        let greeting = self.greeting;
        let arrival = move |_| Arrival::Greet(greeting.clone());
        ScriptedRelay::start_informing(self.info, arrival, self.answering, self.comparing)
    }
}

/// How it is to go with a peer.
enum Expected {
    Complete,
    /// With this reason for both of its queries.
    Failed(String),
    /// With this one gap.
    Incomplete(Value),
}

struct Sort {
    name: &'static str,
    url: String,
    expected: Expected,
    /// Events that it may be seen to send.
    most: usize,
    relay: Option<ScriptedRelay>,
}

/// All peers, and every event that can be had of them.
struct World {
    authors: Vec<Author>,
    begin: u64,
    common: Vec<String>,
    sorts: Vec<Sort>,
    reachable: Vec<String>,
}

impl World {
    fn new() -> Self {
        let authors = Author::all(0..AUTHORS);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let begin = now - 40_000;
        let common = events(COMMON, |number| {
            authors[(number % AUTHORS) as usize].note(begin + 7 * number, "everywhere")
        });
        let reachable = common.clone();
        Self { authors, begin, common, sorts: Vec::new(), reachable }
    }

    /// A few notes, and a few private messages, that only this peer has.
    fn part(&self, name: &str) -> Vec<String> {
        events(50, |number| {
            let author = &self.authors[(number % AUTHORS) as usize];
            let kind = if number % 10 == 0 { 4 } else { 1 };
            author.event(kind, self.begin + 11 * number, json!([]), &format!("{name} {number}"))
        })
    }

    /// So many notes in one second, by so many authors.
    fn dense(&self, count: usize, authors: u64) -> Vec<String> {
        events(count, |number| {
            let author = &self.authors[(number % authors) as usize];
            author.note(self.begin + 20_000, &format!("{count} {number}"))
        })
    }

    /// A peer that has these events, gives all of them in the end, at most `limit` at once.
    fn add(
        &mut self,
        name: &'static str,
        own: Vec<String>,
        limit: usize,
        ways: impl FnOnce(&Archive) -> Ways,
    ) {
        let relay = ways(&Archive::new(&[&own[..], &self.common].concat(), limit)).start();
        // What shows no order is asked for again in smaller pieces, and by what tests the order.
        let again = if name.contains("random order") { 2 * (own.len() + COMMON) } else { 0 };
        let most = own.len() + COMMON + TWICE + again;
        self.reachable.extend(own);
        let (url, expected) = (relay.url(), Expected::Complete);
        self.sorts.push(Sort { name, url, expected, most, relay: Some(relay) });
    }

    /// The same, of a usual size.
    fn add_usual(&mut self, name: &'static str, limit: usize, ways: impl FnOnce(&Archive) -> Ways) {
        self.add(name, self.part(name), limit, ways);
    }

    /// A peer that gives nothing.
    fn add_useless(&mut self, name: &'static str, reason: &str, act: fn() -> Option<Act>) {
        let relay = Ways {
            answering: Box::new(move |_| answer(act())),
            comparing: Box::new(move |_| answer(act())),
            ..Ways::paging(&Archive::new(&[], 500))
        };
        let relay = relay.start();
        let (url, expected) = (relay.url(), Expected::Failed(reason.to_owned()));
        self.sorts.push(Sort { name, url, expected, most: 0, relay: Some(relay) });
    }

    fn relay(&self, name: &str) -> &ScriptedRelay {
        let sort = self.sorts.iter().find(|sort| sort.name == name).unwrap();
        sort.relay.as_ref().unwrap()
    }
}

/// Both queries of a run, with the reason why they were not answered.
fn gaps_of_all(reason: &str, since: &Value) -> Value {
    // A run asks for a day, and as far ahead as the relay takes events.
    let until = since.as_u64().map(|since| since + 86_400 + 900);
    let gap = |kind: u64| json!({"reason": reason, "authors": AUTHORS, "kinds": [kind], "since": since, "until": until});
    json!([gap(1), gap(4)])
}

fn ids<'a>(events: impl IntoIterator<Item = &'a String>) -> BTreeSet<String> {
    events.into_iter().map(|event| id_of(event)).collect()
}

/// Everything that can be had, at peers of every sort.
fn world() -> World {
    let mut world = World::new();
    world.add_usual("compares", 500, Ways::comparing);
    world.add_usual("compares, 20 at once", 20, Ways::comparing);
    world.add_usual("pages", 500, Ways::paging);
    world.add_usual("pages of 20", 20, Ways::paging);
    world.add_usual("claims too much", 30, |archive| {
        let limits = json!({"max_limit": 5_000, "max_subscriptions": 1_000, "max_filters": 100});
        let info = json!({"supported_nips": [1, 77], "negentropy": 1, "limitation": limits});
        Ways::paging(archive).informing(info)
    });
    world.add_usual("claims too little", 500, |archive| {
        let limits = json!({"max_limit": 1, "max_subscriptions": 0, "max_filters": 0});
        Ways::comparing(archive).informing(json!({"supported_nips": [1], "limitation": limits}))
    });
    world.add_usual("wants to know who asks", 500, |archive| {
        Ways::comparing(archive).asking_who(|_| true)
    });
    world.add_usual("wants to know who asks for private messages", 500, |archive| {
        Ways::paging(archive).asking_who(|filter| filter["kinds"] == json!([4]))
    });
    world.add_usual("is asked too often", 500, |archive| {
        Ways::paging(archive).changing(|request, honest| match request.number {
            1 | 3 => vec![Act::Closed("rate-limited: slow down".into())],
            _ => honest,
        })
    });
    world.add_usual("closes in the middle of an answer", 500, |archive| {
        Ways::comparing(archive).changing(|request, mut honest| {
            if request.number <= 2 {
                honest.truncate(7);
                honest.push(Act::Cut);
            }
            honest
        })
    });
    world.add_usual("answers in random order", 20, |archive| {
        Ways::paging(archive).changing(|request, mut honest| {
            let end = honest.pop();
            fastrand::Rng::with_seed(request.number as u64).shuffle(&mut honest);
            honest.into_iter().chain(end).collect()
        })
    });
    world.add_usual("says the end before the events", 500, |archive| {
        Ways::comparing(archive).changing(|_, mut honest| {
            honest.rotate_right(1);
            honest
        })
    });
    // An answer that ends with nothing is asked for again before what comes after it is read.
    world.sorts.last_mut().unwrap().most *= 3;
    let stranger = Author::new(AUTHORS).note(world.begin, "nobody asked for me");
    world.add_usual("gives what nobody asked for", 500, move |archive| {
        Ways::comparing(archive).changing(move |_, mut honest| {
            honest.insert(0, Act::Event(stranger.clone()));
            honest
        })
    });
    world.add("5,000 events in one second", world.dense(5_000, 1), 500, Ways::comparing);
    world.add("600 events in one second, in pages", world.dense(600, 12), 100, Ways::paging);
    // A page of the second shows that it is more than that; then each author's part comes.
    world.sorts.last_mut().unwrap().most = 600 + 3 * 100 + COMMON + TWICE;

    let too_dense = world.dense(30, 1);
    let second = world.begin + 20_000;
    let given = Archive::new(&too_dense, 20).page(&json!({}));
    world.add("30 events in one second, in pages of 20", too_dense, 20, Ways::paging);
    world.reachable.truncate(world.reachable.len() - 30);
    world.reachable.extend(given);
    let sort = world.sorts.last_mut().unwrap();
    // That there is more is seen twice, and again of the one whose events these are.
    sort.most = 4 * 20 + COMMON + TWICE;
    sort.expected = Expected::Incomplete(json!({
        "reason": format!(
            "second {second} holds more events of one author and kind than a page"
        ),
        "authors": 1,
        "kinds": [1],
        "since": second,
        "until": second,
    }));

    world.add_useless("is silent", &format!("nothing new for {TIME_OUT} s"), || None);
    let reason = "refused by the relay: go away";
    world.add_useless("refuses with notices", reason, || Some(Act::Notice("go away".into())));
    world
}

#[test]
fn all_that_can_be_had_of_peers_of_every_sort_comes_once_and_the_rest_is_named() {
    let mut world = world();
    let closed = ClosedPort::reserve();
    let refused =
        format!("cannot connect to {}: Connection refused (os error 111)", closed.address());
    let expected = Expected::Failed(refused);
    let (name, url) = ("is not there", closed.url());
    world.sorts.push(Sort { name, url, expected, most: 0, relay: None });

    let node = Node::new(&real_strfry().unwrap_or_else(strfry_bin));
    let pubkeys: String =
        world.authors.iter().map(|author| format!("{}\n", author.pubkey())).collect();
    let pubkeys = node.write("pubkeys.txt", pubkeys);
    let key = node.write("key", "07".repeat(32));
    set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    let mut run = vec!["--no-profiles", "--kinds", "1,4", "--timeout", TIME_OUT];
    run.extend(["--auth-key-file", key.to_str().unwrap()]);
    run.extend(["--pubkeys", pubkeys.to_str().unwrap(), "--relay"]);
    run.extend(world.sorts.iter().map(|sort| sort.url.as_str()));
    let (code, summary) = node.backfill(&run);
    assert_eq!((code, &summary["status"]), (1, &json!("incomplete")));

    let missing = &ids(&world.reachable) - &ids(&node.events());
    let missing = world.reachable.iter().filter(|event| missing.contains(&id_of(event)));
    let missing: Vec<&String> = missing.collect();
    assert_eq!(missing, Vec::<&String>::new());
    assert_eq!(ids(&node.events()), ids(&world.reachable));

    for (sort, peer) in world.sorts.iter().zip(summary["peers"].as_array().unwrap()) {
        let mut named = peer["gaps"].as_array().unwrap().clone();
        for gap in &mut named {
            // The reason says it, too.
            gap.as_object_mut().unwrap().remove("cause").unwrap();
        }
        named.sort_by_key(|gap| gap["kinds"][0].as_u64());
        let (status, gaps) = match &sort.expected {
            Expected::Complete => ("complete", json!([])),
            Expected::Failed(reason) => ("failed", gaps_of_all(reason, &peer["since"])),
            Expected::Incomplete(gap) => ("incomplete", json!([gap])),
        };
        assert_eq!((&peer["status"], &json!(named)), (&json!(status), &gaps), "{}", sort.name);
        let received = peer["received"].as_u64().unwrap() as usize;
        assert!(received <= sort.most, "{}: {received} of {}", sort.name, sort.most);
        let wants_to_know = sort.name.starts_with("wants to know");
        let auths = sort.relay.as_ref().map_or(0, |relay| relay.record().auths.len());
        assert_eq!(auths, usize::from(wants_to_know), "{}", sort.name);
    }

    let count = |class: &str| summary["events"][class].as_u64().unwrap_or(0) as usize;
    assert_eq!(count("imported"), world.reachable.len());
    let strange = world.relay("gives what nobody asked for").record().requests.len();
    assert_eq!(count("unasked"), strange);
    println!("{:#} in {} s", summary["events"], summary["seconds"]);
    let received = summary["received"].as_u64().unwrap() as usize;
    let twice = count("duplicate") + count("already_present");
    assert_eq!(received, world.reachable.len() + strange + twice);
}
