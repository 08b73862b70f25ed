//! What a run costs: the bytes that peers send, and the time that dead ones take.

mod support;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use support::events::{Author, events};
use support::no_relays::{ClosedPort, MuteListener};
use support::node::Node;
use support::proxy::Proxy;
use support::relays::Relay;
use support::scripted::{Act, Archive, ScriptedRelay, answer};
use support::strfry_bin;
use support::watch::watch;

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
    let proxies = relays.each_ref().map(|relay| Proxy::start(&relay.url()));
    let sent = || proxies.iter().map(Proxy::bytes).sum::<u64>();
    let node = Node::new(&strfry_bin());
    let list: String = authors.iter().map(|author| format!("{}\n", author.pubkey())).collect();
    let pubkeys = node.write("pubkeys.txt", list);
    let urls = proxies.each_ref().map(Proxy::url);
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

/// What a run takes of memory that is no file's: pages of the database that it maps, and of the
/// program, belong to the page cache.
#[test]
fn an_hourly_run_of_500_pubkeys_takes_at_most_40_mib_of_its_own_memory() {
    let authors = Author::all(0..500);
    let begin = now() - 80_000;
    let mut all =
        events(500, |number| authors[number as usize].profile(begin, &number.to_string()));
    all.extend(events(10_000, |number| {
        authors[number as usize % 500]
            .note(begin + number * 7, &format!("{number} {}", "x".repeat(250)))
    }));
    let relays: [Relay; 3] = Relay::start_each(&all, 500);
    let node = Node::new(&strfry_bin());
    node.add_pubkeys(authors.iter().map(Author::pubkey).collect::<Vec<_>>().iter());
    for (relay, name) in relays.iter().zip(["one", "two", "three"]) {
        node.add_station(name, &relay.url());
    }
    node.import(&all[..9_500]);
    let mut imported = Vec::new();
    for _ in 0..2 {
        let flags = ["backfill", "--json", "--no-fallback", "--allow-local-peers", "--days", "1"];
        let run = watch(node.companion(&flags));
        assert_eq!(run.code, 0, "{:#}", run.summary);
        println!("{:.1} MiB", run.own_mib);
        assert!((1.0..=40.0).contains(&run.own_mib), "{} MiB", run.own_mib);
        imported.push(run.summary["events"]["imported"].as_u64().unwrap_or(0));
    }
    assert_eq!(imported, [1_000, 0]);
}

#[test]
fn fifty_peers_that_compare_give_each_event_once_and_take_at_most_40_mib_of_own_memory() {
    let authors = Author::all(0..200);
    let begin = now() - 20_000;
    let all = events(8_000, |number| {
        let author = &authors[number as usize % 200];
        author.note(begin + number * 2, &format!("{number} {}", "x".repeat(250)))
    });
    let archive = Archive::new(&all, 500);
    let relays: Vec<ScriptedRelay> = (0..50).map(|_| archive.comparing()).collect();
    let node = Node::new(&strfry_bin());
    let list: String = authors.iter().map(|author| format!("{}\n", author.pubkey())).collect();
    let pubkeys = node.write("pubkeys.txt", list);
    let urls: Vec<String> = relays.iter().map(ScriptedRelay::url).collect();
    let mut arguments = vec!["backfill", "--json", "--no-profiles", "--pubkeys"];
    arguments.extend([pubkeys.to_str().unwrap(), "--relay"]);
    arguments.extend(urls.iter().map(String::as_str));
    let run = watch(node.companion(&arguments));
    assert_eq!((run.code, &run.summary["events"]), (0, &json!({"imported": 8_000})));
    let asked = relays.iter().flat_map(|relay| relay.record().requests);
    let ids: usize = asked.filter_map(|filter| filter["ids"].as_array().map(Vec::len)).sum();
    assert_eq!(ids, 8_000, "ids that peers were asked for");
    println!("{:.1} MiB", run.own_mib);
    assert!((1.0..=40.0).contains(&run.own_mib), "{} MiB", run.own_mib);
}

/// Ten relays that answer, and forty that do not: most say nothing, the others refuse.
struct Neighbourhood {
    author: Author,
    live: Vec<ScriptedRelay>,
    mute: Vec<MuteListener>,
    closed: Vec<ClosedPort>,
}

impl Neighbourhood {
    /// For a connection. What a run may take longer on a busy machine is a good deal less.
    const TIME_OUT: Duration = Duration::from_secs(5);

    fn new() -> Self {
        let author = Author::new(1);
        let archive = Archive::new(&events(20, |number| author.note(now() - number, "hello")), 500);
        let live = || {
            let archive = archive.clone();
            ScriptedRelay::start(move |request| archive.answer(request))
        };
        Self {
            live: (0..10).map(|_| live()).collect(),
            mute: (0..36).map(|_| MuteListener::start()).collect(),
            closed: (0..4).map(|_| ClosedPort::reserve()).collect(),
            author,
        }
    }

    /// How long a run takes with the live relays alone, and how long with all of them.
    fn times(&self, options: &[&str]) -> [Duration; 2] {
        let live: Vec<String> = self.live.iter().map(ScriptedRelay::url).collect();
        let dead = self.mute.iter().map(MuteListener::url);
        let dead = dead.chain(self.closed.iter().map(ClosedPort::url)).collect();
        [Vec::new(), dead].map(|dead: Vec<String>| {
            let node = Node::new(&strfry_bin());
            let pubkeys = node.write("pubkeys.txt", self.author.pubkey().to_string());
            let seconds = Self::TIME_OUT.as_secs().to_string();
            let mut run = vec!["backfill", "--json", "--connect-timeout", &seconds, "--pubkeys"];
            run.push(pubkeys.to_str().unwrap());
            run.extend(options);
            run.push("--relay");
            run.extend(live.iter().chain(&dead).map(String::as_str));
            let began = Instant::now();
            let output = node.companion(&run).output().unwrap();
            let time = began.elapsed();
            let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(summary["events"]["imported"], 20, "{summary:#}");
            let status = |status: &str| {
                let peers = summary["peers"].as_array().unwrap();
                peers.iter().filter(|peer| peer["status"] == status).count()
            };
            assert_eq!([status("complete"), status("failed")], [live.len(), dead.len()]);
            time
        })
    }

    /// The dead ones have cost one time-out: they were waited for once, all at the same time.
    fn assert_one_time_out(&self, [alone, among_dead]: [Duration; 2]) {
        println!("{alone:?} alone, {among_dead:?} among dead peers");
        let time_out = Self::TIME_OUT;
        assert!(among_dead > time_out, "{among_dead:?}: nobody was waited for");
        let allowance = time_out / 2;
        assert!(among_dead < alone + time_out + allowance, "{among_dead:?}, alone {alone:?}");
        for mute in &self.mute {
            // For the relay, and for what it says of itself (NIP-11).
            assert_eq!(mute.connections(), 2);
        }
    }
}

#[test]
fn forty_dead_peers_among_fifty_cost_one_connect_time_out() {
    let neighbourhood = Neighbourhood::new();
    let times = neighbourhood.times(&["--no-profiles"]);
    neighbourhood.assert_one_time_out(times);
}

#[test]
fn dead_peers_cost_no_further_time_out_when_profiles_are_recovered() {
    let neighbourhood = Neighbourhood::new();
    let public = ScriptedRelay::start(|_| answer([Act::Eose]));
    let times = neighbourhood.times(&["--fallback-relay", &public.url()]);
    neighbourhood.assert_one_time_out(times);
    // In both runs it came to the last resort, with two more to see whether nothing was true, and
    // before that the live peers were asked for all time.
    let asked = public.record().requests;
    assert_eq!(asked.iter().filter(|filter| filter["authors"].is_array()).count(), 6);
    for live in &neighbourhood.live {
        let asked = live.record().requests;
        assert!(asked.iter().filter(|filter| filter["since"].is_null()).count() >= 2, "{asked:?}");
    }
}
