//! `diff`: what each peer has that is not here, and the reverse; nothing is imported.

mod support;

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::slice::from_ref;
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use support::events::{Author, events, forged, id_of};
use support::no_relays::ClosedPort;
use support::node::{Node, code};
use support::relays::Relay;
use support::running_relay::RunningRelay;
use support::scripted::{Act, Archive, Arrival, ScriptedRelay, answer};
use support::{NO_STRFRY, real_strfry, run_strfry, strfry_bin, strfry_node};

const START: u64 = 1_700_000_000;

fn side(events: &[String]) -> Value {
    let mut kinds = BTreeMap::<String, u64>::new();
    let mut authors = BTreeMap::<String, u64>::new();
    for event in events {
        let event: Value = serde_json::from_str(event).unwrap();
        *kinds.entry(event["kind"].to_string()).or_default() += 1;
        *authors.entry(event["pubkey"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    let mut ids: Vec<String> = events.iter().map(|event| id_of(event)).collect();
    ids.sort();
    json!({"events": events.len(), "kinds": kinds, "authors": authors, "ids": ids})
}

fn node(authors: &[Author], here: &[String]) -> Node {
    let node = Node::new(&strfry_bin());
    node.add_pubkeys(&authors.iter().map(Author::pubkey).collect::<Vec<_>>());
    node.import(here);
    node
}

/// Runs `diff` over all time; what is here must not change.
fn diff(node: &Node, relays: &[String], flags: &[&str]) -> (i32, Value) {
    let before = node.events();
    let relays: Vec<&str> = relays.iter().map(String::as_str).collect();
    let arguments = [&["diff", "--json", "--days", "0", "--relay"], &relays[..], flags].concat();
    let output = node.companion(&arguments).output().unwrap();
    let found = serde_json::from_slice(&output.stdout);
    assert!(node.events() == before);
    (code(&output), found.unwrap_or_else(|_| panic!("{output:?}")))
}

fn some_events(authors: &[Author], count: usize) -> Vec<String> {
    events(count, |number| {
        let kind = [1, 4, 7][number as usize % 3];
        let author = &authors[number as usize % authors.len()];
        author.event(kind, START + number / 2, json!([]), &number.to_string())
    })
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn peer(url: &str, only_there: &[String], only_here: &[String]) -> Value {
    json!({
        "name": url.trim_start_matches("ws://"),
        "url": url,
        "since": null,
        "status": "complete",
        "gaps": [],
        "gap_count": 0,
        "only_there": side(only_there),
        "only_here": side(only_here),
        "refused": 0,
        "withheld": [],
    })
}

#[test]
fn each_peer_is_told_apart_whether_it_compares_or_not() {
    let authors = Author::all(0..5);
    let all = some_events(&authors, 1_500);
    let stranger = Author::new(99).note(START, "not asked about");
    let node = node(&authors, &[&all[..900], &[stranger]].concat());
    let first = Relay::start(&all[600..], 100);
    let second = Relay::start(&all[300..1_200], 500);
    let silent_about_nothing = Relay::start(&all[..900], 500);
    let relays = [&first, &second, &silent_about_nothing].map(Relay::url);
    for flags in [&[][..], &["--no-negentropy"]] {
        let (code, found) = diff(&node, &relays, flags);
        let peers = json!([
            peer(&relays[0], &all[900..], &all[..600]),
            peer(&relays[1], &all[900..1_200], &all[..300]),
            peer(&relays[2], &[], &[]),
        ]);
        assert_eq!(found["peers"], peers, "{flags:?}");
        assert_eq!((code, &found["pubkeys"], &found["since"]), (0, &json!(5), &json!(null)));
    }
}

#[test]
fn what_is_dated_too_far_ahead_is_counted_here_and_no_peer_is_asked_for_it() {
    let author = Author::new(1);
    let far: Vec<String> = [now() + 5_000, (1 << 40) - 1, 1 << 44, u64::MAX]
        .map(|second| author.note(second, "far ahead"))
        .into();
    let near = author.note(now() + 300, "a little ahead");
    let node = node(from_ref(&author), &[from_ref(&near), &far[..]].concat());
    let began = now();
    let relay = Archive::new(&[], 500).comparing();
    for flags in [&[][..], &["--no-negentropy"]] {
        let (code, found) = diff(&node, &[relay.url()], flags);
        assert_eq!(found["peers"], json!([peer(&relay.url(), &[], from_ref(&near))]));
        assert_eq!((code, &found["too_new"]), (0, &json!(4)));
        let until = found["until"].as_u64().unwrap();
        assert!((began + 900..=now() + 900).contains(&until), "{until}");
        let record = relay.record();
        let asked = record.requests.iter().chain(&record.comparisons);
        // Pages are asked for up to one second more, for relays that leave out the last one.
        assert!(asked.into_iter().all(|filter| filter["until"].as_u64() <= Some(now() + 901)));
    }
    let arguments = ["diff", "--days", "0", "--relay", &relay.url()];
    let output = node.companion(&arguments).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("not compared: 4 events here that are dated after"), "{said}");
}

#[test]
fn of_a_peer_that_compares_only_what_is_not_here_is_fetched() {
    let authors = Author::all(0..3);
    let all = some_events(&authors, 600);
    let archive = Archive::new(&all[200..], 500);
    let comparer = archive.comparer();
    let relay = ScriptedRelay::start_comparing(
        |_| Arrival::Welcome,
        move |request| archive.answer(request),
        comparer,
    );
    let node = node(&authors, &all[..500]);
    let (code, found) = diff(&node, &[relay.url()], &[]);
    assert_eq!(found["peers"], json!([peer(&relay.url(), &all[500..], &all[..200])]));
    assert_eq!(code, 0);
    let asked = relay.record().requests;
    let ids: Option<Vec<usize>> =
        asked.iter().map(|filter| Some(filter["ids"].as_array()?.len())).collect();
    assert_eq!(ids.map(|ids| ids.iter().sum()), Some(100));
}

#[test]
fn a_dry_run_tells_what_each_peer_would_bring() {
    let author = Author::new(1);
    let relay = Relay::start(&[author.note(START, "there")], 500);
    let node = node(from_ref(&author), &[]);
    let url = relay.url();
    let arguments = ["backfill", "--dry-run", "--no-fallback", "--days", "0", "--relay", &url];
    let output = node.companion(&arguments).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let pubkey = author.pubkey();
    let peer = format!(
        "  {url}: 1 received, 1 new, complete\n    \
         only there         1 events\n      kind 1              1  short text note\n      {pubkey}         1\n    \
         only here          0 events\n"
    );
    assert!(said.contains(&peer), "{said}");
    assert!(node.events().is_empty());
}

#[test]
fn a_dry_run_tells_of_each_peer_what_a_difference_does_and_counts_each_event_once() {
    let authors = Author::all(0..5);
    let all = some_events(&authors, 1_500);
    let node = node(&authors, &all[..900]);
    let first = Relay::start(&all[600..], 100);
    let second = Relay::start(&all[300..1_200], 500);
    let refusing = ScriptedRelay::start(|_| answer([Act::Closed("restricted: no".into())]));
    let dead = ClosedPort::reserve();
    let relays = [first.url(), second.url(), refusing.url(), dead.url()];
    for flags in [&[][..], &["--no-negentropy"]] {
        let (_, found) = diff(&node, &relays, flags);
        let relays = relays.each_ref().map(String::as_str);
        let dry = ["--dry-run", "--days", "0", "--relay"];
        let (code, summary) = node.backfill(&[&dry, &relays[..], flags].concat());
        let common = ["name", "url", "since", "status", "gap_count"];
        for (of_diff, of_dry_run) in [(0, 0), (1, 1), (2, 2), (3, 3)] {
            let (there, here) = (&found["peers"][of_diff], &summary["peers"][of_dry_run]);
            for field in common.iter().chain(&["only_there", "only_here"]) {
                assert_eq!(here[*field], there[*field], "{field} {flags:?}");
            }
            // Each ends at the last second of which it would take events.
            let but_for_until = |peer: &Value| {
                let mut gaps = peer["gaps"].clone();
                gaps.as_array_mut().unwrap().iter_mut().for_each(|gap| gap["until"] = json!(0));
                gaps
            };
            assert_eq!(but_for_until(here), but_for_until(there), "{flags:?}");
        }
        assert_eq!(summary["peers"][0]["only_there"], side(&all[900..]));
        assert_eq!(summary["peers"][1]["only_here"], side(&all[..300]));
        assert_eq!((code, &summary["events"]["would_import"]), (1, &json!(600)), "{flags:?}");
        // Where pages are asked for, an event at their border comes twice.
        let duplicates = summary["events"]["duplicate"].as_u64().unwrap();
        assert!(duplicates == 300 || (duplicates > 300 && !flags.is_empty()), "{duplicates}");
    }
    assert_eq!(node.events().len(), 900);
}

#[test]
fn a_dry_run_tells_apart_all_that_it_asks_for_also_while_it_looks_for_profiles() {
    let author = Author::new(1);
    let (recent, old) = (author.note(now() - 100, "recent"), author.note(START, "old"));
    for flags in [&[][..], &["--no-negentropy"]] {
        let relay = Relay::start(&[recent.clone(), old.clone()], 500);
        let node = node(from_ref(&author), &[]);
        let dry = ["--dry-run", "--relay", &relay.url()];
        let (_, summary) = node.backfill(&[&dry, flags].concat());
        assert_eq!(summary["events"]["would_import"], 2, "{flags:?}");
        let both = [recent.clone(), old.clone()];
        assert_eq!(summary["peers"][0]["only_there"], side(&both));
        assert_eq!(summary["peers"][0]["only_here"], side(&[]));
        // A comparison is about the time that is named.
        let url = relay.url();
        let arguments = [&["diff", "--json", "--relay", &url], flags].concat();
        let output = node.companion(&arguments).output().unwrap();
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(found["peers"][0]["only_there"], side(from_ref(&recent)));
    }
}

#[test]
fn what_stations_publish_is_compared_unless_it_is_said_whose_events() {
    let author = Author::new(1);
    let [ours, theirs] = [7, 8].map(|number| {
        Author::new(number).event(30_850, START, json!([["d", "health"]]), &number.to_string())
    });
    let node = node(from_ref(&author), from_ref(&ours));
    let list = node.write("list", author.pubkey().to_string());
    let relay = Relay::start(from_ref(&theirs), 500);
    for flags in [&[][..], &["--no-negentropy"]] {
        let (_, found) = diff(&node, &[relay.url()], flags);
        let expected = peer(&relay.url(), from_ref(&theirs), from_ref(&ours));
        assert_eq!(
            (&found["peers"][0], &found["station_kinds"]),
            (&expected, &json!([30_800, 30_850, 30_851]))
        );
        let named = [flags, &["--pubkeys", list.to_str().unwrap()]].concat();
        let (_, found) = diff(&node, &[relay.url()], &named);
        let expected = peer(&relay.url(), &[], &[]);
        assert_eq!((&found["peers"][0], &found["station_kinds"]), (&expected, &json!([])));
    }
}

#[test]
fn authors_on_the_blacklist_are_on_neither_side() {
    let [author, refused] = [Author::new(1), Author::new(2)];
    let of = |text: &str| {
        [
            author.note(START, text),
            refused.note(START, text),
            refused.event(30_800, START, json!([["d", text]]), text),
        ]
    };
    let (here, there) = (of("here"), of("there"));
    let node = node(&[], &here);
    let both = format!("{}\n{}\n", author.pubkey(), refused.pubkey());
    node.write("strfry/amisOfAmis.txt", both);
    node.write("strfry/blacklist.txt", refused.pubkey().to_string());
    let relay = Relay::start(&there, 500);
    for flags in [&[][..], &["--no-negentropy"]] {
        let (code, found) = diff(&node, &[relay.url()], flags);
        let expected = peer(&relay.url(), &there[..1], &here[..1]);
        assert_eq!((code, &found["peers"][0], &found["pubkeys"]), (0, &expected, &json!(1)));
    }
    node.write("list", refused.pubkey().to_string());
    let list = node.home().join("list");
    let arguments = ["diff", "--relay", &relay.url(), "--pubkeys", list.to_str().unwrap()];
    let output = node.companion(&arguments).output().unwrap();
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    let blacklist = node.home().join("strfry/blacklist.txt");
    let expected = format!("no pubkeys: all 1 are on the blacklist {}", blacklist.display());
    assert!(code(&output) == 2 && said.contains(&expected), "{said}");
}

#[test]
fn stations_that_are_skipped_are_named_and_make_nothing_incomplete() {
    let author = Author::new(1);
    let relay = Relay::start(&[], 500);
    let node = node(from_ref(&author), &[]);
    node.add_station("12D3KooWa", &relay.url());
    node.add_station("12D3KooWb", "http://b.example");
    let arguments = ["diff", "--json", "--days", "0", "--allow-local-peers"];
    let output = node.companion(&arguments).output().unwrap();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let file = node.home().join("tmp/swarm/12D3KooWb/12345.json");
    let reason =
        "myRELAY \"http://b.example\" is not a relay's address: it must start with wss:// or ws://";
    assert_eq!(
        found["skipped"],
        json!([{"subject": file, "station": "12D3KooWb", "reason": reason}])
    );
    assert_eq!((code(&output), found["peers"].as_array().map(Vec::len)), (0, Some(1)));
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        format!("strfry-companion: skipped {file:?}: {reason}\n")
    );
    // A backfill ends with the same code.
    let (code, _) = node.backfill(&["--days", "0", "--no-profiles", "--allow-local-peers"]);
    assert_eq!(code, 0);
    // Whoever names a relay does not ask about stations.
    let (_, found) = diff(&node, &[relay.url()], &[]);
    assert_eq!(found["skipped"], json!([]));
}

#[test]
fn a_peer_is_compared_for_as_long_as_a_backfill_would_ask_it() {
    let author = Author::new(1);
    let relay = Relay::start(&[], 500);
    let node = node(from_ref(&author), &[]);
    let complete = now() - 10 * 86_400;
    let state = json!({
        "version": 1,
        "peers": {format!("{}/", relay.url()): {"complete_until": complete}},
    });
    node.write("strfry/constellation-backfill.state.json", state.to_string());
    let url = relay.url();
    let since_of = |arguments: &[&str]| {
        let arguments = [arguments, &["--json", "--relay", &url]].concat();
        let output = node.companion(&arguments).output().unwrap();
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        (found["peers"][0]["since"].clone(), found["since"].clone())
    };
    let dry_run = ["backfill", "--dry-run", "--no-fallback", "--no-profiles"];
    let expected = json!(complete - 86_400);
    assert_eq!(since_of(&["diff"]).0, expected);
    assert_eq!(since_of(&dry_run).0, expected);
    let (of_peer, of_all) = since_of(&["diff", "--ignore-state"]);
    assert_eq!(of_peer, of_all);
    assert!(of_all.as_u64().unwrap() >= now() - 86_400 - 600);
}

#[test]
fn of_many_events_all_are_counted_and_the_first_10000_ids_are_listed() {
    let author = Author::new(1);
    let make = |text: &'static str| {
        let author = &author;
        events(10_050, move |number| {
            author.event(1 + 6 * (number % 2), START + number, json!([]), text)
        })
    };
    let (here, there) = (make("here"), make("there"));
    let archive = Archive::new(&there, 500);
    let relay = ScriptedRelay::start(move |request| archive.answer(request));
    let node = node(from_ref(&author), &here);
    let (code, found) = diff(&node, &[relay.url()], &[]);
    let mut peer = found["peers"][0].clone();
    for (name, events) in [("only_there", &there), ("only_here", &here)] {
        let mut all = side(events);
        let all_ids = std::mem::take(&mut all["ids"]);
        let listed = std::mem::take(&mut peer[name]["ids"]);
        assert_eq!(peer[name], all);
        let (all_ids, listed) = (all_ids.as_array().unwrap(), listed.as_array().unwrap());
        let known: std::collections::HashSet<&Value> = all_ids.iter().collect();
        assert!(listed.is_sorted_by(|a, b| a.as_str() < b.as_str()));
        assert!(listed.len() == 10_000 && listed.iter().all(|id| known.contains(id)));
    }
    assert_eq!(code, 0);
    let arguments = ["diff", "--ids", "--days", "0", "--relay", &relay.url()];
    let output = node.companion(&arguments).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said.lines().filter(|line| line.starts_with("    id ")).count(), 20_000);
    assert_eq!(said.lines().filter(|line| *line == "    and 50 more ids").count(), 2);
}

#[test]
fn a_signal_ends_it_also_while_nobody_reads_what_it_found() {
    let author = Author::new(1);
    let here = events(2_000, |number| author.note(START + number, "here"));
    let relay = Relay::start(&[], 500);
    let node = node(from_ref(&author), &here);
    let mut command = node.companion(&["diff", "--json", "--days", "0", "--relay", &relay.url()]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    // More than a pipe holds is still to come.
    let mut output = child.stdout.take().unwrap();
    output.read_exact(&mut [0]).unwrap();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(Signal::TERM.as_raw()));
}

#[test]
fn a_peer_that_forges_without_end_is_given_up_and_nothing_of_it_counts() {
    let author = Author::new(1);
    let wrong = author.note(START, "another");
    let wrong: Value = serde_json::from_str(&wrong).unwrap();
    let forgeries = events(3_000, |number| {
        let mut event: Value = serde_json::from_str(&author.note(START + number, "")).unwrap();
        event["sig"] = wrong["sig"].clone();
        event.to_string()
    });
    let archive = Archive::new(&forgeries, 500);
    let relay = ScriptedRelay::start(move |request| archive.answer(request));
    let node = node(from_ref(&author), &[]);
    let (code, found) = diff(&node, &[relay.url()], &["--kinds", "1"]);
    let peer = &found["peers"][0];
    assert_eq!((code, &peer["status"]), (1, &json!("incomplete")));
    assert_eq!(peer["gaps"][0]["reason"], "given up: it keeps sending what is of no use");
    assert_eq!((&peer["only_there"], &peer["only_here"]), (&side(&[]), &side(&[])));
    assert!((1_001..2_600).contains(&peer["refused"].as_u64().unwrap()), "{}", peer["refused"]);
}

#[test]
fn events_without_a_signature_are_no_progress_and_signed_ones_are() {
    let author = Author::new(1);
    let signed = events(16, |number| author.note(START + number, ""));
    let other: Value = serde_json::from_str(&author.note(START, "another")).unwrap();
    let unsigned: Vec<String> = signed
        .iter()
        .map(|event| {
            let mut event: Value = serde_json::from_str(event).unwrap();
            event["sig"] = other["sig"].clone();
            event.to_string()
        })
        .collect();
    let node = node(from_ref(&author), &[]);
    // One each half second, for eight seconds: two time-outs over all time.
    let drip = |events: Vec<String>| {
        let left = Mutex::new(events);
        ScriptedRelay::start(move |_| {
            let events = std::mem::take(&mut *left.lock().unwrap());
            let acts = events
                .into_iter()
                .flat_map(|event| [Act::Wait(Duration::from_millis(500)), Act::Event(event)]);
            answer(acts.chain([Act::Eose]))
        })
    };
    let flags = ["--kinds", "1", "--no-negentropy", "--timeout", "2"];
    let (code, found) = diff(&node, &[drip(signed.clone()).url()], &flags);
    assert_eq!((code, &found["peers"][0]["only_there"]), (0, &side(&signed)));
    let (code, found) = diff(&node, &[drip(unsigned).url()], &flags);
    let peer = &found["peers"][0];
    assert_eq!((code, &peer["status"], &peer["only_there"]), (1, &json!("incomplete"), &side(&[])));
    assert!(peer["refused"].as_u64() < Some(16), "{peer}");
}

#[test]
fn what_is_not_known_of_a_peer_is_named_and_not_counted() {
    let author = Author::new(1);
    let here: Vec<String> = (0..4)
        .map(|number| author.event([1, 4][number % 2], START, json!([]), &number.to_string()))
        .collect();
    let there = author.note(START + 1, "there");
    let archive = Archive::new(&[there.clone(), here[0].clone()], 500);
    let refusing = ScriptedRelay::start(move |request| {
        if request.filter["kinds"] == json!([4]) {
            return answer([Act::Closed("blocked: not for you".into())]);
        }
        archive.answer(request)
    });
    let dead = ClosedPort::reserve();
    let node = node(from_ref(&author), &here);
    let flags = ["--no-negentropy", "--kinds", "1,4"];
    let (code, found) = diff(&node, &[refusing.url(), dead.url()], &flags);
    assert_eq!(code, 1);
    let [refusing, dead] = [&found["peers"][0], &found["peers"][1]];
    assert_eq!(refusing["status"], "incomplete");
    assert_eq!(
        refusing["gaps"],
        json!([{
            "reason": "refused by the relay: blocked: not for you",
            "cause": {"name": "refused", "number": null, "words": "blocked: not for you"},
            "authors": 1, "kinds": [4], "since": null, "until": found["until"],
        }])
    );
    assert_eq!(refusing["only_there"], side(&[there]));
    // Of kind 4 it is not known what the peer has.
    assert_eq!(refusing["only_here"], side(&here[2..3]));
    assert_eq!(dead["status"], "failed");
    assert_eq!((&dead["only_there"], &dead["only_here"]), (&side(&[]), &side(&[])));
}

#[test]
fn what_is_not_genuine_is_on_neither_side() {
    let author = Author::new(1);
    let note = author.note(START, "here");
    let other = author.note(START + 1, "other");
    let mut unsigned: Value = serde_json::from_str(&other).unwrap();
    unsigned["sig"] = serde_json::from_str::<Value>(&note).unwrap()["sig"].clone();
    let archive = Archive::new(&[forged(&note), unsigned.to_string()], 500);
    let relay = ScriptedRelay::start(move |request| archive.answer(request));
    let node = node(from_ref(&author), from_ref(&note));
    let (_, found) = diff(&node, &[relay.url()], &["--no-negentropy"]);
    let peer = &found["peers"][0];
    assert_eq!((&peer["only_there"], &peer["only_here"]), (&side(&[]), &side(&[note])));
    assert_eq!(peer["refused"], 2);
}

#[test]
fn people_get_counts_and_ids_if_they_want_them() {
    let author = Author::new(1);
    let [here, there] = ["here", "there"].map(|text| author.note(START, text));
    let relay = Relay::start(from_ref(&there), 500);
    let node = node(from_ref(&author), from_ref(&here));
    let arguments = ["diff", "--ids", "--days", "0", "--relay", &relay.url()];
    let output = node.companion(&arguments).output().unwrap();
    let url = relay.url();
    let pubkey = author.pubkey();
    let part = |name: &str, event: &String| {
        format!(
            "  {name:<10}         1 events\n    kind 1              1  short text note\n    {pubkey}         1\n    id {}\n",
            id_of(event)
        )
    };
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        format!("{url}: complete\n{}{}", part("only there", &there), part("only here", &here))
    );
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn people_are_told_what_is_not_known_and_no_text_of_a_peer_reaches_the_terminal_as_it_is() {
    let author = Author::new(1);
    let kinds = (0..12).map(|number| 1 + number);
    let here: Vec<String> =
        kinds.map(|kind| author.event(kind, START, json!([]), "here")).collect();
    let archive = Archive::new(&[forged(&here[1])], 500);
    let relay = ScriptedRelay::start(move |request| {
        if request.filter["kinds"] == json!([4]) {
            return answer([Act::Closed("blocked: \u{1b}[31m\u{202e}\nno".into())]);
        }
        archive.answer(request)
    });
    let dead = ClosedPort::reserve();
    // 5 would delete, 3 would be replaced.
    let node = node(from_ref(&author), &here);
    let (url, dead_url) = (relay.url(), dead.url());
    let arguments =
        ["diff", "--days", "0", "--kinds", "1-12", "--no-negentropy", "--relay", &url, &dead_url];
    let output = node.companion(&arguments).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let dead_host = dead_url.trim_start_matches("ws://");
    let pubkey = author.pubkey();
    let kinds: String = [
        (1, "  short text note"),
        (2, "  recommended relay"),
        (3, "  follow list"),
        (5, "  deletion request"),
        (6, "  repost"),
        (7, "  reaction"),
        (8, "  badge award"),
        (9, "  chat message"),
        (10, ""),
        (11, "  thread"),
    ]
    .map(|(kind, name)| format!("    {:<11}         1{name}\n", format!("kind {kind}")))
    .concat();
    let refused = "  not known: cannot connect to";
    assert_eq!(
        said,
        format!(
            "{url}: incomplete\n  \
             not known: refused by the relay: blocked: \\u{{1b}}[31m\\u{{202e}}\\u{{a}}no\n  \
             1 sent that are not genuine or not asked for\n  \
             only there         0 events\n  \
             only here         11 events\n{kinds}    and 1 more kinds\n    {pubkey}        11\n\
             {dead_url}: failed\n\
             {refused} {dead_host}: Connection refused (os error 111)\n\
             {refused} {dead_host}: Connection refused (os error 111)\n  \
             only there         0 events\n  only here          0 events\n"
        )
    );
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_relay_of_the_real_strfry_is_told_apart_in_both_ways() {
    let Some(strfry) = real_strfry() else { return println!("{NO_STRFRY}") };
    let authors = Author::all(0..150);
    let all = some_events(&authors, 3_000);
    let directory = strfry_node();
    let lines: String = all[1_000..].iter().map(|event| format!("{event}\n")).collect();
    let import = ["import", "--no-verify"];
    let imported = run_strfry(&strfry, directory.path(), &import, lines.as_bytes());
    assert!(imported.status.success());
    let relay = RunningRelay::start(&strfry, directory.path());
    let node = node(&authors, &all[..2_000]);
    for flags in [&[][..], &["--no-negentropy"]] {
        let (code, found) = diff(&node, &[relay.url()], flags);
        let expected = peer(&relay.url(), &all[2_000..], &all[..1_000]);
        assert!(found["peers"][0] == expected, "{flags:?}");
        assert_eq!(code, 0);
    }
}
