//! What a run owes, from one run to the next: interrupted runs, runs that ask for less, holes, lists
//! that grow, and the state file.

mod support;

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use support::events::{Author, events, id_of};
use support::no_relays::ClosedPort;
use support::node::Node;
use support::scripted::{Act, Archive, Request, ScriptedRelay, answer};
use support::{NO_STRFRY, real_strfry, strfry_bin};

const DAY: u64 = 86_400;
const STATE: &str = "strfry/constellation-backfill.state.json";

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Returns as soon as it is so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "still waiting until {what}");
        sleep(Duration::from_millis(10));
    }
}

fn with_each_strfry(test: impl Fn(&Path)) {
    test(&strfry_bin());
    match real_strfry() {
        Some(strfry) => test(&std::path::absolute(strfry).unwrap()),
        None => println!("{NO_STRFRY}"),
    }
}

fn ids<'a>(events: impl IntoIterator<Item = &'a String>) -> BTreeSet<String> {
    events.into_iter().map(|event| id_of(event)).collect()
}

/// For each author a profile that is older than a day, and so many notes of the last 300 days.
fn histories(authors: &[Author], notes: u64) -> Vec<String> {
    let now = now();
    let of = |author: &Author| {
        let note = |number| author.note(now - 5_000 - number * 300 * DAY / notes, "a note");
        let mut events: Vec<String> = (0..notes).map(note).collect();
        events.push(author.profile(now - 3 * DAY, "a name"));
        events
    };
    authors.iter().flat_map(of).collect()
}

fn node_of(strfry: &Path, authors: &[Author]) -> Node {
    let node = Node::new(strfry);
    node.add_pubkeys(&authors.iter().map(Author::pubkey).collect::<Vec<_>>());
    node
}

/// A relay that falls silent at a request, as long as it is told to; else it is honest.
struct Moody {
    relay: ScriptedRelay,
    is_moody: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
}

impl Moody {
    fn new(events: &[String], silent_from: usize) -> Self {
        let archive = Archive::new(events, 20);
        let is_moody = Arc::new(AtomicBool::new(true));
        let asked = Arc::<AtomicUsize>::default();
        let (mood, count) = (Arc::clone(&is_moody), Arc::clone(&asked));
        let relay = ScriptedRelay::start(move |request| {
            let number = count.fetch_add(1, Ordering::SeqCst) + 1;
            match mood.load(Ordering::SeqCst) && number >= silent_from {
                true => answer([]),
                false => archive.answer(request),
            }
        });
        Self { relay, is_moody, asked }
    }

    fn url(&self) -> String {
        self.relay.url()
    }

    fn be_honest(&self) {
        self.is_moody.store(false, Ordering::SeqCst);
    }
}

fn archive(events: &[String]) -> ScriptedRelay {
    let archive = Archive::new(events, 500);
    ScriptedRelay::start(move |request: &Request| archive.answer(request))
}

/// The filters that a relay was asked for since `from`; not the small questions that only test what it says.
fn asked_since(relay: &ScriptedRelay, from: usize) -> Vec<Value> {
    let is_page = |filter: &Value| {
        filter["limit"].as_u64() >= Some(500) && filter["until"].as_u64() <= Some(now() + 901)
    };
    relay.record().requests.into_iter().skip(from).filter(is_page).collect()
}

/// How many days back a filter asks; `None`: all time.
fn days(filter: &Value) -> Option<u64> {
    filter["since"].as_u64().map(|since| (now() - since + 600) / DAY)
}

#[test]
fn a_first_run_that_is_killed_at_any_moment_is_carried_on_by_the_next_one() {
    with_each_strfry(|strfry| {
        let authors = Author::all(1..7);
        let all = histories(&authors, 40);
        for silent_from in [1, 2, 4, 7, 10] {
            let node = node_of(strfry, &authors);
            let peers = [Moody::new(&all, silent_from), Moody::new(&all[100..], silent_from)];
            let urls = peers.each_ref().map(Moody::url);
            let flags = ["--days", "1", "--relay", &urls[0], "--relay", &urls[1]];
            let arguments = [&["backfill", "--no-fallback"], &flags[..]].concat();
            let mut command: Command = node.companion(&arguments);
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            until("the peers have been asked", || {
                peers.iter().all(|peer| peer.asked.load(Ordering::SeqCst) >= silent_from)
            });
            if silent_from > 3 {
                // From then on the profile does not tell any more what is owed.
                let is_profile = |event: &String| event.contains("\"kind\":0");
                until("a profile has been imported", || node.events().iter().any(is_profile));
            }
            child.kill().unwrap();
            child.wait().unwrap();
            peers.iter().for_each(Moody::be_honest);
            let (code, summary) = node.backfill(&flags);
            assert_eq!((code, &summary["status"]), (0, &json!("complete")), "{summary:#}");
            assert_eq!(ids(&node.events()), ids(&all), "silent from {silent_from}");
            let (code, summary) = node.backfill(&flags);
            assert_eq!((code, &summary["events"]["imported"]), (0, &Value::Null));
        }
    });
}

#[test]
fn what_a_run_owes_is_not_forgotten_by_runs_that_ask_for_less() {
    let authors = Author::all(1..5);
    let all = histories(&authors, 30);
    let node = node_of(&strfry_bin(), &authors);
    let peer = Moody::new(&all, 3);
    let url = peer.url();
    let base = ["--relay", &url, "--timeout", "1"];
    let (code, summary) = node.backfill(&base);
    assert_eq!((code, &summary["status"]), (1, &json!("incomplete")));
    // All profiles come from elsewhere: nothing but what was noted tells that something is owed.
    node.import(&all.iter().filter(|it| it.contains("\"kind\":0")).cloned().collect::<Vec<_>>());
    peer.be_honest();
    let one = node.write("one", authors[0].pubkey().to_string());
    for less in [
        &["--kinds", "0"][..],
        &["--no-dms", "--kinds", "0,4"],
        &["--pubkeys", one.to_str().unwrap()],
        &["--ignore-state"],
        &["--dry-run"],
    ] {
        let (code, summary) = node.backfill(&[&base[..2], less].concat());
        assert_eq!((code, &summary["status"]), (0, &json!("complete")), "{less:?}");
    }
    assert!(ids(&node.events()).len() < all.len());
    let (code, summary) = node.backfill(&base[..2]);
    assert_eq!((code, &summary["status"]), (0, &json!("complete")), "{summary:#}");
    assert_eq!(ids(&node.events()), ids(&all));
}

#[test]
fn profiles_that_a_run_of_fewer_kinds_brings_do_not_hide_that_everything_is_owed() {
    let authors = Author::all(1..3);
    let mut all = histories(&authors, 10);
    all.push(authors[0].event(4, now() - 100 * DAY, json!([["p", "11".repeat(32)]]), "secret"));
    let relay = archive(&all);
    for less in [&["--kinds", "0"][..], &["--kinds", "0", "--days", "0"], &["--no-dms"]] {
        let node = node_of(&strfry_bin(), &authors);
        let flags = ["--relay", &relay.url()];
        assert_eq!(node.backfill(&[&flags[..], less].concat()).0, 0);
        assert!(node.events().len() < all.len());
        let (code, summary) = node.backfill(&flags);
        assert_eq!((code, &summary["status"]), (0, &json!("complete")), "{summary:#}");
        assert_eq!(ids(&node.events()), ids(&all), "{less:?}");
    }
}

#[test]
fn an_event_that_did_not_come_into_the_database_is_asked_for_again_and_no_other() {
    for (trouble, every) in [("STAND_IN_REJECT_EVERY", "3"), ("STAND_IN_DROP_EVERY", "1")] {
        let author = Author::new(1);
        let all = histories(std::slice::from_ref(&author), 10);
        let relay = archive(&all);
        let node = node_of(&strfry_bin(), &[author]);
        let url = relay.url();
        // Of fried lines strfry refuses none.
        let flags = ["backfill", "--json", "--plain", "--no-fallback", "--relay", &url];
        let output = node.companion(&flags).env(trouble, every).output().unwrap();
        let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(summary["status"], "incomplete", "{summary:#}");
        let peer = &summary["peers"][0];
        assert_eq!(peer["status"], "incomplete");
        let why = peer["gaps"][0]["reason"].as_str().unwrap();
        assert!(why.contains("events that it gave are not in the database"), "{why}");
        let missing = all.len() - node.events().len();
        assert!(missing > 0);
        // The profile may be what is missing, which is looked for by itself.
        node.import(&[all[10].clone()]);
        let missing = missing.min(all.len() - node.events().len());

        let before = relay.record().requests.len();
        let (code, summary) = node.backfill(&flags[4..]);
        assert_eq!((code, &summary["status"]), (0, &json!("complete")), "{summary:#}");
        assert_eq!(ids(&node.events()), ids(&all));
        assert_eq!(summary["events"]["imported"], missing);
        let old = asked_since(&relay, before);
        let old = old.iter().filter(|filter| days(filter) != Some(1));
        let spans = old.map(|it| it["until"].as_u64().unwrap() - it["since"].as_u64().unwrap());
        // Each hole is one second, which is asked for with two more on either side.
        let spans: Vec<u64> = spans.collect();
        assert!(
            !spans.is_empty() && spans.iter().sum::<u64>() <= 4 * spans.len().max(missing) as u64,
            "{spans:?}"
        );
    }
}

#[test]
fn lists_that_grow_keep_what_is_covered_of_the_rest() {
    let authors = Author::all(1..3);
    let all = histories(&authors, 10);
    let relay = archive(&all);
    let node = node_of(&strfry_bin(), &authors);
    let [one, both] = [1, 2].map(|count| {
        let list: String =
            authors.iter().take(count).map(|it| format!("{}\n", it.pubkey())).collect();
        node.write(&format!("list{count}"), list)
    });
    let run = |list: &Path, kinds: &str| {
        let before = relay.record().requests.len();
        let list = list.to_str().unwrap();
        let flags = ["--days", "0", "--relay", &relay.url(), "--pubkeys", list, "--kinds", kinds];
        let (code, _) = node.backfill(&[&flags[..], &["--no-profiles"]].concat());
        assert_eq!(code, 0);
        let asked = asked_since(&relay, before).into_iter();
        // The last second of a page is asked for again.
        let asked = asked.filter(|it| it["until"].as_u64() > Some(now()) && it["limit"] != 1);
        asked.map(|it| (it["authors"].clone(), it["kinds"].clone(), days(&it))).collect::<Vec<_>>()
    };
    let names = |authors: &[Author]| {
        let mut names: Vec<_> = authors.iter().map(Author::pubkey).collect();
        names.sort();
        json!(names)
    };
    let (first, second) = (names(&authors[..1]), names(&authors[1..]));
    assert_eq!(run(&one, "1"), [(first.clone(), json!([1]), None)]);
    assert_eq!(run(&one, "1"), [(first.clone(), json!([1]), Some(1))]);
    assert_eq!(run(&both, "1"), [(first, json!([1]), Some(1)), (second, json!([1]), None)]);
    assert_eq!(
        run(&both, "0,1"),
        [(names(&authors), json!([1]), Some(1)), (names(&authors), json!([0]), None)]
    );
    assert_eq!(run(&both, "0,1"), [(names(&authors), json!([0, 1]), Some(1))]);
    assert_eq!(ids(&node.events()), ids(&all));
}

#[test]
fn days_are_asked_for_once_and_again_if_the_state_is_to_be_ignored() {
    let author = Author::new(1);
    let relay = archive(&histories(std::slice::from_ref(&author), 10));
    let node = node_of(&strfry_bin(), &[author]);
    let run = |flags: &[&str]| {
        let before = relay.record().requests.len();
        let url = relay.url();
        let base = ["backfill", "--no-fallback", "--no-profiles", "--relay", &url];
        let output = node.companion(&[&base[..], flags].concat()).output().unwrap();
        assert_eq!(support::node::code(&output), 0);
        let days: BTreeSet<_> = asked_since(&relay, before).iter().map(days).collect();
        (days, String::from_utf8(output.stderr).unwrap())
    };
    let of = |days: u64| BTreeSet::from([Some(days)]);
    assert_eq!(run(&["--days", "30"]).0, of(30));
    assert_eq!(run(&["--days", "30"]).0, of(1));
    assert_eq!(run(&["--days", "20", "--ignore-state"]), (of(20), String::new()));
    let (asked, said) = run(&["--days", "20", "--full"]);
    let note = "strfry-companion: --full is called --ignore-state now; the old name still works\n";
    assert_eq!((asked, said.as_str()), (of(20), note));
    // What such a run has covered counts.
    let (asked, _) = run(&["--days", "60", "--ignore-state"]);
    assert_eq!(asked, of(60));
    assert_eq!(run(&["--days", "60"]).0, of(1));
}

#[test]
fn the_last_lines_say_why_a_run_is_incomplete() {
    let author = Author::new(1);
    let all = histories(std::slice::from_ref(&author), 5);
    let node = node_of(&strfry_bin(), &[author]);
    let honest = archive(&all);
    let closed = ScriptedRelay::start(|_| answer([Act::Closed("error: no \u{1b}[2J".into())]));
    let dead = ClosedPort::reserve();
    let urls = [honest.url(), closed.url(), dead.url()];
    let arguments =
        [&["backfill", "--no-fallback", "--relay"][..], &urls.each_ref().map(String::as_str)]
            .concat();
    let output = node.companion(&arguments).output().unwrap();
    assert_eq!(support::node::code(&output), 1);
    // They say it once: nothing of it is on standard error, too.
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    let said = String::from_utf8(output.stdout).unwrap();
    let (_, why) = said.split_once("Incomplete, because:\n").unwrap();
    let lines: Vec<&str> = why.lines().collect();
    let [closed_line, dead_line] = lines[..] else { panic!("{why}") };
    let expected = format!("  {} gave nothing: refused by the relay: error: no ", urls[1]);
    assert!(closed_line.starts_with(&expected), "{why}");
    let expected = format!("  {} gave nothing: cannot connect to ", urls[2]);
    assert!(dead_line.starts_with(&expected), "{why}");
    assert!(lines.iter().all(|line| line.ends_with("; the next run asks for the rest")), "{why}");
    assert!(!why.contains('\u{1b}'));
}

/// What a run with this state says, on a node with one event of its own.
fn refused(node: &Node, relay: &ScriptedRelay, state: &str) -> String {
    node.write(STATE, state);
    let url = relay.url();
    for command in [&["backfill", "--no-fallback", "--relay", &url][..], &["diff", "--relay", &url]]
    {
        let output = node.companion(command).output().unwrap();
        assert_eq!(support::node::code(&output), 2, "{output:?}");
        assert_eq!(node.read(STATE), state);
    }
    assert_eq!(relay.record().connections, 0);
    let log = node.log();
    let error = log.lines().last().unwrap().split_once("] [ERROR] ").unwrap().1;
    let file = node.home().join(STATE);
    assert!(error.contains(&format!("{file:?}")), "{error}");
    assert!(
        error.contains(
            "peers are then asked again for events of the last --days only, and older ones that a \
             peer still owed are not asked for unless --days reaches them; or pass it over this \
             once with --ignore-state"
        ),
        "{error}"
    );
    error.to_owned()
}

#[test]
fn a_state_that_cannot_be_relied_on_is_an_error_that_says_what_is_lost_by_deleting_it() {
    let author = Author::new(1);
    let all = histories(std::slice::from_ref(&author), 5);
    let relay = archive(&all);
    let node = node_of(&strfry_bin(), &[author]);
    node.import(&all[..2]);
    let newer = refused(&node, &relay, r#"{"version":3,"anything":[]}"#);
    assert!(newer.contains("has version 3, and this program reads versions 1 and 2"), "{newer}");
    let whole = r#"{"version":2,"database":{"highest":1,"samples":[]},"authors":[],"peers":{}}"#;
    let cut = &whole[..whole.len() / 2];
    for damaged in ["", "{}", "[]", "precious", cut, r#"{"version":1}"#, r#"{"version":"2"}"#] {
        let error = refused(&node, &relay, damaged);
        assert!(error.contains("is damaged ("), "{damaged}: {error}");
    }
    let place = r#"{"version":2,"database":{"highest":1,"samples":[]},"authors":[],"peers":{"wss://a":
        {"asked_at":1,"known":[{"authors":[[0,7]],"kinds":[]}]}}}"#;
    assert!(refused(&node, &relay, place).contains("names an author that is not listed"));
    let other = whole.replace("\"highest\":1", "\"highest\":3");
    let error = refused(&node, &relay, &other);
    assert!(error.contains("is of another database, or of this one before a backup"), "{error}");
    assert!(error.contains("held event number 3, and the last one is number 2"), "{error}");
    let sample = format!("[[2,\"{}\"]]", id_of(&all[4]));
    let error = refused(&node, &relay, &whole.replace("[]}", &format!("{sample}}}")));
    assert!(error.contains("event number 2 is "), "{error}");

    // A run that ignores it leaves it alone.
    let (code, _) = node.backfill(&["--relay", &relay.url(), "--ignore-state"]);
    assert!(code == 0 && node.read(STATE).contains("\"samples\":[[2"));
    fs::remove_file(node.home().join(STATE)).unwrap();
    assert_eq!(node.backfill(&["--relay", &relay.url()]).0, 0);
    assert!(
        node.read(STATE).starts_with(r#"{"version":2,"database":{"highest":6,"samples":[[6,""#)
    );
}

#[test]
fn after_a_backup_was_restored_nothing_that_it_lost_counts_as_here() {
    let author = Author::new(1);
    let all = histories(std::slice::from_ref(&author), 20);
    let relay = archive(&all);
    let node = node_of(&strfry_bin(), &[author]);
    node.import(&all[..3]);
    let data = node.home().join("strfry/strfry-db/data.mdb");
    let backup = fs::read(&data).unwrap();
    let flags = ["--days", "0", "--relay", &relay.url()];
    assert_eq!(node.backfill(&flags).0, 0);
    assert_eq!(ids(&node.events()), ids(&all));

    fs::write(&data, backup).unwrap();
    // Strangers' events have come since, as many as were there.
    let strangers = events(40, |number| Author::new(9).note(number + 1, "after the backup"));
    node.import(&strangers);
    let output = node.companion(&[&["backfill", "--no-fallback"], &flags[..]].concat()).output();
    assert_eq!(support::node::code(&output.unwrap()), 2);
    assert!(node.log().contains("is of another database, or of this one before a backup"));
    fs::remove_file(node.home().join(STATE)).unwrap();
    assert_eq!(node.backfill(&flags).0, 0);
    assert_eq!(ids(&node.events()), ids(all.iter().chain(&strangers)));
}

#[test]
fn the_first_version_of_the_state_is_taken_over_with_the_time_that_a_node_was_off() {
    let author = Author::new(1);
    let relay = archive(&histories(std::slice::from_ref(&author), 5));
    let url = relay.url();
    let node = node_of(&strfry_bin(), &[author]);
    let old = json!({
        "version": 1,
        "question": {"kinds": [0, 1, 7], "pubkeys": null},
        "peers": {
            format!("{url}/"): {"complete_until": now() - 10 * DAY},
            "wss://away.example/": {"complete_until": 77},
        },
    });
    node.write(STATE, old.to_string());
    let asked_by = |flags: &[&str]| {
        let before = relay.record().requests.len();
        let (code, _) = node.backfill(&[&["--relay", &url, "--no-profiles"], flags].concat());
        assert_eq!(code, 0);
        asked_since(&relay, before).iter().map(days).collect::<BTreeSet<_>>()
    };
    // A run that asks for less does not take over the rest.
    assert_eq!(asked_by(&["--kinds", "7"]), BTreeSet::from([Some(11)]));
    assert_eq!(asked_by(&["--kinds", "7"]), BTreeSet::from([Some(1)]));
    assert_eq!(asked_by(&["--kinds", "0,1,7"]), BTreeSet::from([Some(1), Some(11)]));
    assert_eq!(asked_by(&["--kinds", "0,1,7"]), BTreeSet::from([Some(1)]));
    // A peer that was away is still remembered; of this one nothing is left to take over.
    let state: Value = serde_json::from_str(&node.read(STATE)).unwrap();
    let left = state["version_1"]["peers"].as_object().unwrap();
    assert_eq!(left.keys().collect::<Vec<_>>(), ["wss://away.example/"]);
}

#[test]
fn runs_that_are_too_short_for_a_slow_peer_carry_on_where_the_one_before_was_stopped() {
    let authors = Author::all(1..4);
    let all = histories(&authors, 200);
    let archive = Archive::new(&all, 20);
    // Pages of what is older than the last day, which every run asks for.
    let is_old = |filter: &Value| filter["since"].is_null() && filter["limit"] != 1;
    // A run gets so many of them at most, however fast or slow the machine is.
    let asked = Mutex::new(HashMap::<usize, usize>::new());
    let relay = ScriptedRelay::start(move |request| {
        let mut asked = asked.lock().unwrap();
        let asked = asked.entry(request.connection).or_default();
        *asked += usize::from(is_old(&request.filter));
        if *asked > 13 { answer([]) } else { archive.answer(request) }
    });
    let node = node_of(&strfry_bin(), &authors);
    let url = relay.url();
    let flags = ["--days", "0", "--kinds", "0,1", "--max-time", "2s", "--relay", &url];
    let mut asked = Vec::new();
    let mut statuses = Vec::new();
    while statuses.last() != Some(&json!("complete")) {
        assert!(statuses.len() < 30, "{asked:?}");
        let before = relay.record().requests.len();
        let (_, summary) = node.backfill(&flags);
        statuses.push(summary["status"].clone());
        let old = asked_since(&relay, before).into_iter().filter(is_old);
        asked.push(old.map(|filter| filter["until"].as_u64().unwrap()).collect::<Vec<u64>>());
    }
    assert!(statuses.len() > 2, "a run was long enough: {asked:?}");
    assert!(statuses[..statuses.len() - 1].iter().all(|status| status == "incomplete"));
    // Each run goes on at the second at which the one before was stopped, or close by, for relays
    // that leave out the last one.
    assert!(asked.concat().is_sorted_by(|newer, older| newer + 2 >= *older), "{asked:?}");
    assert_eq!(ids(&node.events()), ids(&all));
}
