//! Who there is in the demo, what each relay holds of them, and what the hostile one offers.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::events::{Author, events, forged};
use crate::scripted::{Act, Archive, ScriptedRelay, answer};

const DAY: u64 = 86_400;

/// One author in so many has no profile on any relay.
const ONE_WITHOUT_PROFILE_IN: usize = 8;

/// Authors whose profile the hostile relay forges.
const VICTIMS: usize = 20;

/// Larger than the 65,536 bytes that strfry takes (`events.maxEventSize`).
const OVERSIZE: usize = 70_000;

/// What there is outside the node.
pub struct World {
    /// Whose events the node wants, the stations' own not counted.
    pub authors: Vec<Author>,
    /// How many of the authors and stations have no profile anywhere.
    pub without_profile: usize,
    /// One for each honest relay.
    pub stations: Vec<Author>,
    /// What each of the honest relays holds.
    pub relays: [Vec<String>; 3],
    /// What the node has at the beginning.
    pub already_here: Vec<String>,
    pub hostile: Hostile,
}

/// A relay that sends what it should not.
pub struct Hostile {
    /// Its station's key.
    pub author: Author,
    /// Somebody whose events the node refuses.
    pub blacklisted: Author,
    /// Answers to questions, none of them fit to be imported.
    answers: Vec<String>,
    /// Sent with every first answer, whatever the question.
    unasked: Vec<String>,
}

impl World {
    /// A world with so many authors.
    pub fn new(authors: u64) -> Self {
        let now = now();
        let mut authors = Author::all(0..authors - 2);
        authors.push(Author::with_2024());
        authors.push(Author::like_a_date());
        let stations = Author::all(10_000..10_003);

        // Older than the 30 days that are asked for at first: only the recovery finds them.
        let profiles = events(authors.len(), |number| {
            authors[number as usize].profile(now - 50 * DAY + number, &format!("player {number}"))
        });
        let (profiles, without): (Vec<_>, Vec<_>) = profiles
            .into_iter()
            .enumerate()
            .partition(|(number, _)| number % ONE_WITHOUT_PROFILE_IN != 0);
        let mut public: Vec<String> = profiles.into_iter().map(|(_, profile)| profile).collect();
        public.extend(notes(&authors, now));
        for (number, station) in stations.iter().enumerate() {
            public.push(station.profile(now - DAY, &format!("station {}", number + 1)));
            let tags = json!([["d", "did"]]);
            public.push(station.event(30_800, now - 2 * DAY, tags, "{\"@context\":[]}"));
        }

        let share = |relay: usize| -> Vec<String> {
            let on_it = |number: &usize| number % 3 == relay || number % 4 == relay;
            public.iter().enumerate().filter(|(number, _)| on_it(number)).map(second).collect()
        };
        Self {
            relays: [share(0), share(1), share(2)],
            already_here: public.iter().step_by(9).cloned().collect(),
            hostile: Hostile::new(&authors, &public, now),
            // The hostile station has a pubkey too, and no profile.
            without_profile: without.len() + 1,
            authors,
            stations,
        }
    }

    /// Pubkeys that the node collects: the authors' and the stations'.
    pub fn pubkeys(&self) -> usize {
        self.authors.len() + self.stations.len() + 1
    }

    /// The events of the honest relays, without repeats.
    pub fn honest(&self) -> Vec<String> {
        let mut all = self.relays.concat();
        all.sort_unstable();
        all.dedup();
        all
    }
}

fn second<T: Clone>((_, it): (usize, &T)) -> T {
    it.clone()
}

/// Notes, reactions, comments and articles of the last 28 days. One second holds more of them than
/// a relay gives at a time.
fn notes(authors: &[Author], now: u64) -> Vec<String> {
    let count = 25 * authors.len();
    let dense = (count / 4).min(700);
    events(count, |number| {
        let n = number as usize;
        let author = &authors[n % authors.len()];
        let spread = number * 27 * DAY / count as u64;
        let created_at = if n < dense { now - 3 * DAY } else { now - DAY - spread };
        let (kind, tags) = match n / authors.len() % 4 {
            0 => (1, json!([["t", "demo"]])),
            1 => (7, json!([["p", author.pubkey()]])),
            2 => (1_111, json!([["k", "web"]])),
            _ => (30_023, json!([["d", format!("article {number}")], ["title", "Demo"]])),
        };
        author.event(kind, created_at, tags, &format!("event {number} of the demo"))
    })
}

impl Hostile {
    fn new(authors: &[Author], public: &[String], now: u64) -> Self {
        let (author, blacklisted) = (Author::new(20_000), Author::new(20_001));
        let mut answers = Vec::new();
        for victim in authors.iter().take(VICTIMS) {
            // Newer than the real ones, which they would replace.
            let text = victim.profile(now - 60, "Mallory");
            let signature = with(&victim.profile(now - 59, "Mallory"), "sig", &sig_of(&text));
            answers.extend([forged(&text), signature]);
        }
        let somebody = &authors[1];
        answers.push(somebody.note(now - 58, &"x".repeat(OVERSIZE)));
        answers.push(with(&somebody.note(now - 57, "number"), "content", &json!(5)));
        answers.push(blacklisted.event(30_800, now - 56, json!([["d", "did"]]), "{}"));

        let ids: Vec<Value> = public.iter().take(50).map(|event| json!(["e", id(event)])).collect();
        let stranger = Author::new(20_002);
        let unasked = vec![
            stranger.event(5, now - 55, json!(ids), "deletes what others wrote"),
            stranger.note(now - 54, "of somebody that nobody asked for"),
            somebody.event(9_999, now - 53, json!([]), "of a kind that nobody asked for"),
        ];
        Self { author, blacklisted, answers, unasked }
    }

    pub fn in_words(&self) -> String {
        format!(
            "{} forged profiles, an event that is too large, one that is\n   no event, one of a \
             blacklisted pubkey, and {} that nobody asks for, foreign deletions among them",
            2 * VICTIMS,
            self.unasked.len()
        )
    }

    pub fn start(&self) -> ScriptedRelay {
        let archive = Archive::new(&self.answers, 500);
        let unasked = self.unasked.clone();
        ScriptedRelay::start(move |request| {
            let unasked = if request.number == 1 { unasked.clone() } else { Vec::new() };
            let events = unasked.into_iter().chain(archive.page(&request.filter));
            answer(events.map(Act::Event).chain([Act::Eose]).collect::<Vec<_>>())
        })
    }
}

fn with(event: &str, key: &str, value: &Value) -> String {
    let mut event: Value = serde_json::from_str(event).unwrap_or_default();
    event[key] = value.clone();
    event.to_string()
}

fn sig_of(event: &str) -> Value {
    field(event, "sig")
}

fn id(event: &str) -> Value {
    field(event, "id")
}

fn field(event: &str, key: &str) -> Value {
    let event: Value = serde_json::from_str(event).unwrap_or_default();
    event[key].clone()
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}
