//! The main job, end to end: real relays in process, the real program, strfry or its stand-in.

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use strfry_companion::import::{EventLimits, StoredEvent};
use strfry_companion::nostr::Event;
use support::events::{Author, events, id_of};
use support::node::Node;
use support::relays::Relay;
use support::scripted::{Act, Archive, Arrival, Gate, ScriptedRelay, answer};
use support::{NO_STRFRY, real_strfry, strfry_bin};

const DAY: u64 = 86_400;

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// What three peers hold of 300 authors.
struct World {
    authors: Vec<Author>,
    /// Each with a profile, or without.
    profiles: Vec<String>,
    notes: Vec<String>,
}

impl World {
    /// 80 % of the authors have a profile. Two pubkeys look like dates. The profiles are older
    /// than 30 days, the notes of the last 40 days.
    fn new() -> Self {
        let now = now();
        let mut authors = Author::all(0..298);
        authors.push(Author::with_2024());
        authors.push(Author::like_a_date());
        let with_profile: Vec<&Author> =
            authors.iter().enumerate().filter(|(n, _)| n % 5 != 0).map(|(_, a)| a).collect();
        let profiles = events(with_profile.len(), |number| {
            with_profile[number as usize]
                .profile(now - 50 * DAY + number, &format!("name {number}"))
        });
        let notes = events(20_000, |number| {
            let author = &authors[number as usize % authors.len()];
            // One second holds 900 notes of all authors in three kinds.
            let dense = number < 900;
            let second = if dense { now - 77 } else { now - 1_000 - number * 40 * DAY / 20_000 };
            let kind = [1, 7, 1111][number as usize / 300 % 3];
            author.event(kind, second, json!([["t", "x"]]), &format!("note {number}"))
        });
        Self { authors, profiles, notes }
    }

    /// Each note is on one or two peers, each profile on one.
    fn share(&self, peer: usize) -> Vec<String> {
        let notes = self.notes.iter().enumerate();
        let notes = notes.filter(|(n, _)| n % 3 == peer || n % 4 == peer).map(|(_, note)| note);
        let profiles = self.profiles.iter().enumerate();
        let profiles = profiles.filter(|(n, _)| n % 3 == peer).map(|(_, profile)| profile);
        notes.chain(profiles).cloned().collect()
    }
}

fn ids(events: impl IntoIterator<Item = impl AsRef<str>>) -> BTreeSet<String> {
    events.into_iter().map(|event| id_of(event.as_ref())).collect()
}

/// Runs with the stand-in, and with the strfry that `STRFRY_BIN` names.
fn with_each_strfry(test: impl Fn(&Path)) {
    test(&strfry_bin());
    match real_strfry() {
        Some(strfry) => test(&std::path::absolute(strfry).unwrap_or_else(|_| PathBuf::new())),
        None => println!("{NO_STRFRY}"),
    }
}

#[test]
fn every_event_of_three_capped_peers_and_every_profile_arrives_and_a_second_run_imports_nothing() {
    let world = World::new();
    let relays: Vec<Relay> = (0..3).map(|peer| Relay::start(&world.share(peer), 500)).collect();
    with_each_strfry(|strfry| {
        let node = Node::new(strfry);
        for (number, relay) in relays.iter().enumerate() {
            node.add_station(&format!("station{number}"), &relay.url());
        }
        let pubkeys: Vec<_> = world.authors.iter().map(Author::pubkey).collect();
        node.add_pubkeys(&pubkeys);

        let (code, summary) = node.backfill(&["--days", "30", "--allow-local-peers"]);
        assert_eq!((code, &summary["status"]), (0, &json!("complete")));
        let expected = ids(world.notes.iter().chain(&world.profiles));
        assert_eq!(ids(node.events()), expected);
        assert_eq!(summary["events"]["imported"], json!(expected.len()));

        let written: Value =
            serde_json::from_str(&node.read("tmp/coucou/_NIP101.profiles.json")).unwrap();
        assert_eq!(written.as_array().unwrap().len(), world.profiles.len());
        assert_eq!(summary["profiles"]["found"], json!(240));
        assert_eq!(summary["profiles"]["missing"], json!(60));

        let (code, again) = node.backfill(&["--days", "30", "--allow-local-peers"]);
        let seconds = |summary: &Value| summary["seconds"].as_f64().unwrap();
        println!("first run {:.2} s, second {:.2} s", seconds(&summary), seconds(&again));
        // In a build without optimisation, the relays of the test take most of the time.
        let share = if cfg!(debug_assertions) { 1.0 } else { 0.5 };
        assert!(seconds(&again) < share * seconds(&summary));
        assert_eq!((code, &again["events"]["imported"]), (0, &Value::Null));
        assert_eq!(ids(node.events()), expected);
    });
}

/// What a hostile relay sends in answer to every request, and how often it does so.
struct Attack {
    author: Author,
    mallory: Author,
}

impl Attack {
    fn new() -> Self {
        Self { author: Author::new(1), mallory: Author::new(666) }
    }

    /// The author's own event, which no attack must get rid of.
    fn victim(&self) -> String {
        self.author.note(now() - 500, "still here")
    }

    fn events(&self) -> Vec<String> {
        let (author, mallory, now) = (&self.author, &self.mallory, now());
        let forged_profile = support::events::forged(&author.profile(now, "mallory's words"));
        // The author's pubkey, the right id for it, and a signature that is mallory's.
        let mut stolen: Value = serde_json::from_str(&mallory.profile(now, "stolen")).unwrap();
        stolen["pubkey"] = json!(author.pubkey());
        let event = stolen.to_string();
        let event = Event::parse(&event).unwrap();
        stolen["id"] = json!(StoredEvent::encode(&event, &EventLimits::default()).unwrap().hash());
        let mut no_text: Value = serde_json::from_str(&author.note(now, "text")).unwrap();
        no_text["content"] = json!({"a": 1});
        let deletes_victim = json!([["e", id_of(&self.victim())]]);
        let address = json!([["a", format!("30023:{}:x", mallory.pubkey())]]);
        vec![
            forged_profile,
            stolen.to_string(),
            mallory.note(now, "nobody asked for me"),
            author.event(20_001, now, json!([]), "ephemeral, and not asked for"),
            author.note(now, &"x".repeat(70_000)),
            no_text.to_string(),
            mallory.event(5, now, deletes_victim, "not mine to delete"),
            author.event(5, now, address, "an address that is not mine"),
            author.event(1, now - 5, json!([["expiration", (now - 1).to_string()]]), "expired"),
            author.note(now, "Hello NOSTR visitor. I am a robot."),
            author.note(now - 3, "\u{7f}"),
        ]
    }
}

#[test]
fn nothing_of_a_hostile_peer_is_imported_all_of_it_is_counted_and_everything_else_arrives() {
    let attack = Attack::new();
    let honest_events = vec![
        attack.victim(),
        attack.author.profile(now() - 400, "the true name"),
        attack.author.note(now() - 300, "I write that somebody said: Hello NOSTR visitor."),
    ];
    let hostile_events = attack.events();
    let honest = Relay::start(&honest_events, 500);
    with_each_strfry(|strfry| {
        let node = Node::new(strfry);
        let pubkeys = node.write("pubkeys.txt", attack.author.pubkey().to_string());
        // Each event once, in answer to the first request.
        let sent = hostile_events.clone();
        let hostile = ScriptedRelay::start(move |request| {
            let events = if request.number == 1 { sent.clone() } else { Vec::new() };
            answer(events.into_iter().map(Act::Event).chain([Act::Eose]))
        });
        let (code, summary) = node.backfill(&[
            "--relay",
            &hostile.url(),
            "--relay",
            &honest.url(),
            "--pubkeys",
            pubkeys.to_str().unwrap(),
        ]);
        assert_eq!(code, 0, "{summary:#}");
        assert_eq!(ids(node.events()), ids(&honest_events));
        assert_eq!(
            summary["peers"][0]["events"],
            json!({
                "bad_id": 1,
                "bad_signature": 1,
                "unasked": 3,
                "oversize": 1,
                "malformed": 3,
                "expired": 1,
                "greeting": 1,
            })
        );
        assert_eq!(summary["peers"][0]["received"], json!(hostile_events.len()));
        assert_eq!(summary["peers"][1]["events"], json!({"imported": 3}));
    });
}

/// The `until` of everything that a relay was asked for.
fn untils(relay: &ScriptedRelay) -> Vec<u64> {
    let record = relay.record();
    let asked = record.requests.iter().chain(&record.comparisons);
    asked.filter(|it| it["ids"].is_null()).map(|it| it["until"].as_u64().unwrap()).collect()
}

#[test]
fn what_is_dated_further_ahead_than_the_relay_takes_it_is_a_class_of_its_own_and_not_asked_for() {
    let author = Author::new(1);
    let note = |second: u64| author.note(second, &second.to_string());
    let [today, soon, later] = [now() - 100, now() + 300, now() + 3_600].map(note);
    let far: Vec<String> = [1 << 40, (1 << 44) + 1, u64::MAX - 1].map(note).into();
    let all = [&[today.clone(), soon.clone(), later][..], &far].concat();
    with_each_strfry(|strfry| {
        for (configured, latest, expected) in [
            ("", 900, json!({"imported": 2, "too_new": 4})),
            ("rejectEventsNewerThanSeconds = 60", 60, json!({"imported": 1, "too_new": 5})),
        ] {
            let node = Node::new(strfry);
            let conf = node.read("strfry/strfry.conf") + &format!("events {{\n {configured}\n}}\n");
            node.write("strfry/strfry.conf", conf);
            let pubkeys = node.write("pubkeys.txt", author.pubkey().to_string());
            // Heeds no `until`, but the one of a page that is not the first.
            let everything = Archive::new(&all, 500);
            let archive = everything.clone();
            let began = now();
            let paged = ScriptedRelay::start(move |request| {
                let mut request = request.clone();
                for filter in &mut request.filters {
                    if filter["until"].as_u64().is_none_or(|until| until >= began) {
                        filter["until"] = u64::MAX.into();
                    }
                }
                archive.answer(&request)
            });
            let (archive, comparer) = (everything.clone(), everything.comparer());
            let compared = ScriptedRelay::start_comparing(
                |_| Arrival::Welcome,
                move |request| archive.answer(request),
                move |round| {
                    let mut round = round.clone();
                    round.filter = round.filter.map(|mut filter| {
                        filter["until"] = u64::MAX.into();
                        filter
                    });
                    comparer(&round)
                },
            );
            for relay in [paged, compared] {
                let flags = ["--relay", &relay.url(), "--pubkeys", pubkeys.to_str().unwrap()];
                let (code, mut summary) =
                    node.backfill(&[&flags[..], &["--no-profiles", "--dry-run"]].concat());
                // Where pages are asked for, an event at their border comes twice.
                let events = summary["events"].as_object_mut().unwrap();
                events.remove("duplicate");
                // What nobody asked for comes with each page.
                for class in ["too_new", "unasked"] {
                    let least = expected[class].as_u64().unwrap_or(0);
                    let count = events.remove(class).and_then(|count| count.as_u64());
                    assert!(count.unwrap_or(0) >= least, "{class}: {count:?} of {least}");
                }
                let mut would = expected.clone();
                for class in ["too_new", "unasked"] {
                    would.as_object_mut().unwrap().remove(class);
                }
                would["would_import"] = would.as_object_mut().unwrap().remove("imported").unwrap();
                assert_eq!((code, &summary["events"]), (0, &would), "{summary:#}");
                let untils = untils(&relay);
                assert!(!untils.is_empty());
                // One second more, for relays that leave out the last one.
                let bounds = began + latest..=now() + latest + 1;
                assert!(bounds.contains(untils.iter().max().unwrap()), "{untils:?} {bounds:?}");
            }
            let relay = ScriptedRelay::start(move |request| everything.answer(request));
            let flags = ["--relay", &relay.url(), "--pubkeys", pubkeys.to_str().unwrap()];
            let (_, summary) = node.backfill(&[&flags[..], &["--days", "0"]].concat());
            // An honest relay is not even asked for them, in whatever phase.
            assert_eq!(summary["events"]["too_new"], Value::Null, "{summary:#}");
            assert_eq!(summary["events"]["imported"], expected["imported"], "{summary:#}");
            assert!(untils(&relay).iter().all(|&until| until <= now() + latest + 1));
        }
    });
}

#[test]
fn profiles_as_clients_write_them_come_and_are_shown() {
    let contents: Vec<String> = support::fixture_json_lines("profiles.jsonl")
        .iter()
        .map(|event| event["content"].as_str().unwrap().to_owned())
        .collect();
    let authors = Author::all(0..contents.len() as u64);
    let profiles: Vec<String> = authors
        .iter()
        .zip(&contents)
        .map(|(author, content)| author.event(0, now() - 60, json!([]), content))
        .collect();
    let relay = Relay::start(&profiles, 500);
    with_each_strfry(|strfry| {
        let node = Node::new(strfry);
        node.add_pubkeys(&authors.iter().map(Author::pubkey).collect::<Vec<_>>());
        let (code, summary) = node.backfill(&["--relay", &relay.url()]);
        assert_eq!((code, &summary["events"]), (0, &json!({"imported": contents.len()})));
        assert_eq!(summary["profiles"]["missing"], 0);
        assert_eq!(ids(node.events()), ids(&profiles));
        for format in ["json", "jsonl", "csv", "table"] {
            let arguments = ["profiles", "--format", format];
            let output = node.companion(&arguments).output().unwrap();
            assert_eq!(output.status.code(), Some(0), "{format}: {output:?}");
            if format == "json" {
                let shown: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
                assert_eq!(shown.len(), contents.len());
            }
        }
    });
}

#[test]
fn an_event_that_one_peer_forges_comes_from_another_that_has_it() {
    let author = Author::new(1);
    let notes = support::events::events(60, |number| author.note(now() - number, "hello"));
    let archive = Archive::new(&notes, 500);
    with_each_strfry(|strfry| {
        let gate = Gate::default();
        // The right ids, and signatures that are not the author's.
        let asked = gate.clone();
        let forger = comparing(&archive, move |event| {
            asked.open();
            let mut event: Value = serde_json::from_str(&event).unwrap();
            event["sig"] = json!("11".repeat(64));
            event.to_string()
        });
        // Says what it has when the other one has been asked for all of it.
        let honest = archive.behind(&gate);
        let node = Node::new(strfry);
        let pubkeys = node.write("pubkeys.txt", author.pubkey().to_string());
        let relays = [&forger, &honest].map(|relay| relay.url());
        let pubkeys = pubkeys.to_str().unwrap();
        let [forger, honest] = &relays;
        let run = ["--relay", forger, "--relay", honest, "--pubkeys", pubkeys, "--no-profiles"];
        let (code, summary) = node.backfill(&run);
        assert_eq!(code, 0, "{summary:#}");
        assert_eq!(ids(node.events()), ids(&notes));
        assert_eq!(summary["events"], json!({"imported": 60, "bad_signature": 60}));
        assert_eq!(summary["peers"][0]["events"], json!({"bad_signature": 60}));
    });
}

/// A relay that compares honestly and gives of each event what `give` makes of it.
fn comparing(
    archive: &Archive,
    give: impl Fn(String) -> String + Send + Sync + 'static,
) -> ScriptedRelay {
    let archive = archive.clone();
    let comparer = archive.comparer();
    ScriptedRelay::start_comparing(
        |_| Arrival::Welcome,
        move |request| {
            let page = archive.page(&request.filter).into_iter();
            let given: Vec<Act> = page.map(|event| Act::Event(give(event))).collect();
            answer(given.into_iter().chain([Act::Eose]))
        },
        comparer,
    )
}

#[test]
fn what_strfry_holds_a_newer_one_of_or_its_author_has_deleted_is_told_apart_from_what_is_lost() {
    let author = Author::new(1);
    let second = now() - 1_000;
    let article = |second, d_tag: &str| {
        author.event(30_023, second, json!([["d", d_tag]]), &format!("written at {second}"))
    };
    let deleted_note = author.note(second, "regretted");
    let address = format!("30023:{}:gone", author.pubkey());
    let held = vec![
        author.profile(second + 100, "the newer name"),
        article(second + 100, "x"),
        author.event(5, second + 100, json!([["e", id_of(&deleted_note)]]), ""),
        author.event(5, second + 101, json!([["a", address]]), ""),
    ];
    let offered = vec![
        author.profile(second, "the older name"),
        article(second, "x"),
        deleted_note,
        article(second, "gone"),
        article(second, "new"),
        author.note(second + 5, "new"),
    ];
    let peer = Relay::start(&offered, 500);
    with_each_strfry(|strfry| {
        let node = Node::new(strfry);
        node.import(&held);
        let pubkeys = node.write("pubkeys.txt", author.pubkey().to_string());
        let pubkeys = pubkeys.to_str().unwrap();
        let run = ["--relay", &peer.url(), "--pubkeys", pubkeys, "--no-profiles"];
        let (code, summary) = node.backfill(&run);
        assert_eq!(code, 0, "{summary:#}");
        assert_eq!(ids(node.events()), ids(held.iter().chain(&offered[4..])));
        let classes = json!({"imported": 2, "superseded": 2, "deleted": 2});
        assert_eq!(summary["events"], classes);
        let named = |lost: usize, by: usize| (id_of(&offered[lost]), id_of(&held[by]));
        assert_eq!(pairs(&summary["superseded"]), BTreeSet::from([named(0, 0), named(1, 1)]));
        assert_eq!(pairs(&summary["deleted"]), BTreeSet::from([named(2, 2), named(3, 3)]));
    });
}

/// Each event of a list, and the one that is in the database instead or has deleted it.
fn pairs(list: &Value) -> BTreeSet<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    list.as_array().unwrap().iter().map(|it| (text(&it["id"]), text(&it["by"]))).collect()
}

/// The earliest second of every page and comparison that a relay was asked for.
fn seconds_asked(relay: &ScriptedRelay) -> Vec<u64> {
    let record = relay.record();
    let asked = record.requests.iter().chain(&record.comparisons);
    asked.filter_map(|filter| filter["since"].as_u64()).collect()
}

const STATE: &str = "strfry/constellation-backfill.state.json";

/// Makes the state what it would be if all runs had been so many seconds earlier.
fn turn_back(node: &Node, seconds: u64) {
    fn shift(value: &mut Value, seconds: u64) {
        match value {
            Value::Array(items) => items.iter_mut().for_each(|item| shift(item, seconds)),
            Value::Number(number) => {
                *value = json!(number.as_u64().unwrap().saturating_sub(seconds));
            }
            _ => {}
        }
    }
    let mut state: Value = serde_json::from_str(&node.read(STATE)).unwrap();
    for peer in state["peers"].as_object_mut().unwrap().values_mut() {
        for group in peer["known"].as_array_mut().unwrap() {
            for kinds in group["kinds"].as_array_mut().unwrap() {
                shift(&mut kinds["promised_from"], seconds);
                shift(kinds.get_mut("covered").unwrap_or(&mut Value::Null), seconds);
            }
        }
    }
    node.write(STATE, state.to_string());
}

#[test]
fn a_node_that_was_off_for_three_days_asks_for_three_days() {
    let author = Author::new(1);
    let archive = Archive::new(&[author.note(now() - 10, "hello")], 500);
    let node = Node::new(&support::strfry_bin());
    let pubkeys = node.write("pubkeys.txt", author.pubkey().to_string());
    let run = |relay: &ScriptedRelay, more: &[&str]| {
        let url = relay.url();
        let run = ["--relay", &url, "--pubkeys", pubkeys.to_str().unwrap(), "--no-profiles"];
        let (code, summary) = node.backfill(&[&run[..], more].concat());
        assert_eq!(code, 0, "{summary:#}");
    };
    let relay = comparing(&archive, |event| event);
    run(&relay, &[]);
    let days_ago = |second: u64| (now() - second + 600).div_euclid(DAY);
    assert!(seconds_asked(&relay).iter().all(|&second| days_ago(second) == 1));

    turn_back(&node, 3 * DAY);
    let state = node.read(STATE);
    for flag in ["--ignore-state", "--full"] {
        let before = seconds_asked(&relay).len();
        run(&relay, &[flag]);
        assert!(seconds_asked(&relay)[before..].iter().all(|&second| days_ago(second) == 1));
        node.write(STATE, &state);
    }
    let before = seconds_asked(&relay).len();
    run(&relay, &[]);
    // Three days, and an overlap of one.
    assert!(seconds_asked(&relay)[before..].iter().all(|&second| days_ago(second) == 4));
    let before = seconds_asked(&relay).len();
    run(&relay, &[]);
    assert!(seconds_asked(&relay)[before..].iter().all(|&second| days_ago(second) == 1));
}

#[test]
fn a_run_that_asks_for_less_does_not_make_the_next_one_forget_what_the_node_has_missed() {
    let author = Author::new(1);
    let missed = author.note(now() - 2 * DAY - 4_000, "written while the node was off");
    let relay = comparing(&Archive::new(&[missed], 500), |event| event);
    let url = relay.url();
    for less in [
        &[][..],
        &["--kinds", "0"],
        &["--ignore-state"],
        &["--full"],
        &["--no-dms"],
        &["--dry-run"],
        &["--days", "2"],
    ] {
        let node = Node::new(&strfry_bin());
        let pubkeys = node.write("pubkeys.txt", author.pubkey().to_string());
        let base = ["--relay", &url, "--pubkeys", pubkeys.to_str().unwrap(), "--no-profiles"];
        assert_eq!(node.backfill(&base).0, 0);
        turn_back(&node, 3 * DAY);
        if !less.is_empty() {
            assert_eq!(node.backfill(&[&base[..], less].concat()).0, 0, "{less:?}");
        }
        let (code, summary) = node.backfill(&base);
        assert_eq!((code, &summary["status"]), (0, &json!("complete")), "{less:?}");
        assert_eq!(node.events().len(), 1, "{less:?}");
    }
}

#[test]
fn a_peer_of_which_something_is_missing_is_not_remembered_as_complete() {
    let author = Author::new(1);
    let node = Node::new(&support::strfry_bin());
    let pubkeys = node.write("pubkeys.txt", author.pubkey().to_string());
    let relay = ScriptedRelay::start(|_| answer([Act::Closed("error: no".into())]));
    let relays = ["--relay", &relay.url(), "--pubkeys", pubkeys.to_str().unwrap()];
    let (code, summary) = node.backfill(&[&relays[..], &["--no-profiles"]].concat());
    assert_eq!(code, 1, "{summary:#}");
    let state = node.read(STATE);
    assert!(state.contains("promised_from") && !state.contains("covered"), "{state}");
}

#[test]
fn a_profile_that_no_peer_has_comes_from_where_its_author_publishes() {
    let authors = Author::all(1..4);
    let profiles: Vec<String> =
        authors.iter().map(|author| author.profile(now() - 900_000, "name")).collect();
    let [first, second] = [0, 1].map(|at| Relay::start(&profiles[at..=at], 500));
    let list = |author: &Author, relay: &str| {
        author.event(10_002, now() - 800_000, json!([["r", relay, "write"]]), "")
    };
    with_each_strfry(|strfry| {
        let node = Node::new(strfry);
        // The list of one is in the database, that of another with a peer, a third has none.
        node.import(&[list(&authors[0], &first.url())]);
        let peer = Relay::start(&[list(&authors[1], &second.url())], 500);
        let list: String = authors.iter().map(|author| format!("{}\n", author.pubkey())).collect();
        let pubkeys = node.write("pubkeys.txt", list);
        let relays = ["--relay", &peer.url(), "--pubkeys", pubkeys.to_str().unwrap()];
        let (code, summary) = node.backfill(&[&relays[..], &["--allow-local-peers"]].concat());
        assert_eq!(code, 0, "{summary:#}");
        let missing = json!([authors[2].pubkey()]);
        assert_eq!(summary["profiles"]["missing_pubkeys"], missing);
        let sources = summary["fallback"].as_array().unwrap().iter().map(|it| &it["source"]);
        assert_eq!(sources.collect::<Vec<_>>(), [&json!("author"), &json!("author")]);
        // Without leave no stranger directs this node at itself.
        let other = Node::new(strfry);
        let pubkeys = other.write("pubkeys.txt", authors[1].pubkey().to_string());
        let relays = ["--relay", &peer.url(), "--pubkeys", pubkeys.to_str().unwrap()];
        let (_, summary) = other.backfill(&relays);
        assert_eq!(summary["fallback"], json!([]));
    });
}

#[test]
fn a_key_that_others_can_read_or_that_is_none_is_refused_and_not_shown() {
    use std::os::unix::fs::PermissionsExt;
    let node = Node::new(&support::strfry_bin());
    let secret = "07".repeat(32);
    for (text, mode, why) in [
        (secret.as_str(), 0o644, "can be read by others"),
        ("not a key 0707", 0o600, "not a secret key"),
        (&"00".repeat(32), 0o600, "no secret key"),
    ] {
        let file = node.write("key", text);
        std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
        let pubkeys = node.write("pubkeys.txt", Author::new(1).pubkey().to_string());
        let output = node
            .companion(&["backfill", "--relay", "ws://127.0.0.1:1"])
            .arg("--pubkeys")
            .arg(&pubkeys)
            .arg("--auth-key-file")
            .arg(&file)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(support::node::code(&output), 2, "{said}");
        assert!(said.contains(why) && !said.contains("0707"), "{said}");
    }
}

#[test]
fn a_run_that_has_taken_its_longest_time_writes_what_has_come_and_says_so() {
    let author = Author::new(1);
    let asked = author.clone();
    // One new event after the other, each a page of its own, for ever.
    let relay = ScriptedRelay::start(move |request| {
        let until = request.filter["until"].as_u64().unwrap_or(now());
        let notes = [until, until - 1].map(|second| Act::Event(asked.note(second, "one more")));
        answer([Act::Wait(Duration::from_millis(50))].into_iter().chain(notes).chain([Act::Eose]))
    });
    with_each_strfry(|strfry| {
        let node = Node::new(strfry);
        let pubkeys = node.write("pubkeys.txt", author.pubkey().to_string());
        let url = relay.url();
        let arguments = ["--relay", &url, "--pubkeys", pubkeys.to_str().unwrap()];
        let began = Instant::now();
        let (code, summary) = node.backfill(
            &[&arguments[..], &["--days", "0", "--kinds", "1", "--max-time", "2s"]].concat(),
        );
        let seconds = began.elapsed().as_secs_f64();
        assert!((2.0..10.0).contains(&seconds), "{seconds} s");
        let errors = json!([
            "stopped before the end: the run has taken its longest time (2 s, --max-time); the \
             next one goes on"
        ]);
        assert_eq!((code, &summary["status"]), (1, &json!("incomplete")));
        assert_eq!(summary["errors"], errors);
        assert_eq!(summary["peers"][0]["gaps"][0]["reason"], "stopped before the end");
        let imported = summary["events"]["imported"].as_u64().unwrap();
        assert!(imported > 5, "{summary:#}");
        assert_eq!(node.events().len() as u64, imported);
    });
}

/// The event with a signature that is not its author's; its id is right.
fn wrongly_signed(note: &str) -> String {
    let mut event: Value = serde_json::from_str(note).unwrap();
    event["sig"] = "00".repeat(64).into();
    event.to_string()
}

/// The events of `all` that are there when a backfill from these relays has ended, and its status.
fn fetched_from(author: &Author, all: &[String], relays: &[&ScriptedRelay]) -> (usize, Value) {
    let node = Node::new(&strfry_bin());
    let pubkeys = node.write("pubkeys.txt", author.pubkey().to_string());
    let urls: Vec<String> = relays.iter().map(|relay| relay.url()).collect();
    let mut arguments = vec!["--days", "0", "--no-profiles", "--kinds", "1"];
    arguments.extend(["--pubkeys", pubkeys.to_str().unwrap(), "--relay"]);
    arguments.extend(urls.iter().map(String::as_str));
    let (_, summary) = node.backfill(&arguments);
    let here: BTreeSet<String> = node.events().iter().map(|event| id_of(event)).collect();
    let wanted = all.iter().filter(|event| here.contains(&id_of(event))).count();
    (wanted, summary["status"].clone())
}

#[test]
fn what_one_peer_forges_comes_from_another_that_holds_a_forgery_too() {
    let author = Author::new(1);
    let notes = events(60, |number| author.note(1_700_000_000 + number, "hello"));
    let bad = wrongly_signed(&author.note(1_700_009_000, "stored without a look"));
    let honest = Archive::new(&[&notes[..], &[bad]].concat(), 500);
    let comparer = honest.comparer();
    // Not as fast as those who make things up.
    let honest = ScriptedRelay::start_comparing(
        |_| Arrival::Welcome,
        move |request| {
            let acts: Vec<Act> = honest.answer(request).collect();
            answer([Act::Wait(Duration::from_millis(300))].into_iter().chain(acts))
        },
        comparer,
    );
    for forged_by_each in [5, 20] {
        // Each forges others.
        let forgers: Vec<ScriptedRelay> = (0..3)
            .map(|number| {
                let forged = notes.iter().skip(number * forged_by_each).take(forged_by_each);
                let forged: Vec<String> = forged.map(|note| wrongly_signed(note)).collect();
                comparing(&Archive::new(&forged, 500), |event| event)
            })
            .collect();
        let relays: Vec<&ScriptedRelay> = forgers.iter().chain([&honest]).collect();
        let (here, status) = fetched_from(&author, &notes, &relays);
        assert_eq!((here, status), (60, json!("complete")), "{forged_by_each} each");
    }
}

#[test]
fn what_other_relays_store_and_this_program_does_not_hides_nothing() {
    let authors = Author::all(1..3);
    let good = events(50, |number| authors[0].note(1_700_000_000 + number, "hello"));
    let upper = |note: &str| {
        let mut event: Value = serde_json::from_str(note).unwrap();
        event["sig"] = event["sig"].as_str().unwrap().to_uppercase().into();
        event.to_string()
    };
    let odd: Vec<String> = events(1_500, |number| authors[0].note(1_700_001_000 + number, "odd"))
        .iter()
        .map(|note| upper(note))
        .collect();
    for odd in [&odd[..], &odd[..1]] {
        let archive = Archive::new(&[&good[..], odd].concat(), 500);
        let pages = archive.clone();
        let paging = ScriptedRelay::start(move |request| pages.answer(request));
        for relay in [&paging, &comparing(&archive, |event| event)] {
            let (here, status) = fetched_from(&authors[0], &good, &[relay]);
            assert_eq!((here, status), (50, json!("complete")), "{} odd ones", odd.len());
        }
    }
}
