//! What a run costs in bytes when peers and the node have much in common. Apart from `economy.rs`,
//! whose tests measure time: this one keeps all cores busy.

mod support;

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;
use support::events::{Author, events};
use support::node::Node;
use support::proxy::Proxy;
use support::relays::Relay;
use support::strfry_bin;

#[test]
fn a_hundred_thousand_events_in_common_cost_two_per_cent_of_their_size_at_most() {
    let authors = Author::all(0..50);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let begin = now - 200_000;
    let all = events(100_000, |number| {
        authors[number as usize % 50].note(begin + number, &format!("{number} {}", "x".repeat(250)))
    });
    let size: u64 = all.iter().map(|event| event.len() as u64).sum();
    let relays: [Relay; 3] = Relay::start_each(&all, 500);
    let proxies = relays.each_ref().map(|relay| Proxy::start(&relay.url()));
    let sent = || proxies.iter().map(Proxy::bytes).sum::<u64>();
    let node = Node::new(&strfry_bin());
    node.import(&all[1..]);
    let list: String = authors.iter().map(|author| format!("{}\n", author.pubkey())).collect();
    let pubkeys = node.write("pubkeys.txt", list);
    let urls = proxies.each_ref().map(Proxy::url);
    let run = || {
        let options = ["--no-profiles", "--days", "7", "--pubkeys", pubkeys.to_str().unwrap()];
        let urls = urls.each_ref().map(String::as_str);
        let (code, summary) = node.backfill(&[&options[..], &["--relay"], &urls].concat());
        assert_eq!(code, 0, "{summary:#}");
        summary
    };
    // That all the others are in common shows in the one that is not.
    assert_eq!(run()["events"], json!({"imported": 1}));
    let first = sent();
    assert_eq!(run()["received"], 0);
    let again = sent() - first;
    println!("{again} bytes when nothing is new, {first} with one new event, for events of {size}");
    assert!(again * 50 < size, "{again} bytes for events of {size}, when nothing is new");
}
