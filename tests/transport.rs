//! Connections as the web has them: what a relay is told of us, relays that are busy or have moved,
//! names in any script, messages of any size and shape.

mod support;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Output;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};
use strfry_companion::nostr::Filter;
use strfry_companion::peer::{
    AuthKey, Dialler, FetchOutcome, Gap, GapReason, PeerSession, Room, Unwanted,
};
use support::collector::{Collector, Here, PATIENT, compare, fetch, query};
use support::events::{Author, events, id_of, sorted_ids};
use support::node::{Node, code};
use support::scripted::{Act, Archive, Arrival, ScriptedRelay, answer};
use support::strfry_bin;

const START: u64 = 1_700_000_000;

fn notes() -> Filter {
    query(&[Author::new(1)], &[1])
}

/// Nothing came, because no connection came about.
fn not_connected(error: &str) -> FetchOutcome {
    let reason = GapReason::NotConnected(error.to_owned());
    FetchOutcome { gaps: vec![Gap { filter: notes(), reason }], ..FetchOutcome::default() }
}

/// A server that answers every connection with the same bytes and tells what it heard first.
struct RawServer {
    address: SocketAddr,
    heard: mpsc::Receiver<Vec<u8>>,
}

impl RawServer {
    fn start(answer: &'static str) -> Self {
        Self::start_with(1, answer)
    }

    /// It answers so many connections at a time, when all of them have spoken.
    fn start_with(together: usize, answer: &'static str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, heard) = mpsc::channel();
        thread::spawn(move || {
            loop {
                let streams: Vec<_> = listener.incoming().take(together).flatten().collect();
                for mut stream in &streams {
                    let mut first = vec![0; 4_096];
                    let length = stream.read(&mut first).unwrap_or(0);
                    first.truncate(length);
                    if tell.send(first).is_err() {
                        return;
                    }
                }
                for mut stream in streams {
                    let _ = stream.write_all(answer.as_bytes());
                }
            }
        });
        Self { address, heard }
    }

    /// What is said by a client that takes this server for the relay at another address.
    async fn hear(&self, url: &str) -> (FetchOutcome, Vec<Vec<u8>>) {
        let mut dialler = Dialler::new(url.parse().unwrap(), false, Duration::from_secs(20));
        dialler.reach_through(self.address.port());
        let collector = Collector::default();
        let outcome = PeerSession::new(dialler).fetch(vec![notes()], PATIENT, &collector).await;
        (outcome, self.heard.try_iter().collect())
    }
}

/// So many handshakes. With each the relay may have been asked what it says of itself, and left
/// before it could tell that from a handshake.
fn assert_connections(relay: &ScriptedRelay, handshakes: usize) {
    let connections = relay.record().connections;
    assert!((handshakes..=2 * handshakes).contains(&connections), "{connections}");
}

fn lines(head: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(head).lines().map(str::to_ascii_lowercase).collect()
}

#[tokio::test]
async fn a_relay_is_told_which_program_asks_and_its_own_name_in_ascii() {
    let server = RawServer::start_with(2, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    let (_, heads) = server.hear("ws://relais-é.example/a?b").await;
    let program = concat!("user-agent: strfry-companion/", env!("CARGO_PKG_VERSION"));
    let of = |what: &str| {
        let heads = heads.iter().map(|head| lines(head));
        heads.filter(|head| head.contains(&what.to_owned())).collect::<Vec<_>>()
    };
    let [handshake, document] = ["upgrade: websocket", "accept: application/nostr+json"].map(of);
    assert_eq!((handshake.len(), document.len()), (1, 1), "{heads:?}");
    for head in [handshake, document].concat() {
        assert_eq!(head[0], "get /a?b http/1.1");
        assert!(head.contains(&program.to_owned()), "{head:?}");
        assert!(head.contains(&"host: xn--relais--hya.example".to_owned()), "{head:?}");
    }
}

#[tokio::test]
async fn tls_asks_for_the_relays_own_name_in_ascii_and_without_a_final_dot() {
    for url in
        ["wss://relais-é.example", "wss://RELAIS-É.example./", "wss://xn--relais--hya.example"]
    {
        let server = RawServer::start("no TLS");
        let (_, heads) = server.hear(url).await;
        let name = b"\x00\x17xn--relais--hya.example";
        for hello in &heads {
            assert!(hello.windows(name.len()).any(|some| some == name), "{url}: {hello:?}");
        }
        assert!(!heads.is_empty());
    }
}

#[tokio::test]
async fn a_relay_that_is_busy_for_a_moment_is_asked_all_the_same() {
    let all = [Author::new(1).note(START, "hello")];
    for status in [429, 500, 502, 503, 504] {
        let archive = Archive::new(&all, 500);
        let arrival = move |connection| match connection {
            1 | 2 => Arrival::Refuse(status),
            _ => Arrival::Welcome,
        };
        let relay = ScriptedRelay::start_with(arrival, move |request| archive.answer(request));
        let (outcome, collector) = fetch(&relay.url(), vec![notes()], PATIENT).await;
        assert_eq!((collector.count(), outcome.gaps), (1, vec![]), "{status}");
        assert_connections(&relay, 3);
    }
}

#[tokio::test]
async fn a_relay_that_is_busy_for_ever_is_tried_three_times_and_one_that_refuses_once() {
    for (status, connections, error) in [
        (
            503,
            3,
            "the relay answers the WebSocket handshake with HTTP 503 Service Unavailable: try \
             again later",
        ),
        (403, 1, "WebSocket handshake: HTTP error: 403 Forbidden"),
    ] {
        let relay = ScriptedRelay::start_with(move |_| Arrival::Refuse(status), |_| answer([]));
        let (outcome, _) = fetch(&relay.url(), vec![notes()], PATIENT).await;
        assert_eq!(outcome, not_connected(error));
        assert_connections(&relay, connections);
    }
}

#[tokio::test]
async fn a_relay_is_left_alone_for_as_long_as_it_asks() {
    let server = RawServer::start("HTTP/1.1 429 \r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n");
    let began = std::time::Instant::now();
    let (outcome, _) = server.hear("ws://relay.example").await;
    assert!(outcome.failed() && began.elapsed() >= Duration::from_secs(2));
}

#[tokio::test]
async fn a_relay_that_has_moved_is_not_followed_and_its_new_address_is_named() {
    let server = RawServer::start(
        "HTTP/1.1 301 \r\nLocation: https://new.example/\r\nContent-Length: 0\r\n\r\n",
    );
    let (outcome, _) = server.hear("ws://relay.example").await;
    let error = "moved to wss://new.example/ (HTTP 301 Moved Permanently); use that address";
    assert_eq!(outcome, not_connected(error));
}

#[tokio::test]
async fn a_tor_service_is_refused_before_any_name_is_resolved() {
    for host in ["abcdefghij.onion", "a.ABCDEFGHIJ.onion."] {
        let url = format!("ws://{host}:7777");
        let (outcome, _) = fetch(&url, vec![notes()], PATIENT).await;
        let error = format!(
            "{} is a Tor service, and this program does not connect through Tor: name the relay's \
             address outside of Tor, or leave it out",
            host.to_lowercase()
        );
        assert_eq!(outcome, not_connected(&error));
    }
}

#[tokio::test]
async fn a_document_that_is_too_long_gives_what_its_beginning_says() {
    let info = json!({"name": "it", "supported_nips": ["1", 77.0], "z": "z".repeat(1 << 20)});
    let relay = ScriptedRelay::start_informing(
        Some(info),
        |_| Arrival::Welcome,
        |_| answer([Act::Eose]),
        |_| answer([]),
    );
    let dialler = Dialler::new(relay.url().parse().unwrap(), true, Duration::from_secs(20));
    let info = dialler.probe(&Room::default()).await.unwrap().info.unwrap();
    assert_eq!((info.name.as_deref(), info.supported_nips), (Some("it"), Some(vec![1, 77])));
}

/// A frame as a relay sends it.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u64).to_be_bytes();
    [&[first, 127], &length[..], payload].concat()
}

/// Every second event comes in this way.
fn relay_that_sends(
    all: &[String],
    way: impl Fn(String) -> Vec<u8> + Send + Sync + 'static,
) -> ScriptedRelay {
    let archive = Archive::new(all, 500);
    ScriptedRelay::start(move |request| {
        let events = archive.page(&request.filter).into_iter().zip(0..);
        let subscription = json!(request.subscription);
        let acts: Vec<Act> = events
            .map(|(event, number)| match number % 2 {
                0 => Act::Event(event),
                _ => Act::Raw(way(format!("[\"EVENT\",{subscription},{event}]"))),
            })
            .chain([Act::Eose])
            .collect();
        answer(acts)
    })
}

#[tokio::test]
async fn a_text_is_read_from_binary_messages_and_from_parts_cut_in_a_character() {
    let all = events(9, |number| Author::new(1).note(START + number, "é€😀"));
    let binary = |text: String| frame(0x82, text.as_bytes());
    let ways: [Box<dyn Fn(String) -> Vec<u8> + Send + Sync>; 3] = [
        Box::new(binary),
        Box::new(|text| in_two(0x01, &text)),
        Box::new(|text| in_two(0x02, &text)),
    ];
    for way in ways {
        let relay = relay_that_sends(&all, way);
        let (outcome, collector) = fetch(&relay.url(), vec![notes()], PATIENT).await;
        assert_eq!((collector.ids(), outcome.gaps), (sorted_ids(&all), vec![]));
        assert_eq!(collector.dropped(), repeated(collector.dropped().len()));
        assert_eq!(relay.record().connections, 1);
    }
}

/// A message in two parts, cut within a character, with a ping between.
fn in_two(first: u8, text: &str) -> Vec<u8> {
    let (one, other) = text.as_bytes().split_at(text.find('€').unwrap() + 1);
    [frame(first, one), vec![0x89, 0], frame(0x80, other)].concat()
}

fn repeated(count: usize) -> Vec<Unwanted> {
    vec![Unwanted::Repeated; count]
}

/// One event of 3 MB among 30 small ones: the small ones, the large one.
fn one_large() -> (Vec<String>, String) {
    let author = Author::new(1);
    let small = events(30, |number| author.note(START + 2 * number, "small"));
    (small, author.note(START + 31, &"B".repeat(3_000_000)))
}

#[tokio::test]
async fn an_event_that_is_too_large_is_named_and_all_around_it_arrives() {
    let (small, large) = one_large();
    let all = [&small[..], std::slice::from_ref(&large)].concat();
    let id = id_of(&large).parse().ok();
    let whole = |text: String| frame(0x81, text.as_bytes());
    let ways: [Box<dyn Fn(String) -> Vec<u8> + Send + Sync>; 3] = [
        Box::new(whole),
        Box::new(|text| {
            let (one, other) = text.as_bytes().split_at(text.len() / 2);
            [frame(0x01, one), vec![0x89, 0], frame(0x80, other)].concat()
        }),
        // As strfry writes them: the content comes before the id.
        Box::new(move |text| {
            let mut message: Value = serde_json::from_str(&text).unwrap();
            message[2].sort_all_objects();
            frame(0x82, message.to_string().as_bytes())
        }),
    ];
    for way in ways {
        let relay = relay_that_sends(&all, way);
        let (outcome, collector) = fetch(&relay.url(), vec![notes()], PATIENT).await;
        assert_eq!((collector.ids(), outcome.gaps), (sorted_ids(&small), vec![]));
        let mut dropped = collector.dropped();
        dropped.retain(|what| *what != Unwanted::Repeated);
        assert_eq!(dropped.len(), 1, "{dropped:?}");
        let Unwanted::TooLarge { id: named, bytes } = dropped[0] else { panic!("{dropped:?}") };
        assert_eq!(named, id);
        assert!((3_000_000..3_001_000).contains(&bytes), "{bytes}");
        assert_eq!(relay.record().connections, 1);
    }
}

#[tokio::test]
async fn an_event_that_is_too_large_is_not_asked_for_again_by_its_id() {
    let (small, large) = one_large();
    let all = [&small[..], std::slice::from_ref(&large)].concat();
    let relay = Archive::new(&all, 500).comparing();
    let (outcome, collector) =
        compare(&relay.url(), vec![notes()], PATIENT, Here::of(&small[..10])).await;
    assert_eq!((collector.ids(), outcome.gaps), (sorted_ids(&small[10..]), vec![]));
    assert!(matches!(&collector.dropped()[..], [Unwanted::TooLarge { id: Some(_), .. }]));
    let asked = relay.record().requests.iter().filter(|filter| filter["ids"].is_array()).count();
    assert_eq!(asked, 1);
}

#[tokio::test]
async fn a_relay_that_refuses_before_it_sends_its_challenge_is_told_who_we_are_at_its_own_address()
{
    let all = events(9, |number| Author::new(1).note(START + number, "hello"));
    let archive = Archive::new(&all, 500);
    let relay = ScriptedRelay::start(move |request| match request.is_known {
        true => archive.answer(request),
        false => answer([
            Act::Closed("auth-required: log in first".into()),
            Act::Text(json!(["AUTH", "ch-1"]).to_string()),
        ]),
    });
    let time_out = Duration::from_secs(20);
    let mut dialler = Dialler::new("ws://127.0.0.1:7777/".parse().unwrap(), false, time_out);
    dialler.reach_through(relay.address().port());
    let key = AuthKey::new(&"07".repeat(32).parse().unwrap());
    let collector = Collector::default();
    let mut session = PeerSession::new(dialler).known_by(key);
    let outcome = session.fetch(vec![notes()], PATIENT, &collector).await;
    assert_eq!((collector.ids(), outcome.gaps), (sorted_ids(&all), vec![]));
    let record = relay.record();
    let tags: Vec<&Value> = record.auths.iter().map(|event| &event["tags"]).collect();
    assert_eq!(tags, [&json!([["relay", "ws://127.0.0.1:7777"], ["challenge", "ch-1"]])]);
}

#[tokio::test]
async fn an_empty_answer_of_a_relay_that_has_sent_a_challenge_is_not_believed() {
    let all = events(9, |number| Author::new(1).note(START + number, "hello"));
    for info in [None, Some(json!({"limitation": {"auth_required": true}}))] {
        let archive = Archive::new(&all, 500);
        let challenge = Act::Text(json!(["AUTH", "ch-1"]).to_string());
        let relay = ScriptedRelay::start_informing(
            info,
            move |_| Arrival::Greet(vec![challenge.clone()]),
            move |request| match request.is_known {
                true => archive.answer(request),
                false => answer([Act::Eose]),
            },
            |_| answer([]),
        );
        let collector = Collector::default();
        let mut session = support::collector::peer(&relay.url())
            .known_by(AuthKey::new(&"07".repeat(32).parse().unwrap()));
        let outcome = session.fetch(vec![notes()], PATIENT, &collector).await;
        assert_eq!((collector.ids(), outcome.gaps), (sorted_ids(&all), vec![]));
        assert_eq!(relay.record().auths.len(), 1);
    }
}

/// A node that asks one relay, and what its backfill with these flags says.
fn traced_backfill(node: &Node, url: &str, trace: &Path) -> Output {
    let pubkeys = node.write("pubkeys.txt", Author::new(1).pubkey().to_string());
    let mut command = node.companion(&["backfill", "--no-fallback", "--no-profiles", "--json"]);
    command.args(["--days", "0", "--relay", url, "--kinds", "1", "--pubkeys"]).arg(pubkeys);
    command.arg("--trace-peers").arg(trace).output().unwrap()
}

#[test]
fn a_trace_holds_every_message_of_a_run_and_not_who_we_are() {
    let note = Author::new(1).note(START, "\u{202e}hello");
    let archive = Archive::new(std::slice::from_ref(&note), 500);
    let challenge = Act::Text(json!(["AUTH", "a secret challenge"]).to_string());
    let relay = ScriptedRelay::start_with(
        move |_| Arrival::Greet(vec![challenge.clone()]),
        move |request| match request.is_known {
            true => archive.answer(request),
            false => answer([Act::Closed("auth-required: who?".into())]),
        },
    );
    let node = Node::new(&strfry_bin());
    let key = node.write("key", "07".repeat(32));
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let trace = node.home().join("trace.jsonl");
    let pubkeys = node.write("pubkeys.txt", Author::new(1).pubkey().to_string());
    let output = node
        .companion(&["backfill", "--no-fallback", "--no-profiles", "--no-negentropy", "--json"])
        .args(["--days", "0", "--kinds", "1", "--relay", &relay.url(), "--pubkeys"])
        .arg(pubkeys)
        .arg("--auth-key-file")
        .arg(key)
        .arg("--trace-peers")
        .arg(&trace)
        .output()
        .unwrap();
    assert_eq!(code(&output), 0, "{output:?}");
    let text = std::fs::read_to_string(trace).unwrap();
    assert!(!text.contains("secret") && !text.contains('\u{202e}'), "{text}");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().all(|line| line["peer"] == relay.url() && line["time"].is_string()));
    let said = |direction: &str, name: &str| {
        let is_it = |line: &&Value| line["direction"] == direction && line["message"][0] == name;
        lines.iter().filter(is_it).count()
    };
    let record = relay.record();
    assert_eq!(said("out", "REQ"), record.requests.len() + record.for_nothing);
    assert_eq!((said("out", "AUTH"), said("in", "AUTH"), said("in", "OK")), (1, 1, 1));
    let note: Value = serde_json::from_str(&note).unwrap();
    assert!(lines.iter().any(|line| line["message"][2] == note));
    let events: Vec<&Value> = lines.iter().filter_map(|line| line.get("event")).collect();
    assert!(events.contains(&&json!("opened")) && events.contains(&&json!("ended")), "{events:?}");
}

#[test]
fn a_trace_is_written_over_nothing_that_matters() {
    let relay = ScriptedRelay::start(|_| answer([Act::Eose]));
    let node = Node::new(&strfry_bin());
    let fifo = node.home().join("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let link = node.home().join("link");
    symlink(node.strfry_dir().join("strfry.conf"), &link).unwrap();
    let pubkeys = node.home().join("pubkeys.txt");
    let strfrys = node.strfry_dir();
    for (path, what) in [
        (fifo, "it is a pipe (FIFO), not a regular file; move it away"),
        (link, "is strfry's executable or configuration; name another file"),
        (strfrys.join("strfry-db/data.mdb"), "is in the directory of strfry's database"),
        (strfrys.join("constellation-backfill.log"), "is the node's file"),
        (pubkeys, "which is read; name another file with --trace-peers"),
    ] {
        let before = std::fs::metadata(&path).map(|it| it.len()).unwrap_or(0);
        let output = traced_backfill(&node, &relay.url(), &path);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((code(&output), said.contains(what)), (2, true), "{what}: {said}");
        let after = std::fs::metadata(&path).map(|it| it.len()).unwrap_or(0);
        assert!(after >= before, "{what}");
    }
    assert_eq!(relay.record().connections, 0);
}
