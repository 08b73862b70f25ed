//! What a run costs: the bytes that peers send, and the time that dead ones take.

mod support;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;
use support::events::{Author, events};
use support::node::Node;
use support::proxy::CountingProxy;
use support::relays::Relay;
use support::scripted::{Archive, MuteListener, ScriptedRelay};
use support::strfry_bin;

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

#[test]
fn three_peers_send_each_event_once_and_almost_nothing_when_nothing_is_new() {
    let authors = Author::all(0..50);
    let begin = now() - 20_000;
    let all = events(12_000, |number| {
        authors[number as usize % 50].note(begin + number, &format!("{number} {}", "x".repeat(250)))
    });
    let size: u64 = all.iter().map(|event| event.len() as u64).sum();
    let relays = [0, 1, 2].map(|_| Relay::start(&all, 500));
    let proxies = relays.each_ref().map(|relay| CountingProxy::start(&relay.url()));
    let sent = || proxies.iter().map(CountingProxy::bytes).sum::<u64>();
    let node = Node::new(&strfry_bin());
    let list: String = authors.iter().map(|author| format!("{}\n", author.pubkey())).collect();
    let pubkeys = node.write("pubkeys.txt", list);
    let urls = proxies.each_ref().map(CountingProxy::url);
    let run = || {
        let options = ["--no-profiles", "--pubkeys", pubkeys.to_str().unwrap(), "--relay"];
        let run = [&options[..], &urls.each_ref().map(String::as_str)].concat();
        let (code, summary) = node.backfill(&run);
        assert_eq!(code, 0, "{summary:#}");
        summary
    };
    let summary = run();
    assert_eq!(summary["events"], json!({"imported": 12_000}));
    let first = sent();
    // The events once, and of each peer the ids of all of them, in hex.
    let ids = 3 * 12_000 * 2 * 32;
    assert!(first < size * 12 / 10 + ids, "{first} bytes for events of {size}");
    let summary = run();
    assert_eq!(summary["received"], 0);
    let again = sent() - first;
    println!("{again} bytes when nothing is new, {first} before, for events of {size}");
    assert!(again * 50 < size, "{again} bytes for events of {size}, when nothing is new");
}

#[test]
fn forty_dead_peers_among_fifty_cost_the_time_of_one_connection() {
    const TIME_OUT: Duration = Duration::from_secs(3);
    let author = Author::new(1);
    let archive = Archive::new(&events(20, |number| author.note(now() - number, "hello")), 500);
    let live: Vec<ScriptedRelay> = (0..10)
        .map(|_| {
            let archive = archive.clone();
            ScriptedRelay::start(move |request| archive.answer(request))
        })
        .collect();
    let dead: Vec<MuteListener> = (0..40).map(|_| MuteListener::start()).collect();
    let run = |dead: &[MuteListener]| {
        let node = Node::new(&strfry_bin());
        let pubkeys = node.write("pubkeys.txt", author.pubkey().to_string());
        let urls: Vec<String> =
            live.iter().map(ScriptedRelay::url).chain(dead.iter().map(MuteListener::url)).collect();
        let seconds = TIME_OUT.as_secs().to_string();
        let mut run = vec!["--connect-timeout", &seconds, "--no-profiles", "--pubkeys"];
        run.extend([pubkeys.to_str().unwrap(), "--relay"]);
        run.extend(urls.iter().map(String::as_str));
        let began = Instant::now();
        let (code, summary) = node.backfill(&run);
        assert_eq!(summary["events"]["imported"], 20, "{summary:#}");
        (code, began.elapsed())
    };
    let (code, alone) = run(&[]);
    assert_eq!(code, 0);
    let (code, among_dead) = run(&dead);
    assert_eq!(code, 1);
    assert!(among_dead < alone + 2 * TIME_OUT, "{among_dead:?}, and without them {alone:?}");
}
