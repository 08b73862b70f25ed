//! `peers --probe`: what a short look at each peer shows, as people and programs are told it.

mod support;

use serde_json::{Value, json};
use support::events::Author;
use support::ipfs::{Ipfs, add_station};
use support::no_relays::ClosedPort;
use support::node::{Node, code};
use support::scripted::{Act, Archive, Arrival, ScriptedRelay, answer};
use support::strfry_bin;

/// What one relay of each sort is found to be, beside one behind a tunnel and a dead one.
struct Swarm {
    node: Node,
    ipfs: Ipfs,
    relays: Vec<ScriptedRelay>,
    dead: ClosedPort,
}

impl Swarm {
    fn new() -> Self {
        let events = [Author::new(1).note(1_700_000_000, "there")];
        let archive = Archive::new(&events, 500);
        let comparing = {
            let (archive, comparer) = (archive.clone(), archive.comparer());
            let info = json!({
                "name": "A relay", "software": "git+https://strfry.example", "version": "\u{1b}[2J1.1",
                "supported_nips": [1, 11, 77], "negentropy": 1,
                "limitation": {
                    "max_limit": 500, "max_subscriptions": 200, "max_message_length": 131_072,
                    "max_filters": 10, "auth_required": false,
                },
            });
            let answer = move |request: &_| archive.answer(request);
            ScriptedRelay::start_dating(
                Some(3_600),
                Some(info),
                |_| Arrival::Welcome,
                answer,
                comparer,
            )
        };
        let plain = {
            let archive = archive.clone();
            ScriptedRelay::start(move |request| archive.answer(request))
        };
        let asking = ScriptedRelay::start_with(
            |_| Arrival::Greet(vec![Act::Text(json!(["AUTH", "a challenge"]).to_string())]),
            |_| answer([Act::Closed("auth-required: \u{202e}who?".into())]),
        );
        // It has nothing to say of itself, but its answer has a date.
        let tunnelled = ScriptedRelay::start_dating(
            Some(-120),
            None,
            |_| Arrival::Welcome,
            move |request| archive.answer(request),
            |_| answer([Act::Notice("what?".into())]),
        );
        let node = Node::new(&strfry_bin());
        add_station(&node, "12D3KooWa");
        let ipfs = Ipfs::start(&[("12D3KooWa", tunnelled.address())]);
        let dead = ClosedPort::reserve();
        Self { node, ipfs, relays: vec![comparing, plain, asking, tunnelled], dead }
    }

    /// Runs the command; returns its exit code and what it printed.
    fn probe(&self, flags: &[&str]) -> (i32, String) {
        let mut command = self.node.companion(&["peers", "--probe"]);
        command.args(flags).arg("--ipfs-bin").arg(self.ipfs.program()).arg("--relay");
        command.args(self.relays[..3].iter().map(ScriptedRelay::url)).arg(self.dead.url());
        let output = command.output().unwrap();
        assert!(
            self.ipfs.calls().len() > 1 && self.ipfs.all_are_closed(),
            "{:?}",
            self.ipfs.calls()
        );
        (code(&output), String::from_utf8(output.stdout).unwrap())
    }

    fn hosts(&self) -> Vec<String> {
        let relays = self.relays[..3].iter().map(|relay| relay.address().to_string());
        relays.chain([self.dead.address().to_string()]).collect()
    }
}

/// With every number of milliseconds replaced, and clocks to the minute.
fn timeless(text: &str) -> String {
    let mut words: Vec<String> = text.split(' ').map(str::to_owned).collect();
    for at in 1..words.len() {
        if words[at].starts_with("ms,") && words[at - 1].bytes().all(|it| it.is_ascii_digit()) {
            words[at - 1] = "N".into();
        }
        if words[at - 1] == "clock" {
            words[at] = format!("{:+}", to_the_minute(words[at].parse().unwrap()));
        }
    }
    words.join(" ")
}

/// With every time replaced that is a number, and the clock to the minute.
fn timeless_probe(probe: &mut Value) {
    for time in ["connect_ms", "answer_ms"] {
        if probe[time].is_u64() {
            probe[time] = "N".into();
        }
    }
    if let Some(ahead) = probe["clock_ahead"].as_i64() {
        probe["clock_ahead"] = json!(to_the_minute(ahead));
    }
}

/// A date has whole seconds, and an answer takes some time.
fn to_the_minute(seconds: i64) -> i64 {
    (seconds + 30).div_euclid(60) * 60
}

#[test]
fn programs_are_told_what_each_peer_can_do() {
    let swarm = Swarm::new();
    let (code, said) = swarm.probe(&["--json"]);
    let mut found: Value = serde_json::from_str(&said).unwrap();
    for peer in found["peers"].as_array_mut().unwrap() {
        if peer["probe"].get("error").is_none() {
            timeless_probe(&mut peer["probe"]);
        }
    }
    let probe =
        |answer_ms: Value, refusal: Value, compares: bool, challenge: bool, clock: Value| {
            json!({
                "connect_ms": "N", "answer_ms": answer_ms, "refusal": refusal, "compares": compares,
                "sends_challenge": challenge, "clock_ahead": clock, "info": null,
            })
        };
    let mut comparing = probe(json!("N"), json!(null), true, false, json!(3_600));
    comparing["info"] = json!({
        "name": "A relay", "software": "git+https://strfry.example", "version": "\u{1b}[2J1.1",
        "supported_nips": [1, 11, 77], "negentropy": 1, "max_limit": 500, "max_subscriptions": 200,
        "max_message_length": 131_072, "max_filters": 10, "auth_required": false,
    });
    let hosts = swarm.hosts();
    let dead = format!("cannot connect to {}: Connection refused (os error 111)", hosts[3]);
    let probes = [
        comparing,
        probe(json!("N"), json!(null), false, false, json!(null)),
        probe(json!(null), json!("auth-required: \u{202e}who?"), false, true, json!(null)),
        json!({ "error": dead }),
    ];
    let named = hosts.iter().zip(probes).map(|(host, probe)| {
        json!({"name": host, "url": format!("ws://{host}"), "file": null, "probe": probe})
    });
    let swarm_path = swarm.node.home().join("tmp/swarm");
    let station = json!({
        "name": "12D3KooWa", "url": "ws://127.0.0.1:7777", "file": swarm_path.join("12D3KooWa/12345.json"),
        "tunnel": "/p2p/12D3KooWa",
        "probe": probe(json!("N"), json!(null), false, false, json!(-120)),
    });
    let expected = json!({
        "version": 1, "swarm": swarm_path, "stations": 1, "skipped": [],
        "peers": named.chain([station]).collect::<Vec<_>>(),
    });
    assert_eq!(found, expected);
    // One cannot be reached.
    assert_eq!(code, 1);
}

#[test]
fn people_are_told_what_each_peer_can_do_without_the_terminal_codes_in_its_words() {
    let swarm = Swarm::new();
    let (code, said) = swarm.probe(&[]);
    let said = timeless(&said);
    let path = swarm.node.home().join("tmp/swarm");
    let hosts = swarm.hosts();
    let line = |host: &str| format!("  ws://{host}  {host}\n    ");
    let lines = [
        format!("1 station in {}: 5 peers, 0 skipped\n", path.display()),
        line(&hosts[0]),
        "connected in N ms, answers in N ms, compares (NIP-77), clock +3600 s, limit 500, \
         subscriptions 200, message 131072, filters 10, git+https://strfry.example, \
         \\u{1b}[2J1.1\n"
            .into(),
        line(&hosts[1]),
        "connected in N ms, answers in N ms, does not compare, says nothing of itself (NIP-11)\n"
            .into(),
        line(&hosts[2]),
        "connected in N ms, refuses a request (auth-required: \\u{202e}who?), does not compare, \
         asks who we are (NIP-42), says nothing of itself (NIP-11)\n"
            .into(),
        line(&hosts[3]),
        format!(
            "cannot be reached: cannot connect to {}: Connection refused (os error 111)\n",
            hosts[3]
        ),
        "  ws://127.0.0.1:7777  12D3KooWa  (through a tunnel)\n    ".into(),
        "connected in N ms, answers in N ms, does not compare, clock -120 s, \
         says nothing of itself (NIP-11)\n"
            .into(),
    ];
    assert_eq!(said, lines.concat());
    assert_eq!(code, 1);
}

#[test]
fn without_tunnels_a_station_that_needs_one_is_skipped() {
    let node = Node::new(&strfry_bin());
    add_station(&node, "12D3KooWa");
    let output = node.companion(&["peers", "--probe", "--json", "--no-tunnels"]).output().unwrap();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((code(&output), &found["peers"]), (0, &json!([])));
    assert_eq!(
        found["skipped"][0]["reason"],
        "ws://127.0.0.1:7777 is reachable only through a tunnel: not dialled directly; \
         --allow-local-peers dials it"
    );
}

#[test]
fn peers_that_talk_without_end_or_sense_are_looked_at_for_a_bounded_time() {
    let endless =
        ScriptedRelay::start(|_| Box::new(std::iter::repeat_with(|| Act::Notice("wait".into()))));
    let huge = ScriptedRelay::start_informing(
        Some(json!({"name": "x".repeat(200_000)})),
        |_| Arrival::Welcome,
        |_| {
            answer([
                Act::Text(json!(["EOSE", "another"]).to_string()),
                Act::Closed("no".repeat(200_000)),
            ])
        },
        |_| answer([Act::NegMsg(vec![0x61; 100_000])]),
    );
    let node = Node::new(&strfry_bin());
    let urls = [endless.url(), huge.url()];
    let arguments = ["peers", "--probe", "--json", "--relay", &urls[0], &urls[1]];
    let output = node.companion(&arguments).output().unwrap();
    let mut found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let refusal = "no".repeat(100);
    for (at, refusal) in [(0, json!(null)), (1, json!(refusal))] {
        let probe = &mut found["peers"][at]["probe"];
        timeless_probe(probe);
        let expected = json!({
            "connect_ms": "N", "answer_ms": null, "refusal": refusal, "compares": false,
            "sends_challenge": false, "clock_ahead": null, "info": null,
        });
        assert_eq!(*probe, expected);
    }
    assert_eq!(code(&output), 0);
}
